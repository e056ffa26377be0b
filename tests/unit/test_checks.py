"""The declared checks let every valid table pass and find each single violation, however the rows come in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pytest
from builders.rows import CHECKS, Drawn, broken, drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.check.finding import Violation
from pipelines.check.rows import Frames, UnitValues, against_clock, numbers
from schemas import TABLES, Table
from schemas.checks import Check, Clock, InClock, PerFrame
from schemas.known_defects import Rule

CHECKED = list(dict.fromkeys(table.name for table, _ in CHECKS))


def _parts(rows: pa.Table, data: st.DataObject) -> Iterator[pa.Table]:
    """The rows in any batches, as slices of what they were before."""
    cuts = sorted(
        {0, rows.num_rows, *data.draw(st.sets(st.integers(0, rows.num_rows), max_size=3))}
    )
    for start, stop in pairwise(cuts):
        yield rows.slice(start, stop - start)


def _found(sample: Drawn, data: st.DataObject) -> dict[Check, Violation]:
    """What is wrong with the rows of a session or plane whose clock is known."""
    values = UnitValues(sample.table)
    for part in _parts(sample.rows(), data):
        values.take(part)
    assert values.rows == sample.count
    found = dict(values.violations)
    for check, extent in values.extents.items():
        frames = Frames(sample.frames, sample.frames if isinstance(check, PerFrame) else None)
        if (violation := against_clock(check, extent, frames)) is not None:
            found[check] = violation
    return found


@pytest.mark.parametrize("table", CHECKED)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_valid_rows_pass(table: str, data: st.DataObject) -> None:
    assert _found(data.draw(drawn(TABLES[table])), data) == {}


@pytest.mark.parametrize(
    ("table", "check"),
    CHECKS,
    ids=[f"{t.name}-{type(c).__name__}-{'-'.join(c.columns)}" for t, c in CHECKS],
)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_single_violation_is_found_and_nothing_else(
    table: Table, check: Check, data: st.DataObject
) -> None:
    sample = broken(data.draw, data.draw(drawn(table)), check)
    found = _found(sample, data)
    assert list(found) == [check]
    assert found[check].column == (", ".join(check.columns) or None)
    if not isinstance(
        check, (InClock, PerFrame)
    ):  # they give the value or length, which no other row has
        assert found[check].expected == check.expected
        assert found[check].found.endswith(f"in row {sample.broken_row}")


def test_a_violation_says_what_was_expected_and_found() -> None:
    table = TABLES["licks"]
    check = InClock("frame", Clock.STIMULUS)
    assert check in table.checks
    assert against_clock(check, (0, 79), Frames(80)) is None
    assert against_clock(check, (0, 80), Frames(80)) == Violation(
        "frame",
        "a frame lies outside of the clock",
        "0 to 79, frames of the clock in stimulus_timestamps",
        "frame 80",
    )
    assert against_clock(check, (-5, 3), Frames(80)) == Violation(
        "frame",
        "a frame lies outside of the clock",
        "0 to 79, frames of the clock in stimulus_timestamps",
        "frame -5",
    )


def test_lengths_are_those_of_the_traces_and_of_the_clock() -> None:
    check, problem = PerFrame(Clock.OPHYS, "dff"), "lengths and clock do not match"
    one = "one item per frame of the clock in ophys_timestamps"
    assert against_clock(check, (5, 5), Frames(5, 5)) is None
    assert against_clock(check, (5, 5), Frames(None, 5)) is None
    assert against_clock(check, (4, 5), Frames(5, 5)) == Violation(
        "dff", problem, one, "lists of 4 to 5 items"
    )
    assert against_clock(check, (4, 4), Frames(5, 5)) == Violation(
        "dff", problem, "5, the frames of dF/F", "4"
    )
    assert against_clock(check, (6, 6), Frames(5)) == Violation("dff", problem, f"5, {one}", "6")
    # A clock that goes on is known of the released data, so it carries the rule that the exception is looked for by.
    assert against_clock(check, (5, 5), Frames(7, 5)) == Violation(
        "dff", problem, f"7, {one}", "5", Rule.ONE_PER_FRAME
    )


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.booleans() | st.none(), max_size=40)
    | st.lists(st.integers(-9, 9) | st.none(), max_size=40),
    data=st.data(),
)
def test_numbers_are_taken_out_of_slices_with_and_without_nulls(
    values: list[int | bool | None], data: st.DataObject
) -> None:
    import numpy as np

    missing = np.array([v is None for v in values], dtype=bool)
    kind = bool if any(isinstance(v, bool) for v in values) else np.int64
    array = pa.array(np.array([v or 0 for v in values], dtype=kind), mask=missing)
    start = data.draw(st.integers(0, len(values)))
    part = array.slice(start)
    found, present = numbers(part)
    kept = found if present is None else found[present]
    assert kept.tolist() == [v for v in values[start:] if v is not None]
