"""What a check finds: one record for a file before publication and for a lake (`vblake verify`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.checks import Level, Rule
from schemas.errors import IntegrityError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of one rule.

    Attributes:
        rule: the rule.
        table: table of the lake, None for the catalog.
        message: one sentence on what is wrong, and on what to do where that is not obvious.
        column: columns of the table, None for whole rows.
        expected: what the declaration asks for.
        found: what is there instead.
        file: NWB file, or path below the lake; None for a table as a whole.
        hint: what else the user should know.
        level: how bad it is.
        defect: name of the known defect, for findings of level `KNOWN`.
    """

    rule: Rule
    table: str | None
    message: str
    column: str | None = None
    expected: str | None = None
    found: str | None = None
    file: str | None = None
    hint: str | None = None
    level: Level = Level.ERROR
    defect: str | None = None

    def __str__(self) -> str:
        return str(self.as_error(self.file))

    def as_error(self, file: str | None) -> IntegrityError:
        """The error that holds back the table."""
        return IntegrityError(
            self.message,
            file=file,
            table=self.table,
            column=self.column,
            expected=self.expected,
            found=self.found,
            hint=self.hint,
            rule=self.rule.value,
        )


def some(items: Iterable[object], separator: str = ", ") -> str:
    """The first five of several items, and how many more there are.

    >>> some(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    listed = list(items)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return separator.join(map(str, listed[:_SHOWN])) + more
