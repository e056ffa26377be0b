"""How many workers there are."""

from __future__ import annotations

import pytest

from pipelines.cli.options import bytes_of, workers_memory
from pipelines.convert.pool import workers_for
from pipelines.convert.worker import BYTES_PER_WORKER
from schemas.errors import UsageError


@pytest.mark.parametrize(
    ("wanted", "memory", "expected"),
    [(4, 100 * BYTES_PER_WORKER, 4), (4, 2 * BYTES_PER_WORKER, 2), (4, 0, 1), (1, 10**12, 1)],
)
def test_workers_fit_the_memory(wanted: int, memory: int, expected: int) -> None:
    assert workers_for(wanted, memory) == expected


def test_a_bound_that_no_worker_can_keep_is_refused() -> None:
    assert workers_memory("512MB") == BYTES_PER_WORKER
    with pytest.raises(UsageError) as caught:
        workers_memory("511 MB")
    assert str(caught.value) == (
        "--memory 511 MB is too little: a worker takes up to 512 MB. Give 512 MB or more."
    )


def test_by_default_there_is_one_worker_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert workers_for(None, 100 * BYTES_PER_WORKER) == 3


def test_where_the_system_knows_no_affinity_there_is_one_worker_per_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert workers_for(None, 100 * BYTES_PER_WORKER) == 5
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert workers_for(None, 100 * BYTES_PER_WORKER) == 1


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
