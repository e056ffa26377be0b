"""The declared checks, carried out: on the rows of one session or plane, batch by batch. See `schemas.checks`.

Workers and `vblake verify` both use `UnitValues`; what it cannot tell alone, since it takes another table's clock, is left as an extent and
judged by `against_clock`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from pipelines.check.finding import Violation
from schemas import TABLES, Table
from schemas.casts import NDArray
from schemas.checks import (
    AllTrue,
    Area,
    Check,
    Clock,
    ClockAscending,
    Finite,
    InClock,
    Inside,
    NotBefore,
    OneTrue,
    PerFrame,
    Rule,
)

Extent = tuple[int, int]
"""Smallest and largest value, or length of a list."""


def _violation(check: Check, problem: str, found: str, expected: str | None = None) -> Violation:
    return Violation(", ".join(check.columns) or None, problem, expected or check.expected, found)


def _bits(buffer: Any, offset: int, count: int) -> NDArray:
    bits = np.unpackbits(
        np.frombuffer(buffer, dtype=np.uint8), bitorder="little", count=offset + count
    )
    return bits[offset:].astype(bool)


def numbers(array: pa.Array[Any]) -> tuple[NDArray, NDArray | None]:
    """Numbers or booleans of a column and which of them are there; None if all are. Arrow's own way imports pandas.

    Args:
        array: int64, float64 or bool, shape (n,).
    """
    buffers, offset, count = array.buffers(), array.offset, len(array)
    validity, data = buffers
    present = None if validity is None or not array.null_count else _bits(validity, offset, count)
    if pa.types.is_boolean(array.type):
        return _bits(data, offset, count), present
    dtype = np.float64 if pa.types.is_floating(array.type) else np.int64
    return np.frombuffer(cast("Any", data), dtype=dtype, count=offset + count)[
        offset:
    ] if count else np.empty(0, dtype), present


def lists(array: pa.Array[Any]) -> tuple[NDArray, NDArray]:
    """Flat items of a list column and where each row's start: row i is `items[offsets[i]:offsets[i + 1]]`."""
    column: Any = array
    return column.values.to_numpy(), column.offsets.to_numpy()


def _is_ascending(times: NDArray) -> bool:
    # NaN compares false, and what ascends between finite ends is finite.
    return bool(np.all(times[1:] >= times[:-1])) and bool(
        np.isfinite(times[0]) and np.isfinite(times[-1])
    )


def _first(wrong: NDArray) -> int:
    return int(wrong.argmax())


