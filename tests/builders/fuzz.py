"""One case of random damage: what a process of its own does with a file."""

from __future__ import annotations

import filecmp
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from builders.invariants import broken
from builders.mutate import Regions, damage_bytes
from pipelines.convert.file import convert_file
from pipelines.convert.staged import ConvertSettings, FileResult
from pipelines.release.selection import FileTask
from pipelines.source.base import SourceSpec
from schemas.errors import DataError


@dataclass(frozen=True)
class Good:
    """A good file of a bucket."""

    bucket: Path
    task: FileTask
    regions: Regions


@dataclass(frozen=True)
class Case:
    """What came of one case.

    Attributes:
        done: what was done to the file.
        unhashed: rows that went in though the hash was checked, or an error that does not say so.
        error: the first error without the check of the hash; None if there was none.
        broken: promises that the tables do not keep.
    """

    done: str
    unhashed: str | None
    error: str | None
    broken: tuple[str, ...]


def run_case(good: Good, seed: str, folder: Path) -> Case:
    """Damages a copy of the file and converts it, with and without a look at its hash."""
    rng = random.Random(seed)
    key = good.task.object.key
    path = folder / "bucket" / key
    path.parent.mkdir(parents=True)
    shutil.copy(good.bucket / key, path)
    done = damage_bytes(path, good.regions, rng)
    (folder / "done").write_text(done)
    source, staging = SourceSpec(str(folder / "bucket")), folder / "staging"
    checked = convert_file(good.task, ConvertSettings(source, staging, True))
    pinned = (
        checked.error is not None
        and "the content is not what the manifest pins" in checked.error
        and not checked.row_counts
    )
    # A value that is turned around or overwritten by its like leaves the file as it was.
    untouched = filecmp.cmp(path, good.bucket / key, shallow=False)
    settings = ConvertSettings(source, staging, False)
    result = convert_file(good.task, settings)
    faults = () if result.error else tuple(broken(result))
    error = next(iter(errors_of(result)), None)
    unhashed = None if pinned or untouched else f"{checked.error}, rows {checked.row_counts}"
    return Case(done, unhashed, error, faults)


def errors_of(result: FileResult) -> list[str]:
    """The error of a file, or of each of its tables that is held back."""
    if result.error is not None:
        return [result.error]
    errors: list[str] = []
    for table in result.held_back:
        assert table.found is not None
        problem, found = table.rule or "", table.found
        if problem == "source_data":
            problem, _, found = found.partition(": ")
        errors.append(
            str(
                DataError(
                    problem,
                    file=result.task.object.key,
                    table=table.table,
                    column=table.column,
                    expected=table.expected,
                    found=found,
                )
            )
        )
    return errors


def convert(
    task: FileTask, source: SourceSpec, folder: Path, verify_hash: bool = False
) -> FileResult:
    """Converts a file; the folder holds what it stages."""
    return convert_file(task, ConvertSettings(source, folder / "staging", verify_hash))
