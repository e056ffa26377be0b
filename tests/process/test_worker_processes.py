"""Worker processes that die, never end, or lose the process they work for."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from builders import faulty

from pipelines.convert.pool import converting
from pipelines.convert.staged import ConvertSettings
from pipelines.prepare import prepare
from pipelines.release.selection import FileTask, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec


@pytest.fixture
def settings(sample_bucket: Path, tmp_path: Path) -> ConvertSettings:
    return ConvertSettings(
        SourceSpec(str(sample_bucket)),
        tmp_path,
        verify_hash=False,
    )


@pytest.fixture
def tasks(sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FileTask]:
    """Every file of the sample, trials only."""
    monkeypatch.setattr("pipelines.convert.pool._convert_file", faulty.convert)
    request = IngestRequest(
        SourceSpec(str(sample_bucket)),
        str(tmp_path / "lake"),
        selection=Selection(tables=("trials",)),
    )
    return list(prepare(request).todo)


def _errors(
    tasks: list[FileTask], settings: ConvertSettings, workers: int = 2
) -> dict[int, str | None]:
    with converting(tasks, settings, workers) as results:
        return {r.task.file_key: r.error for r in results}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_its_worker_fails_alone(
    tasks: list[FileTask], settings: ConvertSettings, workers: int
) -> None:
    bad = replace(tasks[1], tables=faulty.DIES)
    errors = _errors([tasks[0], bad, *tasks[2:]], settings, workers)
    assert set(errors) == {t.file_key for t in tasks}
    assert [key for key, error in errors.items() if error] == [bad.file_key]
    assert (errors[bad.file_key] or "").startswith(
        f"file {bad.object.key}: the worker process died twice while reading it: it was killed"
    )


def test_a_file_whose_worker_died_once_is_converted(
    tasks: list[FileTask], settings: ConvertSettings
) -> None:
    errors = _errors([replace(tasks[0], tables=faulty.DIES_ONCE), *tasks[1:]], settings)
    assert errors == {t.file_key: None for t in tasks}


def test_a_file_that_never_ends_is_stopped(
    tasks: list[FileTask], settings: ConvertSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.convert.worker._CPU_SECONDS", 3.0)
    endless = replace(tasks[0], tables=faulty.SPINS)
    errors = _errors([endless, *tasks[1:]], settings)
    assert [key for key, error in errors.items() if error] == [endless.file_key]
    assert "stopped because it did not finish" in (errors[endless.file_key] or "")


def test_a_worker_cannot_take_the_memory_of_the_machine(
    tasks: list[FileTask], settings: ConvertSettings
) -> None:
    greedy = replace(tasks[0], tables=faulty.EATS)
    assert _errors([greedy, *tasks[1:]], settings) == {
        **{t.file_key: None for t in tasks},
        greedy.file_key: "no more memory",
    }


def _workers(folder: Path) -> list[int]:
    """Process ids of the workers that wait."""
    return [int(p.name.split("-")[1]) for p in folder.glob("worker-*")]


class _NoLongerWantedError(Exception):
    pass


def test_workers_are_killed_when_the_results_are_no_longer_wanted(
    tasks: list[FileTask], settings: ConvertSettings, tmp_path: Path
) -> None:
    waiting = [replace(t, tables=faulty.WAITS) for t in tasks[1:4]]
    workers: list[int] = []
    with suppress(_NoLongerWantedError), converting([tasks[0], *waiting], settings, 2) as results:
        assert next(results).error is None
        latest = time.monotonic() + 60
        while len(workers := _workers(tmp_path)) < 2:
            assert time.monotonic() < latest, workers
            time.sleep(0.1)
        raise _NoLongerWantedError
    assert len(workers) == 2
    assert not [w for w in workers if Path(f"/proc/{w}").exists()]


def test_workers_begin_before_anybody_asks_for_a_result(
    tasks: list[FileTask], settings: ConvertSettings, tmp_path: Path
) -> None:
    waiting = replace(tasks[0], tables=faulty.WAITS)
    with suppress(_NoLongerWantedError), converting([waiting], settings, 1):
        latest = time.monotonic() + 60
        while not _workers(tmp_path):
            assert time.monotonic() < latest
            time.sleep(0.1)
        raise _NoLongerWantedError
