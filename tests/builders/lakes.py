"""Questions to a lake that several tests ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import h5py

from pipelines.sql_text import as_pattern
from schemas import TABLES, Subject


@contextmanager
def _catalog(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(lake / "catalog.duckdb"), read_only=True) as con:
        con.execute("SET VARIABLE lake_root = ?", [as_pattern(str(lake))])
        yield con


def query(lake: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query through the lake's catalog, wherever the lake is now."""
    with _catalog(lake) as con:
        return con.execute(sql).fetchall()


def contents(
    lake: Path, *, without: tuple[str, ...] = ("source_files",)
) -> dict[str, list[tuple[int]]]:
    """The hashes of all rows of all tables; NaN equals NaN."""
    with _catalog(lake) as con:
        return {
            name: con.execute(f"SELECT hash(t) FROM {name} t ORDER BY 1").fetchall()
            for name in TABLES
            if name not in without
        }


def files(lake: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, time and size of every file that a reader sees."""
    found = [p for p in lake.rglob("*") if p.is_file() and not p.name.startswith(("_", "."))]
    return {
        str(p.relative_to(lake)): (p.stat().st_ino, p.stat().st_mtime_ns, p.stat().st_size)
        for p in found
    }


def experiment_file(bucket: Path, nth: int = 0) -> Path:
    """One experiment file of a bucket."""
    return sorted((bucket / "visual-behavior-ophys/behavior_ophys_experiments").glob("*.nwb"))[nth]


def behavior_file(bucket: Path, nth: int = 0) -> Path:
    """One behaviour file of a bucket."""
    return sorted((bucket / "visual-behavior-ophys/behavior_sessions").glob("*.nwb"))[nth]


def file_key(path: Path) -> int:
    """Returns the id in a file's name."""
    return int(path.stem.rsplit("_", 1)[1])


def edit(path: Path) -> h5py.File:
    """The file, open for changes."""
    return h5py.File(path, "r+")


def rows_by_unit(lake: Path) -> dict[tuple[str, int], list[int]]:
    """The hashes of the rows of each table from NWB files, by session or experiment."""
    rows: dict[tuple[str, int], list[int]] = {}
    with _catalog(lake) as con:
        for name, table in TABLES.items():
            if table.unit_key is not None and table.subject is not Subject.PROJECT:
                sql = f"SELECT {table.unit_key}, hash(t) FROM {name} t ORDER BY ALL"
                for unit, row in con.execute(sql).fetchall():
                    rows.setdefault((name, unit), []).append(row)
    return rows
