"""The rules of one table, applied to its rows of one session, plane or image set, batch by batch.

Workers (`pipelines.check.file`) and `vblake verify` (`pipelines.check.lake`) both use `TableRows`.
Rules that need another table's keys or clock are applied in `pipelines.check.recording`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa

from pipelines.check.finding import Finding
from pipelines.nwb.clock import MESSAGE, goes_back
from schemas import TABLES, Subject, Table
from schemas.arrow import arrow_schema, file_schema
from schemas.casts import NDArray
from schemas.checks import Check, Clock, Rule, shows_image
from schemas.known_defects import KNOWN, Evidence

Extent = tuple[int, int]
"""Smallest and largest value, or length of a list."""

Column: TypeAlias = "pa.Array[Any]"


# --- Arrow columns as NumPy ----------------------------------------------------------------------


def numbers(array: Column) -> tuple[NDArray, NDArray | None]:
    """Numbers or booleans, and which of them are not NULL; None if all are.

    >>> numbers(pa.array([1, None]))
    (array([1, 0]), array([ True, False]))
    """
    if not array.null_count:
        return array.to_numpy(zero_copy_only=False), None
    filled: Any = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    present: Any = array.is_valid()
    return filled.to_numpy(zero_copy_only=False), present.to_numpy(zero_copy_only=False)


def lists(array: Column) -> tuple[NDArray, NDArray]:
    """Items and offsets of a list column: row i is `items[offsets[i]:offsets[i + 1]]`."""
    column: Any = array
    return column.values.to_numpy(), column.offsets.to_numpy()


def _coded(texts: Column) -> tuple[NDArray, list[Any]]:
    """The different texts of a column, NULL among them, and the position of each row's."""
    coded: Any = texts.dictionary_encode(null_encoding="encode")
    return coded.indices.to_numpy(), coded.dictionary.to_pylist()


def runs(ids: NDArray) -> Iterator[tuple[int, int, int]]:
    """Id, start and length of each run of equal ids.

    >>> list(runs(np.array([7, 7, 9])))
    [(7, 0, 2), (9, 2, 1)]
    """
    if len(ids):
        starts = np.concatenate(([0], np.flatnonzero(np.diff(ids)) + 1))
        for start, end in zip(starts, np.append(starts[1:], len(ids)), strict=True):
            yield int(ids[start]), int(start), int(end - start)


# --- keys of a table -----------------------------------------------------------------------------


def parents(table: Table) -> Iterator[tuple[str, Table, bool]]:
    """The tables of the same recording that rows refer to; a plane has those of its session, too.

    Yields:
        The referring column, the table, and whether each of its rows must be referred to.
    """
    for key in table.foreign_keys:
        parent = TABLES[key.table]
        if parent.subject in (table.subject, Subject.BEHAVIOR) and len(key.columns) > 1:
            yield key.columns[-1], parent, key.complete


@cache
def _kept_columns(name: str) -> frozenset[str]:
    """The columns of a table whose values are needed after the batch: own key and references."""
    table = TABLES[name]
    return frozenset({*table.own_key, *(key.columns[-1] for key in table.foreign_keys)})


@cache
def _evidence_in(table: str) -> frozenset[Evidence]:
    """What rows of a table may show that rules out known defects."""
    return frozenset(d.unless for d in KNOWN if d.unless and d.unless.table == table)


@cache
def _required(table: str) -> frozenset[str]:
    """The columns of a table that have a value in every row."""
    return frozenset(column.name for column in TABLES[table].converted if column.required)


def _ascend(columns: Sequence[NDArray]) -> bool:
    """Whether each key, of one value per column, is greater than the one before."""
    tied = np.ones(max(len(columns[0]) - 1, 0), dtype=bool)
    ascend = np.zeros_like(tied)
    for column in columns:
        ascend |= tied & (column[1:] > column[:-1])
        tied &= column[1:] == column[:-1]
    return bool(ascend.all())


