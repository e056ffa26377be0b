"""Writes a DuckLake catalog: a DuckDB file by the specification of DuckLake 1.0.

https://ducklake.select/docs/stable/specification/introduction describes the tables. They are
written without DuckLake's extension, which exists for some versions of DuckDB only. A published
state of the lake is a snapshot: rows of the catalog hold from `begin_snapshot` to before
`end_snapshot`, and rows that hold still have none.

DuckLake reads the columns of a Parquet file by their names (`ducklake_name_mapping`) and takes the
Hive columns from the names of folders, as the files lack both field ids and Hive columns. Files of
some tables have dates with a time zone, or columns with a newer name, which only a view can give:
these tables are in the schema `stored`, and a view has their name in `main`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.catalog.build import selected, with_aliases
from pipelines.catalog.declared import Declared
from pipelines.catalog.macros import MACROS, Macro
from pipelines.frozen.files import (
    ColumnFacts,
    Footer,
    FrozenFile,
    facts_of_folders,
)
from pipelines.sql_text import identifier, literal, values
from schemas import TABLES, Table, Type
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.errors import LakeError
from schemas.views import VIEWS

SPECIFICATION = "1.0"
MAIN, STORED, BI = 0, 1, 2
_SCHEMAS = {MAIN: "main", STORED: "stored", BI: BI_SCHEMA}
"""The schemas, by id."""

_TABLES = """
CREATE TABLE ducklake_metadata (key VARCHAR NOT NULL, value VARCHAR NOT NULL, scope VARCHAR,
    scope_id BIGINT);
CREATE TABLE ducklake_snapshot (snapshot_id BIGINT PRIMARY KEY, snapshot_time TIMESTAMPTZ,
    schema_version BIGINT, next_catalog_id BIGINT, next_file_id BIGINT);
CREATE TABLE ducklake_snapshot_changes (snapshot_id BIGINT PRIMARY KEY, changes_made VARCHAR,
    author VARCHAR, commit_message VARCHAR, commit_extra_info VARCHAR);
CREATE TABLE ducklake_schema (schema_id BIGINT PRIMARY KEY, schema_uuid UUID,
    begin_snapshot BIGINT, end_snapshot BIGINT, schema_name VARCHAR, path VARCHAR,
    path_is_relative BOOLEAN);
CREATE TABLE ducklake_table (table_id BIGINT, table_uuid UUID, begin_snapshot BIGINT,
    end_snapshot BIGINT, schema_id BIGINT, table_name VARCHAR, path VARCHAR,
    path_is_relative BOOLEAN);
CREATE TABLE ducklake_view (view_id BIGINT, view_uuid UUID, begin_snapshot BIGINT,
    end_snapshot BIGINT, schema_id BIGINT, view_name VARCHAR, dialect VARCHAR, sql VARCHAR,
    column_aliases VARCHAR);
CREATE TABLE ducklake_tag (object_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT,
    key VARCHAR, value VARCHAR);
CREATE TABLE ducklake_column_tag (table_id BIGINT, column_id BIGINT, begin_snapshot BIGINT,
    end_snapshot BIGINT, key VARCHAR, value VARCHAR);
CREATE TABLE ducklake_data_file (data_file_id BIGINT PRIMARY KEY, table_id BIGINT,
    begin_snapshot BIGINT, end_snapshot BIGINT, file_order BIGINT, path VARCHAR,
    path_is_relative BOOLEAN, file_format VARCHAR, record_count BIGINT, file_size_bytes BIGINT,
    footer_size BIGINT, row_id_start BIGINT, partition_id BIGINT, encryption_key VARCHAR,
    mapping_id BIGINT, partial_max BIGINT);
CREATE TABLE ducklake_file_column_stats (data_file_id BIGINT, table_id BIGINT, column_id BIGINT,
    column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT, min_value VARCHAR,
    max_value VARCHAR, contains_nan BOOLEAN, extra_stats VARCHAR);
CREATE TABLE ducklake_file_variant_stats (data_file_id BIGINT, table_id BIGINT, column_id BIGINT,
    variant_path VARCHAR, shredded_type VARCHAR, column_size_bytes BIGINT, value_count BIGINT,
    null_count BIGINT, min_value VARCHAR, max_value VARCHAR, contains_nan BOOLEAN,
    extra_stats VARCHAR);
