"""Damage to the bytes of a file: at its ends, in HDF5's own structures, in texts and in data."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import h5py

from builders.damage.model import (
    CLOCK,
    CLOCKED,
    EVENTS,
    EXPERIMENT,
    TRIALS,
    UNREADABLE,
    kind,
)
from pipelines.nwb.hdf5.strings import REFERENCE

Damage = Callable[[Path], None]


def _content(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: (path.write_bytes(change(path.read_bytes())), None)[1]


def _cut(length: Callable[[int], int]) -> Damage:
    return _content(lambda content: content[: length(len(content))])


def _signatures(name: bytes, start: int = 0) -> Damage:
    """Bits flipped in all signatures of one kind of structure, from a place on."""
    return _content(
        lambda content: (
            content[:start] + content[start:].replace(name, bytes(b ^ 0x20 for b in name))
        )
    )


def _at(place: Callable[[h5py.File], int], change: Callable[[bytes], bytes], length: int) -> Damage:
    """Changes some bytes at a place that the file tells."""

    def damage(path: Path) -> None:
        with h5py.File(path) as h5:
            start = place(h5)
        content = bytearray(path.read_bytes())
        content[start : start + length] = change(bytes(content[start : start + length]))
        path.write_bytes(content)

    return damage


def _heap(h5: h5py.File, dataset: str) -> int:
    """Address of the collection with a dataset's first text."""
    with open(h5.filename, "rb") as file:  # noqa: PTH123 - h5py has the name as text
        file.seek(h5[dataset].id.get_offset())
        return int(struct.unpack("<IQI", file.read(REFERENCE.itemsize))[1])


def _reference(**fields: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        length, address, number = struct.unpack("<IQI", content)
        new = {"length": length, "address": address, "number": number} | fields
        return struct.pack("<IQI", new["length"], new["address"], new["number"])

    return change


NAMES = "/intervals/trials/initial_image_name"
SUBJECT = "/general/subject/subject_id"

for _name, _damage, _found in (
    ("no bytes", _cut(lambda n: 0), ".+"),
    ("one byte", _cut(lambda n: 1), ".+"),
    ("cut in the superblock", _cut(lambda n: 50), ".+"),
    ("cut after 1,000 bytes", _cut(lambda n: 1000), ".*truncated.*"),
    ("a third", _cut(lambda n: n // 3), ".*truncated.*"),
    ("without the last block", _cut(lambda n: n - 4096), ".*truncated.*"),
    ("without the last byte", _cut(lambda n: n - 1), ".*truncated.*"),
    ("nothing but zero bytes", _content(lambda c: bytes(len(c))), ".*signature.*"),
    ("the first block zero", _content(lambda c: bytes(4096) + c[4096:]), ".*signature.*"),
    ("text", _content(lambda c: b"<Error><Code>NoSuchKey</Code></Error>" * 100), ".*signature.*"),
    ("packed once more", _content(lambda c: gzip.compress(c, 1)), ".*signature.*"),
    ("a version of HDF5 that does not exist", _content(lambda c: c[:8] + b"\x77" + c[9:]), ".+"),
):
    kind(
        _name,
        _damage,
        None,
        None,
        "the file cannot be opened as HDF5",
        r"a whole NWB \(HDF5\) file",
        _found,
        edit=False,
    )

# Structures of HDF5. The root group is read first, then the text that names the mouse.
CLOSED = ("the object cannot be opened", "readable HDF5")
for _signature, _column, _says in (
    (b"TREE", "/identifier", (*CLOSED, ".+")),
    (b"SNOD", "/identifier", (*CLOSED, ".+")),
    (b"HEAP", "/identifier", (*CLOSED, ".+")),
    (b"GCOL", "/general/subject/subject_id", (*UNREADABLE, r"no heap of texts at \d+")),
):
    kind(
        f"damaged {_signature.decode()}", _signatures(_signature), None, _column, *_says, edit=False
    )


def _header(h5: h5py.File) -> int:
    return int(h5py.h5o.get_info(h5[CLOCK].id).addr)


def _data(path: str, byte: int) -> Callable[[h5py.File], int]:
    return lambda h5: int(h5[path].id.get_offset()) + byte


def _moved(path: Path) -> None:
    """The address of the clock's data leads out of the file."""
    with h5py.File(path) as h5:
        place = struct.pack("<QQ", h5[CLOCK].id.get_offset(), h5[CLOCK].id.get_storage_size())
    content = path.read_bytes()
    assert content.count(place) == 1
    path.write_bytes(content.replace(place, struct.pack("<Q", 10**15) + place[8:]))


def _flipped(bit: int) -> Callable[[bytes], bytes]:
    return lambda content: bytes(b ^ bit for b in content)


kind("a damaged header", _at(_header, _flipped(0x40), 8), CLOCKED, CLOCK, *CLOSED, ".+", edit=False)
kind("data beyond the file", _moved, CLOCKED, CLOCK, *CLOSED, ".+", edit=False)
kind(
    "a bit flipped in a clock",
    _at(_data(CLOCK, 5 * 8 + 7), _flipped(0x80), 1),
    CLOCKED,
    CLOCK,
    "times go backwards",
    "ascending times",
    r"-[\d.]+ after [\d.]+, row 5",
    edit=False,
)
kind(
    "a bit flipped in a truth value",
    _at(_data(f"{TRIALS}/hit", 3), _flipped(0x40), 1),
    "trials",
    f"{TRIALS}/hit",
    "truth values are damaged",
    "bytes 0 and 1",
    "others",
    edit=False,
)

# Texts: a reference has a length, the address of a heap and a number in it.
for _name, _change, _found in (
    ("a text of 4 GB", _reference(length=2**32 - 1), r"texts of \d+ bytes, more than \d+"),
    (
        "a text in no file",
        _reference(address=10**12),
        r"a heap at 1000000000000, \d+ bytes, in a file of \d+",
    ),
    ("a text that is none", _reference(address=96), "no heap of texts at 96"),
    (
        "a text that is not in its heap",
        _reference(number=60_000),
        r"a reference to a text that is not in the heap at \d+",
    ),
    (
        "a text shorter than its entry",
        _reference(length=1),
        r"a reference to a text that is not in the heap at \d+",
    ),
):
    kind(_name, _at(_data(NAMES, 0), _change, 16), "trials", NAMES, *UNREADABLE, _found, edit=False)
_in_heap = (
    (
        "a heap with an entry without a size",
        16,
        bytes(16),
        r"a reference to a text that is not in the heap at \d+",
    ),
    ("a heap larger than the file", 8, struct.pack("<Q", 2**40), r"no heap of texts at \d+"),
    (
        "a heap with an entry larger than itself",
        24,
        struct.pack("<Q", 2**40),
        r"a damaged heap of texts at \d+",
    ),
)
for _name, _place, _new, _found in _in_heap:
    kind(
        _name,
        _at(lambda h5, n=_place: _heap(h5, SUBJECT) + n, lambda _, new=_new: new, len(_new)),
        None,
        SUBJECT,
        *UNREADABLE,
        _found,
        edit=False,
    )


def _chunk(h5: h5py.File) -> int:
    return int(h5[f"{EVENTS}/data"].id.get_chunk_info(0).byte_offset)


kind(
    "a chunk of zero bytes",
    _at(_chunk, lambda content: bytes(len(content)), 64),
    "events",
    f"{EVENTS}/data",
    *UNREADABLE,
    r"the chunk at \(0, 0\) does not decompress to \d+ bytes: .*",
    file=EXPERIMENT,
    edit=False,
)
