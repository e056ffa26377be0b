"""Damages the bytes of HDF5 files at random, by seed.

What becomes of objects that are missing or changed, tests/unit/test_nwb_damage.py has.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import h5py

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
