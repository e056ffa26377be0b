"""Kinds of damaged file: damaged bytes, and one kind for each family of guards.

tests/unit/test_nwb_*.py has every guard. What a file's values must be, is in `builders.violations`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

BEHAVIOR, EXPERIMENT = "behavior", "experiment"

TRIALS = "/intervals/trials"
EVENTS = "/processing/ophys/event_detection"
CLOCK = "/processing/stimulus/timestamps/timestamps"
RUNNING = "/processing/running/speed"
META = "/general/metadata"
NAMES = f"{TRIALS}/initial_image_name"

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """A kind of damage.

    Attributes:
        name: for people.
        file: BEHAVIOR or EXPERIMENT, the file it is done to.
        damage: changes the file at a path.
        where: `table T, column C` in the error, or a part of it; a pattern.
        what: the rest of the error, a pattern.
    """

    name: str
    file: str
    damage: Damage
    where: str
    what: str

    def says(self, key: str) -> re.Pattern[str]:
        """Pattern of the whole error for the file of this key."""
        where = f", {self.where}" if self.where else ""
        return re.compile(rf"file {re.escape(key)}{where}: {self.what}(\. [A-Z].*\.)?")


# --- ways to damage a file


def content(change: Callable[[bytes], bytes]) -> Damage:
    """Changes the bytes of the whole file."""
    return lambda path: (path.write_bytes(change(path.read_bytes())), None)[1]


def edit(change: Callable[[h5py.File], Any]) -> Damage:
    """Changes the file through HDF5."""

    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as h5:
            change(h5)

    return damage


def at(place: Callable[[h5py.File], int], new: bytes) -> Damage:
    """Overwrites bytes at a place in the file."""

    def damage(path: Path) -> None:
        with h5py.File(path) as h5:
            start = place(h5)
        with path.open("r+b") as file:
            file.seek(start)
            file.write(new)

    return damage


def remove(path: str) -> Damage:
    """Removes an object or, as `path@name`, an attribute."""
    where, _, name = path.partition("@")
    return edit(lambda h5: h5[where].attrs.__delitem__(name) if name else h5.__delitem__(where))


def link(path: str, target: Any) -> Damage:
    """Replaces an object by a link."""
    return edit(lambda h5: (h5.__delitem__(path), h5.__setitem__(path, target)))


def claim(path: str, shape: tuple[int, ...] | None = None, **storage: Any) -> Damage:
    """A dataset that claims a shape, its own if none is given, and stores nothing."""

    def damage(h5: h5py.File) -> None:
        claimed = shape or h5[path].shape
        del h5[path]
        h5.create_dataset(path, shape=claimed, dtype="f8", **storage)

    return edit(damage)


def chunk(path: str, packed: bytes) -> Damage:
    """The dataset as one chunk that holds other bytes."""

    def damage(h5: h5py.File) -> None:
        attributes, shape = dict(h5[path].attrs), h5[path].shape
        del h5[path]
        data = h5.create_dataset(path, data=np.zeros(shape), chunks=shape, compression="gzip")
        data.attrs.update(attributes)
        h5.flush()
        data.id.write_direct_chunk((0,) * len(shape), packed)

    return edit(damage)


def _half_written(h5: h5py.File) -> None:
    """The last chunk of running speed was never written."""
    speed = h5[f"{RUNNING}/data"][()]
    del h5[f"{RUNNING}/data"]
    half = len(speed) // 2 + 1
    new = h5.create_dataset(f"{RUNNING}/data", shape=speed.shape, dtype="f8", chunks=(half,))
    new[:half] = speed[:half]


def _moved(path: Path) -> None:
    """The address of the clock's data leads out of the file."""
    with h5py.File(path) as h5:
        place = struct.pack("<QQ", h5[CLOCK].id.get_offset(), h5[CLOCK].id.get_storage_size())
    whole = path.read_bytes()
    assert whole.count(place) == 1
    path.write_bytes(whole.replace(place, struct.pack("<Q", 10**15) + place[8:]))


def _offset(path: str, byte: int = 0) -> Callable[[h5py.File], int]:
    return lambda h5: int(h5[path].id.get_offset()) + byte


