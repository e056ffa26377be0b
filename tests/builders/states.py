"""What any reader sees of a lake, compared with a lake that was made without disturbance.

A unit is what is published as a whole: the rows of one session or experiment in a table, or all rows of a table that has no such rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.catalog.connect import connect
from pipelines.check.lake import verify
from pipelines.lake.ledger import Status, read_ledger
from pipelines.lake.store import LocalStore
from pipelines.sql_text import identifier
from schemas import TABLES, Subject, Table
from schemas.checks import Level
from schemas.layout import CATALOG, MARKER, glob_pattern

NOT_COMPARED = ("ingested_at", "bytes_fetched")
"""Columns of the ledger that say how a file came in."""

Units = dict[Any, tuple[int, str]]
"""By unit: rows and the sum of their hashes."""

Seen = dict[str, Units]
"""What a reader saw, by table. Tables without files are empty."""


def unit_column(table: Table) -> str | None:
    """The column whose values are the units of a table."""
    if table.subject is Subject.LEDGER:
        return "file_key"
    return "image_set" if table.subject is Subject.STIMULUS else table.unit_key


def units_sql(table: Table, source: str) -> str:
    """Query for the units of a table: unit, rows, sum of the hashes of whole rows."""
    columns = [
        identifier(c.name)
        for c in table.columns
        if table.subject is not Subject.LEDGER or c.name not in NOT_COMPARED
    ]
    unit = unit_column(table) or "NULL"
    return f"SELECT {unit}, count(*), sum(hash(r))::VARCHAR FROM (SELECT {', '.join(columns)} FROM {source}) r GROUP BY 1"


def glob_source(lake: Path, table: Table) -> str:
    """A table as DuckDB reads it through its documented glob."""
    options = "hive_partitioning = false"
    if table.partitions:
        types = ", ".join(f"'{c.name}': {c.type.value}" for c in table.partitions)
        options = f"hive_partitioning = true, hive_types = {{{types}}}"
    return f"read_parquet('{lake}/{glob_pattern(table)}', {options})"


def dangling_sql(
    table: Table, source: str, parent: str, columns: Iterable[str], references: Iterable[str]
) -> str:
    """Query for the number of rows that refer to rows which are not there. The child is named, and so listed, before the parent."""
    pairs = list(zip(columns, references, strict=True))
    on = " AND ".join(f"c.{a} = p.{b}" for a, b in pairs)
    given = " AND ".join(f"c.{a} IS NOT NULL" for a, _ in pairs)
    return f"SELECT count(*) FROM {source} c ANTI JOIN {parent} p ON {on} WHERE {given}"


def _units(con: duckdb.DuckDBPyConnection, table: Table, source: str) -> Units:
    return {
        unit: (rows, digest)
        for unit, rows, digest in con.execute(units_sql(table, source)).fetchall()
    }


def with_files(lake: Path) -> list[Table]:
    """Tables that have a file."""
    return [t for t in TABLES.values() if any(lake.glob(glob_pattern(t)))]


def by_glob(lake: Path) -> Seen:
    """Every table through its documented glob, with DuckDB."""
    there = {t.name for t in with_files(lake)}
    with duckdb.connect() as con:
        return {
            t.name: _units(con, t, glob_source(lake, t)) if t.name in there else {}
            for t in TABLES.values()
        }


def by_catalog(lake: Path) -> Seen:
    """Every table through the catalog."""
    with connect(str(lake)) as con:
        return {t.name: _units(con, t, t.name) for t in TABLES.values()}


@dataclass(frozen=True)
class Reference:
    """A lake that was made without disturbance."""

    seen: Seen

    @classmethod
    def of(cls, lake: Path) -> Reference:
        """Reads it."""
        return cls(by_glob(lake))

    def check(self, lake: Path, older: Seen | None = None) -> None:
        """Raises AssertionError unless each unit of a lake is absent or as in this one, and those of an older state are there.

        With its own state as the older one, the lake must be the same as this one, without anything that `verify` finds untidy.
        """
        if not (lake / MARKER).exists():
            assert older is None
            assert not with_files(lake)
            return
        found = by_glob(lake)
        self._check(found, older, "glob")
        if (lake / CATALOG).exists():
            self._check(by_catalog(lake), older, "catalog")
            problems = [
                str(p)
                for p in verify(LocalStore(lake))
                if p.level is Level.ERROR or older is self.seen
            ]
            assert problems == []
        else:
            assert older is None
        _check_references(lake)
        self._check_ledger(lake, found)

    def _check(self, found: Seen, older: Seen | None, reader: str) -> None:
        for table, units in found.items():
            wrong = [u for u, digest in units.items() if digest != self.seen[table].get(u)]
            assert not wrong, (
                f"{reader}: {table} of {wrong} is neither absent nor as in an undisturbed run"
            )
            missing = set(older[table]) - set(units) if older else set()
            assert not missing, f"{reader}: {table} of {missing} was there before"

    def _check_ledger(self, lake: Path, found: Seen) -> None:
        for entry in read_ledger(LocalStore(lake)).values():
            assert entry.status is Status.INGESTED, entry
            for name, rows in entry.row_counts.items():
                unit = (
                    entry.ophys_experiment_id
                    if TABLES[name].subject is Subject.OPHYS
                    else entry.behavior_session_id
                )
                if TABLES[name].subject is not Subject.STIMULUS:
                    held = found[name].get(unit, (0, ""))[0]
                    assert held == rows, f"{name} of {unit}: {held} rows, {rows} by the ledger"


def _check_references(lake: Path) -> None:
    there = {t.name for t in with_files(lake)}
    with duckdb.connect() as con:
        for table in TABLES.values():
            for key in table.foreign_keys if table.name in there else ():
                assert key.table in there, f"{table.name} refers to {key.table}, which has no file"
                sql = dangling_sql(
                    table,
                    glob_source(lake, table),
                    glob_source(lake, TABLES[key.table]),
                    key.columns,
                    key.references,
                )
                assert con.execute(sql).fetchone() == (0,), f"{table.name} {key.columns} dangles"
