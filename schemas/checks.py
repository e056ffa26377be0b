"""What the rows of a table must fulfil beyond types and keys, declared with each table. No I/O.

A check is data. Workers apply it to every batch before they publish a file, and `vblake verify`
applies the same check to every row group of the lake (`pipelines.check.rows`). Foreign keys are
declared in `schemas.model`; known violations in the released data are in `schemas.known_defects`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


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
class _OfColumn:
    """A check of one column."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check reads."""
        return (self.column,)


@dataclass(frozen=True, slots=True)
class ClockAscending(_OfColumn):
    """Times are finite and never go back, over the rows of a recording or within each list."""

    rule: ClassVar[Rule] = Rule.CLOCK_ASCENDING

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "times that are finite and do not decrease"


@dataclass(frozen=True, slots=True)
class Finite(_OfColumn):
    """No item of a list is NaN or infinite."""

    rule: ClassVar[Rule] = Rule.FINITE

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "finite numbers"


@dataclass(frozen=True, slots=True)
class InClock(_OfColumn):
    """A frame number that is not NULL is a frame of the clock."""

    clock: Clock

    rule: ClassVar[Rule] = Rule.FRAME_IN_CLOCK

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"frames of the clock in {self.clock.value}"


@dataclass(frozen=True, slots=True)
class PerFrame:
    """One list item per frame of the clock, or one row per frame if no column is named."""

    clock: Clock
    column: str | None = None

    rule: ClassVar[Rule] = Rule.ONE_PER_FRAME

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check reads."""
        return (self.column,) if self.column else ()

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        counted = "item" if self.column else "row"
        return f"one {counted} per frame of the clock in {self.clock.value}"


@dataclass(frozen=True, slots=True)
class OneTrue:
    """Exactly one of several columns is true."""

    columns: tuple[str, ...]

    rule: ClassVar[Rule] = Rule.EXACTLY_ONE_TRUE

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "exactly one of them true"


@dataclass(frozen=True, slots=True)
class AllTrue(_OfColumn):
    """Every value is true."""

    rule: ClassVar[Rule] = Rule.ALWAYS_TRUE

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "true in every row"


@dataclass(frozen=True, slots=True)
class NotBefore:
    """One column is not smaller than another where both have a value."""

    column: str
    start: str

    rule: ClassVar[Rule] = Rule.END_NOT_BEFORE_START

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check reads."""
        return (self.column, self.start)

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"{self.column} not before {self.start}"


@dataclass(frozen=True, slots=True)
class Area:
    """A list holds a whole image: height times width pixels."""

    column: str
    height: str = "height"
    width: str = "width"

    rule: ClassVar[Rule] = Rule.WHOLE_IMAGE

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check reads."""
        return (self.column, self.height, self.width)

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"{self.height} * {self.width} pixels"


@dataclass(frozen=True, slots=True)
class Inside:
    """A list holds pixel numbers of an image, ascending and without repeats."""

    column: str
    height: str
    width: str

    rule: ClassVar[Rule] = Rule.PIXELS_IN_IMAGE

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check reads."""
        return (self.column, self.height, self.width)

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"ascending pixel numbers below {self.height} * {self.width}"


Check = ClockAscending | Finite | InClock | PerFrame | OneTrue | AllTrue | NotBefore | Area | Inside
