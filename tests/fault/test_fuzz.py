"""Random damage to files, by seed: every case is an error, or tables that keep every promise.

A case runs in a process of its own, as in a worker. HDF5 may crash, loop or take all memory there:
the process then dies alone, and no row enters. With the hash checked, no changed file gives a row.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders.contained import contained
from builders.fuzz import Case, Good, run_case
from builders.mutate import regions

from pipelines.convert.worker import BYTES_PER_WORKER
from pipelines.nwb.readers import READERS
from pipelines.prepare import prepare
from pipelines.release.selection import FileKind, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec

SECONDS = 20.0
"""A case takes 0.1 s; a hang never ends."""

ERROR = re.compile(
    r"file (?P<file>\S+)(, table \w+)?(, column [^:]+)?: [^\n]+; expected [^\n]+; found [^\n]*"
)


@pytest.fixture(scope="module")
def good_files(sample_bucket: Path) -> list[Good]:
    """A behaviour file with images and an experiment file that gives all tables."""
    request = IngestRequest(
        SourceSpec(str(sample_bucket)), "nowhere", selection=Selection(tables=tuple(READERS))
    )
    tasks = prepare(request).todo
    kinds = [next(t for t in tasks if t.kind is kind and t.gives_behavior) for kind in FileKind]
    return [Good(sample_bucket, task, regions(sample_bucket / task.object.key)) for task in kinds]


def problem(case: Case | None, key: str) -> str | None:
    """Describes what must not happen, or returns None."""
    if case is None:
        return None  # the pool quarantines the file: tests/process/test_worker_processes.py
    if case.unhashed:
        return f"not stopped by its hash: {case.unhashed}"
    if case.broken:
        return f"broken: {case.broken}"
    match = ERROR.fullmatch(case.error) if case.error else None
    return (
        f"a bad error: {case.error}"
        if case.error and (match is None or match["file"].rstrip(",:") != key)
        else None
    )


def test_any_damage_is_an_error_or_changes_nothing_that_is_promised(
    good_files: list[Good], soak: bool, seed: int, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    count = 2_400 if soak else 60
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    peak = 0

    def run(number: int) -> tuple[str, str | None, int]:
        good, name = good_files[number % 2], f"{seed}:{number}"
        folder = tmp_path / str(number)
        outcome = contained(run_case, good, name, folder, seconds=SECONDS, memory=BYTES_PER_WORKER)
        case: Case | None = outcome.value
        found = problem(case, good.task.object.key)
        done = folder / "done"
        if found:
            what = done.read_text() if done.exists() else "while it was made"
            found = f"case {name}: {found} ({what}; kept in {folder})"
        else:
            shutil.rmtree(folder)
        if case is None:
            return "a death", found, outcome.peak
        return "an error" if case.error else "converted", found, outcome.peak

    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as threads:
        for what, found, held in threads.map(run, range(count)):
            outcomes[what] += 1
            peak = max(peak, held)
            if found:
                problems.append(found)
    assert not problems, "\n".join(problems)
    assert outcomes["an error"] > count // 4  # the damage does reach what is read
    assert outcomes["converted"] > count // 20
    assert outcomes["a death"] < count // 20  # most damage is named
    figure(
        f"fuzz, seed {seed}: {count} damaged files, {outcomes['an error']} refused, "
        f"{outcomes['a death']} ended their worker, {outcomes['converted']} converted to tables "
        f"that hold, at most {peak >> 20} MB; {count} of {count} stopped by --verify-hash"
    )