CREATE TABLE ducklake_delete_file (delete_file_id BIGINT PRIMARY KEY, table_id BIGINT,
    begin_snapshot BIGINT, end_snapshot BIGINT, data_file_id BIGINT, path VARCHAR,
    path_is_relative BOOLEAN, format VARCHAR, delete_count BIGINT, file_size_bytes BIGINT,
    footer_size BIGINT, encryption_key VARCHAR, partial_max BIGINT);
CREATE TABLE ducklake_column (column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT,
    table_id BIGINT, column_order BIGINT, column_name VARCHAR, column_type VARCHAR,
    initial_default VARCHAR, default_value VARCHAR, nulls_allowed BOOLEAN, parent_column BIGINT,
    default_value_type VARCHAR, default_value_dialect VARCHAR);
CREATE TABLE ducklake_table_stats (table_id BIGINT, record_count BIGINT, next_row_id BIGINT,
    file_size_bytes BIGINT);
CREATE TABLE ducklake_table_column_stats (table_id BIGINT, column_id BIGINT,
    contains_null BOOLEAN, contains_nan BOOLEAN, min_value VARCHAR, max_value VARCHAR,
    extra_stats VARCHAR);
CREATE TABLE ducklake_partition_info (partition_id BIGINT, table_id BIGINT,
    begin_snapshot BIGINT, end_snapshot BIGINT);
CREATE TABLE ducklake_partition_column (partition_id BIGINT, table_id BIGINT,
    partition_key_index BIGINT, column_id BIGINT, transform VARCHAR);
CREATE TABLE ducklake_file_partition_value (data_file_id BIGINT, table_id BIGINT,
    partition_key_index BIGINT, partition_value VARCHAR);
CREATE TABLE ducklake_files_scheduled_for_deletion (data_file_id BIGINT, path VARCHAR,
    path_is_relative BOOLEAN, schedule_start TIMESTAMPTZ);
CREATE TABLE ducklake_inlined_data_tables (table_id BIGINT, table_name VARCHAR,
    schema_version BIGINT);
CREATE TABLE ducklake_column_mapping (mapping_id BIGINT, table_id BIGINT, type VARCHAR);
CREATE TABLE ducklake_name_mapping (mapping_id BIGINT, column_id BIGINT, source_name VARCHAR,
    target_field_id BIGINT, parent_column BIGINT, is_partition BOOLEAN);
CREATE TABLE ducklake_schema_versions (begin_snapshot BIGINT, schema_version BIGINT,
    table_id BIGINT);
CREATE TABLE ducklake_macro (schema_id BIGINT, macro_id BIGINT, macro_name VARCHAR,
    begin_snapshot BIGINT, end_snapshot BIGINT);
CREATE TABLE ducklake_macro_impl (macro_id BIGINT, impl_id BIGINT, dialect VARCHAR, sql VARCHAR,
    type VARCHAR);
CREATE TABLE ducklake_macro_parameters (macro_id BIGINT, impl_id BIGINT, column_id BIGINT,
    parameter_name VARCHAR, parameter_type VARCHAR, default_value VARCHAR,
    default_value_type VARCHAR);
CREATE TABLE ducklake_sort_info (sort_id BIGINT, table_id BIGINT, begin_snapshot BIGINT,
    end_snapshot BIGINT);
CREATE TABLE ducklake_sort_expression (sort_id BIGINT, table_id BIGINT, sort_key_index BIGINT,
    expression VARCHAR, dialect VARCHAR, sort_direction VARCHAR, null_order VARCHAR);
