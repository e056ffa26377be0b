"""Damages HDF5 files at random, by seed: their bytes, and their contents."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Regions = dict[str, list[tuple[int, int]]]
"""Where in a file what lies: ranges of bytes by kind."""

_SIGNATURES = re.compile(rb"TREE|HEAP|SNOD|GCOL|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|OHDR|OCHK|FSHD|SMTB")
"""What B-trees, heaps, symbol nodes and newer kinds of metadata begin with."""

_HEADER, _NODE = 512, 1024
"""Bytes from the address of an object header, and from a signature, that count as metadata."""

_NUMBERS = (0, 1, 7, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1, 10**15)
"""Lengths, counts and addresses that parsers trip over."""


def regions(path: Path) -> Regions:
    """Superblock, object headers, trees and heaps, and data of a good file."""
    content = path.read_bytes()
    nodes = [(m.start(), m.start() + _NODE) for m in _SIGNATURES.finditer(content)]
    found: Regions = {"superblock": [(0, 96)], "headers": [], "nodes": nodes, "data": []}

    def visit(_: str, node: Any) -> None:
        address = h5py.h5o.get_info(node.id).addr
        found["headers"].append((address, address + _HEADER))
        if isinstance(node, h5py.Dataset) and node.chunks is not None:
            node.id.chunk_iter(
                lambda c: found["data"].append((c.byte_offset, c.byte_offset + c.size))
            )
        elif isinstance(node, h5py.Dataset) and (offset := node.id.get_offset()) is not None:
            found["data"].append((offset, offset + node.id.get_storage_size()))

    with h5py.File(path) as h5:
        h5.visititems(visit)
    return found | {"any": [(0, len(content))]}


def _place(rng: random.Random, where: Regions, size: int) -> int:
    """A byte of the file: mostly in metadata, where there is little of it but all depends on it."""
    kind = rng.choices(("superblock", "headers", "nodes", "data", "any"), (1, 8, 8, 4, 2))[0]
    start, stop = rng.choice(where[kind])
    return min(rng.randrange(start, max(stop, start + 1)), size - 1)


def _flip(rng: random.Random, content: bytearray, where: Regions) -> str:
    places = [_place(rng, where, len(content)) for _ in range(rng.choice((1, 1, 1, 2, 4, 16)))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    return f"bits flipped at {places}"


def _overwrite(rng: random.Random, content: bytearray, where: Regions) -> str:
    place, length = _place(rng, where, len(content)), rng.choice((1, 2, 4, 8, 64, 256, 4096))
    run = rng.choice((rng.randbytes(length), b"\0" * length, b"\xff" * length))
    content[place : place + length] = run[: len(content) - place]
    return f"{length} bytes overwritten at {place}"


def _number(rng: random.Random, content: bytearray, where: Regions) -> str:
    width = rng.choice((1, 2, 4, 8))
    place = _place(rng, where, len(content)) & ~(width - 1)
    number = rng.choice((*_NUMBERS, len(content), place)) & (256**width - 1)
    content[place : place + width] = number.to_bytes(width, "little")[: len(content) - place]
    return f"{number} in {width} bytes at {place}"


def _resize(rng: random.Random, content: bytearray, where: Regions) -> str:
    place = rng.choice((rng.randrange(len(content)), len(content) - rng.randrange(1, 4096)))
    if rng.random() < 0.5:
        content[place:place] = rng.randbytes(rng.choice((1, 8, 512, 100_000)))
        return f"bytes inserted at {place}"
    del content[place:]
    return f"truncated to {place} bytes"


def _swap(rng: random.Random, content: bytearray, where: Regions) -> str:
    length = rng.choice((8, 40, 512))
    a, b = (_place(rng, where, len(content) - length) & ~7 for _ in range(2))
    content[a : a + length], content[b : b + length] = (
        content[b : b + length],
        content[a : a + length],
    )
    return f"{length} bytes at {a} and {b} swapped"


def damage_bytes(path: Path, where: Regions, rng: random.Random) -> str:
    """Changes bytes of a file in place; returns what was done."""
    ways = (_flip, _flip, _overwrite, _number, _number, _resize, _swap)
    content = bytearray(path.read_bytes())
    before = bytes(content)
    done = [rng.choice(ways)(rng, content, where) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    if content == before:
        done.append(_flip(rng, content, where))
    path.write_bytes(content)
    return "; ".join(done)


# --- structure

_UNREAD = ("specifications", "file_create_date", "general/devices")
_ODD: tuple[Any, ...] = (0, -1, 2**62, float("nan"), "", "N/A", [], [1, 2], ["a"], b"\xff\xfe")


def _paths(h5: h5py.File) -> list[str]:
    """Returns the objects that readers use by path, those behind soft links too."""
    found: list[str] = []
    h5.visit_links(lambda name: None if name.startswith(_UNREAD) else found.append(name))
    return sorted(found)


def _delete(rng: random.Random, h5: h5py.File, path: str) -> str:
    del h5[path]
    return f"{path} deleted"


def _rename(rng: random.Random, h5: h5py.File, path: str) -> str:
    h5.move(path, f"{path}{rng.choice(('x', '_index', '2', ' '))}")
    return f"{path} renamed"


def _attribute(rng: random.Random, h5: h5py.File, path: str) -> str:
    holders = ("general/metadata", "general/task_parameters", "general/subject", path)
    node = h5[rng.choice(holders)]
    name = rng.choice(sorted(node.attrs))
    value = rng.choice(_ODD)
    if rng.random() < 0.3:
        del node.attrs[name]
        return f"{node.name}@{name} deleted"
    node.attrs[name] = value
    return f"{node.name}@{name} set to {value!r}"


def _replace(h5: h5py.File, path: str, value: Any, **storage: Any) -> None:
    attributes = dict(h5[path].attrs)
    if np.asarray(value).dtype.kind == "O":
        storage["dtype"] = h5py.string_dtype()
    del h5[path]
    h5.create_dataset(path, data=value, **storage).attrs.update(attributes)


def _type(rng: random.Random, h5: h5py.File, path: str) -> str:
    array = h5[path][()]
    name = rng.choice(("f4", "i1", "u1", "i8", ">f8", "?", "S5", "c16"))
    with np.errstate(all="ignore"):
        other = np.zeros(array.shape) if array.dtype.kind in "OS" else array.astype(name)
    _replace(h5, path, other)
    return f"{path} as {other.dtype}"


def _shape(rng: random.Random, h5: h5py.File, path: str) -> str:
    array = h5[path][()]
    turned = array.T if array.ndim > 1 else array[np.newaxis]
    others = {
        "shorter": array[:-1],
        "twice": np.concatenate((array, array)),
        "empty": array[:0],
        "turned": turned,
    }
    name = rng.choice(list(others))
    _replace(h5, path, others[name])
    return f"{path}: {name}"


def _values(rng: random.Random, h5: h5py.File, path: str) -> str:
    array = np.array(h5[path][()])
    if array.dtype.kind in "OS":
        _replace(h5, path, np.full(array.shape, rng.choice(("", "N/A", "x" * 5000)), dtype=object))
        return f"{path}: other words"
    flat = array.reshape(-1)
    some = [rng.randrange(flat.size) for _ in range(rng.choice((1, 1, 10)))]
    odd = rng.choice((np.nan, np.inf, 1e300, 2.0**63, -1.0, 0.0))
    with np.errstate(all="ignore"):
        others = {
            "odd": np.where(np.isin(np.arange(flat.size), some), odd, flat).astype(flat.dtype),
            "negative": (-flat.astype(np.float64)).astype(flat.dtype),
            "backwards": flat[::-1],
            "equal": np.full_like(flat, flat[0]),
        }
    name = rng.choice(list(others))
    _replace(h5, path, others[name].reshape(array.shape))
    return f"{path}: {name} {odd} {some}"


def _relink(rng: random.Random, h5: h5py.File, path: str) -> str:
    soft = h5py.SoftLink(f"/{rng.choice((rng.choice(_paths(h5)), path, 'nowhere'))}")
    target = rng.choice((soft, soft, h5py.ExternalLink("/etc/hostname", "/"), h5["/"]))
    del h5[path]
    h5[path] = target
    return f"{path} linked to {target!r}"


def _stored(rng: random.Random, h5: h5py.File, path: str) -> str:
    storage = rng.choice(({"chunks": True}, {"compression": "gzip"}, {"compression": "lzf"}))
    _replace(h5, path, h5[path][()], **storage)
    return f"{path} stored as {storage}"


_STRUCTURE: tuple[Callable[[random.Random, h5py.File, str], str], ...] = (
    *(_delete, _rename, _attribute, _attribute),
    *(_type, _shape, _values, _values, _relink, _stored),
)


_CANNOT = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def damage_structure(path: Path, rng: random.Random) -> str:
    """Changes objects, links, attributes and values of a file in place; returns what was done."""
    done: list[str] = []
    with h5py.File(path, "r+") as h5:
        count = rng.choice((1, 1, 1, 2, 4))
        while len(done) < count:
            # Not every object has values or attributes, and what was done before may be in the way.
            with suppress(*_CANNOT):
                done.append(rng.choice(_STRUCTURE)(rng, h5, rng.choice(_paths(h5))))
    return "; ".join(done)
