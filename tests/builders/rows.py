"""Rows that keep the checks of their table, drawn at random, and ways to break each check in one row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from schemas import TABLES, Column, Table, Type
from schemas.casts import conform
from schemas.checks import (
    AllTrue,
    Area,
    Check,
    ClockAscending,
    Finite,
    InClock,
    Inside,
    NotBefore,
    OneTrue,
    PerFrame,
)

NAN, INF = float("nan"), float("inf")
UNIT = {"behavior_session_id": 1001, "ophys_session_id": 2001, "ophys_experiment_id": 5001}

_FILLED: dict[Type, Any] = {
    Type.INT64: 1,
    Type.FLOAT64: 0.5,
    Type.BOOL: False,
    Type.STRING: "some",
    Type.LIST_FLOAT64: [0.5],
    Type.LIST_FLOAT32: [0.5],
    Type.LIST_UINT32: [0],
    Type.LIST_UINT8: [1],
}


@dataclass
class Drawn:
    """Rows of one session or plane.

    Attributes:
        columns: values by column, one per row.
        frames: frames of the clock that the checks refer to.
    """

    table: Table
    columns: dict[str, list[Any]]
    count: int
    frames: int
    broken_row: int = field(default=0)

    def rows(self) -> pa.Table:
        """The rows with the declared schema."""
        return conform(self.table, self.columns, self.count)


def _values(draw: st.DrawFn, column: Column, count: int) -> list[Any]:
    if column.name in UNIT:
        return [UNIT[column.name]] * count
    if not column.required and draw(st.booleans()):
        return [None] * count
    return [_FILLED[column.type]] * count if column.type in _FILLED else [None] * count


def _times(draw: st.DrawFn, count: int) -> list[float]:
    return sorted(draw(st.lists(st.floats(-1e6, 1e6), min_size=count, max_size=count)))


@st.composite
def drawn(draw: st.DrawFn, table: Table) -> Drawn:
    """Any valid rows of a table."""
    frames = draw(st.integers(1, 12))
    by_rows = any(isinstance(c, PerFrame) and c.column is None for c in table.checks)
    count = frames if by_rows else draw(st.integers(1, 8))
    columns = {c.name: _values(draw, c, count) for c in table.stored}
    for key in table.primary_key:
        if key in columns and key not in UNIT:
            columns[key] = (
                [f"n{i}" for i in range(count)]
                if table[key].type is Type.STRING
                else list(range(count))
            )
    for check in table.checks:
        columns |= _kept(draw, table, check, columns, count, frames)
    return Drawn(table, columns, count, frames)


def _kept(
    draw: st.DrawFn,
    table: Table,
    check: Check,
    columns: dict[str, list[Any]],
    count: int,
    frames: int,
) -> dict[str, list[Any]]:
    """Columns that keep a check, in place of those drawn without a thought of it."""

    def some(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(strategy, min_size=count, max_size=count))

    match check:
        case ClockAscending(name) if table[name].type.is_list:
            return {name: [_times(draw, draw(st.integers(1, 6))) for _ in range(count)]}
        case ClockAscending(name):
            return {name: _times(draw, count)}
        case Finite(name):
            return {name: some(st.lists(st.floats(-1e6, 1e6), max_size=4))}
        case InClock(name):
            missing = st.nothing() if table[name].required else st.none()
            return {name: some(st.integers(0, frames - 1) | missing)}
        case PerFrame(_, str(name)):
            return {name: [[draw(st.floats())] * frames for _ in range(count)]}
        case OneTrue(names):
            chosen = some(st.sampled_from(names))
            return {name: [c == name for c in chosen] for name in names}
        case AllTrue(name):
            return {name: [True] * count}
        case NotBefore(name, start):
            starts = some(st.floats(0, 1e6))
            return {start: starts, name: [t + draw(st.floats(0, 1e3)) for t in starts]}
        case Area(_, height, width):
            heights, widths = some(st.integers(0, 3)), some(st.integers(0, 3))
            areas = [[1] * (h * w) for h, w in zip(heights, widths, strict=True)]
            images = [other.column for other in table.checks if isinstance(other, Area)]
            return {height: heights, width: widths} | dict.fromkeys(images, areas)
        case Inside(name, height, width):
            heights, widths = some(st.integers(1, 3)), some(st.integers(1, 3))
            pixels = [
                sorted(draw(st.sets(st.integers(0, h * w - 1))))
                for h, w in zip(heights, widths, strict=True)
            ]
            return {height: heights, width: widths, name: pixels}
        case _:
            return {}


def broken(draw: st.DrawFn, good: Drawn, check: Check) -> Drawn:
    """The same rows with one violation of one check."""
    columns = {name: list(values) for name, values in good.columns.items()}
    row = draw(st.integers(0, good.count - 1))
    count = good.count

    def edit(name: str, value: Any) -> None:
        columns[name][row] = value

    match check:
        case ClockAscending(name) if good.table[name].type.is_list:
            times = columns[name][row]
            edit(
                name,
                draw(
                    st.sampled_from(
                        [[], [*times, NAN], [*times, times[-1] - 1], [-INF, *times], [*times, INF]]
                    )
                ),
            )
        case ClockAscending(name):
            # NaN and infinities never get so far: they are no values, and times are required.
            columns = {n: [values[row], *values[row:]] for n, values in columns.items()}
            columns[name][0] = columns[name][1] + 1
            count, row = count - row + 1, 1
        case Finite(name):
            edit(name, [*columns[name][row], draw(st.sampled_from([NAN, INF, -INF]))])
        case InClock(name):
            edit(name, draw(st.sampled_from([-1, good.frames, good.frames + 10**6])))
        case PerFrame(_, str(name)):
            edit(name, [0.5] * draw(st.integers(0, 20).filter(lambda n: n != good.frames)))
        case PerFrame():
            count = draw(st.integers(1, 20).filter(lambda n: n != good.frames))
            columns = {n: [values[0]] * count for n, values in columns.items()} | {
                "frame": list(range(count))
            }
        case OneTrue(names):
            true = next(n for n in names if columns[n][row])
            edit(draw(st.sampled_from(names)), True)
            columns[true][row] = (
                False if all(columns[n][row] == (n == true) for n in names) else columns[true][row]
            )
        case AllTrue(name):
            edit(name, False)
        case NotBefore(name, start):
            edit(name, columns[start][row] - draw(st.floats(0.001, 10)))
        case Area(name, height, width):
            pixels = columns[height][row] * columns[width][row]
            edit(name, [1] * draw(st.integers(0, 12).filter(lambda n: n != pixels)))
        case Inside(name, height, width):
            pixels = columns[height][row] * columns[width][row]
            edit(name, draw(st.sampled_from([[pixels], [0, 0], [0, pixels], [0, pixels + 10**6]])))
    return Drawn(good.table, columns, count, good.frames, row)


CHECKS = [(table, check) for table in TABLES.values() for check in table.checks]
