"""Damage costs the tables that it reaches, with an error that says what and where."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from builders.contained import contained
from builders.damage import BEHAVIOR, EXPERIMENT, KINDS, Kind
from builders.fixtures import Ingest
from builders.fuzz import convert, errors_of
from builders.lakes import rows_by_unit
from servers.s3 import BUCKET, S3Server

from pipelines.convert.worker import BYTES_PER_WORKER
from pipelines.lake.ledger import Status
from pipelines.prepare import prepare
from pipelines.release.selection import FileKind, FileTask
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec

FILES = {BEHAVIOR: FileKind.BEHAVIOR_SESSION, EXPERIMENT: FileKind.OPHYS_EXPERIMENT}


def tasks_of(bucket: Path) -> dict[str, list[FileTask]]:
    """Files of a bucket that give behaviour and have licks, by kind."""
    found: dict[str, list[FileTask]] = {name: [] for name in FILES}
    for task in prepare(IngestRequest(SourceSpec(str(bucket)), "nowhere")).todo:
        name = next(n for n, kind in FILES.items() if kind is task.kind)
        with h5py.File(bucket / task.object.key) as h5:
            if task.gives_behavior and "processing/licking" in h5:
                found[name].append(task)
    return found


@pytest.fixture(scope="module")
def tasks(sample_bucket: Path) -> dict[str, FileTask]:
    """The file of each kind that is damaged."""
    return {
        name: replace(found[0], object=replace(found[0].object, version_id=None))
        for name, found in tasks_of(sample_bucket).items()
    }


@pytest.fixture(scope="module")
def damaged(
    sample_bucket: Path, tasks: dict[str, FileTask], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a bucket of one file for each kind, named by its number."""
    folder = tmp_path_factory.mktemp("damaged")
    for number, kind in enumerate(KINDS):
        key = tasks[kind.file].object.key
        path = folder / str(number) / key
        path.parent.mkdir(parents=True)
        shutil.copy(sample_bucket / key, path)
        kind.damage(path)
    return folder


def wrong(kind: Kind, task: FileTask, errors: list[str]) -> str | None:
    """How the errors of a file differ from what one of them should say."""
    says = kind.says(task.object.key)
    if any(says.fullmatch(error) for error in errors):
        return None
    return f"{kind.name}: {errors}\n    not {says.pattern}"


def refused(
    numbers: Iterable[int],
    tasks: dict[str, FileTask],
    source: Callable[[int], SourceSpec],
    folder: Path,
) -> int:
    """Checks that kinds, by number, are refused with their error; returns the peak memory."""

    def run(number: int) -> tuple[str | None, int]:
        kind, task = KINDS[number], tasks[KINDS[number].file]
        call = (convert, task, source(number), folder / str(number))
        outcome = contained(*call, seconds=60.0, memory=BYTES_PER_WORKER)
        if outcome.death:
            return f"{kind.name}: the process ended: {outcome.death}", outcome.peak
        return wrong(kind, task, errors_of(outcome.value)), outcome.peak

    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as threads:
        found = list(threads.map(run, numbers))
    problems = [problem for problem, _ in found if problem]
    assert not problems, "\n".join(problems)
    return max(peak for _, peak in found)


def test_every_kind_is_refused_with_what_was_expected_and_found(
    damaged: Path, tasks: dict[str, FileTask], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    peak = refused(range(len(KINDS)), tasks, lambda n: SourceSpec(str(damaged / str(n))), tmp_path)
    figure(
        f"damaged files: {len(KINDS)} kinds, each refused by its own error, "
        f"at most {peak >> 20} MB for a file"
    )


def test_the_same_over_byte_ranges(
    damaged: Path, tasks: dict[str, FileTask], soak: bool, seed: int, tmp_path: Path
) -> None:
    numbers = range(len(KINDS)) if soak else range(seed % 4, len(KINDS), 4)
    with S3Server(damaged) as server:
        refused(
            numbers,
            tasks,
            lambda n: SourceSpec(f"s3://{BUCKET}/{n}", server.url, attempts=1),
            tmp_path,
        )


def test_the_others_go_on_and_what_the_lake_held_stays(
    bucket: Path, lake: Path, run_ingest: Ingest, seed: int
) -> None:
    before = rows_by_unit(lake)
    rng = random.Random(seed)
    damaged = {
        task.object.key: (rng.choice([k for k in KINDS if k.file == name]), task)
        for name, found in tasks_of(bucket).items()
        for task in found[1:]
    }
    for key, (kind, _) in damaged.items():
        kind.damage(bucket / key)
    reports = run_ingest(bucket, lake, force=True, workers=2)
    entries = {e.object_key: e for report in reports for e in report.entries}
    gone: set[tuple[str, int]] = set()
    for key, (_, task) in damaged.items():
        entry = entries[key]
        assert entry.status in (Status.QUARANTINED, Status.PARTIAL)
        if entry.status is Status.PARTIAL:
            units = (task.behavior_session_id, task.ophys_experiment_id or 0)
            gone |= {(table.table, unit) for table in entry.held_back for unit in units}
    good = [e for key, e in entries.items() if key not in damaged]
    assert {e.status for e in good} == {Status.INGESTED}
    # Without the stimulus clock, running samples have no frame.
    clocks = {unit for table, unit in gone if table == "stimulus_timestamps"}
    changed = {(t, unit) for t in ("running_speed", "raw_running_speed") for unit in clocks}
    # Without events, the responses in them are NULL.
    planes = {unit for table, unit in gone if table == "events"}
    changed |= {("mean_responses", unit) for unit in planes}
    after = rows_by_unit(lake)
    assert after.keys() <= before.keys()
    assert {k for k, rows in before.items() if after.get(k) != rows} <= gone | changed
    assert not after.keys() & gone


def test_a_local_file_is_checked_too_if_its_hash_is_asked_for(bucket: Path, tmp_path: Path) -> None:
    good, bad = tasks_of(bucket)[BEHAVIOR][:2]
    with (bucket / bad.object.key).open("ab") as file:
        file.write(b"\0")  # HDF5 does not mind
    source = SourceSpec(str(bucket))
    assert [convert(task, source, tmp_path).error for task in (good, bad)] == [None, None]
    assert convert(good, source, tmp_path, verify_hash=True).error is None
    error = convert(bad, source, tmp_path, verify_hash=True).error
    assert error is not None
    assert error.startswith(
        f"file {bad.object.key}: the content is not what the manifest pins "
        f"(version {bad.object.version_id}); expected BLAKE2b-512 "
    )
