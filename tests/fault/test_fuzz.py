"""Random damage to files, by seed: every case is an error or tables that keep every promise, within a bound of time and memory.

A case runs in a process of its own. With the hash checked, no changed file gives a single row.
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

from pipelines.convert.workers import BYTES_PER_WORKER
from pipelines.ingest import prepare
from pipelines.nwb.readers import READERS
from pipelines.release.selection import FileKind, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec

SECONDS = 60.0
"""A case takes 0.1 s; a hang takes for ever."""

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


def problem(case: Case | None, death: str | None, key: str) -> str | None:
    """What must not happen."""
    if case is None:
        return f"the process ended: {death}"
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
    count = 2_400 if soak else 300
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    peak = 0

    def run(number: int) -> tuple[str, str | None, int]:
        good, name = good_files[number % 2], f"{seed}:{number}"
        folder = tmp_path / str(number)
        outcome = contained(run_case, good, name, folder, seconds=SECONDS, memory=BYTES_PER_WORKER)
        case: Case | None = outcome.value
        found = problem(case, outcome.death, good.task.object.key)
        done = folder / "done"
        if found:
            found = f"case {name}: {found} ({done.read_text() if done.exists() else 'while it was made'}; kept in {folder})"
        else:
            shutil.rmtree(folder)
        return "an error" if case and case.error else "converted", found, outcome.peak

    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as threads:
        for what, found, held in threads.map(run, range(count)):
            outcomes[what] += 1
            peak = max(peak, held)
            if found:
                problems.append(found)
    assert not problems, "\n".join(problems)
    assert outcomes["an error"] > count // 4  # the damage does reach what is read
    assert outcomes["converted"] > count // 20
    figure(
        f"fuzz, seed {seed}: {count} damaged files, {outcomes['an error']} quarantined, {outcomes['converted']} converted to tables that hold, "
        f"0 crashes, 0 hangs, at most {peak >> 20} MB; {count} of {count} stopped by --verify-hash"
    )