class UnitValues:
    """Takes the rows of one session, plane or image set in their order and keeps what is wrong with them, the first case of each check.

    Attributes:
        rows: number of rows taken.
        violations: by check.
        extents: of the checks that need a clock: smallest and largest frame number or length.
        frames: items of the list, if the table is a clock.
    """

    def __init__(self, table: Table) -> None:
        self.rows = 0
        self.violations: dict[Check, Violation] = {}
        self.extents: dict[Check, Extent] = {}
        self.frames: int | None = None
        self._table = table
        self._is_clock = table.name in [clock.value for clock in Clock]
        self._last: dict[str, float] = {}

    def take(self, rows: pa.Table) -> None:
        """The next rows, which have the declared schema."""
        for batch in rows.to_batches():
            if not batch.num_rows:
                continue
            for check in self._table.checks:
                if check in self.violations:
                    continue
                violation = self._look(
                    check, {name: batch.column(name) for name in check.columns}, batch.num_rows
                )
                if violation is not None:
                    self.violations[check] = violation
            if self._is_clock:
                self.frames = int(np.diff(lists(batch.column("timestamps"))[1]).sum())
            self.rows += batch.num_rows

    def _look(
        self, check: Check, columns: dict[str, pa.Array[Any]], count: int
    ) -> Violation | None:
        match check:
            case ClockAscending(column):
                return self._ascending(check, columns[column])
            case Finite(column):
                items, offsets = lists(columns[column])
                wrong = ~np.isfinite(items[offsets[0] : offsets[-1]])
                return self._in_list(
                    check, "a list holds values that are no numbers", items, offsets, wrong
                )
            case InClock(column):
                values, present = numbers(columns[column])
                self._extend(check, values if present is None else values[present])
            case PerFrame(_, column):
                self._extend(
                    check,
                    np.diff(lists(columns[column])[1]) if column else np.array([self.rows + count]),
                )
            case OneTrue(names):
                true = sum(
                    (numbers(columns[name])[0].astype(np.int64) for name in names),
                    np.zeros(count, dtype=np.int64),
                )
                wrong = true != 1
                return self._in_row(
                    check,
                    "flags exclude each other",
                    wrong,
                    lambda row: f"{true[row]} of them true",
                )
            case AllTrue(column):
                wrong = ~numbers(columns[column])[0]
                return self._in_row(check, "a flag is not true", wrong, lambda _: "false")
            case NotBefore(column, start):
                return self._not_before(check, columns[column], columns[start])
            case Area(column, height, width):
                items, offsets = lists(columns[column])
                lengths, pixels = (
                    np.diff(offsets),
                    numbers(columns[height])[0] * numbers(columns[width])[0],
                )
                wrong = lengths != pixels
                return self._in_row(
                    check,
                    "an image is not whole",
                    wrong,
                    lambda row: f"{lengths[row]} of {pixels[row]} pixels",
                )
            case Inside(column, height, width):
                return self._inside(
                    check, columns[column], numbers(columns[height])[0] * numbers(columns[width])[0]
                )
        return None

    def _extend(self, check: Check, values: NDArray) -> None:
        if len(values):
            low, high = int(values.min()), int(values.max())
            before = self.extents.get(check)
            if isinstance(check, PerFrame) and check.column is None:
                before = None  # rows counted so far, not lengths of several lists
            self.extents[check] = (
                (low, high) if before is None else (min(low, before[0]), max(high, before[1]))
            )

    def _in_row(
        self, check: Check, problem: str, wrong: NDArray, found: Callable[[int], str]
    ) -> Violation | None:
        if not wrong.any():
            return None
        row = _first(wrong)
        return _violation(check, problem, f"{found(row)} in row {self.rows + row}")

    def _in_list(
        self, check: Check, problem: str, items: NDArray, offsets: NDArray, wrong: NDArray
    ) -> Violation | None:
        if not wrong.any():
            return None
        item = _first(wrong) + int(offsets[0])
        row = int(np.searchsorted(offsets, item, side="right")) - 1
        return _violation(
            check,
            problem,
            f"{items[item]} as item {item - int(offsets[row])} in row {self.rows + row}",
        )

    def _ascending(self, check: ClockAscending, array: pa.Array[Any]) -> Violation | None:
        problem = "times are not in order"
        if pa.types.is_list(array.type):
            items, offsets = lists(array)
            if (np.diff(offsets) == 0).any():
                return _violation(
                    check,
                    "a clock is empty",
                    f"no times in row {self.rows + _first(np.diff(offsets) == 0)}",
                )
            times = items[offsets[0] : offsets[-1]]
            if len(offsets) == 2 and _is_ascending(times):
                return None
            wrong = ~np.isfinite(times)
            back = times[1:] < times[:-1]
            starts = offsets[1:-1] - offsets[0]
            back[starts - 1] = False  # from one list to the next
            wrong[1:] |= back
            return self._in_list(check, problem, items, offsets, wrong)
        times, present = numbers(array)
        times = times if present is None else times[present]
        if not len(times):
            return None
        last = self._last.get(check.column, -np.inf)
        self._last[check.column] = float(times[-1])
        if _is_ascending(times) and times[0] >= last:
            return None
        before = np.concatenate(([last], times[:-1]))
        wrong = ~(times >= before) | ~np.isfinite(times)
        return self._in_row(check, problem, wrong, lambda row: f"{times[row]} after {before[row]}")

    def _not_before(
        self, check: NotBefore, array: pa.Array[Any], other: pa.Array[Any]
    ) -> Violation | None:
        (ends, some), (starts, others) = numbers(array), numbers(other)
        wrong = ends < starts
        for present in (some, others):
            wrong = wrong if present is None else wrong & present
        return self._in_row(
            check,
            "an end lies before its start",
            wrong,
            lambda row: f"{ends[row]} before {starts[row]}",
        )

    def _inside(self, check: Inside, array: pa.Array[Any], pixels: NDArray) -> Violation | None:
        items, offsets = lists(array)
        flat = items[offsets[0] : offsets[-1]].astype(np.int64)
        wrong = flat >= np.repeat(pixels, np.diff(offsets))
        back = flat[1:] <= flat[:-1]
        starts = offsets[1:-1] - offsets[0]
        back[starts[(starts > 0) & (starts < len(flat))] - 1] = False
        wrong[1:] |= back
        return self._in_list(
            check, "a mask is not made of pixels of its image", items, offsets, wrong
        )


@dataclass(frozen=True, slots=True)
class Frames:
    """How many frames a session or plane has.

    Attributes:
        clock: times of its clock, None if not known.
        traces: frames of dF/F, for planes; None if not known. The clock may go on after them, which is a known exception.
    """

    clock: int | None
    traces: int | None = None


def against_clock(check: Check, extent: Extent, frames: Frames) -> Violation | None:
    """Judges frame numbers, lengths and row counts.

    Args:
        check: an `InClock` or `PerFrame`.
        extent: of its values, from `UnitValues.extents`.
        frames: of the same session or plane.
    """
    low, high = extent
    if isinstance(check, InClock):
        if frames.clock is not None and (low < 0 or high >= frames.clock):
            found = f"frame {low if low < 0 else high}"
            return _violation(
                check,
                "a frame lies outside of the clock",
                found,
                f"0 to {frames.clock - 1}, {check.expected}",
            )
        return None
    problem = "lengths and clock do not match"
    if low != high:
        return _violation(check, problem, f"lists of {low} to {high} items")
    if frames.traces is not None and high != frames.traces:
        return _violation(check, problem, str(high), f"{frames.traces}, the frames of dF/F")
    if frames.clock is not None and high != frames.clock:
        violation = _violation(check, problem, str(high), f"{frames.clock}, {check.expected}")
        return replace(violation, rule=Rule.ONE_PER_FRAME) if high < frames.clock else violation
    return None


def runs(ids: NDArray) -> Iterator[tuple[int, int, int]]:
    """Id, start and length of each run of equal ids."""
    if len(ids):
        starts = np.concatenate(([0], np.flatnonzero(np.diff(ids)) + 1))
        for start, end in zip(starts, np.append(starts[1:], len(ids)), strict=True):
            yield int(ids[start]), int(start), int(end - start)


def in_file(table: Table) -> tuple[str, ...]:
    """Columns of the primary key that tell the rows of one source apart."""
    outer = (table.unit_key, table.partition.name if table.partition else None)
    return tuple(name for name in table.primary_key if name not in outer)


def parents_in_file(table: Table) -> Iterator[tuple[str, Table, bool]]:
    """Tables that rows refer to within the same file: column that refers, table, and whether all of its rows must be referred to."""
    for key in table.foreign_keys:
        parent = TABLES[key.table]
        if parent.subject is table.subject and len(key.columns) > 1:
            yield key.columns[-1], parent, key.complete
