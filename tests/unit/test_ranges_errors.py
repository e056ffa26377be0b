"""Byte ranges as a file: errors of requests, and the end of files."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from builders.remote import MB, Remote, content, read

from pipelines.source.range_file import RangeFile
from schemas.errors import TransientSourceError


@pytest.mark.parametrize(
    "error", [TransientSourceError("the bucket did not answer"), KeyError("a key")]
)
@pytest.mark.parametrize("size", [10, MB], ids=["block", "large"])
def test_an_error_of_fetch_reaches_the_reader_as_it_is(size: int, error: Exception) -> None:
    remote = Remote(content(2 * MB), fail=lambda _: error)
    with remote.open(held=10 * MB) as file:
        with pytest.raises(type(error)) as caught:
            read(file, 0, size)
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


def test_close_waits_for_nobody() -> None:
    """What is in flight may have a minute's time-out and seven retries before it."""
    asked, answer = threading.Event(), threading.Event()

    async def fetch(start: int, stop: int) -> bytes:
        asked.set()
        await asyncio.to_thread(answer.wait, 30)
        return bytes(stop - start)

    file = RangeFile(fetch, MB)
    file.prefetch([(0, MB)])
    assert asked.wait(30)
    began = time.monotonic()
    file.close()
    assert time.monotonic() < began + 20
    answer.set()
