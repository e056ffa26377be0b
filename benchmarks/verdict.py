"""A measured number beside its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness import table


@dataclass(frozen=True)
class Verdict:
    """One line of a benchmark's result.

    Attributes:
        what: what was compared.
        measured: the ratio or number, None where it could not be measured.
        bound: what it must not be above (or below).
        at_least: whether the bound is a lower one.
    """

    what: str
    measured: float | None
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def row(self) -> tuple[str, float | None, str, str]:
        """For a table."""
        result = {True: "yes", False: "NO", None: "not measured"}[self.met]
        return (
            self.what,
            self.measured,
            f"{'at least' if self.at_least else 'at most'} {self.bound:g}",
            result,
        )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Markdown table of all of them."""
    return table(("against the targets", "measured", "target", "met"), [v.row() for v in verdicts])
