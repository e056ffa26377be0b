"""Opens a lake: SQL on its catalog, its tables as lazy Polars frames, its data dictionary."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import duckdb
import polars as pl

from vblake.files import Files, find_files, nearest

CATALOG = "catalog.duckdb"
SCHEMA_VERSION = "2"
"""The version of the lake's tables and columns that this package was written for."""

Ids: TypeAlias = int | Iterable[int]
"""One id or several."""

_IDS = ("mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id")
"""The columns by which rows are selected, from the widest to the narrowest."""

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
        # A parameter instead of the literal would make DuckDB import pandas, which takes 0.3 s.
        found = self.sql(
            "SELECT column_name, type, unit, description, alias FROM _columns "
            f"WHERE table_name = {_literal(table)} ORDER BY position"
        ).pl()
        if found.is_empty():
            raise LookupError(
                f"{self.root} has no table {table!r}. {nearest(table, self.tables['table_name'])}"
                f"{self._schema_note()}"
            )
        return found

    def scan(
        self,
        table: str,
        *,
        mouse_id: Ids | None = None,
        behavior_session_id: Ids | None = None,
        ophys_session_id: Ids | None = None,
        ophys_experiment_id: Ids | None = None,
    ) -> pl.LazyFrame:
        """A table as a lazy frame over its Parquet files.

        It has the columns that `describe` lists, in their declared types, and after them the newer
        names of renamed columns. Only the files that can hold the given ids are opened.

        Args:
            table: name of the table.
            mouse_id: only the rows of this mouse, or of these mice.
            behavior_session_id: only the rows of this behaviour session, or of these.
            ophys_session_id: only the rows of this imaging session, or of these.
            ophys_experiment_id: only the rows of this experiment, or of these.

        Returns:
            A lazy frame; without rows where the lake holds nothing of these ids yet.

        Raises:
            LookupError: the lake has no such table, the table has no such column, or the release
                has no such session or experiment.

        Example:
            >>> lake.scan("licks", mouse_id=7).collect().rows()
            [(0.5, 7), (1.25, 7)]
        """
        given = (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
        ids = {n: _as_list(v) for n, v in zip(_IDS, given, strict=True) if v is not None}
        described = self.describe(table)
        names: list[str] = described["column_name"].to_list()
        self._check_columns(table, names, ids)
        where = f"SELECT partition_column FROM _tables WHERE table_name = {_literal(table)}"
        ((partition,),) = self.sql(where).fetchall()
        empty = self.sql(f'SELECT * FROM "{table}" LIMIT 0').pl().select(names)
        paths = self._paths(table, partition, ids)
        frame = (
            pl.scan_parquet(
                paths,
                hive_partitioning=partition is not None,
                hive_schema={partition: empty.schema[partition]} if partition else None,
            )
            if paths
            else empty.lazy()
        )
        for name, wanted in ids.items():
            frame = frame.filter(pl.col(name).is_in(wanted))
        renamed = described.filter(pl.col("alias").is_not_null())
        aliases = renamed.select("column_name", "alias").rows()
        return frame.select(*names, *(pl.col(name).alias(alias) for name, alias in aliases))

    def _check_columns(self, table: str, names: list[str], ids: dict[str, list[int]]) -> None:
        for name in ids:
            if name not in names:
                others = [key for key in _IDS if key in names]
                advice = f"Select its rows by {' or '.join(others)}." if others else "Leave it out."
                raise LookupError(f"{table} has no column {name}. {advice}")

    def _paths(self, table: str, partition: str | None, ids: dict[str, list[int]]) -> list[str]:
        """The files of a table that can hold the ids, as Polars opens them."""
        if partition != "mouse_id" or not ids:
            return (
                [f"{_escaped(self.root)}/{table}/**/*.parquet"] if self._files.paths(table) else []
            )
        rows = self._recordings(ids)
        mice = sorted({mouse for mouse, _, _ in rows})
        names = {f"behavior_session_{session}" for _, session, _ in rows}
        names |= {f"ophys_experiment_{experiment}" for _, _, experiment in rows}
        found = (p for mouse in mice for p in self._files.paths(f"{table}/mouse_id={mouse}"))
        return [_escaped(self._files.url(path)) for path in found if _may_hold(path, names)]

    def _recordings(self, ids: dict[str, list[int]]) -> list[tuple[int, int, int | None]]:
        """Mouse, behaviour session and experiment of the ids, by the project tables.

        Raises:
            LookupError: the release has no such id.
        """
        source = (
            "(SELECT b.mouse_id, b.behavior_session_id, b.ophys_session_id, e.ophys_experiment_id "
            "FROM behavior_sessions b LEFT JOIN ophys_experiments e USING (behavior_session_id))"
        )
        for name, wanted in ids.items():
            known = self.sql(
                f"SELECT DISTINCT {name} FROM {source} WHERE {name} IN ({_numbers(wanted)})"
            ).fetchall()
            if missing := set(wanted) - {value for (value,) in known}:
                raise LookupError(self._unknown(name, min(missing), source))
        where = " AND ".join(f"{name} IN ({_numbers(wanted)})" for name, wanted in ids.items())
        return self.sql(
            f"SELECT mouse_id, behavior_session_id, ophys_experiment_id FROM {source} WHERE {where}"
        ).fetchall()

    def _unknown(self, name: str, value: int, source: str) -> str:
        known = self.sql(
            f"SELECT DISTINCT {name} FROM {source} WHERE {name} IS NOT NULL ORDER BY 1"
        )
        near = nearest(str(value), [str(known_id) for (known_id,) in known.fetchall()])
        return f"The release in {self.root} has no {name} {value}. {near}"

    def _schema_note(self) -> str:
        """What to add to an error if this version of vblake knows other tables and columns."""
        ((version,),) = self.sql("SELECT schema_version FROM _lake").fetchall()
        if version == SCHEMA_VERSION:
            return ""
        return (
            f" The lake has schema version {version}, this vblake version {SCHEMA_VERSION}. Ingest "
            "into a new lake, or install the vblake that wrote this one."
        )


def open(lake: str | Path) -> Lake:  # noqa: A001 - read as vblake.open
    """Opens a lake for reading. A lake that was copied or moved is read where it is now.

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


def _as_list(ids: Ids) -> list[int]:
    return sorted({int(i) for i in ids}) if isinstance(ids, Iterable) else [int(ids)]


def _numbers(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) or "NULL"


def _may_hold(path: str, names: set[str]) -> bool:
    """Whether a file of a mouse can have rows of sessions and experiments with these names."""
    stem = path.rsplit("/", 1)[1].removesuffix(".parquet")
    return stem in names or not stem.startswith(("behavior_session_", "ophys_experiment_"))
