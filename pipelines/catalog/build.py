"""Builds the DuckDB catalog: views over the Parquet files, with comments, aliases and declarations.

The catalog is built beside the old one and renamed into its place: readers keep the old one open.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from shlex import quote
from typing import Any, TypeAlias

import duckdb

from pipelines.catalog.connect import connect_files
from pipelines.catalog.macros import MACROS, Macro
from pipelines.lake.generations import changing, settle
from pipelines.lake.marker import require_lake
from pipelines.lake.store import DamagedError, Store
from pipelines.os_errors import first_line, free
from pipelines.sql_text import identifier, literal, table_source, values
from schemas import SCHEMA_VERSION, TABLES, Column, Table, Type
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.errors import LakeError
from schemas.layout import CATALOG
from schemas.views import STORAGE, VIEWS, View, joined_on

Listing: TypeAlias = Mapping[str, Mapping[str, int]]
"""Path and bytes of every Parquet file, by table."""


def _selected(column: Column) -> str:
    """The SQL of a column in the view of its table.

    A program gets a TIMESTAMP WITH TIME ZONE from DuckDB only if pytz is installed. The files label
    their dates UTC.
    """
    name = identifier(column.name)
    return f"make_timestamp(epoch_us({name})) AS {name}" if column.type is Type.TIMESTAMP else name


def _table_view(table: Table, root: str, *, has_files: bool) -> Iterator[str]:
    source = table_source(table, root, has_files=has_files)
    columns = ", ".join(map(_selected, table))
    yield from _commented_view(table, f"SELECT {columns} FROM {source}")


def _commented_view(declared: Table | View, query: str, schema: str = "main") -> Iterator[str]:
    """A view with the declared columns, then the aliases of newer releases."""
    aliased = [c for c in declared if c.alias]
    comments = {c.name: c.comment for c in declared}
    comments |= {str(c.alias): f"Newer name of {c.name}. {c.comment}" for c in aliased}
    if aliased:
        aliases = (f"{identifier(c.name)} AS {identifier(str(c.alias))}" for c in aliased)
        query = f"SELECT *, {', '.join(aliases)} FROM ({query})"
    view = f"{schema}.{identifier(declared.name)}"
    yield f"CREATE VIEW {view} AS {query}"
    yield f"COMMENT ON VIEW {view} IS {literal(declared.description)}"
    for column, comment in comments.items():
        yield f"COMMENT ON COLUMN {view}.{identifier(column)} IS {literal(comment)}"


def _macro(macro: Macro) -> Iterator[str]:
    kind = "TABLE " if macro.returns_table else ""
    yield f"CREATE MACRO {macro.signature} AS {kind}{macro.body}"
    yield f"COMMENT ON MACRO {kind}{macro.name} IS {literal(macro.description)}"


def _declared(name: str, columns: str, comment: str, rows: Iterable[Sequence[Any]]) -> list[str]:
    return [
        f"CREATE TABLE {name} ({columns})",
        f"INSERT INTO {name} {values(rows)}",
        f"COMMENT ON TABLE {name} IS {literal(comment)}",
    ]


def _declarations() -> Iterator[str]:
    """The tables that describe tables and columns; views can hold no constraints."""
    tables, views = TABLES.values(), VIEWS.values()
    yield from _declared(
        "_tables",
        "table_name VARCHAR PRIMARY KEY, subject VARCHAR, description VARCHAR, "
        "primary_key VARCHAR[], row_order VARCHAR[], storage VARCHAR, partition_columns VARCHAR[], "
        "by_name_only BOOLEAN",
        f"Every table of the lake, and the views over them, whose storage is {STORAGE}.",
        (
            *(
                (
                    *(t.name, t.subject.value, t.description, t.primary_key, t.order),
                    *(t.storage.value, t.storage.partitions, t.by_name_only),
                )
                for t in tables
            ),
            *(
                (v.name, v.subject.value, v.description, v.primary_key, (), STORAGE, (), False)
                for v in views
            ),
        ),
    )
    yield from _declared(
        "_columns",
        "table_name VARCHAR, column_name VARCHAR, position INTEGER, type VARCHAR, unit VARCHAR, "
        "description VARCHAR, source VARCHAR, documented BOOLEAN, nullable BOOLEAN, alias VARCHAR, "
        "PRIMARY KEY (table_name, column_name)",
        "Every column of tables, views and macros, with unit, description and where its values are "
        "in the NWB files.",
        (
            (
                *(t.name, c.name, position, c.type.value, c.unit, c.description),
                *(c.source or None, c.documented, not c.required, c.alias),
            )
            for t in (*tables, *views, *MACROS.values())
            for position, c in enumerate(t.columns, start=1)
        ),
    )
    yield from _relations((*tables, *views))


def _relations(tables: Sequence[Table | View]) -> Iterator[str]:
    """The tables of how tables and views belong together."""
    yield from _declared(
        "_foreign_keys",
        "table_name VARCHAR, columns VARCHAR[], referenced_table VARCHAR, "
        "referenced_columns VARCHAR[]",
        "How tables and views refer to each other's rows; views can hold no constraints.",
        ((t.name, k.columns, k.table, k.references) for t in tables for k in t.foreign_keys),
    )
    yield from _declared(
        "_joins",
        "table_name VARCHAR, other_table VARCHAR, columns VARCHAR[], "
        "PRIMARY KEY (table_name, other_table)",
        "The columns to name in USING when two tables or views are joined; other columns that both "
        "have need the name of their table.",
        (
            (one.name, other.name, columns)
            for one in tables
            for other in tables
            if one is not other and (columns := joined_on(one, other))
        ),
    )


def _files(listed: Listing) -> Iterator[str]:
    """The table of the lake's files, for lakes on a web server, which lists no folders."""

    def value(path: str, column: str) -> int | None:
        found = re.search(rf"/{column}=(\d+)/", path)
        return int(found[1]) if found else None

    ids = ("mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id")
    rows = [
        (table, path, size, *(value(path, column) for column in ids))
        for table, files in listed.items()
        for path, size in files.items()
    ]
    yield (
        "CREATE TABLE _files (table_name VARCHAR, path VARCHAR PRIMARY KEY, bytes BIGINT, "
        f"{', '.join(f'{column} BIGINT' for column in ids)})"
    )
    if rows:
        yield f"INSERT INTO _files {values(rows)}"
    yield "COMMENT ON TABLE _files IS " + literal(
        "The Parquet files when this catalog was built, with the ids of their folders. A lake that "
        "is read from a web server has these files; elsewhere the views look for files themselves."
    )


