"""What is to be read: from a release and the user's selection to one task per NWB file."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipelines.project_tables import ProjectTables
from pipelines.releases import Release, ReleaseObject
from schemas import TABLES, Subject
from schemas.errors import UsageError

if TYPE_CHECKING:
    import duckdb

WHERE_SECONDS = 20.0
"""Longest a `where` may take; over the 6,000 files of the real release a comparison takes milliseconds."""
_WHERE_MEMORY = "256MB"


class FileKind(StrEnum):
    """The two kinds of NWB file."""

    BEHAVIOR_SESSION = "behavior_session"
    OPHYS_EXPERIMENT = "ophys_experiment"


@dataclass(frozen=True, slots=True)
class FileTask:
    """One NWB file and the tables to read from it.

    Attributes:
        file_key: behavior_session_id or ophys_experiment_id, by `kind`.
        gives_behavior: whether the session's behaviour tables come from this file: its behaviour file, or its first plane's.
        tables: tables of the lake, in the order of `schemas.TABLES`; never empty.
        bytes: size of the newest version of the object; None where the listing does not have it.
    """

    release: str
    kind: FileKind
    file_key: int
    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    gives_behavior: bool
    object: ReleaseObject
    tables: tuple[str, ...]
    bytes: int | None


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A selected session or experiment that the release gives no file for, and why."""

    kind: FileKind
    file_key: int
    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for; nothing means everything.

    Attributes:
        mice, behavior_sessions, experiments: ids. Within one kind they add up, between kinds they restrict each other.
        where: SQL boolean over the columns of the project tables, judged per file.
        tables: names of tables; empty for all that are not ingested by name only.
    """

    mice: tuple[int, ...] = ()
    behavior_sessions: tuple[int, ...] = ()
    experiments: tuple[int, ...] = ()
    where: str | None = None
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks by mouse, session and experiment; what could not be planned; and what was odd in the release's tables."""

    tasks: list[FileTask]
    missing: list[MissingFile]
    warnings: list[str]


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
        return self.behavior_session_id if self.ophys_experiment_id is None else self.ophys_experiment_id

    @property
    def order(self) -> tuple[int, int, int]:
        # Ids are positive: a behaviour file comes before the planes of its session.
        return (self.mouse_id, self.behavior_session_id, self.ophys_experiment_id or -1)


