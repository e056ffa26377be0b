"""Which SQL `vblake sql` runs: one statement that reads, and reads the catalog only.

DuckDB's own sandbox (`pipelines.catalog.connect.connect_restricted`) keeps queries away from other files and from settings. It leaves gaps,
all seen in 1.5.5, which are closed here: COPY may write into the lake, also inside EXPLAIN ANALYZE; `s3://bucket/lake/../other` counts as
inside `s3://bucket/lake`; table functions such as `enable_logging` change the process, or end it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from schemas.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_TABLE_FUNCTIONS = frozenset(
    (
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_keywords",
        "duckdb_settings",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "icu_calendar_names",
        "json_each",
        "json_tree",
        "pg_timezone_names",
        "pragma_show",
        "pragma_table_info",
        "pragma_version",
        "range",
        "repeat",
        "repeat_row",
        "summary",
        "unnest",
    )
)
"""Table functions that read no file, change nothing and take no SQL as text."""

_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?(?=[\s(])", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """A statement that may run.

    Attributes:
        sql: the query, without a semicolon, fit to stand in brackets if a line end follows it.
        explain: `EXPLAIN` or `EXPLAIN ANALYZE` where the plan is asked for, else empty.
    """

    sql: str
    explain: str = ""


def checked_query(con: duckdb.DuckDBPyConnection, text: str) -> Query:
    """The one reading statement in a text.

    Raises:
        UsageError: the text is empty, is not SQL, or holds anything but one statement that reads the catalog.
    """
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise UsageError(
            "The SQL holds a NUL character or bytes that are not UTF-8. Give it as UTF-8 text."
        )
    kinds = _kinds(con, text)
    explain = ""
    if kinds == ["EXPLAIN"] and (match := _EXPLAIN.match(text)):
        explain = "EXPLAIN ANALYZE" if match[1] else "EXPLAIN"
        text = text[match.end() :]
        try:
            kinds = _kinds(con, text)
        except UsageError:
            raise UsageError(
                "vblake sql runs EXPLAIN and EXPLAIN ANALYZE of a query, without options or comments in between."
            ) from None
    if not kinds:
        raise UsageError(
            'There is no SQL statement to run. Give one in quotes, e.g. vblake sql "SELECT * FROM trials LIMIT 5".'
        )
    if kinds == ["CREATE", "SELECT"]:
        raise UsageError(
            "vblake sql runs PIVOT only with its values named: PIVOT ... ON column IN (value, ...) USING ...."
        )
    if len(kinds) > 1:
        raise UsageError(
            f"vblake sql runs one statement, and was given {len(kinds)} ({', '.join(kinds)}). Run them one by one."
        )
    if kinds != ["SELECT"]:
        raise UsageError(
            f"vblake sql only reads, and was given {_article(kinds[0])} statement. Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; "
            "to write a result to a file, give --output."
        )
    sql = _without_end(text)
    _check_tree(con, sql)
    return Query(sql, explain)


def _article(kind: str) -> str:
    kind = kind.replace("_", " ")
    return f"an {kind}" if kind[0] in "AEIOU" else f"a {kind}"


def _kinds(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    import duckdb

    try:
        return [statement.type.name for statement in con.extract_statements(text)]
    except duckdb.Error as error:
        raise UsageError(str(error).strip()) from None


def _without_end(text: str) -> str:
    """The text up to the semicolons that end it; a comment may follow them."""
    import duckdb

    data = text.encode()
    end = len(data)
    for offset, _ in reversed(duckdb.tokenize(text)):  # offsets count bytes, comments are no tokens
        if data[offset : offset + 1] != b";":
            break
        end = offset
    return data[:end].decode()


def _check_tree(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuses files and functions that are not in `_TABLE_FUNCTIONS`, wherever they stand in the query."""
    from pipelines.sql_text import literal

    # Not as a parameter: DuckDB imports pandas to look at one (0.2 s).
    row = con.execute(f"SELECT json_serialize_sql({literal(sql)})").fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        # What DuckDB itself turned into a query (PRAGMA table_info(...)) can be read in other ways.
        raise UsageError(
            "vblake sql cannot tell what this statement does. Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN."
        )
    for node in _nodes(tree):
        match node.get("type"):
            case "TABLE_FUNCTION":
                name = str(node["function"]["function_name"])
                if name.lower() not in _TABLE_FUNCTIONS:
                    raise UsageError(
                        f"{name} cannot be used in vblake sql, which reads the lake through its catalog and no other file. "
                        "Query a table (see `vblake tables`), or use DuckDB itself."
                    )
            case "BASE_TABLE" if "/" in (name := str(node.get("table_name", ""))):
                raise UsageError(
                    f"{name!r} is a file; vblake sql reads the lake through its catalog and no other file. "
                    "Query a table (see `vblake tables`), or use DuckDB itself."
                )
            case _:
                pass


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting: list[Any] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield cast("dict[str, Any]", part)
            waiting.extend(cast("dict[str, Any]", part).values())
        elif isinstance(part, list):
            waiting.extend(cast("list[Any]", part))
