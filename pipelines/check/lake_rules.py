"""What only the tables of a lake together show: keys, clocks, missing rows; and which known exceptions occur. Nothing is changed.

The same declarations hold for the worker, which looks at one file before it is published (`pipelines.check.file`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import duckdb

from pipelines.catalog.connect import lake_root
from pipelines.check.finding import Problem, Severity
from pipelines.check.lake_file import CheckedFile, keys_repeat_in_neighbours
from pipelines.check.rows import Frames, against_clock
from pipelines.lake.ledger import Entry
from pipelines.lake.store import Store
from pipelines.release.manifest import semantic
from pipelines.sql_text import identifier, literal
from schemas import TABLES, ForeignKey, Subject, Table
from schemas.checks import Clock, InClock, PerFrame, Rule
from schemas.known_defects import BY_NAME, KNOWN, Evidence, KnownDefect, known

_SHOWN = 5
"""Ids named in one message."""

_TRACES = "dff_traces"


def some(ids: Iterable[object]) -> str:
    """The first of some ids, and how many more there are."""
    listed = list(ids)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(map(str, listed[:_SHOWN])) + more


def noun(table: Table) -> str:
    """What the rows of a table come from, for messages."""
    return "experiment" if table.unit_key == "ophys_experiment_id" else "behaviour session"


class LakeRules:
    """The rules between files and tables of a lake whose files were read one by one before.

    Args:
        store: the lake.
        release: the release it holds.
        files: by table, as `check_file` left them.
        by_unit: the ledger's entries by the session or experiment they gave rows of.
    """

    def __init__(
        self,
        store: Store,
        release: str,
        files: Mapping[str, list[CheckedFile]],
        by_unit: Mapping[Subject, Mapping[int, Entry]],
    ) -> None:
        self._root = lake_root(store)
        self._release = release
        self._files = files
        self._by_unit = by_unit
        self._seen: dict[str, set[int]] = {}
        self._clocks = {clock: self._frames(clock) for clock in Clock}

    def broken(self, con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[Problem]:
        """Every rule that the rows of a table break."""
        yield from self._repeated(con, table)
        for key in table.foreign_keys:
            if key.since is None or semantic(self._release) >= semantic(key.since):
                yield from self._dangling(con, table, key)
                yield from self._disagreeing(con, table, key)
                yield from self._incomplete(con, table, key)
        yield from self._off_clock(table)
        yield from self._without_rows(con, table)

    def exceptions(
        self, con: duckdb.DuckDBPyConnection, entries: Iterable[Entry]
    ) -> Iterator[Problem]:
        """The known exceptions that occur, each once. To be called after `broken` of all tables.

        Args:
            con: DuckDB that can read the lake.
            entries: the ledger, with the known defects that only the NWB file itself shows.
        """
        for entry in entries:
            for occurrence in entry.known_defects:
                ophys = TABLES[occurrence.table_name].subject is Subject.OPHYS
                unit = entry.ophys_experiment_id if ophys else None
                self._seen.setdefault(occurrence.defect, set()).add(
                    unit or entry.behavior_session_id
                )
        for e in {d.name: BY_NAME[d.name] for d in KNOWN}.values():
            table = TABLES[e.table]
            found = None
            if units := self._seen.get(e.name):
                found = f"{noun(table)} {some(sorted(units))}"
            elif (
                e.where is not None
                and e.in_release(self._release)
                and (files := self._usable(table))
            ):
                row = con.execute(
                    f"SELECT count(*) FROM {self._scan(files, table)} WHERE {e.where}"
                ).fetchone()
                found = f"{row[0]} rows" if row and row[0] else None
            if found is not None:
                message = f"{e.name}: {e.rows}; {e.reason} ({e.source})"
                yield Problem(Severity.KNOWN, e.table, None, e.column, message, None, found)

    def _usable(self, table: Table) -> list[CheckedFile]:
        return [f for f in self._files[table.name] if f.usable]

    def _scan(self, files: Iterable[CheckedFile], table: Table) -> str:
        paths = ", ".join(literal(f"{self._root}/{file.path}") for file in files)
        if table.partition is None:
            return f"read_parquet([{paths}], hive_partitioning = false)"
        types = f"{{{literal(table.partition.name)}: {table.partition.type.value}}}"
        return f"read_parquet([{paths}], hive_partitioning = true, hive_types = {types})"

    # --- keys ----------------------------------------------------------------------------------------------------------------

    def _repeated(self, con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[Problem]:
        """Primary keys that repeat, where reading file by file cannot tell: another order, or several files without units."""
        files = self._usable(table)
        if keys_repeat_in_neighbours(table):
            files = [f for f in files if not f.in_order]
        if not files or not table.primary_key:
            return
        key = ", ".join(map(identifier, table.primary_key))
        scan = self._scan(files, table)
        rows = con.execute(
            f"SELECT {key}, count(*) FROM {scan} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT {_SHOWN}"
        ).fetchall()
        for *values, count in rows:
            shown = ", ".join(
                f"{name} {value}" for name, value in zip(table.primary_key, values, strict=True)
            )
            yield self._error(
                table,
                None,
                "a primary key repeats",
                expected="unique keys",
                found=f"{shown} {count} times",
            )

    def _joined(self, table: Table, key: ForeignKey) -> tuple[str, str, str, str] | None:
        """What of a reference can be looked at: rows, table referred to, condition, which units; None if nothing."""
        parent = TABLES[key.table]
        files, parents = self._usable(table), self._usable(parent)
        if not files or len(parents) != len(self._files[parent.name]):
            return None  # a parent that cannot be read is a problem of its own, and would make all its children dangle
        units = "true"
        if parent.subject is not Subject.PROJECT:
            # Who asks for traces only has no cells to refer to: the worker has compared them with those in the file.
            entries = self._by_unit[table.subject].items()
            both = [
                unit
                for unit, entry in entries
                if parent.name in entry.row_counts and entry.row_counts.get(table.name)
            ]
            if table.unit_key is None or not both:
                return None
            units = f"{identifier(table.unit_key)} IN ({', '.join(map(str, both))})"
        nothing = ", ".join(f"CAST(NULL AS {c.type.value}) AS {identifier(c.name)}" for c in parent)
        there = self._scan(parents, parent) if parents else f"(SELECT {nothing} WHERE false)"
        on = " AND ".join(
            f"c.{identifier(c)} = p.{identifier(r)}"
            for c, r in zip(key.columns, key.references, strict=True)
        )
        return self._scan(files, table), there, on, units

    def _dangling(
        self, con: duckdb.DuckDBPyConnection, table: Table, key: ForeignKey
    ) -> Iterator[Problem]:
        """References to rows that are not there, all columns of a key together."""
        if (joined := self._joined(table, key)) is None:
            return
        rows, there, on, units = joined
        columns = ", ".join(f"c.{identifier(c)}" for c in key.columns)
        where = " AND ".join(f"c.{identifier(c)} IS NOT NULL" for c in key.columns)
        sql = f"SELECT DISTINCT {columns} FROM (FROM {rows} WHERE {units}) c ANTI JOIN {there} p ON {on} WHERE {where}"
        yield from self._referring(
            con,
            table,
            key,
            sql,
            f"rows refer to {key.table} that are not there",
            f"keys of {key.table}",
        )

    def _disagreeing(
        self, con: duckdb.DuckDBPyConnection, table: Table, key: ForeignKey
    ) -> Iterator[Problem]:
        """Rows that differ from the row they refer to in a column that both have."""
        if not key.agree or (joined := self._joined(table, key)) is None:
            return
        rows, there, on, units = joined
        columns = ", ".join(f"c.{identifier(c)}" for c in key.columns)
        differ = " OR ".join(
            f"c.{identifier(c)} IS DISTINCT FROM p.{identifier(c)}" for c in key.agree
        )
        sql = f"SELECT DISTINCT {columns} FROM (FROM {rows} WHERE {units}) c JOIN {there} p ON {on} WHERE {differ}"
        message = f"rows differ in {', '.join(key.agree)} from those of {key.table} they refer to"
        yield from self._referring(con, table, key, sql, message, "the same value in both")

    def _incomplete(
        self, con: duckdb.DuckDBPyConnection, table: Table, key: ForeignKey
    ) -> Iterator[Problem]:
        """Rows that nothing refers to, though each should be referred to."""
        if (
            not key.complete
            or table.unit_key is None
            or (joined := self._joined(table, key)) is None
        ):
            return
        rows, there, on, units = joined
        columns = ", ".join(f"p.{identifier(r)}" for r in key.references)
        sql = f"SELECT DISTINCT {columns} FROM (FROM {there} WHERE {units}) p ANTI JOIN {rows} c ON {on}"
        if exceptions := known(table.name, Rule.ROW_PER_PARENT, self._release):
            units_without = con.execute(
                f"SELECT DISTINCT {identifier(table.unit_key)} FROM ({sql})"
            ).fetchall()
            self._note(exceptions[0], [unit for (unit,) in units_without])
            return
        yield from self._referring(
            con, table, key, sql, "rows are missing", f"a row for each of {key.table}"
        )

    def _referring(
        self,
        con: duckdb.DuckDBPyConnection,
        table: Table,
        key: ForeignKey,
        sql: str,
        message: str,
        expected: str,
    ) -> Iterator[Problem]:
        rows = con.execute(f"{sql} ORDER BY ALL LIMIT {_SHOWN + 1}").fetchall()
        if rows:
            shown = "; ".join(
                ", ".join(f"{n} {v}" for n, v in zip(key.columns, row, strict=True))
                for row in rows[:_SHOWN]
            )
            more = " and more" if len(rows) > _SHOWN else ""
            yield self._error(table, None, message, ", ".join(key.columns), expected, shown + more)

    # --- clocks and missing rows ---------------------------------------------------------------------------------------------

    def _frames(self, clock: Clock) -> dict[int, Frames]:
        clocks = {
            unit: values.frames
            for file in self._usable(TABLES[clock.value])
            for unit, values in file.values.items()
        }
        traces: dict[int, int] = {}
        if clock is Clock.OPHYS:
            for file in self._usable(TABLES[_TRACES]):
                for unit, values in file.values.items():
                    traces.update(
                        (unit, high) for low, high in values.extents.values() if low == high
                    )
        return {unit: Frames(clocks.get(unit), traces.get(unit)) for unit in {*clocks, *traces}}

    def _off_clock(self, table: Table) -> Iterator[Problem]:
        for file in self._usable(table):
            for unit, values in file.values.items():
                for check, extent in values.extents.items():
                    assert isinstance(check, (InClock, PerFrame))
                    violation = against_clock(
                        check, extent, self._clocks[check.clock].get(unit, Frames(None))
                    )
                    if violation is None:
                        continue
                    if violation.rule and (
                        exceptions := known(check.clock.value, violation.rule, self._release)
                    ):
                        self._note(exceptions[0], [unit])
                        continue
                    found = f"{violation.found} of {table.unit_key} {unit}"
                    yield self._error(
                        table,
                        file.path,
                        violation.problem,
                        violation.column,
                        violation.expected,
                        found,
                    )

    def _without_rows(self, con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[Problem]:
        """Sources that gave no rows where rows are expected."""
        if not table.rows_expected or table.unit_key is None:
            return
        empty = {
            unit
            for unit, entry in self._by_unit[table.subject].items()
            if entry.row_counts.get(table.name) == 0
        }
        for exception in known(table.name, Rule.ROWS_EXPECTED, self._release):
            passing = empty - (
                self._with_evidence(con, exception.unless) if exception.unless else set()
            )
            self._note(exception, passing)
            empty -= passing
        if empty:
            message = f"{noun(table)} {some(sorted(empty))} gave no rows. Ingest again with --force"
            yield self._error(
                table,
                None,
                message,
                expected="rows, as every file of its kind has them",
                found="none",
            )

    def _with_evidence(self, con: duckdb.DuckDBPyConnection, evidence: Evidence) -> set[int]:
        """Sessions or experiments whose rows speak against an exception."""
        table = TABLES[evidence.table]
        files = self._usable(table)
        if not files or table.unit_key is None:
            return set()
        column = identifier(evidence.column)
        if evidence.equals is not None:
            condition = f"{column} = {literal(evidence.equals)}"
        else:
            condition = (
                f"len({column}) > 0" if table[evidence.column].type.is_list else f"{column} > 0"
            )
        rows = con.execute(
            f"SELECT DISTINCT {identifier(table.unit_key)} FROM {self._scan(files, table)} WHERE {condition}"
        ).fetchall()
        return {unit for (unit,) in rows}

    def _note(self, exception: KnownDefect, units: Iterable[int]) -> None:
        self._seen.setdefault(exception.name, set()).update(units)

    def _error(
        self,
        table: Table,
        file: str | None,
        message: str,
        column: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> Problem:
        return Problem(Severity.ERROR, table.name, file, column, message, expected, found)
