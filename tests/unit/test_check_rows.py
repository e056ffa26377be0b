"""The rules of one table find each violation, however its rows are cut into batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from builders.lake import replaced
from builders.nwb import NAN, read, recording, whole_file
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.check.finding import Finding
from pipelines.check.recording import Frames, clock_finding
from pipelines.check.rows import TableRows
from schemas import TABLES
from schemas.casts import conform
from schemas.checks import Clock, Rule, in_clock, per_frame


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Rows of some tables of a good file."""
    source = recording(whole_file())
    names = ("trials", "licks", "eye_tracking", "stimulus_timestamps", "cell_specimens")
    return {name: read(name, source) for name in (*names, "projections", "mean_responses")}


def _check(table: str, rows: pa.Table, size: int) -> list[Finding]:
    taken = TableRows(TABLES[table])
    parts = [rows.slice(start, size) for start in range(0, rows.num_rows, size)]
    findings = [finding for part in parts for finding in taken.take(part)]
    assert taken.rows == rows.num_rows
    return findings


def _put(row: int, value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [*values[:row], value, *values[row + 1 :]]


# table, column, how it is changed, rule, what is found
VIOLATIONS: list[tuple[str, str, Callable[[list[Any]], list[Any]], Rule, str]] = [
    ("trials", "miss", _put(0, True), Rule.EXACTLY_ONE_TRUE, "2 of them true in row 0"),
    ("trials", "stop_time", _put(2, 1.0), Rule.END_NOT_BEFORE_START, "1.0 before 6.5 in row 2"),
    ("trials", "lick_times", _put(1, [1.0, NAN]), Rule.FINITE, "nan as item 1 in row 1"),
    ("licks", "timestamps", _put(2, 0.5), Rule.CLOCK_ASCENDING, "0.5 after 3.0 in row 2"),
    (
        "stimulus_timestamps",
        "timestamps",
        _put(0, [NAN]),
        Rule.CLOCK_ASCENDING,
        "nan as item 0 in row 0",
    ),
    ("stimulus_timestamps", "timestamps", _put(0, []), Rule.CLOCK_ASCENDING, "no times in row 0"),
    ("cell_specimens", "valid_roi", _put(1, False), Rule.ALWAYS_TRUE, "false in row 1"),
    ("cell_specimens", "roi_mask", _put(1, [0, 0]), Rule.PIXELS_IN_IMAGE, "0 as item 1 in row 1"),
    ("cell_specimens", "roi_mask", _put(0, [99]), Rule.PIXELS_IN_IMAGE, "99 as item 0 in row 0"),
    ("projections", "pixels", _put(2, [0.5]), Rule.WHOLE_IMAGE, "1 of 12 pixels in row 2"),
    ("mean_responses", "dff_trace", _put(1, [0.5] * 90), Rule.LIST_LENGTH, "90 items in row 1"),
]


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(("table", "column", "change", "rule", "found"), VIOLATIONS)
def test_a_violation_is_found_and_nothing_else(
    table: str,
    column: str,
    change: Callable[[list[Any]], list[Any]],
    rule: Rule,
    found: str,
    size: int,
    tables: dict[str, pa.Table],
) -> None:
    assert _check(table, tables[table], size) == []
    rows = replaced(tables[table], column, change(tables[table].column(column).to_pylist()))
    (finding,) = _check(table, rows, size)
    (check,) = {c for c in TABLES[table].checks if c.rule is rule and column in c.columns}
    assert (finding.rule, finding.table, finding.found) == (rule, table, found)
    assert (finding.column, finding.expected) == (", ".join(check.columns), check.expected)


def test_every_kind_of_check_is_broken_above_or_by_another_table() -> None:
    declared = {check.rule for table in TABLES.values() for check in table.checks}
    broken = {rule for _, _, _, rule, _ in VIOLATIONS}
    assert declared == broken | {Rule.FRAME_IN_CLOCK, Rule.ONE_PER_FRAME, Rule.IMAGE_NOT_IN_SET}


@settings(max_examples=60)
@given(
    times=st.lists(st.floats(-1e6, 1e6).map(lambda t: round(t, 1)), min_size=1, max_size=12),
    in_order=st.booleans(),
    data=st.data(),
)
def test_a_clock_that_goes_back_is_found_at_its_first_step(
    times: list[float], in_order: bool, data: st.DataObject
) -> None:
    times = sorted(times) if in_order else times
    rows = conform(
        TABLES["licks"],
        {"behavior_session_id": 1, "timestamps": times, "frame": [0] * len(times)},
        len(times),
    )
    cuts = data.draw(st.sets(st.integers(0, len(times)), max_size=3)) | {0, len(times)}
    taken = TableRows(TABLES["licks"])
    findings = [
        finding for start, stop in pairwise(sorted(cuts))
        for finding in taken.take(rows.slice(start, stop - start))
    ]  # fmt: skip
    steps = [n for n in range(1, len(times)) if times[n] < times[n - 1]]
    first = [f"{times[n]} after {times[n - 1]} in row {n}" for n in steps[:1]]
    assert [finding.found for finding in findings] == first


def test_frames_lie_in_the_clock() -> None:
    table, check = TABLES["licks"], in_clock("frame", Clock.STIMULUS)
    assert check in table.checks
    assert clock_finding(table, check, (0, 79), Frames(80)) is None
    assert clock_finding(table, check, (-5, 90), Frames(None)) is None
    for extent, found in (((0, 80), "frame 80"), ((-5, 3), "frame -5")):
        assert clock_finding(table, check, extent, Frames(80)) == Finding(
            Rule.FRAME_IN_CLOCK,
            "licks",
            "a frame lies outside of the clock",
            "frame",
            "0 to 79, frames of the clock in stimulus_timestamps",
            found,
        )


def test_lengths_are_those_of_the_traces_and_of_the_clock() -> None:
    table, check = TABLES["dff_traces"], per_frame(Clock.OPHYS, "dff")
    one = "one item per frame of the clock in ophys_timestamps"

    def finding(extent: tuple[int, int], frames: Frames) -> tuple[str | None, str | None] | None:
        found = clock_finding(table, check, extent, frames)
        return (found.expected, found.found) if found else None

    assert finding((5, 5), Frames(5, 5)) is None
    assert finding((5, 5), Frames(None, 5)) is None
    assert finding((4, 5), Frames(5, 5)) == (one, "lists of 4 to 5 items")
    assert finding((4, 4), Frames(5, 5)) == ("5, the frames of dF/F", "4")
    assert finding((6, 6), Frames(5)) == (f"5, {one}", "6")
    assert finding((5, 5), Frames(7, 5)) == (f"7, {one}", "5")
