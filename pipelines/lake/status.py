"""What a lake holds, by table and by mouse, from the ledger and listings; no data file but the project tables is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from pipelines.lake.ledger import Entry, Status, read_ledger
from pipelines.lake.store import Store, require_lake
from pipelines.release.selection import FileKind
from schemas import TABLES, Storage, Subject, Table
from schemas.errors import LakeError
from schemas.layout import CATALOG, relative_path


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """An NWB file that the project tables in the lake speak of."""

    kind: FileKind
    file_key: int
    mouse_id: int
    gives_behavior: bool


@dataclass(slots=True)
class Counts:
    """Rows and files of the lake, and NWB files by what became of them.

    Attributes:
        rows, bytes, files: of the lake's Parquet files.
        done: sources whose rows are in the lake, as of the last attempt.
        quarantined: sources whose last attempt failed; rows of an earlier one may be in the lake.
        skipped: sources that the release names but the bucket did not have.
        missing: sources that nobody has tried to ingest.
    """

    rows: int = 0
    bytes: int = 0
    files: int = 0
    done: int = 0
    quarantined: int = 0
    skipped: int = 0
    missing: int = 0

    def note(self, status: Status) -> None:
        """Counts a source that the ledger knows."""
        match status:
            case Status.INGESTED:
                self.done += 1
            case Status.QUARANTINED:
                self.quarantined += 1
            case Status.SKIPPED:
                self.skipped += 1


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that is not in the lake, or not in its present version, and why."""

    status: Status
    kind: FileKind
    file_key: int
    mouse_id: int
    object_key: str
    error: str


@dataclass(frozen=True, slots=True)
class LakeStatus:
    """What a lake holds.

    Attributes:
        sources: counts over all files.
        tables, mice: counts by table and by mouse. A source counts for a table if the table is read from files like it.
        cells: counts by table and mouse; project tables and templates belong to no mouse and are left out.
        problems: files that are quarantined or were skipped.
    """

    root: str
    release: str
    has_catalog: bool
    sources: Counts
    tables: dict[str, Counts]
    mice: dict[int, Counts]
    cells: dict[tuple[str, int], Counts]
    problems: list[FileProblem] = field(default_factory=list["FileProblem"])


def lake_status(store: Store) -> LakeStatus:
    """Looks at a lake.

    Raises:
        LakeError: there is no lake, or one of its project tables or ledger files cannot be read.
    """
    release = require_lake(store)
    ledger = read_ledger(store)
    status = LakeStatus(
        root=store.root,
        release=release,
        has_catalog=store.exists(CATALOG),
        sources=Counts(),
        tables={name: Counts() for name in TABLES},
        mice={},
        cells={},
    )
    _count_files(status, store)
    for entry in ledger.values():
        _count_entry(status, entry)
    for file in released_files(store):
        if (release, file.kind.value, file.file_key) not in ledger:
            _count_missing(status, file)
    status.problems.extend(
        FileProblem(
            e.status, e.file_kind, e.file_key, e.mouse_id, e.object_key or "", e.error or ""
        )
        for e in sorted(ledger.values(), key=lambda e: (e.mouse_id, e.identity))
        if e.status is not Status.INGESTED
    )
    return status


def released_files(store: Store) -> list[ReleasedFile]:
    """The files that the project tables in the lake speak of, by mouse; none if the tables are not there.

    A session's behaviour comes from its own file if it has one, else from the first experiment it lists.
    """
    sessions = _columns(
        store,
        "behavior_sessions",
        ("behavior_session_id", "mouse_id", "ophys_experiment_id", "file_id"),
    )
    experiments = list(_columns(store, "ophys_experiments", ("ophys_experiment_id", "mouse_id")))
    found: list[ReleasedFile] = []
    givers: set[int] = set()
    for session, mouse, planes, file_id in sessions:
        if file_id is not None and file_id > 0:
            found.append(ReleasedFile(FileKind.BEHAVIOR_SESSION, session, mouse, True))
        elif planes:
            givers.add(planes[0])
    found += [
        ReleasedFile(FileKind.OPHYS_EXPERIMENT, key, mouse, key in givers)
        for key, mouse in experiments
    ]
    return sorted(found, key=lambda f: (f.mouse_id, f.kind, f.file_key))


