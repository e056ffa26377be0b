"""Damages HDF5 files at random, by seed: their bytes, and their contents."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_SIGNATURES = re.compile(rb"TREE|HEAP|SNOD|GCOL|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|OHDR|OCHK|FSHD|SMTB")
"""What B-trees, heaps, symbol nodes and newer kinds of metadata begin with."""

_HEADER, _NODE = 512, 1024
"""Bytes from the address of an object header, and from a signature, that count as metadata."""

_NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
    10**15,
)
"""Lengths, counts and addresses that parsers trip over."""


@dataclass
class Regions:
    """Where in a file what lies: ranges of bytes."""

    superblock: list[tuple[int, int]] = field(default_factory=lambda: [(0, 96)])
    headers: list[tuple[int, int]] = field(default_factory=list)
    nodes: list[tuple[int, int]] = field(default_factory=list)
    data: list[tuple[int, int]] = field(default_factory=list)


def regions(path: Path) -> Regions:
    """Superblock, object headers, trees and heaps, and data of a good file."""
    found = Regions()
    content = path.read_bytes()
    found.nodes = [(m.start(), m.start() + _NODE) for m in _SIGNATURES.finditer(content)]

    def visit(_: str, node: Any) -> None:
        address = h5py.h5o.get_info(node.id).addr
        found.headers.append((address, address + _HEADER))
        if isinstance(node, h5py.Dataset):
            if node.chunks is not None:
                node.id.chunk_iter(
                    lambda chunk: found.data.append(
                        (chunk.byte_offset, chunk.byte_offset + chunk.size)
                    )
                )
            elif (offset := node.id.get_offset()) is not None:
                found.data.append((offset, offset + node.id.get_storage_size()))

    with h5py.File(path) as h5:
        h5.visititems(visit)
    return found


def _place(rng: random.Random, where: Regions, size: int) -> int:
    """A byte of the file: mostly in metadata, where there is little of it but all depends on it."""
    kind = rng.choices(("superblock", "headers", "nodes", "data", "any"), (1, 8, 8, 4, 2))[0]
    ranges = [(0, size)] if kind == "any" else getattr(where, kind)
    start, stop = rng.choice(ranges)
    return min(rng.randrange(start, max(stop, start + 1)), size - 1)


def _flip(rng: random.Random, content: bytearray, where: Regions) -> str:
    places = [_place(rng, where, len(content)) for _ in range(rng.choice((1, 1, 1, 2, 4, 16)))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    return f"bits flipped at {places}"


def _overwrite(rng: random.Random, content: bytearray, where: Regions) -> str:
    place, length = _place(rng, where, len(content)), rng.choice((1, 2, 4, 8, 16, 64, 256, 4096))
    run = rng.choice((rng.randbytes(length), b"\0" * length, b"\xff" * length))[
        : len(content) - place
    ]
    content[place : place + len(run)] = run
    return f"{len(run)} bytes overwritten at {place}"


def _number(rng: random.Random, content: bytearray, where: Regions) -> str:
    width = rng.choice((1, 2, 4, 8))
    place = _place(rng, where, len(content)) & ~(width - 1)
    number = rng.choice((*_NUMBERS, len(content), rng.randrange(len(content)), place)) & (
        256**width - 1
    )
    content[place : place + width] = number.to_bytes(width, "little")[: len(content) - place]
    return f"{number} in {width} bytes at {place}"


def _truncate(rng: random.Random, content: bytearray, where: Regions) -> str:
    length = rng.choice((rng.randrange(len(content)), len(content) - rng.randrange(1, 4096)))
    del content[length:]
    return f"truncated to {length} bytes"


def _extend(rng: random.Random, content: bytearray, where: Regions) -> str:
    place = rng.choice((len(content), _place(rng, where, len(content))))
    more = rng.randbytes(rng.choice((1, 8, 512, 100_000)))
    content[place:place] = more
    return f"{len(more)} bytes inserted at {place}"


def _swap(rng: random.Random, content: bytearray, where: Regions) -> str:
    length = rng.choice((8, 40, 512, 4096))
    a, b = sorted(_place(rng, where, len(content) - length) & ~7 for _ in range(2))
    if a + length > b:
        return _flip(rng, content, where)
    content[a : a + length], content[b : b + length] = (
        content[b : b + length],
        content[a : a + length],
    )
    return f"{length} bytes at {a} and {b} swapped"


def _copy(rng: random.Random, content: bytearray, where: Regions) -> str:
    length = rng.choice((8, 16, 40, 512))
    a, b = (_place(rng, where, len(content) - length) & ~7 for _ in range(2))
    content[b : b + length] = content[a : a + length]
    return f"{length} bytes at {a} copied to {b}"


_BYTES: tuple[Callable[[random.Random, bytearray, Regions], str], ...] = (
    _flip,
    _flip,
    _overwrite,
    _number,
    _number,
    _truncate,
    _extend,
    _swap,
    _copy,
)


def damage_bytes(path: Path, where: Regions, rng: random.Random) -> str:
    """Changes bytes of a file in place; returns what was done."""
    content = bytearray(path.read_bytes())
    before = bytes(content)
    done = [rng.choice(_BYTES)(rng, content, where) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    if content == before:
        done.append(_flip(rng, content, where))
    path.write_bytes(content)
    return "; ".join(done)


# --- structure ---------------------------------------------------------------------------------------------------------------

_UNREAD = ("specifications", "file_create_date", "general/devices")
_ODD: tuple[Any, ...] = (
    0,
    -1,
    2**62,
    float("nan"),
    float("inf"),
    "",
    "N/A",
    "text",
    [],
    [1, 2, 3],
    ["a", "b"],
    b"\xff\xfe",
    h5py.Empty("f8"),
)


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
    holders = [
        p
        for p in ("general/metadata", "general/task_parameters", "general/subject", path)
        if p in h5 and len(h5[p].attrs)
    ]
    if not holders:
        return _delete(rng, h5, path)
    node = h5[rng.choice(holders)]
    name = rng.choice(sorted(node.attrs))
    if rng.random() < 0.3:
        del node.attrs[name]
        return f"{node.name}@{name} deleted"
    value = rng.choice(_ODD)
    node.attrs[name] = value
    return f"{node.name}@{name} set to {value!r}"


def _put(h5: h5py.File, path: str, value: Any, **storage: Any) -> None:
    attributes = dict(h5[path].attrs)
    del h5[path]
    node = h5.create_dataset(path, data=value, **storage)
    for name, own in attributes.items():
        node.attrs[name] = own


def _replaced(
    rng: random.Random,
    h5: h5py.File,
    path: str,
    choices: Callable[[random.Random, Any], tuple[str, Any]],
) -> str:
    node = h5.get(path)
    if not isinstance(node, h5py.Dataset):
        return _delete(rng, h5, path)
    name, value = choices(rng, node[()])
    _put(h5, path, value)
    return f"{path}: {name}"


def _other_type(rng: random.Random, value: Any) -> tuple[str, Any]:
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        return rng.choice(
            (
                ("numbers", np.zeros(array.shape)),
                ("fixed text", np.full(array.shape, b"abc")),
                ("bytes", np.zeros(array.shape, "V7")),
            )
        )
    name = rng.choice(("f4", "i1", "u1", "i8", ">f8", "f2", "?", "S5", "c16"))
    with np.errstate(all="ignore"):
        return f"as {name}", array.astype(name)


def _other_shape(rng: random.Random, value: Any) -> tuple[str, Any]:
    array = np.asarray(value)
    if not array.ndim:
        return "one row", array.reshape(1)
    turned = array.T if array.ndim > 1 else array[np.newaxis]
    name, other = rng.choice(
        (
            ("shorter", array[:-1]),
            ("twice", np.concatenate((array, array))),
            ("empty", array[:0]),
            ("turned", turned),
            ("first", array[0]),
        )
    )
    return (
        (name, other)
        if array.dtype.kind != "O"
        else (name, other if np.ndim(other) == 0 else other.astype(h5py.string_dtype()))
    )


def _other_values(rng: random.Random, value: Any) -> tuple[str, Any]:
    array = np.array(value)
    if array.dtype.kind in "OS" or not array.size:
        words = ["", "N/A", "\u00e9" * 50, "x" * 5000]
        return "other words", np.full(array.shape, rng.choice(words), dtype=h5py.string_dtype())
    flat = array.reshape(-1)
    some = np.array([rng.randrange(flat.size) for _ in range(rng.choice((1, 1, 10)))])
    with np.errstate(all="ignore"):
        match rng.choice(
            ("nan", "huge", "negative", "zero", "backwards", "shuffled", "equal", "bits")
        ):
            case "nan":
                flat[some] = np.array(rng.choice((np.nan, np.inf, -np.inf))).astype(flat.dtype)
                return "no number", array
            case "huge":
                flat[some] = np.array(rng.choice((1e300, 2.0**63, -(2.0**40)))).astype(flat.dtype)
                return "huge", array
            case "negative":
                return "negative", (-flat.astype(np.float64)).astype(flat.dtype).reshape(
                    array.shape
                )
            case "zero":
                return "zeros", np.zeros_like(array)
            case "backwards":
                return "backwards", array[::-1] if array.ndim else array
            case "shuffled":
                return "shuffled", flat[np.array(rng.sample(range(flat.size), flat.size))].reshape(
                    array.shape
                ) if flat.size < 10_000 else array[::-1]
            case "equal":
                return "all equal", np.full_like(array, flat[0])
            case _:
                raw = bytearray(flat.tobytes())
                for _ in range(4):
                    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
                return "bits flipped", np.frombuffer(bytes(raw), dtype=flat.dtype).reshape(
                    array.shape
                )


def _relink(rng: random.Random, h5: h5py.File, path: str) -> str:
    other = rng.choice(_paths(h5))
    del h5[path]
    links: tuple[Any, ...] = (
        h5py.SoftLink(f"/{other}"),
        h5py.SoftLink(f"/{path}"),
        h5py.SoftLink("/nowhere"),
        h5py.ExternalLink("/etc/hostname", "/"),
    )
    link: Any = rng.choice((*links, h5.get(other), h5["/"]))
    h5[path] = link if link is not None else h5py.SoftLink(f"/{path}/..")
    return f"{path} linked to {link!r}"


def _stored(rng: random.Random, h5: h5py.File, path: str) -> str:
    node = h5.get(path)
    if not isinstance(node, h5py.Dataset) or not node.shape or 0 in node.shape:
        return _delete(rng, h5, path)
    storage = rng.choice(
        (
            {"chunks": True},
            {"compression": "gzip"},
            {"compression": "gzip", "shuffle": True},
            {"compression": "lzf", "fletcher32": True},
        )
    )
    kind = {"dtype": h5py.string_dtype()} if node.dtype.kind == "O" else {}
    _put(h5, path, node[()], **storage, **kind)
    return f"{path} stored as {storage}"


_STRUCTURE: tuple[Callable[[random.Random, h5py.File, str], str], ...] = (
    _delete,
    _rename,
    _attribute,
    _attribute,
    lambda rng, h5, path: _replaced(rng, h5, path, _other_type),
    lambda rng, h5, path: _replaced(rng, h5, path, _other_shape),
    lambda rng, h5, path: _replaced(rng, h5, path, _other_values),
    lambda rng, h5, path: _replaced(rng, h5, path, _other_values),
    _relink,
    _stored,
)


def damage_structure(path: Path, rng: random.Random) -> str:
    """Changes objects, links, attributes and values of a file in place; returns what was done."""
    done: list[str] = []
    with h5py.File(path, "r+") as h5:
        count = rng.choice((1, 1, 1, 2, 4))
        while len(done) < count:
            # What was done before, to a link or a type, may leave no way to do this.
            with suppress(KeyError, OSError, RuntimeError, ValueError, TypeError):
                done.append(rng.choice(_STRUCTURE)(rng, h5, rng.choice(_paths(h5))))
    return "; ".join(done)