"""

_TYPES = {
    "bigint": "int64",
    "integer": "int32",
    "uinteger": "uint32",
    "utinyint": "uint8",
    "double": "float64",
    "float": "float32",
    "boolean": "boolean",
    "varchar": "varchar",
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamptz",
}
"""DuckLake's names of types, by DuckDB's."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of a table in a DuckLake, or what is nested in one.

    Attributes:
        id: counted from 1, in the order of the declaration, what is nested after what it is in.
        source: name in a Parquet file.
        parent: id of what it is nested in.
    """

    id: int
    name: str
    source: str
    type: str
    nullable: bool
    parent: int | None

    @property
    def is_leaf(self) -> bool:
        return self.type not in ("list", "struct")


def _fields(columns: Iterable[tuple[str, str, bool]]) -> tuple[_Field, ...]:
    """The fields of columns that are given by name, DuckDB type and whether they may be NULL."""
    found: list[_Field] = []

    def add(
        name: str, source: str, type_: Any, nullable: bool = True, parent: int | None = None
    ) -> None:
        nested = type_.id in ("list", "struct")
        own = len(found) + 1
        found.append(
            _Field(
                own,
                name,
                source,
                type_.id if nested else _TYPES[str(type_).lower()],
                nullable,
                parent,
            )
        )
        if type_.id == "list":
            add("element", "list", dict(type_.children)["child"], parent=own)
        elif type_.id == "struct":
            for child, of_child in type_.children:
                add(child, child, of_child, parent=own)

    for name, type_, nullable in columns:
        add(name, name, duckdb.sqltype(type_), nullable)
    return tuple(found)


def _fields_of_table(table: Table) -> tuple[_Field, ...]:
    labelled = {Type.TIMESTAMP: "TIMESTAMPTZ"}  # as in the files
    return _fields((c.name, labelled.get(c.type, c.type.value), not c.required) for c in table)


def _has_view(table: Table) -> bool:
    """Whether what users see of a table differs from what its files have."""
    return any(c.alias is not None or c.type is Type.TIMESTAMP for c in table)


@dataclass(frozen=True, slots=True)
class State:
    """What a snapshot is to hold.

    Attributes:
        message: said of the snapshot in `snapshots()`.
        origin: whose data it holds, as in the marker of the lake.
        data_path: where the files are: a URL or a path, with a slash at the end.
        files: the Parquet files.
        declared: tables whose rows are in the catalog itself.
        footer: reads the footer of a file that the catalog has not had.
    """

    message: str
    origin: str
    data_path: str
    files: Sequence[FrozenFile]
    declared: Sequence[Declared]
    footer: Callable[[FrozenFile], Footer]


def write_snapshot(path: Path, state: State) -> int | None:
    """Adds a snapshot to a catalog, which is made if there is no such file.

    A kill in between leaves a file that is of no use: write a copy, then put it in place.

    Args:
        path: the catalog, a local file.
        state: what the snapshot holds.

    Returns:
        Number of the snapshot. None if the last one holds the same; then nothing is written.

    Raises:
        LakeError: the file is none of our catalogs.
    """
    fresh = not path.exists()
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        # Small blocks, as readers fetch whole ones: ATTACH moved 1.3 instead of 5.5 MB of the demo
        # lake's catalog, in as many requests. DuckDB before 1.2 cannot read them.
        small = "STORAGE_VERSION 'v1.2.0', BLOCK_SIZE 16384"
        con.execute(f"ATTACH {literal(str(path))} AS lake ({small})")
        con.execute("USE lake")
        con.execute("BEGIN")
        if fresh:
            _create(con)
        else:
            _check(con, path, state.origin)
        number = _Snapshot(con).write(state)
        con.execute("ROLLBACK" if number is None else "COMMIT")
        con.execute("USE memory")
        con.execute("DETACH lake")
    return number


def _create(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_TABLES)
    facts = {
        "version": SPECIFICATION,
        "created_by": f"vblake {version('vblake')}",
        "data_path": "./",
        "encrypted": "false",
    }
    con.execute(f"INSERT INTO ducklake_metadata (key, value) {values(facts.items())}")
    con.execute(f"INSERT INTO ducklake_snapshot VALUES (0, now(), 0, {len(_SCHEMAS)}, 0)")
    made = ",".join(f"created_schema:{identifier(name)}" for name in _SCHEMAS.values())
    con.execute(
        f"INSERT INTO ducklake_snapshot_changes VALUES (0, {literal(made)}, NULL, NULL, NULL)"
    )
    for number, name in _SCHEMAS.items():
        con.execute(
            f"INSERT INTO ducklake_schema VALUES ({number}, {literal(str(uuid.uuid4()))}, 0, NULL, "
            f"{literal(name)}, '', true)"
        )


def _check(con: duckdb.DuckDBPyConnection, path: Path, origin: str) -> None:
    try:
        found = dict(con.execute("SELECT key, value FROM ducklake_metadata").fetchall())
    except duckdb.CatalogException:
        found = {}
    if found.get("version") != SPECIFICATION or not found.get("created_by", "").startswith(
        "vblake"
    ):
        raise LakeError(
            f"{path.name} is no catalog of `vblake publish` (expected DuckLake {SPECIFICATION} by "
            f"vblake, found {found.get('version')} by {found.get('created_by')}). "
            "Give another --to."
        )
    ((known,),) = con.execute(
        "SELECT commit_extra_info FROM ducklake_snapshot_changes ORDER BY snapshot_id DESC LIMIT 1"
    ).fetchall()
    if known != origin:
        raise LakeError(
            f"The data published there are another project's: {known!r}, those of the lake "
            f"{origin!r}. Give another --to."
        )


class _Snapshot:
    """The snapshot that is being written."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        ((last, self._next_id, self._next_file),) = con.execute(
            "SELECT snapshot_id, next_catalog_id, next_file_id FROM ducklake_snapshot "
            "ORDER BY snapshot_id DESC LIMIT 1"
        ).fetchall()
        self.number = last + 1
        self._changes: list[str] = []
        self._ids: dict[str, int] = {}
        """The tables by name."""
        self._views_by_name: dict[tuple[int, str], int] = {}

    def write(self, state: State) -> int | None:
        self._tables(state)
        self._views()
        self._macros()
        self._comments(state.declared)
        for declared in state.declared:
            self._rows(declared)
        self._files(state)
        (moved,) = self._row(
            "SELECT value <> ? FROM ducklake_metadata WHERE key = 'data_path'", [state.data_path]
        )
        if not self._changes and not moved:
            return None
        self._con.execute(
            "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [state.data_path]
        )
        # The schema may have changed: readers keep what they know of it by this number.
        self._con.execute(
            "INSERT INTO ducklake_snapshot VALUES (?, now(), ?, ?, ?)",
            [self.number, self.number, self._next_id, self._next_file],
        )
        self._con.execute(
            "INSERT INTO ducklake_snapshot_changes VALUES (?, ?, NULL, ?, ?)",
            [self.number, ",".join(dict.fromkeys(self._changes)), state.message, state.origin],
        )
        self._statistics()
        return self.number

    # --- what there is

    def _tables(self, state: State) -> None:
        wanted = {
            table.name: (STORED if _has_view(table) else MAIN, _fields_of_table(table))
            for table in TABLES.values()
        }
        for declared in state.declared:
            typed = ((name, type_, True) for name, type_ in declared.columns.items())
            wanted[declared.name] = (MAIN, _fields(typed))
        present = self._present_tables()
        rows: list[Sequence[Any]] = []
        columns: list[Sequence[Any]] = []
        fresh: list[str] = []
        for name, (schema, fields) in wanted.items():
            own = [_column(field) for field in fields]
            number, unique, standing = present.get(name, (None, None, None))
            if standing != (schema, own):
                number, unique = self._new_id(), str(uuid.uuid4())
                fresh.append(name)
                self._changes.append(f"created_table:{_qualified(schema, name)}")
            assert number is not None
            self._ids[name] = number
            rows.append((number, unique, schema, name, f"{name}/", True))
            columns += [(number, *column) for column in own]
        self._hold("ducklake_table", _TABLE_COLUMNS, rows, "dropped_table:{table_id}")
        self._hold("ducklake_column", f"table_id, {_COLUMN_COLUMNS}", columns)
        for name in fresh:
            self._new_table(name, wanted[name][1])

    def _present_tables(self) -> dict[str, tuple[int, str, tuple[int, list[Any]]]]:
        columns: dict[int, list[Any]] = {}
        for table, *column in self._con.execute(
            f"SELECT table_id, {_COLUMN_COLUMNS} FROM ducklake_column WHERE end_snapshot IS NULL "
            "ORDER BY table_id, column_id"
        ).fetchall():
            columns.setdefault(table, []).append(tuple(column))
        rows = self._con.execute(
            "SELECT table_name, table_id, table_uuid, schema_id FROM ducklake_table "
            "WHERE end_snapshot IS NULL"
        ).fetchall()
        return {name: (t, str(unique), (schema, columns[t])) for name, t, unique, schema in rows}

    def _new_table(self, name: str, fields: Sequence[_Field]) -> None:
        number = self._ids[name]
        self._con.execute(
            f"INSERT INTO ducklake_schema_versions VALUES ({self.number}, {self.number}, {number})"
        )
        self._con.execute(f"INSERT INTO ducklake_table_stats VALUES ({number}, 0, 0, 0)")
        if name not in TABLES:
            rows = f"ducklake_inlined_data_{number}_{self.number}"
            self._con.execute(
                f"INSERT INTO ducklake_inlined_data_tables VALUES ({number}, '{rows}', "
                f"{self.number})"
            )
            return
        # The files of a table are read in one way, which has the number of the table.
        hive = TABLES[name].storage.partitions
        rows = [
            (
                *(number, field.id, field.source, field.id, field.parent),
                field.name in hive and field.parent is None,
            )
            for field in fields
        ]
        self._con.execute(
            f"INSERT INTO ducklake_column_mapping VALUES ({number}, {number}, 'map_by_name')"
        )
        self._con.execute(f"INSERT INTO ducklake_name_mapping {values(rows)}")

    def _views(self) -> None:
        wanted = {(MAIN, view.name): with_aliases(view, view.query) for view in VIEWS.values()}
        wanted |= {(BI, view.name): with_aliases(view, view.query) for view in BI_VIEWS.values()}
        for table in filter(_has_view, TABLES.values()):
            query = f"SELECT {selected(table)} FROM {_SCHEMAS[STORED]}.{identifier(table.name)}"
            wanted[MAIN, table.name] = with_aliases(table, query)
        present = {
            (schema, name): (number, str(unique), sql)
            for schema, name, number, unique, sql in self._con.execute(
                "SELECT schema_id, view_name, view_id, view_uuid, sql FROM ducklake_view "
                "WHERE end_snapshot IS NULL"
            ).fetchall()
        }
        rows: list[Sequence[Any]] = []
        for (schema, name), sql in wanted.items():
            number, unique, standing = present.get((schema, name), (0, "", ""))
            if sql != standing:
                number, unique = self._new_id(), str(uuid.uuid4())
                self._changes.append(f"created_view:{_qualified(schema, name)}")
            self._views_by_name[schema, name] = number
            rows.append((number, unique, schema, name, "duckdb", sql, ""))
        self._hold("ducklake_view", _VIEW_COLUMNS, rows, "dropped_view:{view_id}")

    def _macros(self) -> None:
        present = {
            name: (number, sql, parameters)
            for name, number, sql, parameters in self._con.execute(
                "SELECT macro_name, macro_id, any_value(sql), list(parameter_name || ' ' || "
                "default_value ORDER BY column_id) FROM ducklake_macro JOIN ducklake_macro_impl "
                "USING (macro_id) JOIN ducklake_macro_parameters USING (macro_id) "
                "WHERE end_snapshot IS NULL GROUP BY ALL"
            ).fetchall()
        }
        rows: list[Sequence[Any]] = []
        for macro in MACROS.values():
            parameters = [_parameter(text) for text in macro.parameters]
            number, *standing = present.get(macro.name, (0, "", []))
            if standing != [macro.body, [f"{name} {default}" for name, default, _ in parameters]]:
                number = self._new_id()
                self._new_macro(number, macro, parameters)
            rows.append((MAIN, number, macro.name))
        self._hold(
            "ducklake_macro", "schema_id, macro_id, macro_name", rows, "dropped_macro:{macro_id}"
        )

    def _new_macro(self, number: int, macro: Macro, parameters: list[tuple[str, str, str]]) -> None:
        kind = "table" if macro.returns_table else "scalar"
        self._changes.append(f"created_{kind}_macro:{_qualified(MAIN, macro.name)}")
        self._con.execute(
            "INSERT INTO ducklake_macro_impl VALUES (?, 0, 'duckdb', ?, ?)",
            [number, macro.body, kind],
        )
        rows = [
            (number, 0, position, name, "unknown", default, kind_)
            for position, (name, default, kind_) in enumerate(parameters)
        ]
        self._con.execute(f"INSERT INTO ducklake_macro_parameters {values(rows)}")

    def _comments(self, declared: Iterable[Declared]) -> None:
        of_tables = {self._ids[d.name]: d.comment for d in declared}
        of_columns: list[Sequence[Any]] = []
        for table in TABLES.values():
            number = self._ids[table.name]
            of_tables[number] = table.description
            fields = {f.name: f.id for f in _fields_of_table(table) if f.parent is None}
            of_columns += [(number, fields[c.name], "comment", c.comment) for c in table]
        described = {MAIN: {**TABLES, **VIEWS}, BI: BI_VIEWS}
        for (schema, name), number in self._views_by_name.items():
            of_tables[number] = described[schema][name].description
        tags = [(number, "comment", text) for number, text in of_tables.items()]
        self._hold("ducklake_tag", "object_id, key, value", tags, "altered_table:{object_id}")
        self._hold(
            "ducklake_column_tag",
            "table_id, column_id, key, value",
            of_columns,
            "altered_table:{table_id}",
        )

    # --- what is in it

    def _rows(self, declared: Declared) -> None:
        """Brings a table whose rows are in the catalog up to date."""
        number = self._ids[declared.name]
        ((name,),) = self._con.execute(
            f"SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = {number}"
        ).fetchall()
        typed = ", ".join(f"{identifier(n)} {t}" for n, t in declared.columns.items())
        self._con.execute(
            f"CREATE TABLE IF NOT EXISTS {name} (row_id BIGINT, begin_snapshot BIGINT, "
            f"end_snapshot BIGINT, {typed})"
        )
        names = ", ".join(map(identifier, declared.columns))
        added, ended = self._hold(name, names, declared.rows)
        if added or ended:
            self._changes.append(f"inlined_insert:{number}")
        first = f"(SELECT next_row_id FROM ducklake_table_stats WHERE table_id = {number})"
        self._con.execute(
            f"UPDATE {name} SET row_id = {first} + n FROM (SELECT rowid AS r, "
            f"row_number() OVER (ORDER BY rowid) - 1 AS n FROM {name} WHERE row_id IS NULL) "
            f"WHERE {name}.rowid = r"
        )
        self._con.execute(
            "UPDATE ducklake_table_stats SET record_count = record_count + ?, "
            "next_row_id = next_row_id + ? WHERE table_id = ?",
            [added, added, number],
        )

    def _files(self, state: State) -> None:
        """Ends the files that the lake has no more, and adds those that it has now."""
        wanted = {
            (self._ids[file.table], file.path.removeprefix(f"{file.table}/")): file
            for file in state.files
        }
        present = {
            (table, path): number
            for number, table, path in self._con.execute(
                "SELECT data_file_id, table_id, path FROM ducklake_data_file "
                "WHERE end_snapshot IS NULL"
            ).fetchall()
        }
        ended = pa.table(
            {
                "id": pa.array(
                    [number for key, number in present.items() if key not in wanted], pa.int64()
                )
            }
        )
        self._changes += [
            f"deleted_from_table:{table}" for table, path in present if (table, path) not in wanted
        ]
        self._con.register("ended", ended)
        self._con.execute(
            f"UPDATE ducklake_data_file SET end_snapshot = {self.number} "
            "WHERE data_file_id IN (SELECT id FROM ended)"
        )
        self._con.unregister("ended")
        self._add_files(
            {key: file for key, file in wanted.items() if key not in present}, state.footer
        )

    def _add_files(
        self, added: Mapping[tuple[int, str], FrozenFile], footer: Callable[[FrozenFile], Footer]
    ) -> None:
        starts = dict(
            self._con.execute("SELECT table_id, next_row_id FROM ducklake_table_stats").fetchall()
        )
        sizes = dict.fromkeys(starts, 0)
        rows: list[Sequence[Any]] = []
        facts: list[Sequence[Any]] = []
        fields = {name: _fields_of_table(table) for name, table in TABLES.items()}
        for (table, path), file in added.items():
            found = footer(file)
            number = self._next_file
            self._next_file += 1
            rows.append(
                (
                    number,
                    table,
                    self.number,
                    path,
                    found.rows,
                    file.bytes,
                    found.bytes,
                    starts[table],
                )
            )
            starts[table] += found.rows
            sizes[table] += file.bytes
            for field, known in _by_field(TABLES[file.table], fields[file.table], file, found):
                facts.append(
                    (
                        number,
                        table,
                        field,
                        known.bytes,
                        known.values,
                        known.nulls,
                        known.least,
                        known.greatest,
                    )
                )
            self._changes.append(f"inserted_into_table:{table}")
        self._insert("ducklake_data_file", _FILE_COLUMNS, rows)
        self._con.execute(
            "UPDATE ducklake_data_file SET path_is_relative = true, file_format = 'parquet', "
            "mapping_id = table_id WHERE mapping_id IS NULL"
        )
        self._insert("ducklake_file_column_stats", _FACT_COLUMNS, facts)
        for table, start in starts.items():
            self._con.execute(
                "UPDATE ducklake_table_stats SET record_count = ?, next_row_id = ?, "
                "file_size_bytes = file_size_bytes + ? WHERE table_id = ?",
                [start, start, sizes[table], table],
            )

    def _statistics(self) -> None:
        """Writes what is known of the columns of all files that ever were.

        It has no snapshot, and must hold for earlier ones, too.
        """
        self._con.execute("DELETE FROM ducklake_table_column_stats")
        self._con.execute(_COLUMN_STATISTICS)

    # --- rows with a beginning and an end

    def _hold(
        self, table: str, columns: str, rows: Sequence[Sequence[Any]], change: str = ""
    ) -> tuple[int, int]:
        """Lets the rows of a table hold from this snapshot on, and no others.

        Returns:
            The number of rows that are new, and of those that ended.
        """
        con = self._con
        con.execute(f"CREATE TEMP TABLE wanted AS SELECT {columns} FROM {table} LIMIT 0")
        if rows:
            con.execute(f"INSERT INTO wanted {values(rows)}")
        live = f"SELECT {columns} FROM {table} WHERE end_snapshot IS NULL"
        names = re.findall(r'"[^"]+"|\w+', columns)
        same = " AND ".join(f"w.{n} IS NOT DISTINCT FROM {table}.{n}" for n in names)
        ended = con.execute(
            f"UPDATE {table} SET end_snapshot = {self.number} WHERE end_snapshot IS NULL "
            f"AND NOT EXISTS (SELECT 1 FROM wanted w WHERE {same}) RETURNING *"
        )
        found = ended.fetchall()
        if change:
            keys = [d[0] for d in ended.description or ()]
            self._changes += [change.format(**dict(zip(keys, row, strict=True))) for row in found]
        ((added,),) = con.execute(
            f"INSERT INTO {table} ({columns}, begin_snapshot) "
            f"SELECT *, {self.number} FROM (FROM wanted EXCEPT ALL {live})"
        ).fetchall()
        con.execute("DROP TABLE temp.wanted")
        return added, len(found)

    def _insert(self, table: str, columns: Mapping[str, pa.DataType], rows: list[Any]) -> None:
        arrays = (
            [
                pa.array(column, type_)
                for column, type_ in zip(zip(*rows, strict=True), columns.values(), strict=True)
            ]
            if rows
            else [pa.array([], type_) for type_ in columns.values()]
        )
        self._con.register("added", pa.table(arrays, names=list(columns)))
        self._con.execute(f"INSERT INTO {table} ({', '.join(columns)}) FROM added")
        self._con.unregister("added")

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        (row,) = self._con.execute(sql, parameters).fetchall()
        return row


