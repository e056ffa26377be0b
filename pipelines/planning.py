"""What is to be read: from a release and the user's selection to one task per NWB file."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from pipelines.listed import Listed
from pipelines.project_tables import ProjectTables, rows_of
from pipelines.releases import Release, ReleaseObject
from pipelines.sqltext import literal
from schemas import TABLES, Subject
from schemas.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_WHERE_NODES = frozenset(("BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR"))
_WHERE_OPERATORS = "+ - * / // % & | << >> || ~~ !~~ ~~* !~~* ~~~ ~* !~* ^@ @> <@ &&"
_WHERE_FUNCTIONS = (
    "abs ceil contains date_diff date_part date_trunc day dayofweek ends_with floor greatest hour least left len length like_escape "
    "list_contains list_has_all list_has_any list_value lower minute month now nullif prefix regexp_full_match regexp_matches right "
    "round second starts_with substring suffix timezone to_days to_hours to_minutes to_months to_seconds to_years trim trunc upper year"
)
"""What `where` may use. None gives more than it is given, so that no expression takes long or much memory: DuckDB's memory_limit does not
see `range(1000000000)` (measured: 20 s, 7.7 GB), and its interrupt does not stop it."""


class FileKind(StrEnum):
    """The two kinds of NWB file."""

    BEHAVIOR_SESSION = "behavior_session"
    OPHYS_EXPERIMENT = "ophys_experiment"


@dataclass(frozen=True, slots=True)
class FileTask:
    """One NWB file and the tables to read from it.

    Attributes:
        file_key: behavior_session_id or ophys_experiment_id, by `kind`.
        gives_behavior: whether the session's behaviour tables come from this file.
        tables: tables of the lake, in the order of `schemas.TABLES`; never empty.
        bytes: size of the newest version of the object; None where the listing does not have it.
        cells: ROIs that ophys_cells lists for the experiment; None for behaviour files, and where the release has no such table.
        unlisted: project tables that ophys_experiments refers to for this file, but which do not have it.
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
    cells: tuple[int, ...] | None = None
    unlisted: tuple[str, ...] = ()


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

    def ids(self) -> dict[str, Any]:
        """What tasks and missing files have in common."""
        own = ("kind", "mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id")
        return {"file_key": self.key, **{name: getattr(self, name) for name in own}}

    @property
    def order(self) -> tuple[int, int, int]:
        # Ids are positive: a behaviour file comes before the planes of its session.
        return (self.mouse_id, self.behavior_session_id, self.ophys_experiment_id or -1)


def plan(project: ProjectTables, release: Release, selection: Selection, sizes: Mapping[str, int]) -> Plan:
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
            raise UsageError(f"The release has no {name} {_enumerated(unknown)}. Check it, or choose another release.")
        files = [file for file in files if id_of(file) in ids]
    if selection.where is not None:
        matching = _matching(project, selection.where)
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
    missing = [MissingFile(**file.ids(), reason=file.problem) for file in files if file.object is None]
    if sizes and (unlisted := [task.object.key for task in tasks if task.bytes is None]):
        warnings.append(f"{len(unlisted)} of {len(tasks)} files are not in the source's listing, first {unlisted[0]}")
    return Plan(tasks, missing, warnings)


def _files(project: ProjectTables, release: Release) -> tuple[list[_File], list[str]]:
    """Every file of the release, and sessions that should have one but do not; with warnings."""
    columns = ("behavior_session_id", "mouse_id", "ophys_session_id", "ophys_experiment_id", "file_id")
    sessions = rows_of(project.tables["behavior_sessions"], *columns)
    experiments = rows_of(project.tables["ophys_experiments"], *columns)
    find = _Finder(release, [*(row[-1] or None for row in sessions), *(row[-1] for row in experiments)])
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
            obj, problem = None, f"its behaviour is in experiment {planes[0]}, which ophys_experiments has not for it"
        else:
            obj, problem = None, "behavior_sessions gives neither a file_id nor an experiment to read its behaviour from"
        files.append(_File(FileKind.BEHAVIOR_SESSION, mouse, session, ophys_session, None, True, obj, problem))
    for session, mouse, ophys_session, experiment, file_id in experiments:
        gives = experiment in givers
        obj, problem = find(file_id)
        files.append(_File(FileKind.OPHYS_EXPERIMENT, mouse, session, ophys_session, experiment, gives, obj, problem))
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
            return None, f"its file_id {file_id} is not in the manifest of release {self._release.version}"
        obj = self._release.files[file_id]
        if self._claims[obj.key] > 1:  # nothing tells whose it is
            return None, f"the release gives its file, {obj.key}, to another session or experiment as well"
        return obj, ""


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


def _chosen(selection: Selection) -> list[tuple[str, tuple[int, ...], Callable[[_File], int | None]]]:
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
    return ", ".join(map(str, ordered[:10])) + (f" and {len(ordered) - 10} more" if len(ordered) > 10 else "")


