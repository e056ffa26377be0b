"""What rows must fulfil beyond their types and keys, declared with each table.

A check is data: workers look at every batch before a file counts as converted, `vblake verify` at every row group of the lake, both by the
same declaration. Foreign keys are in `schemas.model`, what the released data are known to break in `schemas.known_defects`. No I/O here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Clock(StrEnum):
    """The tables whose list `timestamps` is a clock: frame k of a session or plane is element k, counted from 0."""

    STIMULUS = "stimulus_timestamps"
    OPHYS = "ophys_timestamps"


@dataclass(frozen=True, slots=True)
class _OfColumn:
    """A check of one column."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return (self.column,)


@dataclass(frozen=True, slots=True)
class Ascending(_OfColumn):
    """Times are finite and do not decrease: over the rows of a session or plane, or within each list."""

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "times that are finite and do not decrease"


@dataclass(frozen=True, slots=True)
class Finite(_OfColumn):
    """No item of a list is NaN or infinite."""

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "finite numbers"


@dataclass(frozen=True, slots=True)
class InClock(_OfColumn):
    """A frame number, where there is one, is a frame of the clock."""

    clock: Clock

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"frames of the clock in {self.clock.value}"


@dataclass(frozen=True, slots=True)
class PerFrame:
    """As many as the clock has frames: items in every list of a column, or rows where no column is named."""

    clock: Clock
    column: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return (self.column,) if self.column else ()

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return (
            f"one {'item' if self.column else 'row'} per frame of the clock in {self.clock.value}"
        )


@dataclass(frozen=True, slots=True)
class OneTrue:
    """Exactly one of some columns is true."""

    columns: tuple[str, ...]

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "exactly one of them true"


@dataclass(frozen=True, slots=True)
class AllTrue(_OfColumn):
    """Every value is true."""

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return "true in every row"


@dataclass(frozen=True, slots=True)
class NotBefore:
    """One column is not smaller than another, where both have a value."""

    column: str
    start: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
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

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return (self.column, self.height, self.width)

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"{self.height} * {self.width} pixels"


@dataclass(frozen=True, slots=True)
class Inside:
    """A list holds pixel numbers of an image, ascending, each once."""

    column: str
    height: str
    width: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return (self.column, self.height, self.width)

    @property
    def expected(self) -> str:
        """What must hold, for errors and the data dictionary."""
        return f"ascending pixel numbers below {self.height} * {self.width}"


Check = Ascending | Finite | InClock | PerFrame | OneTrue | AllTrue | NotBefore | Area | Inside
