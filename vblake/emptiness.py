"""Says why a table has no rows: a query on a table that was never ingested looks like an answer.

Views of the catalog have no rows where the lake has no files. The ledger, `source_files`, says
whether that is what the released files hold, or whether nobody has read them for the table yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from shlex import quote
from typing import Any

import duckdb

from vblake.connection import literal

EmptyTables = dict[str, list[str]]
"""The tables without files that each view of a catalog reads; of a table, the table itself."""


def empty_tables(connection: duckdb.DuckDBPyConnection) -> EmptyTables:
    """The tables of a catalog that had no files when it was built, by the views that read them."""
    rows = connection.execute(
        "SELECT if(v.schema_name = 'main', '', v.schema_name || '.') || v.view_name, v.sql, "
        "v.schema_name <> 'main' OR t.storage = 'view', len(t.partition_columns) > 0 "
        "FROM duckdb_views() v LEFT JOIN _tables t ON t.table_name = v.view_name "
        "WHERE v.database_name = current_database() ORDER BY v.schema_name <> 'main', v.view_oid"
    ).fetchall()
    # The project tables are not ingested: a release has them or not.
    empty: EmptyTables = {
        name: [name]
        for name, sql, is_view, ingested in rows
        if not is_view and ingested and "read_parquet(" not in sql
    }
    for name, sql, is_view, _ in rows if empty else ():
        if is_view and (found := _read_by(connection, sql.partition(" AS ")[2], empty)):
            empty[name] = found
    return empty


def why_no_rows(
    connection: duckdb.DuckDBPyConnection, root: str, query: str, empty: EmptyTables
) -> Iterator[str]:
    """For each table that a query reads and that was never ingested, a sentence that says so.

    Args:
        connection: to the catalog.
        root: where the lake is.
        query: one statement.
        empty: from `empty_tables`.
    """
    for table in _read_by(connection, query, empty) if empty else ():
        if why := why_missing(connection, root, table):
            yield why


def _read_by(connection: duckdb.DuckDBPyConnection, query: str, empty: EmptyTables) -> list[str]:
    """The tables without files that a query reads, each once."""
    # DuckDB 2 refuses other work while a row is left to be fetched.
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    names = _table_names(json.loads(text))
    return list(dict.fromkeys(table for name in names for table in empty.get(name.lower(), ())))


def _table_names(node: Any) -> Iterator[str]:
    """The names of tables in a query that DuckDB has parsed, with the schema of those in `bi`."""
    if isinstance(node, dict):
        if node.get("show_type") == "DESCRIBE":
            return  # says nothing of rows
        if node.get("type") == "BASE_TABLE":
            schema = "bi." if node["schema_name"] == "bi" else ""
            yield schema + node["table_name"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _table_names(inner)


def why_missing(
    connection: duckdb.DuckDBPyConnection,
    root: str,
    table: str,
    where: str = "true",
    whose: str = "",
    option: str = "",
) -> str | None:
    """Why a table has no rows by the ledger; None if it was ingested without any.

    Args:
        connection: to the catalog.
        root: where the lake is.
        table: a table that is ingested from files.
        where: which files, as a condition on `source_files`; by default all.
        whose: whose rows, e.g. ` of experiment 951980471`.
        option: what selects its files in `vblake ingest`.
    """
    outcomes = connection.execute(
        "SELECT DISTINCT t.status, t.rule, t.expected, t.found "
        f"FROM (SELECT unnest(tables) AS t FROM source_files WHERE {where}) "
        f'WHERE t."table" = {literal(table)} ORDER BY ALL'
    ).fetchall()
    if any(status in ("ingested", "absent") for status, *_ in outcomes):
        return None
    start = f"{root} has no {table}{whose}: "
    for status, rule, expected, found in outcomes:
        if status == "held_back":
            return (
                f"{start}it was held back by the rule {rule} (expected {expected}, found {found}). "
                "`vblake rules` says what the rule protects."
            )
    if root.startswith(("http://", "https://")):
        return f"{start}it was not ingested where the lake was made."
    return (
        f"{start}it was not ingested. "
        f"Use `vblake ingest --lake {quote(root)} {option}--tables {table}`."
    )
