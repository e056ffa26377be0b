"""The rules between the tables of one session or plane: keys, clocks and missing rows.

Workers (`pipelines.check.file`) and `vblake verify` (`pipelines.check.lake_folder`) both use
`RecordingCheck`. They differ in where keys and clocks come from that were not among the rows:
from the NWB file or from the lake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from pipelines.check.finding import Finding, some
from pipelines.check.rows import (
    Extent,
    TableRows,
    declared_schema,
    null_findings,
    parents,
    schema_findings,
)
from pipelines.release.manifest import semantic
from schemas import TABLES, ForeignKey, Subject, Table
from schemas.casts import NDArray
from schemas.checks import RULES, Check, Clock, Level, Rule
from schemas.known_defects import Evidence, KnownDefect, known


@dataclass(frozen=True, slots=True)
class Frames:
    """How many frames a session or plane has.

    Attributes:
        clock: times of its clock, None if unknown.
        traces: frames of dF/F, for planes; None if unknown. The clock may be longer, which is a
            known defect.
    """

    clock: int | None
    traces: int | None = None


class Recorded(Protocol):
    """What a recording holds beside the rows that are being checked."""

    @property
    def release(self) -> str:
        """The release of the dataset."""
        ...

    def keys(self, table: Table) -> NDArray | None:
        """The keys of a table of the recording; None if they cannot be judged."""
        ...

    def frames(self, clock: Clock) -> Frames:
        """The frames of the recording."""
        ...

    def images(self, image_set: str) -> Collection[str] | None:
        """The names of the images of a set; None if they cannot be judged."""
        ...

    def unlisted(self, table: Table, key: ForeignKey, values: NDArray) -> NDArray:
        """Those of some ids that the project table they refer to does not list."""
        ...

    def shows(self, evidence: Evidence) -> bool:
        """Whether the recording holds evidence against a known defect."""
        ...


class RecordingCheck:
    """Takes the tables of one recording in the order of `schemas.TABLES`, each batch by batch.

    Args:
        recorded: what the recording holds beside the rows.
    """

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._tables: dict[str, TableRows] = {}

    def rows_of(self, table: str) -> TableRows | None:
        """What is known of a table whose rows were taken."""
        return self._tables.get(table)

    def take(self, table: Table, rows: pa.Table) -> list[Finding]:
        """Checks the next rows of a table."""
        findings = [
            *schema_findings(table, rows.schema, declared_schema(table.name)),
            *null_findings(table, rows),
        ]
        return findings or self.take_complete(table, rows)

    def take_complete(self, table: Table, rows: pa.Table) -> list[Finding]:
        """The same for rows that have the declared columns and no missing values."""
        if table.name not in self._tables:
            self._tables[table.name] = TableRows(table)
        return self._tables[table.name].take(rows)

    def finish(self, table: Table) -> list[Finding]:
        """Checks what only all rows of a table show. Known defects are among the findings."""
        rows = self._tables.get(table.name)
        if rows is None or not rows.rows:
            return [self._empty(table)] if table.rows_expected else []
        findings = [self._clock_finding(table, check, e) for check, e in rows.extents.items()]
        findings += [rows.repeated_key()]
        for column, parent, complete in parents(table):
            findings += self._references(table, column, parent, rows, complete=complete)
        for key in table.foreign_keys:
            findings.append(self._project_reference(table, key, rows))
        findings += self._strange_images(table, rows)
        rows.forget(*table.own_key if table.name in _PARENTS else ())
        return [f for f in findings if f is not None]

    def drop(self, table: Table) -> None:
        """Forgets a table of which not all rows could be read."""
        self._tables.pop(table.name, None)

    def _keys(self, parent: Table) -> NDArray | None:
        taken = self._tables.get(parent.name)
        (own,) = parent.own_key
        return taken.values(own) if taken else self._recorded.keys(parent)

    def _references(
        self, table: Table, column: str, parent: Table, rows: TableRows, *, complete: bool
    ) -> list[Finding | None]:
        """Rules `foreign_key` and `row_per_parent` within the recording."""
        keys, listed = rows.distinct(column), self._keys(parent)
        if listed is None:
            return []
        if np.array_equal(keys, listed):
            return []  # the usual case, without sorting
        findings: list[Finding | None] = []
        if len(lost := np.setdiff1d(keys, listed)):
            findings.append(_dangling(table, column, parent, lost))
        if complete and len(without := np.setdiff1d(listed, keys)):
            rule, expected = Rule.ROW_PER_PARENT, f"a row for each of {parent.name}"
            found = f"{len(without)} of {len(listed)} {parent.name} without a row"
            found = f"{found}, {column} {some(without.tolist())}"
            finding = Finding(rule, table.name, "rows are missing", column, expected, found)
            findings.append(self._unless_known(finding, table))
        return findings

    def _project_reference(self, table: Table, key: ForeignKey, rows: TableRows) -> Finding | None:
        """Rule `foreign_key` between a recording and the project tables."""
        parent, release = TABLES[key.table], self._recorded.release
        if parent.subject is not Subject.PROJECT:
            return None
        if key.since is not None and semantic(release) < semantic(key.since):
            return None
        values = rows.distinct(key.columns[-1])
        lost = self._recorded.unlisted(table, key, values)
        if not len(lost):
            return None
        return _dangling(table, key.columns[-1], parent, lost, of=key.agree)

    def _strange_images(self, table: Table, rows: TableRows) -> Iterator[Finding]:
        """Rule `image_not_in_set`, a finding for each set."""
        rule = Rule.IMAGE_NOT_IN_SET
        for image_set in sorted({image_set for image_set, _ in rows.shown}):
            held = self._recorded.images(image_set)
            strange = [
                f"{name} in {count} row{'' if count == 1 else 's'}"
                for (of, name), count in sorted(rows.shown.items())
                if held is not None and of == image_set and name not in held
            ]
            if held is not None and strange:
                message = "presentations name images that their image set does not have"
                expected = f"images of {image_set}: {', '.join(sorted(held)) or 'none'}"
                found, level = ", ".join(strange), RULES[rule].level
                yield Finding(rule, table.name, message, "image_name", expected, found, level=level)

    def _clock_finding(self, table: Table, check: Check, extent: Extent) -> Finding | None:
        assert check.clock is not None
        frames = self._recorded.frames(check.clock)
        finding = clock_finding(table, check, extent, frames)
        if finding is None or check.rule is not Rule.ONE_PER_FRAME:
            return finding
        if frames.clock is None or not extent[0] == extent[1] < frames.clock:
            return finding
        if frames.traces not in (None, extent[1]):
            return finding
        longer = replace(finding, found=f"{frames.clock} times for {extent[1]} frames")
        known_finding = self._unless_known(longer, TABLES[check.clock.value])
        return known_finding if known_finding.defect else finding

    def _empty(self, table: Table) -> Finding:
        """Rule `rows_expected`."""
        expected = "rows, as every file of its kind has them"
        finding = Finding(
            Rule.ROWS_EXPECTED, table.name, "the table is empty", None, expected, "no rows"
        )
        finding = self._unless_known(finding, table)
        evidence = [d.unless for d in self._defects(finding.rule, table) if d.unless]
        if finding.defect or not evidence:
            return finding
        hint = f"{evidence[0].table}.{evidence[0].column} says that there should be some."
        return replace(finding, hint=hint)

    def _defects(self, rule: Rule, table: Table) -> list[KnownDefect]:
        return known(table.name, rule, self._recorded.release)

    def _unless_known(self, finding: Finding, table: Table) -> Finding:
        """The finding, marked as known if a known defect of the table explains it."""
        for defect in self._defects(finding.rule, table):
            if defect.unless is None or not self._shows(defect.unless):
                return replace(finding, level=Level.KNOWN, defect=defect.name)
        return finding

    def _shows(self, evidence: Evidence) -> bool:
        taken = self._tables.get(evidence.table)
        return evidence in taken.evidence if taken else self._recorded.shows(evidence)


_PARENTS = {key.table for table in TABLES.values() for key in table.foreign_keys}


def _dangling(
    table: Table, column: str, parent: Table, lost: NDArray, *, of: tuple[str, ...] = ()
) -> Finding:
    message = f"rows refer to {parent.name} that are not there"
    expected = f"keys of {parent.name}" + (f" with the same {', '.join(of)}" if of else "")
    found = f"{column} {some(lost.tolist())}"
    return Finding(Rule.FOREIGN_KEY, table.name, message, column, expected, found)


def clock_finding(table: Table, check: Check, extent: Extent, frames: Frames) -> Finding | None:
    """Rules `frame_in_clock` and `one_per_frame`, on frame numbers, list lengths or row counts.

    Args:
        table: the table.
        check: one of its checks.
        extent: smallest and largest value, from `TableRows.extents`.
        frames: of the same session or plane.
    """
    low, high = extent

    def finding(message: str, found: str, expected: str) -> Finding:
        column = ", ".join(check.columns) or None
        return Finding(check.rule, table.name, message, column, expected, found)

    if check.rule is Rule.FRAME_IN_CLOCK:
        if frames.clock is None or (low >= 0 and high < frames.clock):
            return None
        found = f"frame {low if low < 0 else high}"
        expected = f"0 to {frames.clock - 1}, {check.expected}"
        return finding("a frame lies outside of the clock", found, expected)
    message = "lengths and clock do not match"
    if low != high:
        return finding(message, f"lists of {low} to {high} items", check.expected)
    if frames.traces is not None and high != frames.traces:
        return finding(message, str(high), f"{frames.traces}, the frames of dF/F")
    if frames.clock is not None and high != frames.clock:
        return finding(message, str(high), f"{frames.clock}, {check.expected}")
    return None
