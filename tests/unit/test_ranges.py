"""Byte ranges as a file: what is fetched, when, and how often."""

from __future__ import annotations

import asyncio
import io
import itertools
import threading
import time

import pytest
from builders.remote import MB, Remote, content, read, settled
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source import range_file as ranges
from pipelines.source.range_file import BEFORE, BLOCK, CONNECTIONS, PART, Range, RangeFile


def test_small_reads_cost_a_block_around_them_once() -> None:
    remote = Remote(content(MB))
    with remote.open() as file:
        assert read(file, 500_000, 500_010) == remote.content[500_000:500_010]
        start, stop = 500_000 - BEFORE, 500_000 - BEFORE + BLOCK
        assert remote.asked == [(start, stop)]
        read(file, start, 500_100)
        assert remote.asked == [(start, stop)]
        read(file, stop, stop + 1)  # fetches only what is missing of the next block
        assert remote.asked[1:] == [(stop, stop + BLOCK - BEFORE)]


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


def test_long_ranges_are_shared_evenly_by_connections() -> None:
    size = 2 * PART + 12
    remote = Remote(content(size), seconds=0.05)
    with remote.open() as file:
        file.prefetch([(0, size)])
        assert read(file, 0, size) == remote.content
    assert sorted(remote.asked) == [
        (0, size // 3),
        (size // 3, 2 * size // 3),
        (2 * size // 3, size),
    ]
    assert remote.at_once == 3


def test_load_fetches_places_at_once_and_keeps_them() -> None:
    remote = Remote(content(16 * MB), seconds=0.05)
    places = [(n * MB + 5000, n * MB + 5010) for n in range(1, 16)]
    with remote.open() as file:
        for _ in range(2):
            file.load(places)
            for start, stop in places:
                assert read(file, start, stop) == remote.content[start:stop]
        assert sorted(remote.asked) == [(s - BEFORE, s - BEFORE + BLOCK) for s, _ in places]
    assert 1 < remote.at_once <= CONNECTIONS + 1  # the reader's own


def test_a_large_read_nobody_announced_goes_first_and_is_not_kept() -> None:
    remote = Remote(content(20 * MB))
    with remote.open(held=PART) as file:
        file.prefetch([(10 * MB, 20 * MB)])
        assert read(file, 0, 9 * MB) == remote.content[: 9 * MB]
        assert remote.moved() <= 9 * MB + 2 * PART
        assert read(file, 10 * MB, 20 * MB) == remote.content[10 * MB :]
        assert remote.moved() == 19 * MB
        assert file._parts == []  # pyright: ignore[reportPrivateUsage]


def test_what_is_fetched_ahead_is_bounded() -> None:
    remote = Remote(content(40 * MB))
    with remote.open(held=3 * PART) as file:
        file.prefetch([(0, 40 * MB)])
        settled(remote, 3)
        time.sleep(0.05)
        assert len(remote.asked) == 3
        ahead = 0
        for at in range(0, 40 * MB, MB):
            assert read(file, at, at + MB) == remote.content[at : at + MB]
            ahead = max(ahead, remote.moved() - at)
        assert ahead <= 4 * PART
        assert remote.moved() == 40 * MB


def test_a_paused_file_fetches_when_it_goes_on_and_tells_when_all_of_it_is_here() -> None:
    size = 3 * PART
    remote = Remote(content(size))
    told = threading.Event()
    with RangeFile(remote.fetch, size, held=2 * PART) as file:
        file.pause()
        file.prefetch([(0, size)])
        assert remote.asked == []
        file.go_on(told.set)
        assert read(file, 0, 10) == remote.content[:10]
        assert not told.is_set(), "there is no room yet for the last part"
        assert read(file, 10, PART) == remote.content[10:PART]
        assert told.wait(10)
        assert read(file, PART, size) == remote.content[PART:]


def test_a_file_that_is_closed_or_has_nothing_to_fetch_needs_its_turn_no_more() -> None:
    remote = Remote(content(3 * PART))
    told: list[str] = []
    with RangeFile(remote.fetch, 3 * PART, held=PART) as file:
        file.prefetch([(0, 3 * PART)])
        file.go_on(lambda: told.append("closed"))
        assert told == []
    assert told == ["closed"]
    with RangeFile(remote.fetch, 3 * PART) as file:
        file.go_on(lambda: told.append("nothing"))
        assert told == ["closed", "nothing"]


def test_the_reader_does_not_wait_behind_what_is_not_needed_yet() -> None:
    """What waits for a connection when it is needed is requested at once."""
    gate = threading.Event()
    body = content(16 * CONNECTIONS * MB)

    async def fetch(start: int, stop: int) -> bytes:
        if start < PART * CONNECTIONS:
            assert await asyncio.to_thread(gate.wait, 30)
        return body[start:stop]

    with RangeFile(fetch, len(body), held=len(body)) as file:
        file.prefetch([(0, len(body))])
        assert read(file, len(body) - 10, len(body)) == body[-10:]
        gate.set()


# ---- anything


SPANS = st.tuples(st.integers(0, 401_000), st.integers(0, 120_000)).map(
    lambda span: (span[0], sum(span))
)
STEPS = st.tuples(
    st.sampled_from(["prefetch", "load", "read", "peek"]),
    st.lists(SPANS, min_size=1, max_size=4),
)


@given(
    st.integers(1, 400_000),
    st.sampled_from([0, 1, 5000, 100_000, 10**9]),
    st.lists(STEPS, max_size=25),
)
def test_any_reads_give_the_bytes_of_the_object(
    size: int, held: int, steps: list[tuple[str, list[Range]]]
) -> None:
    remote = Remote(content(size, size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "PART", 7000)
        patch.setattr(ranges, "BLOCK", 3000)
        patch.setattr(ranges, "BEFORE", 300)
        patch.setattr(ranges, "GAP", 1000)
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


@given(st.data())
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
    assert remote.moved() <= sum(b - a for a, b in announced) + 1000 * len(announced)
