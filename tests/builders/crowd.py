"""Readers of a lake in processes of their own, who ask again and again while somebody writes, and
compare every answer with what was published."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import duckdb
import polars as pl

from builders.states import Units, dangling_sql, glob_source, unit_column, units_sql
from pipelines.catalog.connect import connect
from schemas import TABLES, ForeignKey, Table
from schemas.layout import glob_pattern

Kind = Literal["catalog", "open catalog", "glob", "polars"]
READERS: tuple[Kind, ...] = ("catalog", "open catalog", "glob", "polars")

RETRYABLE: tuple[tuple[type[Exception], str], ...] = (
    (duckdb.Error, "TProtocolException: Invalid data"),
    (pl.exceptions.ComputeError, "Invalid thrift"),
)
"""What a query may fail with, once in a while: a large file was replaced between its footer and its
data. Asked again, it succeeds."""

TRIES = 50


@dataclass(frozen=True)
class Published:
    """What a table may hold.

    Attributes:
        units: rows and digest of each unit.
        states: the sets of units that were published one after the other; None where units come one
            by one.
        grows: whether what was there once stays there.
    """

    units: Units
    states: tuple[frozenset[Any], ...] | None
    grows: bool = True

    def problem(self, found: Units, seen: frozenset[Any]) -> str | None:
        """Returns what is wrong with an answer that follows one with the units `seen`."""
        if wrong := [unit for unit, digest in found.items() if self.units.get(unit) != digest]:
            return f"{wrong} are not as published"
        if self.states is not None and frozenset(found) not in self.states:
            return f"{sorted(found)} were never there together"
        if self.grows and not seen <= frozenset(found):
            return f"{sorted(seen - frozenset(found))} vanished"
        return None


@dataclass
class Report:
    """What a reader has to say: answers, failures of the retryable kind by their text, and what was
    wrong."""

    kind: Kind
    answers: int = 0
    again: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])


class _Reader:
    def __init__(self, kind: Kind, lake: Path) -> None:
        self._kind = kind
        self._lake = lake
        self._con = connect(str(lake)) if kind == "open catalog" else duckdb.connect()

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._kind == "catalog":
            with connect(str(self._lake)) as con:
                yield con
        else:
            yield self._con

    def _source(self, table: Table) -> str:
        return glob_source(self._lake, table) if self._kind in ("glob", "polars") else table.name

    def _scan(self, table: Table) -> pl.LazyFrame:
        return pl.scan_parquet(
            f"{self._lake}/{glob_pattern(table)}", hive_partitioning=bool(table.partitions)
        )

    def units(self, table: Table) -> Units:
        with self._connection() as con:
            source = self._source(table)
            if self._kind == "polars":
                rows = self._scan(table).select([c.name for c in table.columns]).collect()
                con.register("rows", rows.to_arrow())
                typed = ", ".join(f"{c.name}::{c.type.value} AS {c.name}" for c in table.partitions)
                source = f"(SELECT * REPLACE ({typed}) FROM rows)" if typed else "rows"
            return {
                unit: (rows, digest)
                for unit, rows, digest in con.execute(units_sql(table, source)).fetchall()
            }

    def dangling(self, table: Table, key: ForeignKey) -> int:
        """Rows that refer to nothing; the table that refers is named first."""
        parent = TABLES[key.table]
        with self._connection() as con:
            row = con.execute(
                dangling_sql(
                    table, self._source(table), self._source(parent), key.columns, key.references
                )
            ).fetchone()
            assert row is not None
            return row[0]


def _asked(report: Report, question: Callable[[], Any]) -> Any:
    """The answer to a question, asked again after a failure of the retryable kind."""
    for _ in range(TRIES):
        try:
            answer = question()
        except Exception as error:
            texts = [t for kind, t in RETRYABLE if isinstance(error, kind) and t in str(error)]
            if not texts:
                raise
            report.again[f"{type(error).__name__}: {texts[0]}"] += 1
        else:
            report.answers += 1
            return answer
    raise AssertionError(f"no answer in {TRIES} attempts")


def _read(
    kind: Kind,
    lake: Path,
    published: dict[str, Published],
    seed: int,
    pause: float,
    stop: Any,
    out: Any,
) -> None:
    rng = random.Random(f"{seed}-{kind}")
    report = Report(kind)
    seen: dict[str, frozenset[Any]] = {name: frozenset() for name in published}
    reader = _Reader(kind, lake)
    try:
        while not stop.wait(pause):
            table = TABLES[rng.choice(list(published))]
            found = _asked(report, lambda table=table: reader.units(table))
            if problem := published[table.name].problem(found, seen[table.name]):
                report.problems.append(f"{kind}: {table.name}: {problem}")
            seen[table.name] = frozenset(found)
            keys = [k for k in table.foreign_keys if k.table in published]
            if keys:
                key = rng.choice(keys)
                if lost := _asked(report, lambda table=table, key=key: reader.dangling(table, key)):
                    report.problems.append(
                        f"{kind}: {lost} rows of {table.name} refer by {key.columns} to nothing"
                    )
    except Exception as error:  # noqa: BLE001 - for the test to see
        report.problems.append(f"{kind}: {type(error).__module__}.{type(error).__name__}: {error}")
    out.put(report)


@contextmanager
def crowd(
    lake: Path,
    published: dict[str, Published],
    seed: int,
    readers: tuple[Kind, ...] = READERS,
    pause: float = 0.0,
) -> Iterator[list[Report]]:
    """Readers at work while the block runs; their reports are in the list after it.

    Args:
        lake: the lake.
        published: what each table may hold; other tables are not asked for.
        seed: of their choice of questions.
        readers: one process each.
        pause: seconds between two questions of a reader; readers that never pause leave a small
            machine no time to write.
    """
    context = get_context("spawn")
    stop, out = context.Event(), context.Queue()
    processes = [
        context.Process(
            target=_read, args=(kind, lake, published, seed + n, pause, stop, out), daemon=True
        )
        for n, kind in enumerate(readers)
    ]
    reports: list[Report] = []
    for process in processes:
        process.start()
    try:
        yield reports
        stop.set()
        reports.extend(out.get(timeout=120) for _ in processes)
    finally:
        for process in processes:
            with suppress(ValueError):
                process.join(10)
                process.kill()
                process.join()


def published_by_state(
    reference: Mapping[str, Units],
    sessions_of: Mapping[str, Mapping[Any, int]],
    states: list[set[int]],
) -> dict[str, Published]:
    """What each table may hold while sessions are added.

    Args:
        reference: the units of the lake that holds all.
        sessions_of: by table, the session of each unit; tables whose units are not of one session
            are not in it.
        states: the sessions in the lake, one state after the other.
    """
    result: dict[str, Published] = {}
    for name, units in reference.items():
        owner = sessions_of.get(name)
        if not units:
            continue
        if owner is None:
            result[name] = Published(units, None)
            continue
        held = {frozenset(unit for unit in units if owner[unit] in sessions) for sessions in states}
        # A catalog that was made before a table had any file shows it empty.
        result[name] = Published(units, (frozenset(), *held))
    return result


def sessions_by_unit(lake: Path) -> dict[str, dict[Any, int]]:
    """By table, the behaviour session of each unit."""
    found: dict[str, dict[Any, int]] = {}
    with connect(str(lake)) as con:
        for table in TABLES.values():
            unit = unit_column(table)
            if unit and unit != "image_set":
                rows = con.execute(
                    f"SELECT DISTINCT {unit}, behavior_session_id FROM {table.name}"
                ).fetchall()
                found[table.name] = dict(rows)
    return found
