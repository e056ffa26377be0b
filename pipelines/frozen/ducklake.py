"""A DuckLake catalog: a DuckDB file by the specification of DuckLake 1.0.

https://ducklake.select/docs/stable/specification/introduction describes its tables. They are
written without DuckLake's extension, which exists for some versions of DuckDB only. A published
state of the lake is a snapshot: rows of the catalog hold from `begin_snapshot` to before
`end_snapshot`, and rows that hold still have none.

What a snapshot of our lake consists of is in `snapshot.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import duckdb
import pyarrow as pa

from pipelines.sql_text import identifier, literal
from schemas.bi import BI_SCHEMA
from schemas.errors import LakeError

K = TypeVar("K")
V = TypeVar("V")

Rows: TypeAlias = Sequence[Sequence[Any]]
"""Values of rows, in the order of their columns."""

SPECIFICATION = "1.0"
MAIN, STORED, BI = 0, 1, 2
SCHEMAS = {MAIN: "main", STORED: "stored", BI: BI_SCHEMA}
"""The schemas of each catalog, by id."""

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


@contextmanager
def next_snapshot(path: Path, origin: str) -> Generator[Snapshot]:
    """Opens a catalog, which is made if there is no such file, for a further snapshot.

    Nothing of it stays unless the block calls `commit`. A kill in between leaves a file that is of
    no use: write a copy, then put it in place.

    Args:
        path: the catalog, a local file.
        origin: whose data it holds, as in the marker of the lake.

    Raises:
        LakeError: the file is none of our catalogs, or has the data of another project.
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
            con.execute(_TABLES)
        else:
            _check(con, path, origin)
        snapshot = Snapshot(con)
        yield snapshot
        if not snapshot.committed:
            con.execute("ROLLBACK")
        con.execute("USE memory")
        con.execute("DETACH lake")


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


