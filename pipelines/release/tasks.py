"""What is to be read: from a release and the user's selection to one task per NWB file."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.release.listed import Listed
from pipelines.release.manifest import Release, ReleaseObject
from pipelines.release.project_tables import ProjectTables, rows_of
from pipelines.release.selection import FileKind, FileTask, MissingFile, Plan, Selection
from pipelines.release.where import matching_files
from schemas import TABLES, Subject
from schemas.errors import UsageError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class _File:
    """A file that the project tables speak of, whether or not the manifest has it."""

    kind: FileKind
    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    gives_behavior: bool
    object: ReleaseObject | None
    problem: str = ""
    tables: tuple[str, ...] = ()

    @property
    def key(self) -> int:
        return (
            self.behavior_session_id
            if self.ophys_experiment_id is None
            else self.ophys_experiment_id
        )

    def ids(self) -> dict[str, Any]:
        """What tasks and missing files have in common."""
        own = ("kind", "mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id")
        return {"file_key": self.key, **{name: getattr(self, name) for name in own}}

    @property
    def order(self) -> tuple[int, int, int]:
        # Ids are positive: a behaviour file comes before the planes of its session.
        return (self.mouse_id, self.behavior_session_id, self.ophys_experiment_id or -1)


def plan(
    project: ProjectTables, release: Release, selection: Selection, sizes: Mapping[str, int]
) -> Plan:
    """The files to read for a selection.

    Behaviour of a session is read from its behaviour file if it has one, else from the first experiment it lists
    (NWB_TABLES.md 7.5), and only if that file is itself selected.

    Args:
        project: the project tables of the release.
        release: the release's objects.
        selection: what the user asked for.
        sizes: bytes by object key, from `Source.sizes`; may be empty.

    Raises:
        UsageError: an id or table does not exist, `where` cannot be evaluated, or nothing is selected.
    """
    tables = _wanted_tables(selection.tables)
    files, warnings = _files(project, release)
    known = files
    for name, ids, id_of in _chosen(selection):
        if unknown := set(ids) - {id_of(file) for file in known}:
            raise UsageError(
                f"The release has no {name} {_enumerated(unknown)}. Check it, or choose another release."
            )
        files = [file for file in files if id_of(file) in ids]
    if selection.where is not None:
        matching = matching_files(project, selection.where)
        files = [file for file in files if (file.kind.value, file.key) in matching]
    # Also to a file that is missing: whoever asks for dff_traces need not hear of a missing behaviour file.
    files = [replace(file, tables=_tables_of(file, tables)) for file in files]
    files = sorted((file for file in files if file.tables), key=lambda file: file.order)
    if not files and any(TABLES[name].subject is not Subject.PROJECT for name in tables):
        raise UsageError(
            f"Nothing is selected: no file of release {release.version} answers to {_described(selection)}. "
            "Behaviour tables come from a session's behaviour file or first plane, ophys tables from experiment files."
        )
    listed = Listed(project)
    tasks = [
        FileTask(
            release=release.version,
            **file.ids(),
            gives_behavior=file.gives_behavior,
            object=file.object,
            tables=file.tables,
            bytes=sizes.get(file.object.key),
            cells=listed.cells(file.ophys_experiment_id),
            unlisted=listed.without(file.ids()),
        )
        for file in files
        if file.object is not None
    ]
    missing = [
        MissingFile(**file.ids(), reason=file.problem) for file in files if file.object is None
    ]
    if sizes and (unlisted := [task.object.key for task in tasks if task.bytes is None]):
        warnings.append(
            f"{len(unlisted)} of {len(tasks)} files are not in the source's listing, first {unlisted[0]}"
        )
    return Plan(tasks, missing, warnings)


def _files(project: ProjectTables, release: Release) -> tuple[list[_File], list[str]]:
    """Every file of the release, and sessions that should have one but do not; with warnings."""
    columns = (
        "behavior_session_id",
        "mouse_id",
        "ophys_session_id",
        "ophys_experiment_id",
        "file_id",
    )
    sessions = rows_of(project.tables["behavior_sessions"], *columns)
    experiments = rows_of(project.tables["ophys_experiments"], *columns)
    find = _Finder(
        release, [*(row[-1] or None for row in sessions), *(row[-1] for row in experiments)]
    )
    session_of = {experiment: session for session, _, _, experiment, _ in experiments}
    files: list[_File] = []
    givers: set[int] = set()
    for session, mouse, ophys_session, planes, file_id in sessions:
        # The released reader's rule. An id of 0 counts as none here, though it is a good file_id of an experiment.
        if file_id is not None and file_id > 0:
            obj, problem = find(file_id)
        elif planes and session_of.get(planes[0]) == session:
            givers.add(planes[0])
            continue
        elif planes:
            obj, problem = (
                None,
                f"its behaviour is in experiment {planes[0]}, which ophys_experiments has not for it",
            )
        else:
            obj, problem = (
                None,
                "behavior_sessions gives neither a file_id nor an experiment to read its behaviour from",
            )
        files.append(
            _File(
                FileKind.BEHAVIOR_SESSION, mouse, session, ophys_session, None, True, obj, problem
            )
        )
    for session, mouse, ophys_session, experiment, file_id in experiments:
        gives = experiment in givers
        obj, problem = find(file_id)
        files.append(
            _File(
                FileKind.OPHYS_EXPERIMENT,
                mouse,
                session,
                ophys_session,
                experiment,
                gives,
                obj,
                problem,
            )
        )
    orphans = set(session_of.values()) - {row[0] for row in sessions}
    text = "have experiments but no row in behavior_sessions: their behaviour is not read"
    return files, [f"behaviour sessions {_enumerated(orphans)} {text}"] if orphans else []


class _Finder:
    """From a file_id to its object, or why there is none."""

    def __init__(self, release: Release, file_ids: Iterable[int | None]) -> None:
        self._release = release
        claimed = (release.files.get(id_) for id_ in file_ids if id_ is not None)
        self._claims = Counter(obj.key for obj in claimed if obj is not None)

    def __call__(self, file_id: int | None) -> tuple[ReleaseObject | None, str]:
        if file_id is None:
            return None, "the project tables give it no file_id (empty or -999)"
        if file_id not in self._release.files:
            return (
                None,
                f"its file_id {file_id} is not in the manifest of release {self._release.version}",
            )
        obj = self._release.files[file_id]
        if self._claims[obj.key] > 1:  # nothing tells whose it is
            return (
                None,
                f"the release gives its file, {obj.key}, to another session or experiment as well",
            )
        return obj, ""


def _wanted_tables(names: tuple[str, ...]) -> tuple[str, ...]:
    """The tables to ingest, in their declared order. The ledger is written anyway and cannot be asked for."""
    known = [name for name, table in TABLES.items() if table.subject is not Subject.LEDGER]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else f"The tables are {', '.join(known)}."
            )
            raise UsageError(f"There is no table {name!r} to select. {hint}")
    return tuple(
        name for name in known if (name in names if names else not TABLES[name].by_name_only)
    )


def _tables_of(file: _File, wanted: tuple[str, ...]) -> tuple[str, ...]:
    subjects: set[Subject] = set()
    if file.kind is FileKind.OPHYS_EXPERIMENT:
        subjects.add(Subject.OPHYS)
    if file.gives_behavior:
        subjects |= {Subject.BEHAVIOR, Subject.STIMULUS}
    return tuple(name for name in wanted if TABLES[name].subject in subjects)


def _chosen(
    selection: Selection,
) -> list[tuple[str, tuple[int, ...], Callable[[_File], int | None]]]:
    """The kinds of id that were asked for: name, ids, and what of a file they are compared to."""
    kinds: list[tuple[str, tuple[int, ...], Callable[[_File], int | None]]] = [
        ("mouse", selection.mice, lambda file: file.mouse_id),
        ("behaviour session", selection.behavior_sessions, lambda file: file.behavior_session_id),
        ("experiment", selection.experiments, lambda file: file.ophys_experiment_id),
    ]
    return [kind for kind in kinds if kind[1]]


def _described(selection: Selection) -> str:
    parts = [f"{name} {_enumerated(ids)}" for name, ids, _ in _chosen(selection)]
    if selection.where is not None:
        parts.append(f"where {selection.where}")
    if selection.tables:
        parts.append(f"tables {', '.join(selection.tables)}")
    return "; ".join(parts) or "an empty selection"


def _enumerated(ids: Iterable[int]) -> str:
    ordered = sorted(ids)
    return ", ".join(map(str, ordered[:10])) + (
        f" and {len(ordered) - 10} more" if len(ordered) > 10 else ""
    )
