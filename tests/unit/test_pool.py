"""How many workers there are."""

from __future__ import annotations

import pytest

from pipelines.cli.options import bytes_of
from pipelines.convert.pool import workers_for
from pipelines.convert.workers import BYTES_PER_WORKER
from schemas.errors import UsageError


@pytest.mark.parametrize(
    ("wanted", "memory", "expected"),
    [(4, 100 * BYTES_PER_WORKER, 4), (4, 2 * BYTES_PER_WORKER, 2), (4, 0, 1), (1, 10**12, 1)],
)
def test_workers_fit_the_memory(wanted: int, memory: int, expected: int) -> None:
    assert workers_for(wanted, memory) == expected


def test_by_default_there_is_one_worker_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert workers_for(None, 100 * BYTES_PER_WORKER) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("800mb", 800 * 10**6), ("123", 123)],
)
def test_sizes(text: str, expected: int) -> None:
    assert bytes_of(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "4 parsecs", "-1GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        bytes_of(text)
    assert (
        str(caught.value) == f"{text!r} is not a size. Give a number and a unit, like 4GB or 800MB."
    )
