"""The tables of a catalog that describe the lake: its tables, columns, keys, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pipelines.catalog.macros import MACROS
from pipelines.sql_text import made_in
from schemas import SCHEMA_VERSION, TABLES, Table
from schemas.layout import folder_values
from schemas.views import STORAGE, VIEWS, View, joined_on

Listing: TypeAlias = Mapping[str, Mapping[str, int]]
"""Path and bytes of every Parquet file, by table."""


IDS = ("mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id")
"""The ids by which folders are named."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A table of a catalog with its rows.

    Attributes:
        columns: DuckDB type by name.
        comment: what the table is.
        rows: in order.
        primary_key: columns that together are unique; empty if there are none.
    """

    name: str
    columns: Mapping[str, str]
    comment: str
    rows: Sequence[Sequence[Any]]
    primary_key: tuple[str, ...] = ()


def declarations() -> Iterator[Declared]:
    """What describes tables, views and macros; views can hold no constraints."""
    yield _tables()
    yield _columns()
    tables = (*TABLES.values(), *VIEWS.values())
    yield Declared(
        "_foreign_keys",
        {
            "table_name": "VARCHAR",
            "columns": "VARCHAR[]",
            "referenced_table": "VARCHAR",
            "referenced_columns": "VARCHAR[]",
        },
        "How tables and views refer to each other's rows; views can hold no constraints.",
        [(t.name, k.columns, k.table, k.references) for t in tables for k in t.foreign_keys],
    )
    yield Declared(
        "_joins",
        {"table_name": "VARCHAR", "other_table": "VARCHAR", "columns": "VARCHAR[]"},
        "The columns to name in USING when two tables or views are joined; other columns that both "
        "have need the name of their table.",
        [
            (one.name, other.name, columns)
            for one in tables
            for other in tables
            if one is not other and (columns := joined_on(one, other))
        ],
        ("table_name", "other_table"),
    )


def _tables() -> Declared:
    def row(t: Table) -> Sequence[Any]:
        about = (t.name, t.subject.value, t.description, t.primary_key, t.order)
        return (*about, t.storage.value, t.storage.partitions, t.by_name_only)

    def row_of_view(v: View) -> Sequence[Any]:
        about = (v.name, v.subject.value, v.description, v.primary_key)
        return (*about, (), STORAGE, (), False)

    return Declared(
        "_tables",
        {
            **dict.fromkeys(("table_name", "subject", "description"), "VARCHAR"),
            **dict.fromkeys(("primary_key", "row_order"), "VARCHAR[]"),
            "storage": "VARCHAR",
            "partition_columns": "VARCHAR[]",
            "by_name_only": "BOOLEAN",
        },
        f"Every table of the lake, and the views over them, whose storage is {STORAGE}.",
        [*map(row, TABLES.values()), *map(row_of_view, VIEWS.values())],
        ("table_name",),
    )


def _columns() -> Declared:
    return Declared(
        "_columns",
        {
            "table_name": "VARCHAR",
            "column_name": "VARCHAR",
            "position": "INTEGER",
            **dict.fromkeys(("type", "unit", "description", "source"), "VARCHAR"),
            "documented": "BOOLEAN",
            "nullable": "BOOLEAN",
            "alias": "VARCHAR",
        },
        "Every column of tables, views and macros, with unit, description and where its values are "
        "in the NWB files.",
        [
            (
                *(t.name, c.name, position, c.type.value, c.unit, c.description),
                *(c.source or None, c.documented, not c.required, c.alias),
            )
            for t in (*TABLES.values(), *VIEWS.values(), *MACROS.values())
            for position, c in enumerate(t.columns, start=1)
        ],
        ("table_name", "column_name"),
    )


def files(listed: Listing) -> Declared:
    """The lake's files, for lakes on a web server, which lists no folders."""

    def ids(path: str) -> list[int | None]:
        texts = folder_values(path)
        values = (texts.get(column, "") for column in IDS)
        return [int(value) if value.isdecimal() else None for value in values]

    return Declared(
        "_files",
        {
            "table_name": "VARCHAR",
            "path": "VARCHAR",
            "bytes": "BIGINT",
            **dict.fromkeys(IDS, "BIGINT"),
        },
        "The Parquet files when this catalog was built, with the ids of their folders. A lake that "
        "is read from a web server has these files; elsewhere the views look for files themselves.",
        [
            (table, path, size, *ids(path))
            for table, files in listed.items()
            for path, size in files.items()
        ],
        ("path",),
    )


def lake(release: str, root: str | None = None) -> Declared:
    """The lake itself.

    Args:
        release: its release.
        root: its place; None if it is published: then its files are those in `_files`.
    """
    built = root and datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
    return Declared(
        "_lake",
        {
            **dict.fromkeys(("release", "schema_version", "root"), "VARCHAR"),
            "built_at": "TIMESTAMP",
        },
        "The lake." if root is None else made_in(root),
        [(release, SCHEMA_VERSION, root, built)],
    )
