"""Opens a lake: SQL on its catalog, its tables as lazy Polars frames, its data dictionary."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl

from vblake.files import Files, find_files, nearest

CATALOG = "catalog.duckdb"
_SETTINGS = (
    # Nothing is downloaded behind the user's back.
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    # A mistyped table is an error, not a variable of the Python program that happens to match.
    "python_enable_replacements = false",
    # Times in the lake are UTC; by default DuckDB shows them in the machine's time zone.
    "TimeZone = 'UTC'",
)
# DESCRIBE, SHOW and SUMMARIZE are SELECT to DuckDB.
_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class Lake:
    """A lake that is open for reading; made by `vblake.open`.

    Use it as a context manager, or call `close`, to release the catalog. An open lake keeps the
    catalog it was opened with and sees the current files.
    """

    def __init__(self, files: Files, connection: duckdb.DuckDBPyConnection) -> None:
        self._files = files
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"vblake.open({self._files.root!r})"

    @property
    def root(self) -> str:
        """Absolute path or `s3://` URL of the lake."""
        return self._files.root

    def close(self) -> None:
        """Closes the connection to the catalog; results not yet fetched are lost."""
        self._connection.close()

    def sql(
        self, query: str, params: Sequence[Any] | dict[str, Any] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Runs a query on the catalog, which is attached read-only.

        Args:
            query: one SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.
            params: values for `?` or `$name` in the query.

        Returns:
            A DuckDB relation. `.pl()`, `.df()`, `.fetchnumpy()` and `.fetchall()` return its rows;
            printed, it shows the first of them. DuckDB runs the query when it needs rows.

        Raises:
            duckdb.Error: the query is wrong; DuckDB names similar tables and columns.
            ValueError: the query is not one statement of these types.

        Example:
            >>> lake.sql("SELECT 6 * 7 AS answer").fetchall()
            [(42,)]
        """
        statements = self._connection.extract_statements(query)
        if [s.type for s in statements if s.type not in _READING] or len(statements) != 1:
            raise ValueError(f"Lake.sql runs one SELECT, DESCRIBE, SHOW or EXPLAIN, not: {query}")
        return self._connection.sql(query, params=params)

    @property
    def tables(self) -> pl.DataFrame:
        """The tables of the lake, one per row: name, subject, description and primary key.

        Example:
            >>> lake.tables["table_name"].to_list()
            ['licks']
        """
        columns = "table_name, subject, description, primary_key"
        return self.sql(f"SELECT {columns} FROM _tables ORDER BY rowid").pl()

    def describe(self, table: str) -> pl.DataFrame:
        """The columns of a table, one per row: name, DuckDB type, unit, description, newer name.

        Raises:
            LookupError: the lake has no such table.

        Example:
            >>> lake.describe("licks").select("column_name", "unit").rows()
            [('timestamps', 's'), ('mouse_id', None)]
        """
        found = self.sql(
            "SELECT column_name, type, unit, description, alias FROM _columns "
            "WHERE table_name = ? ORDER BY position",
            [table],
        ).pl()
        if found.is_empty():
            raise LookupError(
                f"{self.root} has no table {table!r}. {nearest(table, self.tables['table_name'])}"
            )
        return found

    def scan(self, table: str) -> pl.LazyFrame:
        """A table as a lazy frame over its Parquet files, with the columns that `describe` lists.

        Filter by `mouse_id` where you can: Polars then opens only that mouse's files.

        Raises:
            LookupError: the lake has no such table.

        Example:
            >>> lake.scan("licks").filter(mouse_id=7).collect().rows()
            [(0.5, 7), (1.25, 7)]
        """
        names = self.describe(table)["column_name"].to_list()
        where = "SELECT partition_column FROM _tables WHERE table_name = ?"
        ((partition,),) = self.sql(where, [table]).fetchall()
        empty = self.sql(f'SELECT * FROM "{table}" LIMIT 0').pl().select(names)
        if not self._files.paths(table):
            return empty.lazy()
        frame = pl.scan_parquet(
            f"{_escaped(self.root)}/{table}/**/*.parquet",
            hive_partitioning=partition is not None,
            hive_schema={partition: empty.schema[partition]} if partition else None,
        )
        return frame.select(names)


def open(lake: str | Path) -> Lake:  # noqa: A001 - read as vblake.open
    """Opens a lake for reading.

    Args:
        lake: a folder, or an `s3://` prefix with credentials, region and endpoint from the usual
            AWS settings.

    Raises:
        FileNotFoundError: there is no lake, or it has no catalog.
        duckdb.Error: the catalog is damaged.
        ModuleNotFoundError: the lake is in S3 and s3fs is not installed.

    Example:
        >>> with vblake.open(folder) as lake:
        ...     lake.sql("SELECT max(timestamps) FROM licks").fetchall()
        [(3.0,)]
    """
    files = find_files(lake)
    connection = duckdb.connect(":memory:")
    try:
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}")
        if files.s3 is not None:
            connection.register_filesystem(files.s3)
        _attach(connection, files)
    except BaseException:
        connection.close()
        raise
    return Lake(files, connection)


def _attach(connection: duckdb.DuckDBPyConnection, files: Files) -> None:
    """Attaches the catalog read-only and makes its views look for the files where the lake is now.

    Attached to a database in memory, a catalog that was replaced since is seen by the next `open`.
    """
    with tempfile.TemporaryDirectory(prefix="vblake-") as folder:
        path = f"{files.base}/{CATALOG}"
        if files.s3 is None:
            if not Path(path).is_file():
                raise _no_catalog(files)
        else:
            try:
                data = files.s3.cat_file(path)
            except FileNotFoundError:
                raise _no_catalog(files) from None
            path = f"{folder}/{CATALOG}"
            Path(path).write_bytes(data)
        # DuckDB keeps the file open; a copy is not needed by name afterwards.
        connection.execute(f"ATTACH {_literal(path)} AS lake (READ_ONLY)")
    connection.execute("USE lake")
    connection.execute(f"SET VARIABLE lake_root = {_literal(_escaped(files.root))}")


def _no_catalog(files: Files) -> FileNotFoundError:
    return FileNotFoundError(
        f"{files.root} has no {CATALOG}. Check the path; for a lake without a catalog, run "
        f"`vblake catalog --lake {files.root}`."
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escaped(path: str) -> str:
    """A path as it is written in a glob pattern: a folder may be named `run[1]`."""
    return re.sub(r"[\[*?]", r"[\g<0>]", path)
