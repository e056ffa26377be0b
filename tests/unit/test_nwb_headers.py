"""Headers and names of many objects are fetched at once; what is damaged fetches little."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nwb.hdf5.headers import Tails, load_tree
from pipelines.source.range_file import Range, RangeFile

MB = 1 << 20


class _Remote(RangeFile):
    """A file that counts the requests for its bytes, and the rounds in which these were made."""

    def __init__(self, content: bytes) -> None:
        self.requests: list[Range] = []
        self.rounds = 0

        async def fetch(start: int, stop: int) -> bytes:
            self.requests.append((start, stop))
            return content[start:stop]

        super().__init__(fetch, len(content))

    def load(self, ranges: Iterable[Range], *, gap: int = 0) -> None:
        before = self._count(self.size)
        super().load(ranges, gap=gap)
        self.rounds += self._count(self.size) > before


def _many(libver: str, members: int = 20, userblock: int = 0) -> bytes:
    """Returns a file of 12 groups whose names, entries and headers are scattered over it."""
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver, userblock_size=userblock) as h5:
        for member in range(members):
            for number in range(12):
                group = h5.require_group(f"group {number}")
                group.create_group(f"member {member} with a name of some length")
                if member % 3 == 0:
                    group.attrs[f"attribute {member}"] = "x" * 200
            h5[f"between {member}"] = np.zeros(20_000)
    return file.getvalue()


def _listed(h5: h5py.File) -> dict[str, tuple[list[str], int]]:
    groups = [name for name in h5 if name.startswith("group")]
    return {name: (list(h5[name]), len(dict(h5[name].attrs))) for name in groups}


def _load(file: RangeFile) -> None:
    """Fetches the headers of all members of the groups."""

    def wanted(path: str, names: Iterable[str], tails: Tails) -> dict[str, Tails]:
        if path:
            return dict.fromkeys(names, frozenset({()}))
        return {n: frozenset({("*",)}) for n in names if n.startswith("group")}

    load_tree(file, frozenset({("*", "*")}), wanted, lambda _, headers: [])


def test_groups_are_listed_in_few_rounds_of_requests() -> None:
    content = _many("earliest")
    with _Remote(content) as file:
        _load(file)
        demanded, loaded = file.on_demand, len(file.requests)
        with h5py.File(file) as h5:
            listed = _listed(h5)
            h5["group 3"].visititems(lambda *_: None)
        assert file.on_demand == demanded, "HDF5 finds everything here"
        assert len(file.requests) == loaded
        assert 1 < file.rounds <= 6
    with h5py.File(io.BytesIO(content)) as h5:
        assert listed == _listed(h5)
        assert len(listed) == 12


@pytest.mark.parametrize(
    ("libver", "userblock"), [("earliest", 0), ("earliest", 512), ("latest", 0)]
)
def test_other_layouts_are_left_to_hdf5(libver: str, userblock: int) -> None:
    with _Remote(_many(libver, userblock=userblock)) as file:
        _load(file)
        assert file.failure is None
        with h5py.File(file) as h5:
            assert [len(names) for names, _ in _listed(h5).values()] == [20] * 12


_SMALL = _many("earliest", members=3)


@given(st.lists(st.tuples(st.integers(9, len(_SMALL) - 1), st.binary(max_size=8)), max_size=60))
def test_what_is_damaged_is_left_to_hdf5(damage: list[tuple[int, bytes]]) -> None:
    content = bytearray(_SMALL)
    for at, value in damage:
        content[at : at + len(value)] = value
    with _Remote(bytes(content)) as file:
        _load(file)
        assert file.failure is None


@pytest.mark.parametrize(
    ("target", "length"),
    [
        pytest.param(100_000, 2**40, id="longer than the file"),
        pytest.param(96, 2000, id="that all refer to each other"),
        pytest.param(2**64 - 1, 2**64 - 1, id="nowhere"),
    ],
)
def test_damaged_continuations_fetch_no_more_than_their_bound(target: int, length: int) -> None:
    message = struct.pack("<HHIQQ", 0x10, 16, 0, target, length)
    root = struct.pack("<BBHII4x", 1, 0, 1, 1, 24) + 80 * message
    start = b"\x89HDF\r\n\x1a\n".ljust(64, b"\0") + struct.pack("<Q", 96)
    content = start.ljust(96, b"\0") + root
    with _Remote(content + bytes(MB - len(content))) as file:
        _load(file)
    assert file.requests
    assert sum(stop - start for start, stop in file.requests) < 100_000
