"""`vblake check`: what an ingest would make of NWB files. Writes nothing to any lake.

The file is converted as by an ingest, in a worker process, into a temporary folder. The tables that
would be held back are then read again with all rules allowed that can be, to find every rule that
they break, not only the first.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pipelines.check.file import FileCheck
from pipelines.check.finding import Finding
from pipelines.convert.open_file import opened
from pipelines.convert.pool import converting
from pipelines.convert.staged import TEMPLATES, ConvertSettings, FileResult
from pipelines.convert.table import convert_table
from pipelines.lake.ledger import TableOutcome
from pipelines.nwb.recording import open_recording
from pipelines.release.manifest import ReleaseObject, load_release
from pipelines.release.project_tables import read_project_tables
from pipelines.release.selection import FileKind, FileTask, Selection, tables_in
from pipelines.release.tasks import plan, wanted_tables
from pipelines.request import DATA_PREFIX, IngestRequest
from pipelines.source.base import SourceSpec, Traffic
from pipelines.source.open import open_source
from schemas import TABLES
from schemas.checks import RULES, Rule
from schemas.errors import DataError, NotNwbError, UsageError
from schemas.known_defects import Occurrence

NEWEST = "1.1.0"
"""Release whose known defects are accepted in a file that is not part of a source."""

_ALLOWABLE = frozenset(
    (table, rule.value) for table in TABLES for rule, facts in RULES.items() if facts.can_be_allowed
)


class Dataset(NamedTuple):
    """A dataset of an NWB file."""

    path: str
    dtype: str
    shape: tuple[int, ...]


class Violation(NamedTuple):
    """A rule that a table or, without a table, the file breaks."""

    rule: str
    table: str | None
    column: str | None
    expected: str | None
    found: str | None


@dataclass(frozen=True)
class FileReport:
    """What an ingest would make of a file. It holds no data beside the values that break rules.

    Attributes:
        file: key of the object, or path.
        release: release by which the file was judged.
        bytes: its size; None if the source does not tell.
        error: why no table could be ingested; None if it is not so.
        readable: whether it is an NWB file of this dataset and could be fetched.
        in_source: whether it was compared with manifest and project tables.
        tables: the outcome of each table, with its rows in the file as far as they can be read.
        violations: the rules of level error that it breaks, in the order of `schemas.checks.Rule`.
        warnings: what an ingest would note of it.
        known_defects: the known defects of the released data that it shows.
        datasets: what it holds, by path.
    """

    file: str
    release: str
    bytes: int | None
    error: str | None
    readable: bool = True
    in_source: bool = True
    tables: tuple[TableOutcome, ...] = ()
    violations: tuple[Violation, ...] = ()
    warnings: tuple[str, ...] = ()
    known_defects: tuple[Occurrence, ...] = ()
    datasets: tuple[Dataset, ...] = ()

    @property
    def good(self) -> bool:
        """Whether an ingest would publish every table."""
        return self.error is None and not self.violations


def check_files(request: IngestRequest, names: Sequence[str]) -> Iterator[FileReport]:
    """Yields a report for each file.

    Args:
        request: source, release and tables.
        names: paths of local files; or keys, names or ids of files of the source.

    Raises:
        UsageError: there is no such file or table.
        SourceError, ReleaseError: manifest or project tables cannot be read.
    """
    keys = {name: _key(request, name) for name in names}
    of_release = _tasks(request) if any(keys.values()) else []
    tasks = {
        name: [] if key is None else _named(key, of_release, request) for name, key in keys.items()
    }
    for name, key in keys.items():
        if key is None:
            yield _local_report(request, Path(name))
        for task in tasks[name]:
            hashed = request.verify_hash or request.source.ignore_versions
            yield _report(task, request.source, verify_hash=hashed)


def _local_report(request: IngestRequest, path: Path) -> FileReport:
    """The report on a file by itself; the ids in it are believed."""
    release = NEWEST if request.release in (None, "latest") else request.release
    try:
        task = _local_task(path, release, wanted_tables(request.selection.tables))
    except DataError as error:
        violation = Violation(Rule.FILE_IDENTITY.value, None, None, None, str(error))
        readable = not isinstance(error, NotNwbError)
        report = FileReport(
            str(path),
            release,
            path.stat().st_size,
            str(error),
            readable=readable,
            violations=(violation,) if readable else (),
        )
    else:
        report = _report(task, SourceSpec(str(path.parent.resolve())))
    return replace(report, file=str(path), in_source=False)


def _report(task: FileTask, source: SourceSpec, *, verify_hash: bool = False) -> FileReport:
    with tempfile.TemporaryDirectory(prefix="vblake-") as folder:
        settings = ConvertSettings(source, Path(folder), verify_hash)
        with converting([task], settings, 1) as results:
            (result,) = results
        report = FileReport(
            task.object.key,
            task.release,
            task.bytes,
            result.error,
            readable=result.error is None or result.rule is Rule.FILE_IDENTITY,
            tables=result.tables,
            violations=_violations(result),
            warnings=result.warnings,
            known_defects=result.known_defects,
        )
        try:
            return _looked_into(report, result, settings) if report.readable else report
        except NotNwbError:
            return replace(report, readable=False, violations=())
        except DataError:  # it has another hash, which the report says already
            return report


def _looked_into(report: FileReport, result: FileResult, settings: ConvertSettings) -> FileReport:
    """Adds what another look into the file shows: its datasets, and every rule that it breaks."""
    held_back = [outcome.table for outcome in result.held_back if outcome.table != TEMPLATES]
    task, rows = replace(result.task, allowed=_ALLOWABLE), dict[str, int]()
    with opened(task, settings, held_back, Traffic(), Path(settings.staging)) as recording:
        check = FileCheck(task, recording)
        for name in held_back:
            rows[name] = convert_table(TABLES[name], task, recording, check, result.folder).rows
        found = [*report.violations, *map(_violation, check.violations)]
        first = {v[:3]: v for v in reversed(found)}  # of two that are the same, the ingest's
        order = {rule.value: position for position, rule in enumerate(Rule)}
        report = replace(
            report,
            tables=tuple(t._replace(rows=rows.get(t.table, t.rows)) for t in report.tables),
            violations=tuple(sorted(first.values(), key=lambda v: order[v.rule])),
        )
        try:
            datasets = tuple(Dataset(*dataset) for dataset in recording.hdf.datasets())
        except DataError as error:
            return replace(report, warnings=(*report.warnings, str(error)))
        return replace(report, datasets=datasets)


def _violations(result: FileResult) -> tuple[Violation, ...]:
    """The rules that hold back something: the first of each table, or that of the file."""
    if result.error is not None:
        rule = Rule.FILE_IDENTITY
        return (
            (Violation(rule.value, None, None, None, result.error),) if result.rule is rule else ()
        )
    return tuple(
        Violation(str(t.rule), t.table, t.column, t.expected, t.found) for t in result.held_back
    )


def _violation(finding: Finding) -> Violation:
    found = finding.message if finding.found is None else finding.found
    return Violation(finding.rule.value, finding.table, finding.column, finding.expected, found)


# --- which files ---------------------------------------------------------------------------------


def _key(request: IngestRequest, name: str) -> str | None:
    """What a file is called in the source; None for a local file outside of it."""
    path, root = Path(name), Path(request.source.url).resolve()
    if path.is_dir():
        raise UsageError(f"{name} is a folder. Give the files in it that are to be checked.")
    if not path.is_file():
        return name
    return path.resolve().relative_to(root).as_posix() if root in path.resolve().parents else None


def _tasks(request: IngestRequest) -> list[FileTask]:
    source = open_source(request.source)
    release = load_release(source, request.release or "latest")
    project = read_project_tables(source, release)
    selection = Selection(tables=request.selection.tables)
    return plan(project, release, selection, source.sizes(DATA_PREFIX)).tasks


def _named(name: str, tasks: Iterable[FileTask], request: IngestRequest) -> list[FileTask]:
    names = {
        task: (task.object.key, task.object.key.rpartition("/")[2], str(task.file_key))
        for task in tasks
    }
    found = [task for task, own in names.items() if name in own]
    if not found:
        near = difflib.get_close_matches(name, [n for own in names.values() for n in own], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"{name} is neither a file here nor one of the release in {request.source.url}.{hint} "
            "Give a path, or the key, name or id of a file."
        )
    return found


def _local_task(path: Path, release: str, wanted: Collection[str]) -> FileTask:
    with open_recording(path, path.name) as recording:
        mouse, experiment = recording.mouse_id, recording.is_experiment
        if isinstance(mouse, str):
            raise recording.hdf.error(
                "/general/subject/subject_id",
                "the mouse is not a number",
                expected="an id",
                found=repr(mouse),
            )
        plane = recording.ophys_experiment_id if experiment else None
        kind = FileKind.OPHYS_EXPERIMENT if experiment else FileKind.BEHAVIOR_SESSION
        tables = tuple(name for name in tables_in(kind, gives_behavior=True) if name in wanted)
        if not tables:
            raise UsageError(f"{path} has none of the tables {', '.join(wanted)}.")
        return FileTask(
            release=release,
            kind=kind,
            file_key=recording.behavior_session_id if plane is None else plane,
            mouse_id=mouse,
            behavior_session_id=recording.behavior_session_id,
            ophys_session_id=recording.ophys_session_id if experiment else None,
            ophys_experiment_id=plane,
            gives_behavior=True,
            object=ReleaseObject(path.name, None, None),
            tables=tables,
            bytes=path.stat().st_size,
        )
