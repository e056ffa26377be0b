"""Headers and names of many objects are fetched at once; what is damaged fetches little."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipelines.nwb.hdf5.headers import HEADER, load_objects
from pipelines.source.range_file import Range, RangeFile

MB = 1 << 20


def _open(path: Path, requests: list[Range] | None = None) -> RangeFile:
    """Opens a file by ranges; adds each request to the list."""

    def fetch(start: int, stop: int) -> bytes:
        if requests is not None:
            requests.append((start, stop))
        with path.open("rb") as file:
            return os.pread(file.fileno(), stop - start, start)

    return RangeFile(fetch, path.stat().st_size)


def _many(path: Path, libver: str) -> None:
    """Writes 12 groups whose names, entries and headers are scattered over the file."""
    with h5py.File(path, "w", libver=libver) as h5:
        for member in range(20):
            for number in range(12):
                group = h5.require_group(f"group {number}")
                group.create_group(f"member {member} with a name of some length")
                if member % 3 == 0:
                    group.attrs[f"attribute {member}"] = "x" * 200
            h5[f"between {member}"] = np.zeros(20_000)


def _addresses(h5: h5py.File) -> dict[str, int]:
    return {name: h5.id.links.get_info(name.encode()).u for name in h5 if name.startswith("group")}


def _listed(h5: h5py.File, names: list[str]) -> dict[str, tuple[list[str], int]]:
    return {name: (list(h5[name]), len(dict(h5[name].attrs))) for name in names}


def test_names_of_many_groups_are_fetched_at_once(tmp_path: Path) -> None:
    _many(path := tmp_path / "a.h5", "earliest")
    requests: list[Range] = []
    with _open(path, requests) as file, h5py.File(file) as h5:
        addresses = _addresses(h5)
        file.load([(a, a + HEADER) for a in addresses.values()])
        load_objects(file, dict.fromkeys(addresses.values(), True))
        asked = len(requests)
        listed = _listed(h5, list(addresses))
        assert len(requests) <= asked + 2  # where HDF5 alone makes more than 10, see below
    with h5py.File(path) as h5:
        assert listed == _listed(h5, list(addresses))
        assert len(listed) == 12


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_other_kinds_of_objects_are_left_to_hdf5(libver: str, tmp_path: Path) -> None:
    """Any address may be asked for: of datasets, of groups of the second kind, of anything."""
    _many(path := tmp_path / "a.h5", libver)
    with _open(path) as file, h5py.File(file) as h5:
        size = path.stat().st_size
        addresses = [*range(0, size, 4097), size - 1, size, 2**63]
        load_objects(file, dict.fromkeys(addresses, True))
        names = list(_addresses(h5))
        listed = _listed(h5, names)
        assert file.failure is None
    with h5py.File(path) as h5:
        assert listed == _listed(h5, names)


@pytest.mark.parametrize(
    ("target", "length"),
    [
        pytest.param(100_000, 2**40, id="longer than the file"),
        pytest.param(40, 2000, id="that all refer to each other"),
        pytest.param(2**64 - 1, 2**64 - 1, id="nowhere"),
    ],
)
def test_damaged_continuations_fetch_no_more_than_their_bound(target: int, length: int) -> None:
    message = struct.pack("<HHIQQ", 0x10, 16, 0, target, length)
    content = struct.pack("<BBHII4x", 1, 0, 1, 1, 24) + 80 * message
    content += bytes(MB - len(content))
    asked: list[Range] = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return content[start:stop]

    with RangeFile(fetch, MB) as file:
        load_objects(file, {0: True})
    assert asked
    assert sum(stop - start for start, stop in asked) < 100_000