def _matching(project: ProjectTables, where: str) -> set[tuple[str, int]]:
    """The files, as (kind, id), of which a SQL boolean is true.

    The expression is the user's text and is trusted with nothing: it is one expression of known parts, in a locked
    in-memory database that holds one table and may not touch files, network, extensions or Python variables.
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
            "memory_limit = '256MB'",
        ):
            con.execute(f"SET {setting}")
        columns = _make_files_table(con, project)
        con.execute("SET lock_configuration = true")
        try:
            _check_expression(con, where)
            # The line end closes a trailing comment.
            cursor = con.execute(f"SELECT _kind, _key, ({where}\n) FROM files")
            types = [str(column[1]) for column in cursor.description or ()]
            rows = cursor.fetchall()
        except (duckdb.Error, UnicodeError) as error:
            raise _bad_where(where, str(error), columns) from None
        if types[2] not in ("BOOLEAN", "BOOL", "bool"):
            raise _bad_where(where, f"it gives {types[2]}, not true or false", columns)
        return {(kind, key) for kind, key, true in rows if true}


def _make_files_table(con: duckdb.DuckDBPyConnection, project: ProjectTables) -> list[str]:
    """Makes the table `files`, a row per file; returns the columns an expression may use.

    An experiment's values are those of its own row, then of its imaging session's, then of its behaviour session's.
    Where the session tables hold a list under the name of an experiment's scalar (experiment and container ids),
    behaviour files have NULL.
    """
    tables = {"e": "ophys_experiments", "s": "ophys_sessions", "b": "behavior_sessions"}
    for name in tables.values():
        # The bare stream: of a table, DuckDB would make a dataset, for which Arrow imports pandas, for 0.3 s.
        con.register(f"arrow_{name}", project.tables[name].__arrow_c_stream__())
        con.execute(f"CREATE TABLE {name} AS FROM arrow_{name}")
        con.unregister(f"arrow_{name}")
    owner: dict[str, str] = {}
    for alias, name in tables.items():
        for column in TABLES[name]:
            owner.setdefault(column.name, alias)
    experiment = ", ".join(f'{alias}."{name}"' for name, alias in owner.items())
    in_sessions = {column.name: column.type for column in TABLES["behavior_sessions"]}
    behavior = ", ".join(
        f'b."{name}"' if in_sessions.get(name) is TABLES[tables[alias]][name].type else f'NULL AS "{name}"' for name, alias in owner.items()
    )
    con.execute(
        f"CREATE TABLE files AS SELECT 'ophys_experiment' AS _kind, e.ophys_experiment_id AS _key, {experiment} "
        f"FROM ophys_experiments e LEFT JOIN ophys_sessions s USING (ophys_session_id) "
        f"LEFT JOIN behavior_sessions b ON b.behavior_session_id = e.behavior_session_id "
        f"UNION ALL SELECT 'behavior_session', b.behavior_session_id, {behavior} FROM behavior_sessions b"
    )
    for name in tables.values():
        con.execute(f"DROP TABLE {name}")
    return list(owner)


def _check_expression(con: duckdb.DuckDBPyConnection, where: str) -> None:
    """Raises UsageError unless DuckDB's own parser sees exactly one expression, all of known parts."""
    where.encode()  # what the command line could not decode is refused as UnicodeError
    tree, plain = _parsed(con, where), _parsed(con, "true")
    problem = tree.get("error_message", "it is not one expression")
    if tree.get("error") or len(tree["statements"]) != 1:
        raise _bad_where(where, problem, ())
    node, shape = tree["statements"][0]["node"], plain["statements"][0]["node"]
    selected = node.pop("select_list", [])
    shape.pop("select_list")
    if len(selected) != 1 or node != shape:
        raise _bad_where(where, problem, ())
    for part in _nodes(selected[0]):
        name = part.get("function_name")
        if part.get("class", "CONSTANT") not in _WHERE_NODES or part.get("id") == "ARRAY":
            raise _bad_where(where, f"it holds more than values, comparisons and functions of one file ({part.get('class', 'ARRAY')})", ())
        if name is not None and name not in (*_WHERE_OPERATORS.split(), *_WHERE_FUNCTIONS.split()):
            raise _bad_where(where, f"the function {name} may not be used here, only {_WHERE_FUNCTIONS.replace(' ', ', ')}", ())


def _parsed(con: duckdb.DuckDBPyConnection, expression: str) -> dict[str, Any]:
    # Not a parameter, for which DuckDB imports pandas, for 0.2 s.
    row = con.execute(f"SELECT json_serialize_sql({literal(f'SELECT {expression}')})").fetchone()
    return json.loads(row[0]) if row else {}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            node = cast("dict[str, Any]", part)
            yield node
            waiting.extend(node.values())
        elif isinstance(part, list):
            waiting.extend(cast("list[Any]", part))


def _bad_where(where: str, problem: str, columns: Iterable[str]) -> UsageError:
    shown = where if len(where) <= 200 else f"{where[:200]}…"
    available = ", ".join(columns)
    return UsageError(
        f"--where {shown!r} cannot be used: {problem.strip()}. Expected one SQL condition, true or false per file, "
        + (f"over the columns {available}." if available else "without ';' and without queries in it.")
    )