def _statements(root: str, listed: Listing, release: str) -> Iterator[str]:
    """The statements that make a catalog, in order."""
    for table in TABLES.values():
        yield from _table_view(table, root, has_files=bool(listed[table.name]))
    for view in VIEWS.values():
        yield from _commented_view(view, view.query)
    yield f"CREATE SCHEMA {BI_SCHEMA}"
    for view in BI_VIEWS.values():
        yield from _commented_view(view, view.query, BI_SCHEMA)
    for macro in MACROS.values():
        yield from _macro(macro)
    yield from _declarations()
    yield from _files(listed)
    built = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
    yield from _declared(
        "_lake",
        "release VARCHAR, schema_version VARCHAR, root VARCHAR, built_at TIMESTAMP",
        "The lake this catalog was built for.",
        [(release, SCHEMA_VERSION, root, built)],
    )


def _listed(store: Store) -> Listing:
    return {name: store.files(name) for name in TABLES}


def build_catalog(store: Store, release: str) -> None:
    """Builds the catalog from the files that the lake has, and replaces the old one atomically.

    Raises:
        DamagedError: a file of the lake cannot be read.
        LakeError: the catalog cannot be written.
    """
    _build(store, release, _listed(store))


def rebuild_catalog(store: Store, wait_s: float = 0.0) -> str:
    """Builds the catalog from the lake's files, and returns the release that they are of.

    Args:
        store: the lake.
        wait_s: how long to wait for another process that writes to the lake, seconds.

    Raises:
        LakeError: there is no lake, another process is writing to it, or `build_catalog` fails.
    """
    settle(store, wait_s)
    release = require_lake(store).release
    with changing(store, wait_s):
        build_catalog(store, release)
    return release


class GrowingCatalog:
    """The catalog of a lake while an ingest adds files to it.

    Views list their files at each query, so the catalog is built when a table gets its first file:
    with the first mouse of a new lake, which can then be queried while others are converted. At the
    end it is built once more, with the list of all files.
    """

    def __init__(self, store: Store, release: str) -> None:
        self._store = store
        self._release = release
        self._built: Listing | None = None

    def keep_up(self) -> None:
        """Builds the catalog if a table has got its first file; always the first time."""
        built = self._built or {}
        if built and not any(self._store.files(n) for n in TABLES if not built[n]):
            return
        # The damaged file may belong to a mouse that this ingest replaces; else `settle` fails.
        with suppress(DamagedError):
            self.settle()

    def settle(self) -> None:
        """Builds the catalog at the end of an ingest, if it is not up to date.

        Raises:
            LakeError: as for `build_catalog`.
        """
        listed = _listed(self._store)
        if listed != self._built:
            _build(self._store, self._release, listed)
            self._built = listed


def _build(store: Store, release: str, listed: Listing) -> None:
    store.staging.mkdir(parents=True, exist_ok=True)
    staged = store.staging / f"catalog-{uuid.uuid4().hex}.duckdb"
    try:
        with connect_files(store) as con:
            # More threads would only wait, and take the processors on which files are converted.
            con.execute("SET threads = 1")
            con.execute(f"ATTACH {literal(str(staged))} AS fresh")
            con.execute("USE fresh")
            # One transaction: DuckDB would flush the file to disk after each of 500 statements.
            con.execute(";\n".join(("BEGIN", *_statements(store.root, listed, release), "COMMIT")))
            con.execute("USE memory")
            con.execute("DETACH fresh")
    except (duckdb.OperationalError, duckdb.FatalException, duckdb.InvalidInputException) as error:
        room = free(store.staging)
        for left in store.staging.glob(f"{staged.name}*"):
            left.unlink()
        if isinstance(error, duckdb.InvalidInputException):
            raise DamagedError(
                f"{store.root}/{CATALOG} was not rebuilt, because a file of the lake cannot be "
                f"read ({first_line(error)}). `vblake verify --lake {quote(store.root)}` says how "
                "to repair it. The rows of the other tables are in the lake."
            ) from error
        raise LakeError(
            f"{store.root}/{CATALOG} cannot be written ({first_line(error)}; {room}). Repair the "
            f"cause and run `vblake catalog --lake {quote(store.root)}`. The tables are complete."
        ) from error
    store.publish(staged, CATALOG)
