"""Checks that SQL for `vblake sql` is one statement that reads.

DuckDB names the type of each statement. The query is then run inside brackets, where only a SELECT
can stand: that also refuses what DuckDB counts as a SELECT although it writes (DuckDB 2.0 accepts
`WITH t AS (COPY ... TO ...) FROM t`, but not in brackets). Which files a query can read is up to
DuckDB's own settings, see `pipelines.catalog.connect.connect_restricted`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?(?=[\s(])", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """A statement that only reads.

    Attributes:
        sql: the query, without EXPLAIN and without the semicolon that ends it.
        explain: `EXPLAIN` or `EXPLAIN ANALYZE` if the user asks for the plan, else empty.
    """

    sql: str
    explain: str = ""

    @property
    def bracketed(self) -> str:
        r"""The query in brackets, on lines of its own: it may end in a comment.

        >>> Query("SELECT 1 -- one").bracketed
        '(\nSELECT 1 -- one\n)'
        """
        return f"(\n{self.sql}\n)"


def checked_query(con: duckdb.DuckDBPyConnection, text: str) -> Query:
    """Returns the one reading statement in a text.

    >>> import duckdb
    >>> checked_query(duckdb.connect(), "explain analyze SELECT 42; -- the answer")
    Query(sql=' SELECT 42', explain='EXPLAIN ANALYZE')

    Raises:
        UsageError: the text is empty, is not SQL, or is not exactly one statement that reads.
    """
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise UsageError(
            "The SQL contains a NUL character or bytes that are not UTF-8. Give it as UTF-8 text."
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
                "vblake sql runs EXPLAIN and EXPLAIN ANALYZE of a query, "
                "without options or comments in between."
            ) from None
    if not kinds:
        raise UsageError(
            "There is no SQL statement to run. Give one in quotes, "
            'e.g. vblake sql "SELECT * FROM trials LIMIT 5".'
        )
    if kinds == ["MULTI"]:
        raise UsageError(
            "vblake sql runs PIVOT only if its values are named: "
            "PIVOT ... ON column IN (value, ...) USING ...."
        )
    if len(kinds) > 1:
        raise UsageError(
            f"vblake sql runs one statement, but the text has {len(kinds)} ({', '.join(kinds)}). "
            "Run them one by one."
        )
    if kinds != ["SELECT"]:
        raise UsageError(
            f"vblake sql only reads, but the text is {_article(kinds[0])} statement. "
            "Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; "
            "to write a result to a file, give --output."
        )
    return Query(_without_semicolon(text), explain)


def _article(kind: str) -> str:
    kind = kind.replace("_", " ")
    return f"an {kind}" if kind[0] in "AEIOU" else f"a {kind}"


def _kinds(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The types of the statements in a text."""
    import duckdb

    try:
        statements = con.extract_statements(text)
    except duckdb.Error as error:
        raise UsageError(str(error).strip()) from None
    # DuckDB 1.5 rewrites some statements: PIVOT to two without text, PRAGMA to a SELECT.
    if len(statements) == 2 and not any(statement.query for statement in statements):
        return ["MULTI"]
    return [
        statement.type.name if statement.query in text else "PRAGMA" for statement in statements
    ]


def _without_semicolon(text: str) -> str:
    """The text up to the semicolons that end it; a comment may follow them."""
    import duckdb

    data = text.encode()
    end = len(data)
    for offset, kind in reversed(duckdb.tokenize(text)):  # offsets count bytes
        if kind == duckdb.token_type.comment:
            continue
        if data[offset : offset + 1] != b";":
            break
        end = offset
    return data[:end].decode()
