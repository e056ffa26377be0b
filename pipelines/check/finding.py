"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.checks import Rule


@dataclass(frozen=True, slots=True)
class Violation:
    """What of the declaration does not hold.

    Attributes:
        column: columns of the table, or None for whole rows.
        problem, expected, found: as in an error.
        rule: the rule whose known exceptions may let it pass.
    """

    column: str | None
    problem: str
    expected: str
    found: str
    rule: Rule | None = None


class Severity(StrEnum):
    """Whether the lake is wrong, only untidy, or as wrong as the released data are known to be."""

    ERROR = "error"
    WARNING = "warning"
    KNOWN = "known exception"


@dataclass(frozen=True)
class Problem:
    """Something that is not as the contract says.

    Attributes:
        severity: whether results can be wrong.
        table: table of the lake; None for the catalog.
        file: path below the lake; None for what concerns a table as a whole.
        column: column of the table.
        message: one sentence on what is wrong, and on what to do where that is not clear.
        expected, found: what the contract asks for, and what is there.
    """

    severity: Severity
    table: str | None
    file: str | None
    column: str | None
    message: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("file", self.file), ("table", self.table), ("column", self.column))
            if value
        )
        parts = [f"{where}: {self.message}" if where else self.message]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        return "; ".join(parts)
