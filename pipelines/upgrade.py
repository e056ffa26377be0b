"""What changes when a lake goes over to another release, or to another version of its schema.

An upgrade covers what the lake holds: files that the release has unchanged are kept, files that
changed are read again with the tables that they had, rows of files that are gone go. Files that the
release adds come in if the lake held all files of their mouse, and new mice if it held all of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipelines.lake.ledger import Entry, Ledger, Status
from pipelines.lake.marker import Marker
from pipelines.lake.store import Store
from pipelines.release.behavior_source import behavior_sources
from pipelines.release.differences import RowChanges, compare_tables
from pipelines.release.manifest import Release
from pipelines.release.project_tables import MANIFEST_NAMES, ProjectTables, rows_of
from pipelines.release.selection import FileKind, FileTask, MissingFile, Plan, Selection
from pipelines.release.tasks import plan, wanted_tables
from schemas import SCHEMA_VERSION, TABLES, Subject
from schemas.errors import LakeError
from schemas.layout import relative_path

if TYPE_CHECKING:
    import pyarrow as pa

_File = tuple[str, int]
"""file_kind and file_key, which stand for the same recording in all releases."""

_IDS = ("mouse_id", "behavior_session_id", "ophys_session_id", "gives_behavior")


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade does to a lake.

    Attributes:
        before: what the lake is.
        release: the release that it is to hold.
        kept: entries of the ledger, as they are in the new release, of files that are not read
            again.
        changed: files that are read again, because they or what the release says of them changed.
        added: files that come in because the lake held all of their kin.
        gone: entries of files that the release does not have any more.
        missing: sessions and experiments of the lake for which the release has no file.
        rows: what changes in the project tables.
        tasks: all files that the lake is to hold because of what it holds.
        had_rows: the files of the lake that have rows in it, as kind and key.
        mice: those of which not all files are kept as they are.
        left: files of the release that stay out of the lake.
    """

    before: Marker
    release: str
    kept: Ledger
    changed: tuple[FileTask, ...]
    added: tuple[FileTask, ...]
    gone: tuple[Entry, ...]
    missing: tuple[MissingFile, ...]
    rows: Mapping[str, RowChanges]
    tasks: tuple[FileTask, ...]
    had_rows: frozenset[tuple[str, int]]
    mice: tuple[int, ...]
    left: int

    @property
    def new_schema(self) -> bool:
        """Whether every file is read again, because the tables' declarations have changed."""
        return self.before.schema_version != SCHEMA_VERSION

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of the lake's files, by what becomes of them."""
        return {
            "kept": len(self.tasks) - len(self.changed) - len(self.added),
            "read again": len(self.changed),
            "added": len(self.added),
            "removed": len(self.gone),
        }

    @property
    def reason(self) -> str:
        """Why the lake is upgraded, for people."""
        parts: list[str] = []
        if self.before.release != self.release:
            parts.append(f"release {self.before.release} to {self.release}")
        if self.new_schema:
            parts.append(
                f"schema version {self.before.schema_version} to {SCHEMA_VERSION}, "
                "for which every file is read again"
            )
        return ", and ".join(parts)


def needs_upgrade(marker: Marker, release: str) -> bool:
    """Whether a lake has to be upgraded to hold a release."""
    return (marker.release, marker.schema_version) != (release, SCHEMA_VERSION)


