"""The --where option: for which files a SQL condition over the project tables is true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.release.project_tables import ProjectTables
from schemas import TABLES
from schemas.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_SETTINGS = (
    "enable_external_access = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "python_enable_replacements = false",
    "TimeZone = 'UTC'",  # otherwise comparisons of dates depend on the machine
    "threads = 1",
    "memory_limit = '256MB'",
)


def matching_files(project: ProjectTables, where: str) -> set[tuple[str, int]]:
    """Returns the files, as (kind, id), for which a SQL condition is true.

    The condition is evaluated in an in-memory database that holds the project tables and can reach
    neither files nor the network, extensions or Python variables. DuckDB's own parser makes sure
    that the text is one expression.

    Raises:
        UsageError: the text is not one SQL expression that is true or false for a file.
    """
    import duckdb

    with duckdb.connect(":memory:") as con:
        for setting in _SETTINGS:
            con.execute(f"SET {setting}")
        columns = _make_files_table(con, project)
        con.execute("SET lock_configuration = true")
        try:
            where.encode()  # fails on bytes of the command line that are not UTF-8
            duckdb.SQLExpression(where)  # fails unless the text is one expression
            # The line end closes a trailing comment.
            cursor = con.execute(f"SELECT _kind, _key, (\n{where}\n) FROM files")
            type_ = str((cursor.description or [])[2][1])
            rows = cursor.fetchall()
        except (duckdb.Error, UnicodeError) as error:
            raise _bad_where(where, str(error), columns) from None
        if type_ != "BOOLEAN":
            raise _bad_where(where, f"its type is {type_}, not BOOLEAN", columns)
        return {(kind, key) for kind, key, true in rows if true}


def _make_files_table(con: duckdb.DuckDBPyConnection, project: ProjectTables) -> list[str]:
    """Makes the table `files`, a row per file, and returns the columns for conditions.

    An experiment has the values of its own row, then those of its imaging session, then those of
    its behaviour session. A behaviour file has NULL in the columns that behavior_sessions lacks or
    holds as a list of what is one value for an experiment (experiment and container ids).
    """
    tables = {"e": "ophys_experiments", "s": "ophys_sessions", "b": "behavior_sessions"}
    for name in tables.values():
        con.from_arrow(project.tables[name]).create(name)
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
        f"CREATE TABLE files AS "
        f"SELECT 'ophys_experiment' AS _kind, e.ophys_experiment_id AS _key, {experiment} "
        f"FROM ophys_experiments e LEFT JOIN ophys_sessions s USING (ophys_session_id) "
        f"LEFT JOIN behavior_sessions b ON b.behavior_session_id = e.behavior_session_id "
        f"UNION ALL SELECT 'behavior_session', b.behavior_session_id, {behavior} "
        f"FROM behavior_sessions b"
    )
    return list(owner)


def _bad_where(where: str, problem: str, columns: Iterable[str]) -> UsageError:
    shown = where if len(where) <= 200 else f"{where[:200]}…"
    return UsageError(
        f"--where {shown!r} cannot be evaluated: {problem.strip()}\nExpected one SQL condition "
        "that is true or false for each file, with text in single quotes, over the columns "
        f"{', '.join(columns)}."
    )
