"""Computes the plan: from a release and the selection of the user to one task per NWB file."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from shlex import quote
from typing import Any

from pipelines.release.behavior_source import behavior_sources
from pipelines.release.manifest import Release, ReleaseObject
from pipelines.release.project_tables import ProjectTables, rows_of
from pipelines.release.selection import (
    FileKind,
    FileTask,
    MissingFile,
    Plan,
    Selection,
    tables_in,
)
from pipelines.release.where import matching_files
from schemas import TABLES, Subject
from schemas.errors import UsageError

_File = FileTask | MissingFile


def plan(
    project: ProjectTables, release: Release, selection: Selection, sizes: Mapping[str, int]
) -> Plan:
    """Returns the files to read for a selection.

    A session's behaviour is read from one file (`pipelines.release.behavior_source`), and only if
    that file is itself selected.

    Args:
        project: the project tables of the release.
        release: the release's objects.
        selection: what the user selects.
        sizes: bytes by object key, from `Source.sizes`; may be empty.

    Raises:
        UsageError: an id or table does not exist, `where` cannot be evaluated, or nothing is
            selected.
    """
    wanted = wanted_tables(selection.tables)
    # Tables also decide which missing files matter: a selection of dff_traces does not report a
    # missing behaviour file.
    files = [
        file
        for file in _selected(_files(project, release, sizes, wanted), project, selection)
        if _tables_of(file.kind, file.gives_behavior, wanted)
    ]
    if not files and any(TABLES[name].subject is not Subject.PROJECT for name in wanted):
        raise UsageError(
            f"Nothing is selected: no file of release {release.version} matches "
            f"{_described(selection)}. Behaviour tables come from a session's behaviour file or "
            "first experiment, ophys tables from experiment files."
        )
    # Ids are positive: a behaviour file comes before the experiments of its session.
    files.sort(key=lambda f: (f.mouse_id, f.behavior_session_id, f.ophys_experiment_id or -1))
    tasks = [file for file in files if isinstance(file, FileTask)]
    missing = [file for file in files if isinstance(file, MissingFile)]
    warnings = _orphans(project)
    if sizes and (unlisted := [task.object.key for task in tasks if task.bytes is None]):
        warnings.append(
            f"{len(unlisted)} of {len(tasks)} files are not in the source's listing, "
            f"first {unlisted[0]}"
        )
    return Plan(tasks, missing, warnings)


# --- the files of a release -------------------------------------------------------------------

_FILE_COLUMNS = (
    "behavior_session_id",
    "mouse_id",
    "ophys_session_id",
    "ophys_experiment_id",
    "file_id",
)


def _files(
    project: ProjectTables, release: Release, sizes: Mapping[str, int], wanted: tuple[str, ...]
) -> list[_File]:
    """Lists every file of the release, and every session that should have a file but has none."""
    sessions = rows_of(project.tables["behavior_sessions"], *_FILE_COLUMNS)
    experiments = rows_of(project.tables["ophys_experiments"], *_FILE_COLUMNS)
    sources = behavior_sources(
        ((session, file_id, listed) for session, _, _, listed, file_id in sessions),
        ((experiment, session) for session, _, _, experiment, _ in experiments),
    )
    claims = Counter(
        release.files[file_id].key
        for file_id in [*(row[-1] or None for row in sessions), *(row[-1] for row in experiments)]
        if file_id is not None and file_id in release.files
    )
    cells = _cells(project)
    known = _known_ids(project)
    files: list[_File] = []

    def add(ids: dict[str, Any], file_id: int | None, problem: str = "", **listed: Any) -> None:
        obj, why = _object(file_id, release, claims)
        if obj is None or problem:
            files.append(MissingFile(**ids, reason=problem or why))
        else:
            tables = _tables_of(ids["kind"], ids["gives_behavior"], wanted)
            own = {"release": release.version, "object": obj, "bytes": sizes.get(obj.key)}
            files.append(FileTask(**ids, **own, tables=tables, **listed))

    for session, mouse, ophys_session, _, file_id in sessions:
        source = sources[session]
        if source.kind is FileKind.BEHAVIOR_SESSION:
            ids = _ids(source.kind, mouse, session, ophys_session, None, gives_behavior=True)
            add(ids, file_id, source.problem)
    kind = FileKind.OPHYS_EXPERIMENT
    givers = {source.file_key for source in sources.values() if source.kind is kind}
    for session, mouse, ophys_session, experiment, file_id in experiments:
        gives = experiment in givers
        ids = _ids(kind, mouse, session, ophys_session, experiment, gives_behavior=gives)
        unlisted = tuple(name for name, column, rows in known if ids[column] not in rows)
        rois = None if cells is None else tuple(cells[experiment])
        add(ids, file_id, cells=rois, unlisted=unlisted)
    return files


def _ids(
    kind: FileKind,
    mouse: int,
    session: int,
    ophys_session: int | None,
    experiment: int | None,
    *,
    gives_behavior: bool,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "file_key": session if experiment is None else experiment,
        "mouse_id": mouse,
        "behavior_session_id": session,
        "ophys_session_id": ophys_session,
        "ophys_experiment_id": experiment,
        "gives_behavior": gives_behavior,
    }


def _cells(project: ProjectTables) -> dict[int, list[int]] | None:
    """The ROIs that ophys_cells lists, by experiment; None in a release without that table."""
    if (table := project.tables.get("ophys_cells")) is None:
        return None
    cells: dict[int, list[int]] = defaultdict(list)
    for experiment, roi in rows_of(table, "ophys_experiment_id", "cell_roi_id"):
        cells[experiment].append(roi)
    return cells


def _known_ids(project: ProjectTables) -> list[tuple[str, str, set[int]]]:
    """The tables to which ophys_experiments refers: name, referring column, and ids."""
    return [
        (key.table, key.columns[0], _column(project, key.table, key.references[0]))
        for key in TABLES["ophys_experiments"].foreign_keys
    ]


def _object(
    file_id: int | None, release: Release, claims: Mapping[str, int]
) -> tuple[ReleaseObject | None, str]:
    """Returns the object of a file_id, or None and the reason why there is none.

    Args:
        file_id: from a project table.
        release: the release's objects.
        claims: number of rows of the project tables that name an object, by its key.
    """
    if file_id is None:
        return None, "the project tables give it no file_id (empty or -999)"
    obj = release.files.get(file_id)
    if obj is None:
        return None, f"its file_id {file_id} is not in the manifest of release {release.version}"
    if claims[obj.key] > 1:  # nothing tells which of the rows is right
        return None, (
            f"the release gives its file, {obj.key}, to another session or experiment as well"
        )
    return obj, ""


def _orphans(project: ProjectTables) -> list[str]:
    """Warns of behaviour sessions that have experiments but are not in behavior_sessions."""
    column = "behavior_session_id"
    orphans = _column(project, "ophys_experiments", column) - _column(
        project, "behavior_sessions", column
    )
    text = "have experiments but no row in behavior_sessions: their behaviour is not read"
    return [f"behaviour sessions {_enumerated(orphans)} {text}"] if orphans else []


def _column(project: ProjectTables, table: str, column: str) -> set[int]:
    return set(project.tables[table].column(column).to_pylist())


# --- the selection ----------------------------------------------------------------------------


_IDS = (
    ("mouse", "mice", "mouse_id", "behavior_sessions"),
    ("behaviour session", "behaviour sessions", "behavior_session_id", "behavior_sessions"),
    ("experiment", "experiments", "ophys_experiment_id", "ophys_experiments"),
    ("imaging session", "imaging sessions", "ophys_session_id", "ophys_sessions"),
)
"""The kinds of id: one, several, the column and the project table that lists them all."""


def _selected(files: list[_File], project: ProjectTables, selection: Selection) -> list[_File]:
    """Returns the files of all the ids in a selection, or every file, for which `where` is true."""
    chosen = files
    if asked := _ids_asked(selection):
        for column, ids in asked.items():
            if unknown := set(ids) - {getattr(file, column) for file in files}:
                raise _unknown(unknown, column, project)
        chosen = [
            file
            for file in files
            if any(getattr(file, column) in ids for column, ids in asked.items())
        ]
    if selection.where is not None:
        matching = matching_files(project, selection.where)
        chosen = [file for file in chosen if (file.kind.value, file.file_key) in matching]
    return chosen


def _ids_asked(selection: Selection) -> dict[str, tuple[int, ...]]:
    """The ids in a selection, by the column that holds them."""
    ids = {
        "mouse_id": selection.mice,
        "behavior_session_id": selection.behavior_sessions,
        "ophys_experiment_id": selection.experiments,
    }
    return {column: given for column, given in ids.items() if given}


def _unknown(ids: set[int], column: str, project: ProjectTables) -> UsageError:
    (one, several, _, table), *_ = (kind for kind in _IDS if kind[2] == column)
    others = [
        f"{_enumerated(found)} {'is' if len(found) == 1 else 'are'} in {other} of {place}"
        for _, _, other, place in _IDS
        if (found := ids & _column(project, place, other))
    ]
    return UsageError(
        f"The release has no {one} {_enumerated(ids)}{': ' if others else ''}{', '.join(others)}. "
        f"`vblake plan --list` lists its files, column {column} of {table} its {several}."
    )


def wanted_tables(names: tuple[str, ...]) -> tuple[str, ...]:
    """The tables to ingest, in their declared order; the ledger is always written.

    Raises:
        UsageError: there is no such table.
    """
    known = [name for name, table in TABLES.items() if table.subject is not Subject.LEDGER]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=3)
            hint = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else f"The tables are {', '.join(known)}."
            )
            raise UsageError(f"There is no table {name!r} to select. {hint}")
    return tuple(
        name for name in known if (name in names if names else not TABLES[name].by_name_only)
    )


@cache
def _tables_of(kind: FileKind, gives_behavior: bool, wanted: tuple[str, ...]) -> tuple[str, ...]:
    tables = tables_in(kind, gives_behavior=gives_behavior)
    return tuple(name for name in tables if name in wanted)


def _described(selection: Selection) -> str:
    asked = _ids_asked(selection)
    ids = [f"{one} {_enumerated(asked[column])}" for one, _, column, _ in _IDS if column in asked]
    parts = [" or ".join(ids)] if ids else []
    if selection.where is not None:
        parts.append(f"--where {quote(selection.where)}")
    if selection.tables:
        parts.append(f"tables {', '.join(selection.tables)}")
    return "; ".join(parts) or "an empty selection"


def _enumerated(ids: Iterable[int]) -> str:
    ordered = sorted(ids)
    more = f" and {len(ordered) - 10} more" if len(ordered) > 10 else ""
    return ", ".join(map(str, ordered[:10])) + more