_TABLE_COLUMNS = "table_id, table_uuid, schema_id, table_name, path, path_is_relative"
_COLUMN_COLUMNS = (
    "column_id, column_order, column_name, column_type, default_value, nulls_allowed, "
    "parent_column, default_value_type, default_value_dialect"
)
_VIEW_COLUMNS = "view_id, view_uuid, schema_id, view_name, dialect, sql, column_aliases"
_FILE_COLUMNS = {
    "data_file_id": pa.int64(),
    "table_id": pa.int64(),
    "begin_snapshot": pa.int64(),
    "path": pa.string(),
    **dict.fromkeys(("record_count", "file_size_bytes", "footer_size", "row_id_start"), pa.int64()),
}
_FACT_COLUMNS = {
    **dict.fromkeys(("data_file_id", "table_id", "column_id"), pa.int64()),
    **dict.fromkeys(("column_size_bytes", "value_count", "null_count"), pa.int64()),
    "min_value": pa.string(),
    "max_value": pa.string(),
}

_COLUMN_STATISTICS = """
INSERT INTO ducklake_table_column_stats
WITH types AS (
    SELECT DISTINCT table_id, column_id, column_type FROM ducklake_column
), facts AS (
    SELECT table_id, column_id, null_count, min_value, max_value,
        min_value IS NULL AND coalesce(value_count > null_count, true) AS unknown, column_type,
        CASE WHEN column_type LIKE '%int%' OR column_type LIKE 'float%' THEN 'number'
            WHEN column_type LIKE 'timestamp%' THEN 'time' ELSE 'text' END AS kind
    FROM ducklake_file_column_stats JOIN types USING (table_id, column_id)
), typed AS (
    SELECT *,
        CASE WHEN kind = 'number' AND column_type LIKE '%int%' THEN TRY_CAST(min_value AS HUGEINT)
            END AS least_integer,
        CASE WHEN kind = 'number' AND column_type LIKE '%int%' THEN TRY_CAST(max_value AS HUGEINT)
            END AS greatest_integer,
        CASE WHEN kind = 'number' THEN TRY_CAST(min_value AS DOUBLE) END AS least_number,
        CASE WHEN kind = 'number' THEN TRY_CAST(max_value AS DOUBLE) END AS greatest_number,
        CASE WHEN kind = 'time' THEN TRY_CAST(min_value AS TIMESTAMPTZ) END AS least_time,
        CASE WHEN kind = 'time' THEN TRY_CAST(max_value AS TIMESTAMPTZ) END AS greatest_time,
        CASE WHEN kind = 'text' THEN min_value END AS least_text,
        CASE WHEN kind = 'text' THEN max_value END AS greatest_text
    FROM facts
)
SELECT table_id, column_id, bool_or(null_count > 0), NULL,
    CASE WHEN bool_or(unknown) THEN NULL ELSE coalesce(
        min(least_integer)::VARCHAR, min(least_number)::VARCHAR, min(least_time)::VARCHAR,
        min(least_text)) END,
    CASE WHEN bool_or(unknown) THEN NULL ELSE coalesce(
        max(greatest_integer)::VARCHAR, max(greatest_number)::VARCHAR,
        max(greatest_time)::VARCHAR, max(greatest_text)) END,
    NULL
FROM typed GROUP BY table_id, column_id
"""