class Snapshot:
    """The snapshot that is being written, in a transaction.

    Attributes:
        con: connection to the catalog.
        number: its number.
        changes: what is different from the snapshot before, in the words of the specification.
        committed: whether it is part of the catalog.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        if not self.rows("FROM ducklake_snapshot"):
            self._write_first()
        ((last, self._next_id, self._next_file),) = self.rows(
            "SELECT snapshot_id, next_catalog_id, next_file_id FROM ducklake_snapshot "
            "ORDER BY snapshot_id DESC LIMIT 1"
        )
        self.number = last + 1
        self.changes: list[str] = []
        self.committed = False

    def _write_first(self) -> None:
        """Writes snapshot 0, which has schemas and nothing in them."""
        facts = {
            "version": SPECIFICATION,
            "created_by": f"vblake {version('vblake')}",
            "data_path": "./",
            "encrypted": "false",
        }
        self.insert("ducklake_metadata", "key, value", list(facts.items()))
        self.con.execute(f"INSERT INTO ducklake_snapshot VALUES (0, now(), 0, {len(SCHEMAS)}, 0)")
        made = ",".join(f"created_schema:{identifier(name)}" for name in SCHEMAS.values())
        self.insert("ducklake_snapshot_changes", "snapshot_id, changes_made", [(0, made)])
        self.insert(
            "ducklake_schema",
            "schema_id, begin_snapshot, schema_name, path, path_is_relative",
            [(number, 0, name, "", True) for number, name in SCHEMAS.items()],
        )

    def commit(self, message: str, origin: str, data_path: str) -> int | None:
        """Makes the snapshot part of the catalog.

        Args:
            message: said of the snapshot in `snapshots()`.
            origin: whose data it holds.
            data_path: where the files are: a URL or a path, with a slash at the end.

        Returns:
            Its number. None if nothing has changed: then there is no new snapshot.
        """
        ((moved,),) = self.rows(
            "SELECT value <> ? FROM ducklake_metadata WHERE key = 'data_path'", data_path
        )
        if not self.changes and not moved:
            return None
        self.con.execute(
            "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [data_path]
        )
        for kind in ("schema", "table", "view"):
            self.con.execute(
                f"UPDATE ducklake_{kind} SET {kind}_uuid = uuid() WHERE {kind}_uuid IS NULL"
            )
        # The schema may have changed: readers keep what they know of it by this number.
        self.con.execute(
            "INSERT INTO ducklake_snapshot VALUES (?, now(), ?, ?, ?)",
            [self.number, self.number, self._next_id, self._next_file],
        )
        self.insert(
            "ducklake_snapshot_changes",
            "snapshot_id, changes_made, commit_message, commit_extra_info",
            [(self.number, ",".join(dict.fromkeys(self.changes)), message, origin)],
        )
        self.con.execute("COMMIT")
        self.committed = True
        return self.number

    def new_file_id(self) -> int:
        """An id for a file."""
        self._next_file += 1
        return self._next_file - 1

    def ids(
        self, present: Mapping[K, tuple[int, V]], wanted: Mapping[K, V]
    ) -> tuple[dict[K, int], list[K]]:
        """Gives ids to tables, views or macros: what has not changed keeps its own.

        Args:
            present: id and definition in the last snapshot, by name.
            wanted: definition in this one, by name.

        Returns:
            The ids by name, and the names of those whose id is new.
        """
        ids: dict[K, int] = {}
        fresh: list[K] = []
        for name, definition in wanted.items():
            if name in present and present[name][1] == definition:
                ids[name] = present[name][0]
            else:
                ids[name] = self._next_id
                self._next_id += 1
                fresh.append(name)
        return ids, fresh

    def hold(self, table: str, columns: str, rows: Rows, change: str = "") -> tuple[int, int]:
        """Lets rows of a table hold from this snapshot on, and no others.

        Args:
            table: the table.
            columns: names of its columns, with commas between them.
            rows: their values.
            change: what is changed when a row ends, with names of columns in braces.

        Returns:
            The number of rows that are new, and of those that ended.
        """
        ended = self.end_others(table, columns, rows, change)
        ((added,),) = self.con.execute(
            f"INSERT INTO {table} ({columns}, begin_snapshot) SELECT *, {self.number} FROM ("
            f"FROM wanted EXCEPT ALL SELECT {columns} FROM {table} WHERE end_snapshot IS NULL)"
        ).fetchall()
        return added, ended

    def end_others(self, table: str, columns: str, rows: Rows, change: str) -> int:
        """Ends all rows of a table but those with certain values; see `hold`.

        Returns:
            The number of rows that ended.
        """
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE wanted AS SELECT {columns} FROM {table} LIMIT 0"
        )
        self.insert("wanted", columns, rows)
        same = " AND ".join(
            f"w.{name} IS NOT DISTINCT FROM {table}.{name}" for name in columns.split(", ")
        )
        result = self.con.execute(
            f"UPDATE {table} SET end_snapshot = {self.number} WHERE end_snapshot IS NULL "
            f"AND NOT EXISTS (SELECT 1 FROM wanted w WHERE {same}) RETURNING *"
        )
        ended = result.fetchall()
        if change:
            names = [name for name, *_ in result.description or ()]
            self.changes += [change.format(**dict(zip(names, row, strict=True))) for row in ended]
        return len(ended)

    def insert(self, table: str, columns: str, rows: Rows) -> None:
        """Adds rows to a table."""
        if not rows:
            return
        arrays = [pa.array(column) for column in zip(*rows, strict=True)]
        self.con.register("added", pa.table(arrays, names=columns.split(", ")))
        self.con.execute(f"INSERT INTO {table} ({columns}) FROM added")
        self.con.unregister("added")

    def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """The rows of a query."""
        return self.con.execute(sql, parameters).fetchall()


def qualified(schema: int, name: str) -> str:
    """Returns the name of a table, view or macro with that of its schema."""
    return f"{identifier(SCHEMAS[schema])}.{identifier(name)}"
