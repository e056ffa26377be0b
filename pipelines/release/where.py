"""The --where expression: which files a SQL boolean over the project tables is true for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.release.project_tables import ProjectTables
from schemas import TABLES
from schemas.errors import UsageError

if TYPE_CHECKING:
    import duckdb
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from pipelines.sql_text import literal

if TYPE_CHECKING:
    import duckdb

_WHERE_NODES = frozenset(
    (
        "BETWEEN",
        "CASE",
        "CAST",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "OPERATOR",
    )
)


_WHERE_OPERATORS = "+ - * / // % & | << >> || ~~ !~~ ~~* !~~* ~~~ ~* !~* ^@ @> <@ &&"


_WHERE_FUNCTIONS = (
    "abs ceil contains date_diff date_part date_trunc day dayofweek ends_with floor greatest hour least left len length like_escape "
    "list_contains list_has_all list_has_any list_value lower minute month now nullif prefix regexp_full_match regexp_matches right "
    "round second starts_with substring suffix timezone to_days to_hours to_minutes to_months to_seconds to_years trim trunc upper year"
)
"""What `where` may use. None gives more than it is given, so that no expression takes long or much memory: DuckDB's memory_limit does not
see `range(1000000000)` (measured: 20 s, 7.7 GB), and its interrupt does not stop it."""


def matching_files(project: ProjectTables, where: str) -> set[tuple[str, int]]:
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
        f'b."{name}"'
        if in_sessions.get(name) is TABLES[tables[alias]][name].type
        else f'NULL AS "{name}"'
        for name, alias in owner.items()
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
            raise _bad_where(
                where,
                f"it holds more than values, comparisons and functions of one file ({part.get('class', 'ARRAY')})",
                (),
            )
        if name is not None and name not in (*_WHERE_OPERATORS.split(), *_WHERE_FUNCTIONS.split()):
            raise _bad_where(
                where,
                f"the function {name} may not be used here, only {_WHERE_FUNCTIONS.replace(' ', ', ')}",
                (),
            )


def _bad_where(where: str, problem: str, columns: Iterable[str]) -> UsageError:
    shown = where if len(where) <= 200 else f"{where[:200]}…"
    available = ", ".join(columns)
    return UsageError(
        f"--where {shown!r} cannot be used: {problem.strip()}. Expected one SQL condition, true or false per file, "
        + (
            f"over the columns {available}."
            if available
            else "without ';' and without queries in it."
        )
    )


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