def _column(field: _Field) -> tuple[Any, ...]:
    kind = "literal" if field.is_leaf else ""
    about = (field.id, field.id, field.name, field.type, "NULL", field.nullable)
    return (*about, field.parent, kind, "duckdb")


def _by_field(
    table: Table, fields: Sequence[_Field], file: FrozenFile, footer: Footer
) -> Iterator[tuple[int, ColumnFacts]]:
    """What is known of the columns of a file, by the ids of their fields."""
    of_folders = facts_of_folders(table, file.path, footer.rows)
    hive = {f.id for f in fields if f.parent is None and f.name in of_folders}
    yield from ((f.id, of_folders[f.name]) for f in fields if f.id in hive)
    leaves = [f for f in fields if f.is_leaf and f.id not in hive]
    yield from ((f.id, facts) for f, facts in zip(leaves, footer.leaves, strict=True))


def _parameter(text: str) -> tuple[str, str, str]:
    """Name, default value and its type of a macro's parameter.

    DuckLake 1.0 has no default of NULL. The parameters that have it are lists of events, and an
    empty list, as a text that they are cast from, means the same.

    >>> _parameter("before := 1"), _parameter("times := NULL"), _parameter("experiment")
    (('before', '1', 'int32'), ('times', '[]', 'varchar'), ('experiment', 'NULL', 'unknown'))
    """
    name, _, default = text.partition(" := ")
    if default == "NULL":
        return name, "[]", "varchar"
    return name, default or "NULL", "int32" if default else "unknown"


def _qualified(schema: int, name: str) -> str:
    return f"{identifier(_SCHEMAS[schema])}.{identifier(name)}"