def _distinct(values: NDArray) -> NDArray:
    """The different values, ascending, of which most repeat from row to row."""
    changes = values[1:] != values[:-1]
    if not changes.any():
        return values[:1]  # the ids of a recording
    values = np.concatenate((values[:1], values[1:][changes]))
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low >= len(values):
        return np.unique(values)
    # Few numbers many times, as presentations for each cell: no need to hash or sort.
    found = np.zeros(high - low + 1, dtype=bool)
    found[values - low] = True
    return np.flatnonzero(found) + low


def _repeated(columns: Sequence[NDArray]) -> str | None:
    """A key that occurs twice."""
    keys = columns[0]
    if _ascend(columns):
        return None  # the usual case, without sorting
    if len(columns) > 1:
        keys = np.array([", ".join(map(str, key)) for key in zip(*columns, strict=True)])
    values, counts = np.unique(keys, return_counts=True)
    return str(values[counts > 1][0]) if (counts > 1).any() else None


# --- rules of single batches ---------------------------------------------------------------------


@cache
def declared_schema(table: str) -> pa.Schema:
    """The Arrow schema that rows of a table have before they are written."""
    return arrow_schema(TABLES[table])


@cache
def declared_file_schema(table: str) -> pa.Schema:
    """The Arrow schema that files of a table have."""
    return file_schema(TABLES[table])


def schema_findings(table: Table, found: pa.Schema, declared: pa.Schema) -> Iterator[Finding]:
    """Rule `schema`: the declared columns, types and nullability, in the declared order."""
    rule, name = Rule.SCHEMA, table.name
    if found.equals(declared):
        return
    for field in declared:
        positions = found.get_all_field_indices(field.name)
        if len(positions) != 1:
            times = "is missing" if not positions else "is there more than once"
            yield Finding(rule, name, f"the column {times}", field.name)
            continue
        has = found.field(positions[0])
        if has.type != field.type:
            message = "the column has another type"
            yield Finding(rule, name, message, field.name, str(field.type), str(has.type))
        elif has.nullable != field.nullable:
            message = "the file declares another nullability"
            expected, actual = ("may be NULL" if f.nullable else "never NULL" for f in (field, has))
            yield Finding(rule, name, message, field.name, expected, actual)
    for column in found.names:
        if column not in declared.names:
            yield Finding(rule, name, "the file has a column that is not declared", column)
    if found.names != declared.names and sorted(found.names) == sorted(declared.names):
        orders = (", ".join(declared.names), ", ".join(found.names))
        yield Finding(rule, name, "the columns are in another order", None, *orders)


def null_findings(table: Table, rows: pa.Table) -> Iterator[Finding]:
    """Rule `not_null`: required columns have a value in every row."""
    required = _required(table.name)
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if name in required and (nulls := column.null_count):
            message, expected = "a required value is missing", "a value in every row"
            found = f"{nulls} NULLs in {rows.num_rows} rows"
            yield Finding(Rule.NOT_NULL, table.name, message, name, expected, found)


