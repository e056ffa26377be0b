"""The tables of a lake: SQL on its catalog, lazy Polars frames, the data dictionary."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import duckdb
import polars as pl
import polars.selectors as cs

from vblake.connection import escaped, literal
from vblake.emptiness import EmptyTables, empty_tables, why_missing, why_no_rows
from vblake.files import Files, is_published, nearest

SCHEMA_VERSION = "3"
"""The version of the lake's tables and columns that this package was written for."""

Ids: TypeAlias = int | Iterable[int]
"""One id or several."""


class Recording(NamedTuple):
    """An imaging plane in one session, or a session without imaging, by its ids."""

    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None


class _Column(NamedTuple):
    name: str
    type: str
    alias: str | None


_IDS = ("mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id")
"""The columns by which rows are selected, from the widest to the narrowest."""

_OPTIONS = {
    "mouse_id": "--mouse",
    "behavior_session_id": "--behavior-session",
    "ophys_experiment_id": "--experiment",
}
"""The options of `vblake ingest` that select files by ids."""

_FOLDERS: dict[str, Any] = {"image_set": pl.String, **dict.fromkeys(_IDS, pl.Int64)}
"""The columns by which folders are named, which Polars would otherwise guess the types of."""

# DESCRIBE, SHOW and SUMMARIZE are SELECT to DuckDB.
_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class Tables:
    """The tables of a lake that is open for reading, by its catalog."""

    def __init__(self, files: Files, connection: duckdb.DuckDBPyConnection) -> None:
        self.files = files
        self._connection = connection

    def __repr__(self) -> str:
        return f"vblake.open({self.files.root!r})"

    @property
    def root(self) -> str:
        """Absolute path or URL of the lake."""
        return self.files.root

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

        Warns:
            UserWarning: the query reads a table that was never ingested into this lake.

        Raises:
            duckdb.Error: the query is wrong; DuckDB names similar tables and columns.
            ValueError: the query is not one statement of these types.

        Example:
            >>> lake.sql("SELECT 6 * 7 AS answer").fetchall()
            [(42,)]
        """
        statements = self._connection.extract_statements(query)
        if [s.type for s in statements if s.type not in _READING] or len(statements) != 1:
            raise ValueError(
                f"Lake.sql runs one SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN, not: {query}"
            )
        for why in why_no_rows(self._connection, self.root, query, self._empty_tables):
            warnings.warn(why, stacklevel=2)
        return self._connection.sql(query, params=params)

    @property
    def tables(self) -> pl.DataFrame:
        """Tables of the lake and views over them: name, subject, description and primary key.

        Example:
            >>> lake.tables["table_name"].to_list()
            ['licks', 'running_speed', 'dff_traces', 'ophys_timestamps']
        """
        columns = "table_name, subject, description, primary_key"
        return self._connection.sql(f"SELECT {columns} FROM _tables ORDER BY rowid").pl()

    def describe(self, table: str) -> pl.DataFrame:
        """The columns of a table, one per row: name, DuckDB type, unit, description, newer name.

        Args:
            table: name of a table, of a view or of a macro, which has the columns that it returns.

        Raises:
            LookupError: the lake has no such table.

        Example:
            >>> lake.describe("licks").select("column_name", "unit").rows()[1:3]
            [('behavior_session_id', None), ('timestamps', 's')]
        """
        # A parameter instead of the literal would make DuckDB import pandas, which takes 0.3 s.
        found = self._connection.sql(
            "SELECT column_name, type, unit, description, alias FROM _columns "
            f"WHERE table_name = {literal(table)} ORDER BY position"
        ).pl()
        if found.is_empty():
            names = "SELECT table_name FROM _columns GROUP BY table_name ORDER BY min(rowid)"
            known = [name for (name,) in self._connection.execute(names).fetchall()]
            raise LookupError(
                f"{self.root} has no table {table!r}. {nearest(table, known)}{self.schema_note()}"
            )
        return found

    def unit(self, table: str, column: str) -> str | None:
        """The unit of a column, None if it has none.

        Example:
            >>> lake.unit("licks", "timestamps")
            's'
        """
        found = self._connection.execute(
            f"SELECT unit FROM _columns WHERE table_name = {literal(table)} "
            f"AND column_name = {literal(column)}"
        ).fetchall()
        return found[0][0] if found else None

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
            A lazy frame; without rows of those of the ids whose files have none.

        Raises:
            LookupError: the lake has no such table, it is a view, the table has no such column, the
                release has no such session or experiment, or the table was not ingested or held
                back for all of them.

        Example:
            >>> lake.scan("licks", mouse_id=7).select("timestamps").collect().rows()
            [(0.5,), (1.25,)]
        """
        given = (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
        ids = {n: _as_list(v) for n, v in zip(_IDS, given, strict=True) if v is not None}
        self._check_columns(table, ids)
        recordings = self.recordings(ids) if ids else []
        if why := self._why_empty(table, ids, recordings):
            raise LookupError(why)
        return self.scan_recordings(table, ids, recordings)

    def _why_empty(
        self, table: str, ids: dict[str, list[int]], recordings: list[Recording]
    ) -> str | None:
        """Why none of the ids has rows of a table; None if one has, or has none in its file."""
        if not ids:
            return None if self.files.paths(table) else self.why_missing(table, {})
        if not recordings:
            return None  # ids that do not belong together
        whose = " and ".join(f"{name} {_few(wanted)}" for name, wanted in ids.items())
        mice = sorted({r.mouse_id for r in recordings})
        sessions = sorted({r.behavior_session_id for r in recordings})
        selecting = ids if ids.keys() & _OPTIONS.keys() else {"behavior_session_id": sessions}
        options = (f"{_OPTIONS[n]} {v} " for n in selecting if n in _OPTIONS for v in selecting[n])
        # With the mice, only their part of the ledger is read.
        return self.why_missing(table, {"mouse_id": mice} | ids, f" of {whose}", "".join(options))

    def scan_recordings(
        self, table: str, ids: dict[str, list[int]], recordings: list[Recording]
    ) -> pl.LazyFrame:
        """What `scan` returns, of recordings that are known already."""
        columns = self._columns[table]
        partitions = self._partitions[table]
        paths = self._scanned(table, recordings if ids else None)
        names = [c.name for c in columns]
        folders = {name: _FOLDERS[name] for name in partitions}
        if paths and self.files.remote is not None:
            frame = _scan_by_ranges(self.files.remote, paths, folders)
        elif paths:
            frame = pl.scan_parquet(
                paths, hive_partitioning=bool(folders), hive_schema=folders or None
            )
        else:
            typed = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in columns)
            none = self._connection.sql(f"SELECT {typed} LIMIT 0").pl()
            # Dates are labelled UTC in the files, and not in SQL.
            frame = none.lazy().with_columns(cs.datetime().dt.replace_time_zone("UTC"))
        for name, wanted in ids.items():
            frame = frame.filter(pl.col(name).is_in(wanted))
        return frame.select(*names, *(pl.col(c.name).alias(c.alias) for c in columns if c.alias))

    @cached_property
    def _empty_tables(self) -> EmptyTables:
        return empty_tables(self._connection)

    @cached_property
    def _columns(self) -> dict[str, list[_Column]]:
        """The columns of each table that has files, in order."""
        columns: dict[str, list[_Column]] = {}
        for table, *facts in self._connection.execute(
            "SELECT table_name, column_name, type, alias FROM _columns "
            "JOIN _tables USING (table_name) WHERE storage <> 'view' ORDER BY position"
        ).fetchall():
            columns.setdefault(table, []).append(_Column(*facts))
        return columns

    @cached_property
    def _partitions(self) -> dict[str, list[str]]:
        """The columns by which the folders of each table are named, outermost first.

        Raises:
            LookupError: the lake has another schema version, in which folders may have other
                names.
        """
        if note := self.schema_note():
            raise LookupError(f"{self.root} can only be read with Lake.sql.{note}")
        return dict(
            self._connection.execute("SELECT table_name, partition_columns FROM _tables").fetchall()
        )

    def tables_with(self, id_column: str) -> list[str]:
        """The tables that have a column of ids."""
        # behavior_sessions has a list of experiments, which selects nothing.
        rows = self._connection.execute(
            "SELECT table_name FROM _columns JOIN _tables USING (table_name) "
            f"WHERE storage <> 'view' AND column_name = {literal(id_column)} AND type = 'BIGINT'"
        ).fetchall()
        return [name for (name,) in rows]

    def _check_columns(self, table: str, ids: dict[str, list[int]]) -> None:
        if table not in self._columns:
            self.describe(table)
            raise LookupError(
                f"{table} is a view or macro of the catalog, without files of its own. "
                f'Use lake.sql("SELECT ... FROM {table}").'
            )
        names = [c.name for c in self._columns[table] if c.type == "BIGINT"]
        for name in ids:
            if name not in names:
                others = [key for key in _IDS if key in names]
                advice = f"Select its rows by {' or '.join(others)}." if others else "Leave it out."
                raise LookupError(f"{table} has no column {name}. {advice}")

    def _scanned(self, table: str, recordings: list[Recording] | None) -> list[str]:
        """The files of a table that can hold recordings, as Polars opens them."""
        found = self.paths(table, recordings)
        if self.files.remote is not None:
            return [path.removeprefix("s3://") for path in found]
        all_of_them = self._partitions[table][:1] != ["mouse_id"] or recordings is None
        if found and all_of_them and not is_published(found):
            return [f"{escaped(self.root)}/{table}/**/*.parquet"]
        return list(map(escaped, found))

    def paths(self, table: str, recordings: list[Recording] | None = None) -> list[str]:
        """The files of a table that can hold recordings; by default all."""
        partitions = self._partitions[table]
        if partitions[:1] != ["mouse_id"] or recordings is None:
            return self.files.paths(table)
        mice = sorted({r.mouse_id for r in recordings})
        folders = {"/".join(f"{n}={getattr(r, n)}" for n in partitions) for r in recordings}
        found = (p for mouse in mice for p in self.files.paths(f"{table}/mouse_id={mouse}"))
        depth = slice(-1 - len(partitions), -1)
        return [path for path in found if "/".join(path.split("/")[depth]) in folders]

    def recordings(self, ids: dict[str, list[int]]) -> list[Recording]:
        """The planes and sessions of the ids, by the project tables.

        Raises:
            LookupError: the release has no such id.
        """
        source = (
            "(SELECT b.mouse_id, b.behavior_session_id, b.ophys_session_id, e.ophys_experiment_id "
            "FROM behavior_sessions b LEFT JOIN ophys_experiments e USING (behavior_session_id))"
        )
        where = " AND ".join(f"{name} IN ({_numbers(wanted)})" for name, wanted in ids.items())
        rows = self._connection.execute(f"SELECT * FROM {source} WHERE {where}").fetchall()
        found = [Recording(*row) for row in rows]
        for name, wanted in ids.items():
            for value in sorted(set(wanted) - {getattr(r, name) for r in found}):
                # Ids of two kinds that do not belong together are no error, and have no rows.
                self._check_known(name, value, source)
        return found

    def _check_known(self, name: str, value: int, source: str) -> None:
        known = self._connection.execute(
            f"SELECT DISTINCT {name} FROM {source} WHERE {name} IS NOT NULL ORDER BY 1"
        ).fetchall()
        if (value,) not in known:
            near = nearest(str(value), [str(known_id) for (known_id,) in known])
            for other in _IDS:
                if self._connection.execute(
                    f"SELECT 1 FROM {source} WHERE {other} = {value} LIMIT 1"
                ).fetchall():
                    near = f"It has it as {other}."
            raise LookupError(f"The release in {self.root} has no {name} {value}. {near}")

    def why_missing(
        self, table: str, ids: dict[str, list[int]], whose: str = "", option: str = ""
    ) -> str | None:
        """Why a table has no rows of these ids; None if it was ingested without any.

        Args:
            table: the table.
            ids: columns and values; none of them stands for the whole lake.
            whose: whose rows, e.g. ` of experiment 951980471`.
            option: what selects them in `vblake ingest`.
        """
        if table == "source_files" or self._partitions[table][:1] != ["mouse_id"]:
            return None  # no file is read for it alone
        where = " AND ".join(f"{name} IN ({_numbers(wanted)})" for name, wanted in ids.items())
        return why_missing(self._connection, self.root, table, where or "true", whose, option)

    @cached_property
    def _schema_version(self) -> str:
        ((version,),) = self._connection.execute("SELECT schema_version FROM _lake").fetchall()
        return version

    def schema_note(self) -> str:
        """What to add to an error if this version of vblake knows other tables and columns."""
        version = self._schema_version
        if version == SCHEMA_VERSION:
            return ""
        start = f" The lake has schema version {version}, of"
        this = f"vblake; this one reads version {SCHEMA_VERSION}."
        if int(version) > int(SCHEMA_VERSION):
            return f"{start} a newer {this} Install the newer one."
        return (
            f"{start} an earlier {this} Upgrade the lake with `vblake ingest` where it was made, "
            "or install the vblake that wrote it."
        )


def _scan_by_ranges(remote: Any, paths: list[str], folders: dict[str, Any]) -> pl.LazyFrame:
    """A lazy frame over files of a web server or in a bucket, in the order of the paths.

    Polars itself would ask for each file's size, and would need the credentials: it finds no lake
    that is public, and takes five times as many requests.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    types = {pl.Int64: pa.int64(), pl.String: pa.string()}
    hive = ds.partitioning(pa.schema([(n, types[t]) for n, t in folders.items()]), flavor="hive")
    files = PyFileSystem(FSSpecHandler(remote))
    partitioning = hive if folders else None
    found = ds.dataset(paths, filesystem=files, format="parquet", partitioning=partitioning)
    return pl.scan_pyarrow_dataset(found)


def _as_list(ids: Ids) -> list[int]:
    return sorted({int(i) for i in ids}) if isinstance(ids, Iterable) else [int(ids)]


def _few(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _numbers(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) or "NULL"