def plan(project: ProjectTables, release: Release, selection: Selection, sizes: Mapping[str, int]) -> Plan:
    """The files to read for a selection.

    Behaviour of a session is read from its behaviour file if it has one, else from the first experiment it lists (NWB_TABLES.md 7.5), and
    only if that file is itself selected.

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
    _check_known(files, selection)
    for chosen, id_of in _by_id(selection):
        files = [file for file in files if id_of(file) in chosen]
    if selection.where is not None:
        matching = _matching(project, selection.where)
        files = [file for file in files if (file.kind.value, file.key) in matching]
    # Also to a file that is missing: whoever asks for dff_traces need not hear of a missing behaviour file.
    files = [replace(file, tables=_tables_of(file, tables)) for file in files]
    files = sorted((file for file in files if file.tables), key=lambda file: file.order)
    if not files and any(TABLES[name].subject is not Subject.PROJECT for name in tables):
        raise UsageError(
            f"Nothing is selected: no file of release {release.version} answers to {_described(selection)}. "
            "Behaviour tables come from the behaviour file or the first plane of a session, ophys tables from experiment files."
        )
    tasks = [_task(file, file.object, release, sizes) for file in files if file.object is not None]
    missing = [
        MissingFile(
            f.kind, f.key, f.mouse_id, f.behavior_session_id, f.ophys_session_id, f.ophys_experiment_id, f.problem
        )
        for f in files
        if f.object is None
    ]
    if sizes and (unlisted := [task.object.key for task in tasks if task.bytes is None]):
        warnings.append(
            f"{len(unlisted)} of {len(tasks)} selected files are not in the source's listing, the first of them {unlisted[0]}"
        )
    return Plan(tasks, missing, warnings)


def _rows(project: ProjectTables, name: str, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(project.tables[name].column(column).to_pylist() for column in columns), strict=True)


def _files(project: ProjectTables, release: Release) -> tuple[list[_File], list[str]]:
    """Every file of the release, and sessions that should have one but do not."""
    behavior, ophys = FileKind.BEHAVIOR_SESSION, FileKind.OPHYS_EXPERIMENT
    experiments = list(
        _rows(
            project,
            "ophys_experiments",
            "ophys_experiment_id",
            "ophys_session_id",
            "behavior_session_id",
            "mouse_id",
            "file_id",
        )
    )
    released = {experiment: session for experiment, _, session, _, _ in experiments}
    files: list[_File] = []
    sessions: set[int] = set()
    givers: set[int] = set()
    columns = ("behavior_session_id", "mouse_id", "ophys_session_id", "ophys_experiment_id", "file_id")
    for session, mouse, ophys_session, planes, file_id in _rows(project, "behavior_sessions", *columns):
        sessions.add(session)
        # The released reader's rule. An id of 0 counts as none here, though it is a good file_id of an experiment.
        if file_id is not None and file_id > 0:
            obj = release.files.get(file_id)
            problem = "" if obj else _not_in_manifest("behavior_sessions", file_id, release)
            files.append(_File(behavior, mouse, session, ophys_session, None, True, obj, problem))
        elif planes and released.get(planes[0]) == session:
            givers.add(planes[0])
        else:
            problem = "behavior_sessions gives it neither a file_id nor an experiment to read its behaviour from"
            if planes:
                problem = f"its behaviour is in experiment {planes[0]}, which is not among this session's in ophys_experiments"
            files.append(_File(behavior, mouse, session, ophys_session, None, True, None, problem))
    orphans: set[int] = set()
    for experiment, ophys_session, session, mouse, file_id in experiments:
        obj = release.files.get(file_id)
        problem = "" if obj else _not_in_manifest("ophys_experiments", file_id, release)
        files.append(_File(ophys, mouse, session, ophys_session, experiment, experiment in givers, obj, problem))
        if session not in sessions:
            orphans.add(session)
    warnings: list[str] = []
    if orphans:
        warnings.append(
            f"behaviour sessions {_enumerated(orphans)} have experiments but no row in behavior_sessions: their behaviour is not read"
        )
    return files, warnings


def _not_in_manifest(table: str, file_id: int | None, release: Release) -> str:
    if file_id is None:
        return f"{table} gives it no file_id (empty or -999), so the manifest of release {release.version} has no file for it"
    return f"its file_id {file_id} in {table} is not in the manifest of release {release.version}"


def _task(file: _File, obj: ReleaseObject, release: Release, sizes: Mapping[str, int]) -> FileTask:
    return FileTask(
        release=release.version,
        kind=file.kind,
        file_key=file.key,
        mouse_id=file.mouse_id,
        behavior_session_id=file.behavior_session_id,
        ophys_session_id=file.ophys_session_id,
        ophys_experiment_id=file.ophys_experiment_id,
        gives_behavior=file.gives_behavior,
        object=obj,
        tables=file.tables,
        bytes=sizes.get(obj.key),
    )


def _wanted_tables(names: tuple[str, ...]) -> tuple[str, ...]:
    """The tables to ingest, in their declared order. The ledger is written anyway and cannot be asked for."""
    known = [name for name, table in TABLES.items() if table.subject is not Subject.LEDGER]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"The tables are {', '.join(known)}."
            raise UsageError(f"There is no table {name!r} to select. {hint}")
    return tuple(name for name in known if (name in names if names else not TABLES[name].by_name_only))


def _tables_of(file: _File, wanted: tuple[str, ...]) -> tuple[str, ...]:
    subjects: set[Subject] = set()
    if file.kind is FileKind.OPHYS_EXPERIMENT:
        subjects.add(Subject.OPHYS)
    if file.gives_behavior:
        subjects |= {Subject.BEHAVIOR, Subject.STIMULUS}
    return tuple(name for name in wanted if TABLES[name].subject in subjects)


def _by_id(selection: Selection) -> list[tuple[tuple[int, ...], Callable[[_File], int | None]]]:
    """The ids that were asked for, kind by kind, with what they are compared to."""
    kinds: list[tuple[tuple[int, ...], Callable[[_File], int | None]]] = [
        (selection.mice, lambda file: file.mouse_id),
        (selection.behavior_sessions, lambda file: file.behavior_session_id),
        (selection.experiments, lambda file: file.ophys_experiment_id),
    ]
    return [(frozenset_of, id_of) for frozenset_of, id_of in kinds if frozenset_of]


def _check_known(files: list[_File], selection: Selection) -> None:
    names = ("mouse", "behaviour session", "experiment")
    chosen = (selection.mice, selection.behavior_sessions, selection.experiments)
    known: tuple[set[int | None], ...] = (
        {file.mouse_id for file in files},
        {file.behavior_session_id for file in files},
        {file.ophys_experiment_id for file in files},
    )
    for name, ids, there in zip(names, chosen, known, strict=True):
        if unknown := [id_ for id_ in ids if id_ not in there]:
            raise UsageError(
                f"The release has no {name} {_enumerated(unknown)}. Check the id, or choose another release."
            )


def _described(selection: Selection) -> str:
    parts = [
        f"{name} {_enumerated(ids)}"
        for name, ids in (
            ("mouse", selection.mice),
            ("behaviour session", selection.behavior_sessions),
            ("experiment", selection.experiments),
        )
        if ids
    ]
    if selection.where is not None:
        parts.append(f"where {selection.where}")
    if selection.tables:
        parts.append(f"tables {', '.join(selection.tables)}")
    return "; ".join(parts) or "an empty selection"


def _enumerated(ids: Iterable[int]) -> str:
    ordered = sorted(ids)
    return ", ".join(map(str, ordered[:10])) + (f" and {len(ordered) - 10} more" if len(ordered) > 10 else "")


# --- where -------------------------------------------------------------------------------------------------------------------


def _matching(project: ProjectTables, where: str) -> set[tuple[str, int]]:
    """The files, as (kind, id), of which a SQL boolean is true.

    The expression is the user's text and is trusted with nothing: it is one expression without subqueries, in a locked in-memory
    database that holds one table and may not touch files, network, extensions or Python variables, with bounds on memory and time.
    """
    import duckdb

    with duckdb.connect(":memory:") as con:
        for setting in (
            "enable_external_access = false",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "python_enable_replacements = false",
            "TimeZone = 'UTC'",  # else comparisons of dates depend on the machine
            "threads = 1",
            f"memory_limit = '{_WHERE_MEMORY}'",
        ):
            con.execute(f"SET {setting}")
        columns = _make_files_table(con, project)
        con.execute("SET lock_configuration = true")
        watch = threading.Timer(WHERE_SECONDS, con.interrupt)
        watch.daemon = True
        watch.start()
        try:
            _check_expression(con, where)
            # The line end closes a trailing comment.
            cursor = con.execute(f"SELECT _kind, _key, ({where}\n) FROM files")
            types = [str(column[1]) for column in cursor.description or ()]
            rows = cursor.fetchall()
            expected = con.execute("SELECT count(*) FROM files").fetchone()
        except duckdb.InterruptException:
            raise UsageError(
                f"--where {where!r} took longer than {WHERE_SECONDS:.0f} s and was stopped. Give a simpler condition."
            ) from None
        except (duckdb.Error, UnicodeError) as error:
            raise _bad_where(where, str(error), columns) from None
        finally:
            watch.cancel()
            watch.join()
        if len(types) != 3 or expected != (len(rows),):
            raise _bad_where(where, "it does not give one value per file", columns)
        if types[2] not in ("BOOLEAN", "BOOL", "bool"):
            raise _bad_where(where, f"it gives {types[2]}, not true or false", columns)
        return {(kind, key) for kind, key, true in rows if true}


def _make_files_table(con: duckdb.DuckDBPyConnection, project: ProjectTables) -> list[str]:
    """Makes the table `files`, a row per file; returns the columns an expression may use.

    An experiment's values are those of its own row, then of its imaging session's, then of its behaviour session's. Where the session
    tables hold a list under the name of an experiment's scalar (the experiment and container ids), behaviour files have NULL.
    """
    tables = {"e": "ophys_experiments", "s": "ophys_sessions", "b": "behavior_sessions"}
    for alias, name in tables.items():
        con.register(f"arrow_{name}", project.tables[name])
        con.execute(f"CREATE TABLE {name} AS FROM arrow_{name}")
        con.unregister(f"arrow_{name}")
    owner: dict[str, str] = {}
    for alias, name in tables.items():
        for column in TABLES[name]:
            owner.setdefault(column.name, alias)
    experiment = ", ".join(f'{alias}."{name}"' for name, alias in owner.items())
    in_sessions = {column.name: column.type for column in TABLES["behavior_sessions"]}
    behavior = ", ".join(
        f'b."{name}"' if in_sessions.get(name) is TABLES[tables[alias]][name].type else f'NULL AS "{name}"'
        for name, alias in owner.items()
    )
    con.execute(
        f"CREATE TABLE files AS "
        f"SELECT '{FileKind.OPHYS_EXPERIMENT.value}' AS _kind, e.ophys_experiment_id AS _key, {experiment} FROM ophys_experiments e "
        f"LEFT JOIN ophys_sessions s ON s.ophys_session_id = e.ophys_session_id "
        f"LEFT JOIN behavior_sessions b ON b.behavior_session_id = e.behavior_session_id "
        f"UNION ALL SELECT '{FileKind.BEHAVIOR_SESSION.value}', b.behavior_session_id, {behavior} FROM behavior_sessions b"
    )
    for name in tables.values():
        con.execute(f"DROP TABLE {name}")
    return list(owner)


def _check_expression(con: duckdb.DuckDBPyConnection, where: str) -> None:
    """Raises UsageError unless DuckDB's own parser sees exactly one expression and no query inside it."""
    tree, plain = _parsed(con, where), _parsed(con, "true")
    problem = tree.get("error_message", "it is not one expression")
    if tree.get("error") or len(tree["statements"]) != 1:
        raise _bad_where(where, problem, ())
    node, shape = tree["statements"][0]["node"], plain["statements"][0]["node"]
    selected = node.pop("select_list", [])
    shape.pop("select_list")
    if len(selected) != 1 or node != shape:
        raise _bad_where(where, problem, ())
    if any(part.get("class") == "SUBQUERY" for part in _nodes(selected[0])):
        raise _bad_where(where, "it has a query inside it", ())


def _parsed(con: duckdb.DuckDBPyConnection, expression: str) -> dict[str, Any]:
    row = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT {expression}"]).fetchone()
    return json.loads(row[0]) if row else {}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _bad_where(where: str, problem: str, columns: Iterable[str]) -> UsageError:
    shown = where if len(where) <= 200 else f"{where[:200]}…"
    available = ", ".join(columns)
    return UsageError(
        f"--where {shown!r} cannot be used: {problem.strip()}. Expected one SQL condition that is true or false for each file"
        + (f", over the columns {available}." if available else ", without ';' and without queries in it.")
    )