# --- the kinds

NOT_OPENED = r"the file cannot be opened as HDF5; expected a whole NWB \(HDF5\) file; found "
CLOSED = "the object cannot be opened; expected readable HDF5; found .+"
UNREADABLE = "the dataset cannot be read; expected readable data; found "
MISSING = "a dataset is missing; expected a dataset; found "
OUTSIDE = "expected data inside the file; found "
LEAVES = f"data is not in the file; {OUTSIDE}external link to "

_CLOCK = f"table (trials|stimulus_timestamps), column {CLOCK}"
_RUNNING = f"table running_speed, column {RUNNING}/"
_TRIALS = f"table trials, column {TRIALS}/"
_EVENTS = f"table events, column {EVENTS}/"

_MUCH = zlib.compress(bytes(64 << 20))
_REFERENCE = struct.pack("<I", 2**20)
"""The length that a string claims."""

_OF_BEHAVIOR: tuple[tuple[str, Damage, str, str], ...] = (
    # Whole files.
    ("no bytes", content(lambda _: b""), "", f"{NOT_OPENED}.+"),
    ("without the last byte", content(lambda c: c[:-1]), "", f"{NOT_OPENED}.*truncated.*"),
    ("an error page", content(lambda _: b"<Error/>" * 99), "", f"{NOT_OPENED}.*signature.*"),
    # HDF5's own structures, strings included.
    ("a tree", content(lambda c: c.replace(b"TREE", b"tree")), "column /identifier", CLOSED),
    (
        "a heap of strings",
        content(lambda c: c.replace(b"GCOL", b"gcol")),
        "column /general/subject/subject_id",
        f"{UNREADABLE}.*heap.*",
    ),
    ("a header", at(lambda h5: h5py.h5o.get_info(h5[CLOCK].id).addr, b"\x77" * 8), _CLOCK, CLOSED),
    ("data beyond the file", _moved, _CLOCK, CLOSED),
    (
        "a string of another length",
        at(_offset(NAMES), _REFERENCE),
        f"{_TRIALS}initial_image_name",
        f"{UNREADABLE}.*size does not match.*",
    ),
    (
        "a bit flipped in a truth value",
        at(_offset(f"{TRIALS}/hit", 3), b"\x40"),
        f"{_TRIALS}hit",
        "truth values are damaged; expected bytes 0 and 1; found others",
    ),
    # Storage: HDF5 would make data up.
    (
        "far too much claimed",
        claim(CLOCK, (10**15,)),
        _CLOCK,
        f"{UNREADABLE}no data in the file for shape .*",
    ),
    (
        "a chunk that was never written",
        edit(_half_written),
        f"{_RUNNING}data",
        rf"{UNREADABLE}1 chunks, not the 2 that make shape .*",
    ),
    # Links.
    (
        "an external link",
        link(CLOCK, h5py.ExternalLink("/etc/hostname", "/x")),
        _CLOCK,
        f"{LEAVES}/etc/hostname",
    ),
    # Something is missing.
    ("no licks of trials", remove(f"{TRIALS}/lick_times"), f"{_TRIALS}lick_times", f"{MISSING}.*"),
)
_OF_EXPERIMENTS: tuple[tuple[str, Damage, str, str], ...] = (
    (
        "a chunk that expands without end",
        chunk(f"{EVENTS}/data", _MUCH),
        f"{_EVENTS}data",
        rf"{UNREADABLE}the chunk at \(0, 0\) does not decompress to \d+ bytes: .*",
    ),
    (
        "more claimed than gzip can make of what is stored",
        chunk(f"{EVENTS}/data", zlib.compress(bytes(8))),
        f"{_EVENTS}data",
        rf"{UNREADABLE}the chunks claim \d+ bytes, but the 11 bytes that are stored can expand to .*",
    ),
)
KINDS = [
    *(Kind(name, BEHAVIOR, *rest) for name, *rest in _OF_BEHAVIOR),
    *(Kind(name, EXPERIMENT, *rest) for name, *rest in _OF_EXPERIMENTS),
]
