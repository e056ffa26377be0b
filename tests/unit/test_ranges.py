"""Byte ranges as a file: what is fetched, when, and how often."""

from __future__ import annotations

import gc
import io
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import ranges
from pipelines.nwb.hdf5 import open_hdf5
from pipelines.ranges import BEFORE, BLOCK, CONNECTIONS, GAP, PART, Range, RangeFile, merged, without
from schemas.errors import SourceError, TransientSourceError

MB = 1 << 20


class Remote:
    """An object in memory that notes what is asked of it.

    Attributes:
        asked: the ranges, in the order of the requests.
        at_once: most requests at one time.
        fail: called with the number of the request; what it gives is raised.
    """

    def __init__(self, content: bytes, *, seconds: float = 0.0, fail: Callable[[int], BaseException | None] = lambda _: None) -> None:
        self.content = content
        self.asked: list[Range] = []
        self.at_once = 0
        self._seconds = seconds
        self._fail = fail
        self._open = 0
        self._lock = threading.Lock()

    def fetch(self, start: int, stop: int) -> bytes:
        with self._lock:
            number = len(self.asked)
            self.asked.append((start, stop))
            self._open += 1
            self.at_once = max(self.at_once, self._open)
        try:
            if self._seconds:
                time.sleep(self._seconds)
            assert 0 <= start < stop <= len(self.content)
            if (error := self._fail(number)) is not None:
                raise error
            return self.content[start:stop]
        finally:
            with self._lock:
                self._open -= 1

    def open(self, **settings: int) -> RangeFile:
        return RangeFile(self.fetch, len(self.content), **settings)

    def times(self) -> Counter[int]:
        """How often each byte was fetched."""
        return Counter(b for start, stop in self.asked for b in range(start, stop))


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def read(file: RangeFile, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def settled(file: RangeFile, requests: int) -> None:
    """Waits until so many requests are done, which others make."""
    for _ in range(2000):
        if file.requests >= requests:
            return
        time.sleep(0.005)
    raise AssertionError(f"{file.requests} requests, expected {requests}")


# ---- ranges


@pytest.mark.parametrize(
    ("given", "gap", "expected"),
    [
        ([], 0, []),
        ([(5, 5), (7, 3)], 0, []),
        ([(4, 6), (0, 2)], 0, [(0, 2), (4, 6)]),
        ([(0, 2), (2, 4)], 0, [(0, 4)]),
        ([(0, 2), (3, 4)], 0, [(0, 2), (3, 4)]),
        ([(0, 2), (3, 4)], 1, [(0, 4)]),
        ([(0, 9), (1, 2), (8, 12)], 0, [(0, 12)]),
    ],
)
def test_merged(given: list[Range], gap: int, expected: list[Range]) -> None:
    assert merged(given, gap) == expected


@pytest.mark.parametrize(
    ("given", "held", "expected"),
    [
        ([(0, 10)], [], [(0, 10)]),
        ([(0, 10)], [(0, 10)], []),
        ([(0, 10)], [(3, 5)], [(0, 3), (5, 10)]),
        ([(0, 10)], [(0, 1), (9, 20)], [(1, 9)]),
        ([(0, 4), (6, 10)], [(2, 8)], [(0, 2), (8, 10)]),
        ([(0, 4), (6, 10)], [(1, 2), (3, 7), (8, 9)], [(0, 1), (2, 3), (7, 8), (9, 10)]),
        ([(5, 6)], [(0, 5), (6, 9)], [(5, 6)]),
        ([(0, 1), (2, 3), (4, 5)], [(0, 9)], []),
    ],
)
def test_without(given: list[Range], held: list[Range], expected: list[Range]) -> None:
    assert without(given, held) == expected


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


@given(SPANS, SPANS, st.integers(0, 4))
def test_ranges_are_sets_of_bytes(some: list[Range], others: list[Range], gap: int) -> None:
    def members(given: list[Range]) -> set[int]:
        return {b for start, stop in given for b in range(start, stop)}

    one, other = merged(some), merged(others)
    assert members(one) == members(some)
    assert members(without(one, other)) == members(one) - members(other)
    wide = merged(some, gap)
    assert members(one) <= members(wide)
    assert all(b - a > gap for (_, a), (b, _) in itertools.pairwise(wide))


# ---- reading


def test_small_reads_cost_a_block_around_them_once() -> None:
    remote = Remote(content(MB))
    with remote.open() as file:
        assert read(file, 500_000, 500_010) == remote.content[500_000:500_010]
        expected = [(500_000 - BEFORE, 500_000 - BEFORE + BLOCK)]
        assert remote.asked == expected
        assert read(file, 500_000 - BEFORE, 500_100) == remote.content[500_000 - BEFORE : 500_100]
        assert remote.asked == expected
        # Only what is missing of the next block.
        assert read(file, expected[0][1], expected[0][1] + 1) == remote.content[expected[0][1] : expected[0][1] + 1]
        assert remote.asked[1:] == [(expected[0][1], expected[0][1] + BLOCK - BEFORE)]
        assert (file.requests, file.bytes_fetched) == (2, 2 * BLOCK - BEFORE)


def test_file_interface() -> None:
    remote = Remote(content(1000))
    file = remote.open()
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    assert file.seek(-10, io.SEEK_END) == 990
    assert file.read(100) == remote.content[990:]
    assert file.tell() == 1000
    assert file.read(1) == b""
    assert file.seek(-5, io.SEEK_CUR) == 995
    assert file.seek(2000) == 2000
    assert file.read(1) == b""
    assert file.tell() == 2000
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        read(file, 0, 1)
    assert len(remote.asked) == 1


def test_announced_ranges_are_fetched_once_merged_and_no_more() -> None:
    remote = Remote(content(4 * MB))
    wanted = [(1000, 300_000), (300_000 + GAP, 900_000), (2 * MB, 2 * MB + 10)]
    with remote.open() as file:
        file.prefetch(wanted)
        settled(file, 2)
        assert sorted(remote.asked) == [(1000, 900_000), (2 * MB, 2 * MB + 10)]
        for start, stop in wanted:
            assert read(file, start, stop) == remote.content[start:stop]
        assert len(remote.asked) == 2


def test_long_ranges_are_shared_evenly_by_connections() -> None:
    size = 2 * PART + 12
    remote = Remote(content(size), seconds=0.05)
    with remote.open() as file:
        file.prefetch([(0, size)])
        assert read(file, 0, size) == remote.content
    assert sorted(remote.asked) == [(0, size // 3), (size // 3, 2 * size // 3), (2 * size // 3, size)]
    assert remote.at_once == 3


def test_ranges_outside_the_object_are_cut() -> None:
    remote = Remote(content(1000))
    with remote.open() as file:
        file.prefetch([(900, 70_000), (5000, 6000), (2**63, 2**64)])
        file.load([(950, 10**6), (1000, 1001)])
        assert read(file, 900, 2000) == remote.content[900:]
        assert file.peek(990, 5000) == remote.content[990:]
        assert file.peek(5000, 6000) == b""


def test_what_is_held_is_not_fetched_again() -> None:
    remote = Remote(content(4 * MB))
    with remote.open() as file:
        read(file, 100_000, 100_001)
        held = remote.asked[0]
        file.load([(1_000_000, 1_000_010)])
        file.prefetch([(held[0] - 500, held[1] + 500)])
        file.prefetch([(held[0], held[1])])
        file.prefetch([(990_000, 1_010_000), (held[1], held[1] + 10)])
        for start, stop in ((held[0] - 500, held[1] + 500), (990_000, 1_010_000)):
            assert read(file, start, stop) == remote.content[start:stop]
    assert set(remote.times().values()) == {1}


def test_no_request_for_a_gap_between_held_bytes() -> None:
    remote = Remote(content(MB))
    with remote.open() as file:
        for at in (100_000, 150_000):
            read(file, at, at + 1)
        (_, first), (second, last) = remote.asked
        assert first < second
        file.prefetch([(90_000, first), (second, last + 5)])
        assert read(file, second, last + 5) == remote.content[second : last + 5]
        assert read(file, 90_000, 91_000) == remote.content[90_000:91_000]
    assert sorted(remote.asked[2:]) == [(90_000, 100_000 - BEFORE), (last, last + 5)]


def test_load_fetches_places_at_once_and_keeps_them() -> None:
    remote = Remote(content(8 * MB), seconds=0.05)
    places = [(n * MB + 5000, n * MB + 5010) for n in range(1, 8)]
    with remote.open() as file:
        file.load(places)
        for _ in range(2):
            for start, stop in places:
                assert read(file, start, stop) == remote.content[start:stop]
        assert sorted(remote.asked) == [(s - BEFORE, s - BEFORE + BLOCK) for s, _ in places]
        assert remote.at_once > 1
        file.load(places, gap=MB)
        assert len(remote.asked) == 7


def test_load_fetches_small_gaps_too() -> None:
    remote = Remote(content(MB))
    with remote.open() as file:
        file.load([(10_000, 10_100), (200_000, 250_000), (800_000, 800_001)], gap=200_000)
        settled(file, 2)
        assert read(file, 100_000, 100_100) == remote.content[100_000:100_100]
    assert sorted(remote.asked) == [(10_000 - BEFORE, 250_000), (800_000 - BEFORE, 800_000 - BEFORE + BLOCK)]


def test_a_part_that_was_read_is_dropped_and_may_be_read_again() -> None:
    remote = Remote(content(2 * MB))
    with remote.open() as file:
        file.prefetch([(0, MB)])
        assert read(file, 0, MB) == remote.content[:MB]
        assert read(file, 0, MB) == remote.content[:MB]
        assert read(file, 10, 20) == remote.content[10:20]
        assert read(file, MB // 2, MB + 5) == remote.content[MB // 2 : MB + 5]
        file.prefetch([(0, MB)])
        assert read(file, 0, MB) == remote.content[:MB]
        assert file.peek(0, 2 * MB) == remote.content


def test_a_part_stays_until_all_that_was_announced_of_it_was_read() -> None:
    remote = Remote(content(MB))
    with remote.open() as file:
        file.prefetch([(0, 1000), (2000, 3000)])
        for start, stop in ((0, 500), (2000, 3000), (0, 499), (400, 1000)):
            assert read(file, start, stop) == remote.content[start:stop]
        assert remote.asked == [(0, 3000)]
        read(file, 0, 1)
        assert len(remote.asked) == 2


def test_peek_does_not_count_as_read() -> None:
    remote = Remote(content(MB))
    with remote.open() as file:
        file.prefetch([(0, 5000)])
        assert file.peek(0, 5000) == remote.content[:5000]
        assert file.peek(10, 20) == remote.content[10:20]
        assert read(file, 0, 5000) == remote.content[:5000]
        assert remote.asked == [(0, 5000)]
        assert file.peek(4000, 6000) == remote.content[4000:6000]


def test_a_large_read_nobody_announced_goes_first_and_is_not_kept() -> None:
    remote = Remote(content(20 * MB))
    with remote.open(held=PART) as file:
        file.prefetch([(10 * MB, 20 * MB)])
        assert read(file, 0, 9 * MB) == remote.content[: 9 * MB]
        assert file.bytes_fetched <= 9 * MB + 2 * PART
        assert read(file, 10 * MB, 20 * MB) == remote.content[10 * MB :]
        assert file.bytes_fetched == 19 * MB
        assert file._parts == []  # pyright: ignore[reportPrivateUsage]


def test_blocks_nobody_announced_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "KEPT", 3 * BLOCK)
    remote = Remote(content(MB))
    with remote.open() as file:
        for _ in range(2):
            for at in range(0, MB, BLOCK):
                assert read(file, at, at + 10) == remote.content[at : at + 10]
        kept = sum(p.stop - p.start for p in file._parts)  # pyright: ignore[reportPrivateUsage]
        assert kept <= 3 * BLOCK
    assert file.bytes_fetched > MB


def test_what_is_fetched_ahead_is_bounded() -> None:
    remote = Remote(content(40 * MB))
    with remote.open(held=3 * PART) as file:
        file.prefetch([(0, 40 * MB)])
        settled(file, 3)
        time.sleep(0.05)
        assert len(remote.asked) == 3
        ahead = 0
        for at in range(0, 40 * MB, MB):
            assert read(file, at, at + MB) == remote.content[at : at + MB]
            ahead = max(ahead, file.bytes_fetched - at)
        assert ahead <= 4 * PART
        assert file.bytes_fetched == 40 * MB


def test_requests_at_once_are_bounded() -> None:
    remote = Remote(content(64 * MB), seconds=0.02)
    with remote.open(held=64 * MB) as file:
        file.prefetch([(0, 64 * MB)])
        assert read(file, 60 * MB, 64 * MB) == remote.content[60 * MB :]
        assert read(file, 0, 60 * MB) == remote.content[: 60 * MB]
    assert 1 < remote.at_once <= CONNECTIONS + 1  # the reader's own


def test_the_reader_does_not_wait_behind_what_is_not_needed_yet() -> None:
    """What waits for a connection when it is needed is fetched by the reader itself."""
    gate = threading.Event()
    body = content(16 * CONNECTIONS * MB)

    def fetch(start: int, stop: int) -> bytes:
        if start < PART * CONNECTIONS:
            assert gate.wait(30)
        return body[start:stop]

    with RangeFile(fetch, len(body), held=len(body)) as file:
        file.prefetch([(0, len(body))])
        assert read(file, len(body) - 10, len(body)) == body[-10:]
        gate.set()


# ---- errors


class OddError(Exception):
    """None that anybody expects."""


@pytest.mark.parametrize(
    "error", [TransientSourceError("the bucket did not answer"), OddError("odd"), KeyError("a key"), OSError(5, "disk")]
)
@pytest.mark.parametrize("way", ["block", "large", "prefetch", "load", "peek", "waiting"])
def test_an_error_of_fetch_reaches_the_reader_as_it_is(way: str, error: Exception) -> None:
    remote = Remote(content(2 * MB), fail=lambda _: error)
    with remote.open(held=0 if way == "waiting" else 10 * MB) as file:
        if way in ("prefetch", "waiting"):
            file.prefetch([(0, MB)])
        if way == "load":
            file.load([(0, 10)])
        with pytest.raises(type(error)) as caught:
            file.peek(0, 10) if way == "peek" else read(file, 0, MB if way == "large" else 10)
        assert caught.value is error
        assert file.failure is error


def test_after_an_error_nothing_is_read_any_more() -> None:
    """HDF5 asks for some things to see whether they are there: it must not go on as if they were not."""
    error = TransientSourceError("once")
    remote = Remote(content(2 * MB), fail=lambda n: error if n == 1 else None)
    with remote.open() as file:
        read(file, 0, 10)
        for at in (MB, MB, 0):
            with pytest.raises(TransientSourceError) as caught:
                read(file, at, at + 1)
            assert caught.value is error
    assert len(remote.asked) == 2


def test_an_error_of_what_nobody_reads_is_none() -> None:
    remote = Remote(content(2 * MB), fail=lambda n: OddError() if n == 0 else None)
    with remote.open() as file:
        file.prefetch([(MB, MB + 10)])
        for _ in range(2000):
            if remote.asked:
                break
            time.sleep(0.005)
        assert read(file, 0, 10) == remote.content[:10]
        assert file.failure is None


def test_fetch_that_gives_too_little_is_an_error() -> None:
    with RangeFile(lambda start, stop: b"x" * (stop - start - 1), 1000) as file, pytest.raises(SourceError, match=r"999 bytes .* of 1000"):
        read(file, 0, 1000)


def test_close_while_fetching() -> None:
    remote = Remote(content(64 * MB), seconds=0.05)
    file = remote.open()
    file.prefetch([(0, 64 * MB)])
    file.close()
    asked = len(remote.asked)
    assert asked <= CONNECTIONS
    time.sleep(0.1)
    assert len(remote.asked) == asked
    assert not [t for t in threading.enumerate() if t.name.startswith("vblake-fetch")]


def test_forgotten_files_end_their_threads() -> None:
    remote = Remote(content(1000))
    file = remote.open()
    file.prefetch([(0, 1000)])
    del file
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name.startswith("vblake-fetch")]


# ---- through h5py


@pytest.fixture
def hdf5(tmp_path: Path) -> bytes:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            group = file.create_group(f"some/{name}")
            group["long"] = rng.random(400_000)
            group.create_dataset("chunked", data=rng.integers(0, 9, (500, 40)), chunks=(50, 3), compression="gzip")
            group["text"] = np.array([f"text {i}" for i in range(2000)], dtype=h5py.string_dtype())
            group.attrs["colnames"] = ["long", "chunked"]
    return path.read_bytes()


def everything(file: io.IOBase) -> dict[str, bytes]:
    out: dict[str, bytes] = {}

    def take(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            values = node[()]
            out[name] = b" ".join(values.tolist()) if values.dtype == object else values.tobytes()

    with open_hdf5(cast("Any", file), "file") as opened:
        opened.h5.visititems(take)
    return out


def test_h5py_reads_the_same(hdf5: bytes) -> None:
    expected = everything(io.BytesIO(hdf5))
    remote = Remote(hdf5)
    with remote.open() as file:
        assert everything(file) == expected
    assert file.bytes_fetched <= 2 * len(hdf5)


def test_errors_pass_through_h5py_at_every_request(hdf5: bytes) -> None:
    error = TransientSourceError("gone")
    whole = Remote(hdf5)
    with whole.open() as file:
        everything(file)
    for number in range(len(whole.asked)):
        with Remote(hdf5, fail=lambda n, at=number: error if n >= at else None).open() as file:
            with pytest.raises(TransientSourceError) as caught:
                everything(file)
            assert caught.value is error


# ---- anything


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[tuple[str, list[Range]]]]:
    size = draw(st.integers(1, 400_000))
    span = st.tuples(st.integers(0, size + 1000), st.integers(0, 120_000)).map(lambda t: (t[0], t[0] + t[1]))
    step = st.tuples(st.sampled_from(["prefetch", "load", "read", "peek"]), st.lists(span, min_size=1, max_size=4))
    return size, draw(st.sampled_from([0, 1, 5000, 100_000, 10**9])), draw(st.lists(step, max_size=25))


@given(histories())
@settings(deadline=None)
def test_any_reads_give_the_bytes_of_the_object(history: tuple[int, int, list[tuple[str, list[Range]]]]) -> None:
    size, held, steps = history
    remote = Remote(content(size, size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "PART", 7000)
        patch.setattr(ranges, "BLOCK", 3000)
        patch.setattr(ranges, "BEFORE", 300)
        patch.setattr(ranges, "GAP", 1000)
        patch.setattr(ranges, "KEPT", 10_000)
        with remote.open(held=held) as file:
            for what, spans in steps:
                if what == "prefetch":
                    file.prefetch(spans)
                elif what == "load":
                    file.load(spans, gap=2000)
                else:
                    for start, stop in spans:
                        got = read(file, start, stop) if what == "read" else file.peek(start, stop)
                        assert got == remote.content[start:stop]
    assert file.requests == len(remote.asked)
    assert file.bytes_fetched == sum(b - a for a, b in remote.asked)


@given(st.data())
@settings(deadline=None)
def test_announced_bytes_are_fetched_once_if_read_once(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 400_000))
    remote = Remote(content(size, size))
    cuts = sorted(data.draw(st.sets(st.integers(0, size), max_size=12)))
    pieces = list(itertools.pairwise(cuts))
    announced = [p for p in pieces if data.draw(st.booleans())]
    order = data.draw(st.permutations(announced))
    held = data.draw(st.sampled_from([0, 3000, 50_000, 10**9]))
    calls = data.draw(st.integers(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "PART", 7000)
        patch.setattr(ranges, "GAP", 1000)
        with remote.open(held=held) as file:
            for call in range(calls):
                file.prefetch(announced[call::calls])
            for start, stop in order:
                assert read(file, start, stop) == remote.content[start:stop]
    times = remote.times()
    assert all(times[b] == 1 for start, stop in announced for b in range(start, stop))
    assert all(count == 1 for count in times.values())
    assert file.bytes_fetched <= sum(b - a for a, b in announced) + 1000 * len(announced)