def subjects(kind: FileKind, *, gives_behavior: bool) -> set[Subject]:
    """Which tables a file is read for."""
    found = {Subject.OPHYS} if kind is FileKind.OPHYS_EXPERIMENT else set[Subject]()
    return found | {Subject.BEHAVIOR} if gives_behavior else found


def _columns(store: Store, table: str, names: tuple[str, ...]) -> Iterable[tuple[Any, ...]]:
    path = relative_path(TABLES[table])
    try:
        file = store.parquet(path)
        if file is None:
            return []
        read = file.read(list(names))
        return list(zip(*(read.column(n).to_pylist() for n in names), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise LakeError(
            f"{store.root}/{path} cannot be read ({error}). See `vblake verify --lake {quote(store.root)}`."
        ) from error


def _tables_of(kind: FileKind, *, gives_behavior: bool) -> Iterator[Table]:
    wanted = subjects(kind, gives_behavior=gives_behavior)
    return (t for t in TABLES.values() if t.subject in wanted)


def _mouse_of(path: str) -> int | None:
    name, _, value = path.split("/")[1].partition("=")
    return int(value) if name == "mouse_id" and value.isdecimal() else None


def _count_files(status: LakeStatus, store: Store) -> None:
    for name, table in TABLES.items():
        for path, size in store.files(name).items():
            counts = [status.tables[name], status.sources]
            if (mouse := _mouse_of(path)) is not None:
                counts += [
                    status.mice.setdefault(mouse, Counts()),
                    status.cells.setdefault((name, mouse), Counts()),
                ]
            # The ledger counts the rows of all others; opening 30,000 files for it would take minutes in S3.
            rows = (
                _rows(store, path)
                if table.storage in (Storage.PROJECT, Storage.IMAGE_SET)
                or table.subject is Subject.LEDGER
                else 0
            )
            for count in counts:
                count.files += 1
                count.bytes += size
                count.rows += rows


def _rows(store: Store, path: str) -> int:
    try:
        file = store.parquet(path)
    except (OSError, ValueError) as error:
        raise LakeError(
            f"{store.root}/{path} cannot be read ({error}). See `vblake verify --lake {quote(store.root)}`."
        ) from error
    return file.metadata.num_rows if file else 0


def _count_entry(status: LakeStatus, entry: Entry) -> None:
    mouse = status.mice.setdefault(entry.mouse_id, Counts())
    for count in (status.sources, mouse):
        count.note(entry.status)
    for table in _tables_of(entry.file_kind, gives_behavior=entry.gives_behavior):
        cell = status.cells.setdefault((table.name, entry.mouse_id), Counts())
        for count in (status.tables[table.name], cell):
            if entry.status is not Status.INGESTED or table.name in entry.row_counts:
                count.note(entry.status)
            elif not table.by_name_only:
                count.missing += 1
    for table_name, rows in entry.row_counts.items():
        if TABLES[table_name].subject is Subject.STIMULUS:
            continue  # counted from the files
        cell = status.cells.setdefault((table_name, entry.mouse_id), Counts())
        for count in (status.sources, mouse, status.tables[table_name], cell):
            count.rows += rows


def _count_missing(status: LakeStatus, file: ReleasedFile) -> None:
    status.sources.missing += 1
    status.mice.setdefault(file.mouse_id, Counts()).missing += 1
    for table in _tables_of(file.kind, gives_behavior=file.gives_behavior):
        if table.by_name_only:
            continue
        status.tables[table.name].missing += 1
        status.cells.setdefault((table.name, file.mouse_id), Counts()).missing += 1