def plan_upgrade(
    store: Store,
    marker: Marker,
    ledger: Ledger,
    project: ProjectTables,
    release: Release,
    sizes: Mapping[str, int],
) -> Upgrade:
    """Compares what a lake holds with a release.

    Args:
        store: the lake.
        marker: what it is.
        ledger: its whole ledger.
        project: the project tables of the release.
        release: the release.
        sizes: bytes by object key.

    Raises:
        LakeError: a project table of the lake cannot be read.
    """
    tables = tuple(name for name, t in TABLES.items() if t.subject is not Subject.LEDGER)
    offered = plan(project, release, Selection(tables=tables), sizes)
    present = _project_tables(store)
    held = {(entry.file_kind.value, entry.file_key): entry for entry in ledger.values()}
    whole = _whole_mice(present, held)
    missing = tuple(
        m
        for m in offered.missing
        if whole is None or m.mouse_id in whole or (m.kind.value, m.file_key) in held
    )
    sorted_ = _sorted(offered.tasks, held, whole, _cells(present))
    kept = sorted_.kept | _still_missing(missing, held, release.version)
    tasks = (*sorted_.unchanged, *sorted_.changed, *sorted_.added)
    files = {(e.file_kind.value, e.file_key) for e in kept.values()}
    mice = {e.mouse_id for file, e in held.items() if file not in files}
    there = {_file(task) for task in offered.tasks}
    return Upgrade(
        before=marker,
        release=release.version,
        kept={} if marker.schema_version != SCHEMA_VERSION else kept,
        changed=tuple(sorted_.changed),
        added=tuple(sorted_.added),
        gone=tuple(e for file, e in held.items() if file not in there and e.row_counts),
        missing=missing,
        rows=compare_tables(present, project.tables),
        tasks=tasks,
        had_rows=frozenset(file for file, e in held.items() if any(e.row_counts.values())),
        mice=tuple(sorted(mice | {task.mouse_id for task in (*sorted_.changed, *sorted_.added)})),
        left=len(offered.tasks) - len(tasks),
    )


def merge_plans(first: Plan, tasks: Iterable[FileTask], missing: Iterable[MissingFile]) -> Plan:
    """A plan with further files; the tables of a file that is in both add up."""
    found = {task.identity: task for task in first.tasks}
    for task in tasks:
        other = found.get(task.identity)
        both = {*task.tables, *(other.tables if other else ())}
        found[task.identity] = replace(task, tables=tuple(n for n in TABLES if n in both))
    lacking = {(m.kind, m.file_key): m for m in (*first.missing, *missing)}
    ordered = sorted(
        found.values(),
        key=lambda t: (t.mouse_id, t.behavior_session_id, t.ophys_experiment_id or -1),
    )
    return Plan(ordered, list(lacking.values()), first.warnings)


# --- the files of the lake ------------------------------------------------------------------------


@dataclass
class _Sorted:
    """Files of a release by what becomes of them; `kept` has the entries of those unchanged."""

    kept: Ledger = field(default_factory=dict[tuple[str, str, int], Entry])
    unchanged: list[FileTask] = field(default_factory=list[FileTask])
    changed: list[FileTask] = field(default_factory=list[FileTask])
    added: list[FileTask] = field(default_factory=list[FileTask])


def _sorted(
    offered: Iterable[FileTask],
    held: Mapping[_File, Entry],
    whole: set[int] | None,
    cells: Mapping[int, tuple[int, ...]],
) -> _Sorted:
    found, usual = _Sorted(), _usual(held.values())
    for task in offered:
        entry = held.get(_file(task))
        if entry is not None and entry.tables:
            wanted = _wanted(task, entry, held.values())
            chosen = _with_tables(task, wanted, entry)
            if _same(entry, task, cells, wanted):
                found.kept[task.identity] = replace(entry, release=task.release)
                found.unchanged.append(chosen)
            else:
                found.changed.append(chosen)
        elif whole is None or task.mouse_id in whole or entry is not None:
            found.added.append(_with_tables(task, _usual_of(task, usual)))
    return found


def _still_missing(
    missing: Iterable[MissingFile], held: Mapping[_File, Entry], release: str
) -> Ledger:
    """Entries of sessions that lack a file in the release as they did before."""
    kept: Ledger = {}
    for m in missing:
        entry = held.get((m.kind.value, m.file_key))
        if entry and entry.status is Status.SKIPPED and entry.error == m.reason:
            carried = replace(entry, release=release)
            kept[carried.identity] = carried
    return kept


def _file(task: FileTask) -> _File:
    return task.kind.value, task.file_key


def _with_tables(task: FileTask, tables: set[str], entry: Entry | None = None) -> FileTask:
    """A task for some tables; what the user has allowed its rows to break stays allowed."""
    allowed = {(t.table, rule) for t in (entry.tables if entry else ()) for rule in t.allowed_rules}
    names = tuple(name for name in task.tables if name in tables)
    return replace(task, tables=names, allowed=frozenset(allowed))