class TableRows:
    """Applies the rules of a table to the rows of one recording and keeps what other rules need.

    Of each rule, only the first violation is reported.

    Attributes:
        rows: number of rows taken.
        extents: smallest and largest frame number or length, by check that needs a clock.
        shown: number of rows by image set and image, for the table of presentations.
        frames: times of the clock, if the table is one.
        evidence: what the rows show that rules out known defects.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows = 0
        self.extents: dict[Check, Extent] = {}
        self.shown: Counter[tuple[str, str]] = Counter()
        self.frames: int | None = None
        self.evidence: set[Evidence] = set()
        self._broken: set[Check] = set()
        self._last: dict[Check, float] = {}
        self._own_key = table.own_key
        self._kept = {name: list[NDArray]() for name in _kept_columns(table.name)}
        self._wanted = _evidence_in(table.name)

    def take(self, rows: pa.Table) -> list[Finding]:
        """Checks the next rows, which have the declared columns and no missing values."""
        findings: list[Finding] = []
        for batch in rows.to_batches():
            if not batch.num_rows:
                continue
            for check in self.table.checks:
                if check not in self._broken:
                    columns = [batch.column(name) for name in check.columns]
                    if (finding := self._apply(check, columns, batch.num_rows)) is not None:
                        self._broken.add(check)
                        findings.append(finding)
            if self.table.name in tuple(Clock):
                self.frames = int(np.diff(lists(batch.column("timestamps"))[1]).sum())
            self.rows += batch.num_rows
        for name, parts in self._kept.items():
            values = rows.column(name).drop_null().to_numpy()
            parts.append(values if name in self._own_key else _distinct(values))
        self.evidence |= {e for e in self._wanted if shows(rows.column(e.column), e)}
        return findings

    def distinct(self, name: str) -> NDArray:
        """The different values of a key or of a referring column, ascending."""
        return _distinct(self.values(name))

    def values(self, name: str) -> NDArray:
        """The values of a key or of a referring column; the latter may be without repeats."""
        parts = self._kept[name]
        if len(parts) > 1:
            self._kept[name] = parts = [np.concatenate(parts)]
        return parts[0] if parts else np.empty(0, np.int64)

    def repeated_key(self) -> Finding | None:
        """Rule `primary_key`: no key occurs twice."""
        if not self._own_key:
            return None
        repeated = _repeated([self.values(name) for name in self._own_key])
        if repeated is None:
            return None
        name, rule = ", ".join(self._own_key), Rule.PRIMARY_KEY
        message, found = "a primary key repeats", f"{name} {repeated} twice"
        return Finding(rule, self.table.name, message, name, "unique keys", found)

    def forget(self, *needed: str) -> None:
        """Drops the values of all columns but those needed."""
        self._kept = {name: parts for name, parts in self._kept.items() if name in needed}

    def _finding(self, check: Check, message: str, found: str) -> Finding:
        column = ", ".join(check.columns) or None
        return Finding(check.rule, self.table.name, message, column, check.expected, found)

    def _apply(self, check: Check, columns: list[Column], count: int) -> Finding | None:
        match check.rule:
            case Rule.CLOCK_ASCENDING:
                return self._clock_ascending(check, columns[0])
            case Rule.FINITE:
                items, offsets = lists(columns[0])
                wrong = ~np.isfinite(items[offsets[0] : offsets[-1]])
                message = "a list holds values that are not numbers"
                return self._in_list(check, message, items, offsets, wrong)
            case Rule.LIST_LENGTH:
                lengths, present = (
                    np.diff(lists(columns[0])[1]),
                    columns[0].is_valid().to_numpy(False),
                )
                wrong = present & (lengths != check.length)
                message = "a list has another length"
                return self._in_row(check, message, wrong, lambda n: f"{lengths[n]} items")
            case Rule.FRAME_IN_CLOCK:
                values, kept = numbers(columns[0])
                self._extend(check, values if kept is None else values[kept])
            case Rule.ONE_PER_FRAME if columns:
                self._extend(check, np.diff(lists(columns[0])[1]))
            case Rule.ONE_PER_FRAME:
                self.extents[check] = (self.rows + count, self.rows + count)
            case Rule.EXACTLY_ONE_TRUE:
                true = np.sum([numbers(column)[0] for column in columns], axis=0)
                message = "flags exclude each other"
                return self._in_row(check, message, true != 1, lambda n: f"{true[n]} of them true")
            case Rule.ALWAYS_TRUE:
                wrong = ~numbers(columns[0])[0]
                return self._in_row(check, "a flag is not true", wrong, lambda _: "false")
            case Rule.END_NOT_BEFORE_START:
                return self._not_before(check, *columns)
            case Rule.WHOLE_IMAGE:
                return self._whole_image(check, *columns)
            case Rule.PIXELS_IN_IMAGE:
                return self._pixels(check, *columns)
            case Rule.IMAGE_NOT_IN_SET:
                self._count_images(*columns)
            case _:
                raise AssertionError(check.rule)
        return None

    def _extend(self, check: Check, values: NDArray) -> None:
        if len(values):
            low, high = int(values.min()), int(values.max())
            before = self.extents.get(check, (low, high))
            self.extents[check] = (min(low, before[0]), max(high, before[1]))

    def _count_images(self, names: Column, sets: Column) -> None:
        # Few texts many times. Acero's group_by takes 0.3 ms for a session, this 0.06.
        name_at, all_names = _coded(names)
        set_at, all_sets = _coded(sets)
        found, counts = np.unique(set_at * len(all_names) + name_at, return_counts=True)
        for code, count in zip(found.tolist(), counts.tolist(), strict=True):
            at, of = divmod(code, len(all_names))
            if all_sets[at] is not None and shows_image(all_names[of]):
                self.shown[all_sets[at], all_names[of]] += count

    def _in_row(
        self, check: Check, message: str, wrong: NDArray, found: Callable[[int], str]
    ) -> Finding | None:
        if not wrong.any():
            return None
        row = int(wrong.argmax())
        return self._finding(check, message, f"{found(row)} in row {self.rows + row}")

    def _in_list(
        self, check: Check, message: str, items: NDArray, offsets: NDArray, wrong: NDArray
    ) -> Finding | None:
        if not wrong.any():
            return None
        item = int(wrong.argmax()) + int(offsets[0])
        row = int(np.searchsorted(offsets, item, side="right")) - 1
        place = f"item {item - int(offsets[row])} in row {self.rows + row}"
        return self._finding(check, message, f"{items[item]} as {place}")

    def _clock_ascending(self, check: Check, array: Column) -> Finding | None:
        """A clock never goes back: in each list, or over the rows."""
        if pa.types.is_list(array.type):
            items, offsets = lists(array)
            lengths = np.diff(offsets)
            if not lengths.all():
                row = self.rows + int((lengths == 0).argmax())
                return self._finding(check, "a clock is empty", f"no times in row {row}")
            times = items[offsets[0] : offsets[-1]]
            starts = offsets[1:-1] - offsets[0]
            return self._in_list(check, MESSAGE, items, offsets, goes_back(times, starts))
        times, kept = numbers(array)
        times = times if kept is None else times[kept]
        if not len(times):
            return None
        last = self._last.get(check, -np.inf)
        self._last[check] = float(times[-1])
        wrong = goes_back(times)
        wrong[0] |= times[0] < last

        def found(row: int) -> str:
            return f"{times[row]} after {times[row - 1] if row else last}"

        return self._in_row(check, MESSAGE, wrong, found)

    def _not_before(self, check: Check, end: Column, start: Column) -> Finding | None:
        (ends, has_end), (starts, has_start) = numbers(end), numbers(start)
        wrong = ends < starts
        for kept in (has_end, has_start):
            wrong = wrong if kept is None else wrong & kept
        message = "an end lies before its start"
        return self._in_row(check, message, wrong, lambda row: f"{ends[row]} before {starts[row]}")

    def _whole_image(
        self, check: Check, image: Column, height: Column, width: Column
    ) -> Finding | None:
        lengths, pixels = np.diff(lists(image)[1]), numbers(height)[0] * numbers(width)[0]
        return self._in_row(
            check,
            "an image is incomplete",
            lengths != pixels,
            lambda row: f"{lengths[row]} of {pixels[row]} pixels",
        )

    def _pixels(self, check: Check, mask: Column, height: Column, width: Column) -> Finding | None:
        items, offsets = lists(mask)
        flat = items[offsets[0] : offsets[-1]].astype(np.int64)
        pixels = numbers(height)[0] * numbers(width)[0]
        wrong = flat >= np.repeat(pixels, np.diff(offsets))
        back = flat[1:] <= flat[:-1]
        starts = offsets[1:-1] - offsets[0]
        back[starts[(starts > 0) & (starts < len(flat))] - 1] = False
        wrong[1:] |= back
        message = "a mask holds something else than pixels of its image"
        return self._in_list(check, message, items, offsets, wrong)


def shows(column: pa.ChunkedArray[Any] | Column, evidence: Evidence) -> bool:
    """Whether a column of some rows holds evidence against a known defect."""
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if evidence.equals is not None:
        return evidence.equals in chunked.to_pylist()
    if pa.types.is_list(chunked.type):
        return any(len(chunk.flatten()) > 0 for chunk in cast("list[Any]", chunked.chunks))
    return bool((chunked.drop_null().to_numpy() > 0).any())
