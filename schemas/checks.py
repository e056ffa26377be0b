"""What the rows of a table must fulfil beyond types and keys, declared with each table. No I/O.

A check is data. Workers apply it to every batch before they publish a file, and `vblake verify`
applies the same check to every row group of the lake (`pipelines.check.rows`). Foreign keys are
declared in `schemas.model`; known violations in the released data are in `schemas.known_defects`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """The stable names of all rules. A finding names the rule that it breaks."""

    # One table of one NWB file
    SCHEMA = "schema"
    NOT_NULL = "not_null"
    PRIMARY_KEY = "primary_key"
    CLOCK_ASCENDING = "clock_ascending"
    FINITE = "finite"
    EXACTLY_ONE_TRUE = "exactly_one_true"
    ALWAYS_TRUE = "always_true"
    END_NOT_BEFORE_START = "end_not_before_start"
    WHOLE_IMAGE = "whole_image"
    PIXELS_IN_IMAGE = "pixels_in_image"
    # The tables of one NWB file together
    ROWS_EXPECTED = "rows_expected"
    FOREIGN_KEY = "foreign_key"
    ROW_PER_PARENT = "row_per_parent"
    FRAME_IN_CLOCK = "frame_in_clock"
    ONE_PER_FRAME = "one_per_frame"
    # Only a lake can break these
    KNOWN_DEFECT = "known_defect"
    FILE_READABLE = "file_readable"
    FILE_PLACE = "file_place"
    ROW_ORDER = "row_order"
    LEDGER = "ledger"
    CATALOG = "catalog"


class Clock(StrEnum):
    """The tables whose list `timestamps` is a clock: element k, counted from 0, is frame k."""

    STIMULUS = "stimulus_timestamps"
    OPHYS = "ophys_timestamps"


@dataclass(frozen=True, slots=True)
class Check:
    """A rule for the rows of a table. The functions below make one of each kind.

    Attributes:
        rule: the rule.
        columns: columns that the rule is about, empty if it is about rows.
        expected: what must hold, for errors and the data dictionary.
        clock: the clock that the columns are compared with.
    """

    rule: Rule
    columns: tuple[str, ...]
    expected: str
    clock: Clock | None = None


def ascending(column: str) -> Check:
    """Times are finite and never go back, over the rows of a recording or within each list."""
    return Check(Rule.CLOCK_ASCENDING, (column,), "times that are finite and do not decrease")


def finite(column: str) -> Check:
    """No item of a list is NaN or infinite."""
    return Check(Rule.FINITE, (column,), "finite numbers")


def in_clock(column: str, clock: Clock) -> Check:
    """A frame number that is not NULL is a frame of the clock."""
    return Check(Rule.FRAME_IN_CLOCK, (column,), f"frames of the clock in {clock.value}", clock)


def per_frame(clock: Clock, column: str | None = None) -> Check:
    """One list item per frame of the clock, or one row per frame if no column is named."""
    counted = "item" if column else "row"
    expected = f"one {counted} per frame of the clock in {clock.value}"
    return Check(Rule.ONE_PER_FRAME, (column,) if column else (), expected, clock)


def one_true(*columns: str) -> Check:
    """Exactly one of several columns is true."""
    return Check(Rule.EXACTLY_ONE_TRUE, columns, "exactly one of them true")


def all_true(column: str) -> Check:
    """Every value is true."""
    return Check(Rule.ALWAYS_TRUE, (column,), "true in every row")


def not_before(column: str, start: str) -> Check:
    """One column is not smaller than another where both have a value."""
    return Check(Rule.END_NOT_BEFORE_START, (column, start), f"{column} not before {start}")


def whole_image(column: str, height: str = "height", width: str = "width") -> Check:
    """A list holds a whole image: height times width pixels."""
    return Check(Rule.WHOLE_IMAGE, (column, height, width), f"{height} * {width} pixels")


def pixels(column: str, height: str, width: str) -> Check:
    """A list holds pixel numbers of an image, ascending and without repeats."""
    expected = f"ascending pixel numbers below {height} * {width}"
    return Check(Rule.PIXELS_IN_IMAGE, (column, height, width), expected)