def _wanted(task: FileTask, entry: Entry, held: Iterable[Entry]) -> set[str]:
    """The tables to have of a file that the lake holds.

    If it is to give the behaviour of its session from now on, those are among them that the lake
    has from another file.
    """
    wanted = set(entry.requested)
    if task.gives_behavior and not entry.gives_behavior:
        session = task.behavior_session_id
        others = (e for e in held if e.gives_behavior and e.behavior_session_id == session)
        wanted |= {name for other in others for name in other.requested}
    return wanted & set(task.tables) or set(_default(task))


def _default(task: FileTask) -> list[str]:
    return [name for name in wanted_tables(()) if name in task.tables]


_Kind = tuple[FileKind, bool]
"""Kind of file, and whether it gives its session's behaviour."""


def _usual(held: Iterable[Entry]) -> dict[_Kind, set[str]]:
    """The tables that the lake has of every file of a kind."""
    usual: dict[_Kind, set[str]] = {}
    for entry in held:
        if requested := entry.requested:
            kind = entry.file_kind, entry.gives_behavior
            usual[kind] = usual.get(kind, requested) & requested
    return usual


def _usual_of(task: FileTask, usual: Mapping[_Kind, set[str]]) -> set[str]:
    """The usual tables of a file like this one; where there are none, those of a default ingest."""
    tables = usual.get((task.kind, task.gives_behavior), set[str]()) & set(task.tables)
    return tables or set(_default(task))


def _same(
    entry: Entry, task: FileTask, cells: Mapping[int, tuple[int, ...]], wanted: set[str]
) -> bool:
    """Whether a file need not be read again.

    Its rows were checked against the cells that the release lists for it.
    """
    ids = all(getattr(entry, name) == getattr(task, name) for name in _IDS)
    listed = task.cells is None or set(task.cells) == set(cells.get(task.file_key, ()))
    return ids and listed and entry.covers(replace(task, tables=tuple(wanted)))


# --- the project tables of the lake ---------------------------------------------------------------


def _project_tables(store: Store) -> dict[str, pa.Table]:
    found: dict[str, pa.Table] = {}
    for name in MANIFEST_NAMES:
        path = relative_path(TABLES[name])
        try:
            file = store.parquet(path)
            if file is not None:
                found[name] = file.read()
        except (OSError, ValueError) as error:
            raise LakeError(
                f"{store.root}/{path} cannot be read ({error}), so it is not known what the lake "
                "holds. Repair it with `vblake ingest --release` of the release that it has."
            ) from error
    return found


def _whole_mice(project: Mapping[str, pa.Table], held: Mapping[_File, Entry]) -> set[int] | None:
    """The mice of which the lake holds every file; None if it holds all files of all mice."""
    if not {"behavior_sessions", "ophys_experiments"} <= project.keys():
        return set()
    columns = ("behavior_session_id", "file_id", "ophys_experiment_id", "mouse_id")
    sessions = rows_of(project["behavior_sessions"], *columns)
    experiments = rows_of(
        project["ophys_experiments"], "ophys_experiment_id", "behavior_session_id", "mouse_id"
    )
    sources = behavior_sources(
        ((session, file_id, listed) for session, file_id, listed, _ in sessions),
        ((experiment, session) for experiment, session, _ in experiments),
    )
    own = FileKind.BEHAVIOR_SESSION
    files = [
        ((own.value, session), mouse)
        for session, _, _, mouse in sessions
        if sources[session].kind is own
    ]
    files += [((FileKind.OPHYS_EXPERIMENT.value, key), mouse) for key, _, mouse in experiments]
    lacking = {mouse for file, mouse in files if file not in held}
    return {mouse for _, mouse in files} - lacking if lacking else None


def _cells(project: Mapping[str, pa.Table]) -> dict[int, tuple[int, ...]]:
    """The ROIs that the lake's ophys_cells lists, by experiment."""
    found: dict[int, list[int]] = {}
    if (table := project.get("ophys_cells")) is not None:
        for experiment, roi in rows_of(table, "ophys_experiment_id", "cell_roi_id"):
            found.setdefault(experiment, []).append(roi)
    return {experiment: tuple(rois) for experiment, rois in found.items()}
