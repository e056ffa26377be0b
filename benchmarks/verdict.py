"""Compares a measured number with its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness import table


@dataclass(frozen=True)
class Verdict:
    """One line of a benchmark's result.

    Attributes:
        what: the compared quantity.
        measured: the ratio or number; None if it could not be measured.
        bound: the target.
        at_least: whether the bound is a lower bound.
    """

    what: str
    measured: float | None
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is no measurement."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def row(self) -> tuple[str, float | None, str, str]:
        """Returns the line as a row of a table."""
        result = {True: "yes", False: "NO", None: "not measured"}[self.met]
        return (
            self.what,
            self.measured,
            f"{'at least' if self.at_least else 'at most'} {self.bound:g}",
            result,
        )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Returns a Markdown table of all lines."""
    return table(("against the targets", "measured", "target", "met"), [v.row() for v in verdicts])
