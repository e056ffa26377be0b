"""Builds the DuckDB catalog: views over the Parquet files, with comments, aliases and declarations.

The catalog is built beside the old one and renamed into its place: readers keep the old one open.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import duckdb

from pipelines.catalog.connect import connect_files, first_line
from pipelines.lake.damage import DamagedError
from pipelines.lake.store import Store
from pipelines.os_errors import free
from pipelines.sql_text import identifier, literal, table_source
from schemas import SCHEMA_VERSION, TABLES, Table
from schemas.errors import LakeError
from schemas.layout import CATALOG


def _view(table: Table, root: str, *, has_files: bool) -> str:
    """Returns `CREATE VIEW` for a table: declared columns, then the aliases of newer releases."""
    columns = [identifier(c.name) for c in table.columns]
    columns += [f"{identifier(c.name)} AS {identifier(c.alias)}" for c in table.columns if c.alias]
    source = table_source(table, root, has_files=has_files)
    return f"CREATE VIEW {identifier(table.name)} AS SELECT {', '.join(columns)} FROM {source}"


def _comments(table: Table) -> Iterator[str]:
    name = identifier(table.name)
    yield f"COMMENT ON VIEW {name} IS {literal(table.description)}"
    for column in table.columns:
        yield f"COMMENT ON COLUMN {name}.{identifier(column.name)} IS {literal(column.comment)}"
        if column.alias:
            text = f"Newer name of {column.name}. {column.comment}"
            yield f"COMMENT ON COLUMN {name}.{identifier(column.alias)} IS {literal(text)}"


# Long views: one row per cell and frame, for people and tools that want scalars only.
# (name, table of lists, list columns, table with their times or None)
_LONG_VIEWS: tuple[tuple[str, str, tuple[str, ...], str | None], ...] = (
    ("dff_traces_long", "dff_traces", ("dff",), "ophys_timestamps"),
    (
        "corrected_fluorescence_traces_long",
        "corrected_fluorescence_traces",
        ("corrected_fluorescence",),
        "ophys_timestamps",
    ),
    ("events_long", "events", ("events", "filtered_events"), "ophys_timestamps"),
    ("demixed_traces_long", "demixed_traces", ("demixed_trace",), "ophys_timestamps"),
    ("neuropil_traces_long", "neuropil_traces", ("neuropil_trace",), "ophys_timestamps"),
    ("ophys_timestamps_long", "ophys_timestamps", ("timestamps",), None),
    ("stimulus_timestamps_long", "stimulus_timestamps", ("timestamps",), None),
    ("cell_pixels_long", "cell_specimens", ("roi_mask",), None),
)


def _long_view(name: str, table: Table, lists: tuple[str, ...], clock: str | None) -> Iterator[str]:
    keys = [c for c in table.columns if c.name.endswith("_id")]
    if name == "cell_pixels_long":
        selected = ", ".join(identifier(k.name) for k in keys)
        yield (
            f"CREATE VIEW {name} AS SELECT {selected}, "
            "CAST(pixel // field_of_view_width AS BIGINT) AS y, "
            "CAST(pixel % field_of_view_width AS BIGINT) AS x "
            f"FROM (SELECT *, unnest(roi_mask) AS pixel FROM {identifier(table.name)})"
        )
    else:
        selected = ", ".join("t." + identifier(k.name) for k in keys)
        length = f"len(t.{identifier(lists[0])})"
        index = f"unnest(range({length})) AS frame"
        items = ", ".join(f"unnest(t.{identifier(n)}) AS {identifier(n)}" for n in lists)
        source, timestamps = f"{identifier(table.name)} t", ""
        if clock:
            source += f" JOIN {identifier(clock)} c USING (ophys_experiment_id)"
            timestamps = f", unnest(c.timestamps[1:{length}]) AS timestamps"
        yield f"CREATE VIEW {name} AS SELECT {selected}, {index}{timestamps}, {items} FROM {source}"
    comment = f"{table.description} Long form: one row per item of the lists of {table.name}."
    yield f"COMMENT ON VIEW {name} IS {literal(comment)}"


def _tables_rows() -> Iterator[list[Any]]:
    for t in TABLES.values():
        yield [
            t.name,
            t.subject.value,
            t.description,
            list(t.primary_key),
            list(t.order),
            t.storage.value,
            t.partition.name if t.partition else None,
            t.by_name_only,
        ]


def _columns_rows() -> Iterator[list[Any]]:
    for t in TABLES.values():
        for position, c in enumerate(t.columns, start=1):
            yield [
                t.name,
                c.name,
                position,
                c.type.value,
                c.unit,
                c.description,
                c.source or None,
                c.documented,
                not c.required,
                c.alias,
            ]


def _foreign_key_rows() -> Iterator[list[Any]]:
    for t in TABLES.values():
        for key in t.foreign_keys:
            yield [t.name, list(key.columns), key.table, list(key.references)]


_DECLARATIONS = (
    (
        "_tables",
        "table_name VARCHAR PRIMARY KEY, subject VARCHAR, description VARCHAR, "
        "primary_key VARCHAR[], row_order VARCHAR[], storage VARCHAR, partition_column VARCHAR, "
        "by_name_only BOOLEAN",
        "Every table of the lake.",
        _tables_rows,
    ),
    (
        "_columns",
        "table_name VARCHAR, column_name VARCHAR, position INTEGER, type VARCHAR, unit VARCHAR, "
        "description VARCHAR, source VARCHAR, documented BOOLEAN, nullable BOOLEAN, alias VARCHAR, "
        "PRIMARY KEY (table_name, column_name)",
        "Every column of the lake, with unit, description and where its values are in the NWB "
        "files.",
        _columns_rows,
    ),
    (
        "_foreign_keys",
        "table_name VARCHAR, columns VARCHAR[], referenced_table VARCHAR, "
        "referenced_columns VARCHAR[]",
        "How the tables refer to each other; views can hold no constraints.",
        _foreign_key_rows,
    ),
)


def _row(values: Sequence[Any]) -> str:
    """Values as a SQL tuple; for parameters of a statement, DuckDB imports pandas (0.3 s)."""
    return f"({', '.join(_value(v) for v in values)})"


def _value(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            return literal(value)
        case list():
            return f"[{', '.join(_value(v) for v in value)}]"
        case _:
            return str(value)


def _statements(root: str, filled: frozenset[str], release: str) -> Iterator[str]:
    """The statements that make a catalog, in order."""
    for table in TABLES.values():
        yield _view(table, root, has_files=table.name in filled)
        yield from _comments(table)
    for name, source, lists, clock in _LONG_VIEWS:
        yield from _long_view(name, TABLES[source], lists, clock)
    for name, columns, comment, rows in _DECLARATIONS:
        yield f"CREATE TABLE {name} ({columns})"
        yield f"INSERT INTO {name} VALUES {', '.join(_row(row) for row in rows())}"
        yield f"COMMENT ON TABLE {name} IS {literal(comment)}"
    columns = "release VARCHAR, schema_version VARCHAR, root VARCHAR, built_at TIMESTAMP"
    yield f"CREATE TABLE _lake ({columns})"
    built = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
    yield f"INSERT INTO _lake VALUES {_row([release, SCHEMA_VERSION, root, built])}"
    yield "COMMENT ON TABLE _lake IS 'The lake this catalog was built for.'"


def _filled(store: Store) -> frozenset[str]:
    """The tables that have a file."""
    return frozenset(name for name in TABLES if store.files(name))


def build_catalog(store: Store, release: str) -> None:
    """Builds the catalog from the files that the lake has, and replaces the old one atomically.

    Raises:
        DamagedError: a file of the lake cannot be read.
        LakeError: the catalog cannot be written.
    """
    _build(store, release, _filled(store))


class GrowingCatalog:
    """The catalog of a lake while an ingest adds files to it.

    Views list their files at each query, so the catalog changes only when a table gets its first
    file: with the first mouse of a new lake, which can then be queried while others are converted.
    """

    def __init__(self, store: Store, release: str) -> None:
        self._store = store
        self._release = release
        self._built: frozenset[str] | None = None

    def keep_up(self) -> None:
        """Builds the catalog if a table has got its first file; always the first time."""
        known = self._built or frozenset[str]()
        filled = known | {n for n in TABLES if n not in known and self._store.files(n)}
        if filled != self._built:
            # The damaged file may belong to a mouse that this ingest replaces; else `settle` fails.
            with suppress(DamagedError):
                self._build(filled)

    def settle(self) -> None:
        """Builds the catalog at the end of an ingest, if it is not up to date.

        Raises:
            LakeError: as for `build_catalog`.
        """
        filled = _filled(self._store)
        if filled != self._built:
            self._build(filled)

    def _build(self, filled: frozenset[str]) -> None:
        _build(self._store, self._release, filled)
        self._built = filled


def _build(store: Store, release: str, filled: frozenset[str]) -> None:
    store.staging.mkdir(parents=True, exist_ok=True)
    staged = store.staging / f"catalog-{uuid.uuid4().hex}.duckdb"
    try:
        with connect_files(store) as con:
            # More threads would only wait, and take the processors on which files are converted.
            con.execute("SET threads = 1")
            con.execute(f"ATTACH {literal(str(staged))} AS fresh")
            con.execute("USE fresh")
            # One transaction: DuckDB would flush the file to disk after each of 500 statements.
            con.execute(";\n".join(("BEGIN", *_statements(store.root, filled, release), "COMMIT")))
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
