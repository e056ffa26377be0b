"""Where the released data are known to break the declarations, and why vblake accepts it. No I/O.

None of this is accepted silently. A file with a known defect lists it in the ledger's column
`known_defects`, and `vblake verify` prints every known defect that occurs in the lake. Any other
violation quarantines the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.checks import Rule


class Source(StrEnum):
    """Where a known defect is known from."""

    RELEASE_NOTES = "release notes"
    PROJECT_TABLES = "project tables of the release"
    ALLENSDK = "AllenSDK 2.16.2"
    ALLENSDK_2_12 = "AllenSDK 2.12.3, which wrote the older files"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Content of the same file that rules out a known defect.

    Attributes:
        table: table to look at.
        column: its column.
        equals: the value that rules the defect out. None stands for any list item, or any number
            above 0.
    """

    table: str
    column: str
    equals: str | None = None


@dataclass(frozen=True, slots=True)
class KnownDefect:
    """A way in which the released data differ from the declarations.

    It is detected by a condition on the rows of the lake (`where`) or as a violation of a `rule`;
    one with neither is reported by the reader of the NWB file.

    Attributes:
        name: stable name, as in the ledger and in reports.
        table: the table concerned.
        column: the column concerned, None for whole rows.
        rows: the affected rows, in words.
        reason: why they are accepted.
        source: where this is known from.
        rule: rule that the rows break.
        where: SQL condition on the rows of the lake.
        unless: content of the same file that rules the defect out.
        before: first release without the defect, None if all releases have it.
    """

    name: str
    table: str
    column: str | None
    rows: str
    reason: str
    source: Source
    rule: Rule | None = None
    where: str | None = None
    unless: Evidence | None = None
    before: str | None = None

    def in_release(self, release: str) -> bool:
        """Whether the defect can occur in a release."""
        return self.before is None or _version(release) < _version(self.before)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A known defect in one file, as the ledger records it.

    Attributes:
        defect: name of the known defect.
        table_name: table concerned.
        detail: what the file shows.
    """

    defect: str
    table_name: str
    detail: str


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


_TRUNCATED = "934610593, 958310218, 975358131, 1011688792"

KNOWN: tuple[KnownDefect, ...] = (
    KnownDefect(
        name="imaged-sessions-have-no-file",
        table="behavior_sessions",
        column="file_id",
        rows="sessions that were imaged",
        reason="they have no behaviour file (-999 in the release): behaviour is read from the "
        "first plane listed",
        source=Source.ALLENSDK,
        where="file_id IS NULL AND ophys_experiment_id IS NOT NULL",
    ),
    KnownDefect(
        name="dates-in-local-time",
        table="behavior_sessions",
        column="date_of_acquisition",
        rows="sessions on imaging rigs, in every table that has the date",
        reason="the value is local time (Pacific) with the label UTC: all sessions start between 8 "
        "and 17 o'clock. Which sessions of behaviour boxes are affected is not known for certain, "
        "so vblake keeps the released value",
        source=Source.PROJECT_TABLES,
        where="date_of_acquisition IS NOT NULL AND ophys_session_id IS NOT NULL",
    ),
    KnownDefect(
        name="containers-not-released",
        table="ophys_sessions",
        column="ophys_container_id",
        rows="all imaging sessions",
        reason="the lists hold extra ids that are wrong; release 1.0.1 corrected them",
        source=Source.RELEASE_NOTES,
        where="true",
        before="1.0.1",
    ),
    KnownDefect(
        name="session-types-of-0.2",
        table="behavior_sessions",
        column="session_type",
        rows="13 sessions that the release does not name",
        reason="their session type is wrong; release 0.3.0 corrected it",
        source=Source.RELEASE_NOTES,
        where="true",
        before="0.3.0",
    ),
    KnownDefect(
        name="truncated-sessions",
        table="behavior_sessions",
        column=None,
        rows=f"behaviour sessions {_TRUNCATED}, imaging session 875259383 and behaviour session "
        "931566300",
        reason="their recordings are truncated, or were withdrawn in release 1.1.0; the files are "
        "intact but hold less",
        source=Source.RELEASE_NOTES,
        where=f"behavior_session_id IN ({_TRUNCATED}, 931566300) OR ophys_session_id = 875259383",
        before="1.1.0",
    ),
    KnownDefect(
        name="wrong-corrected-traces",
        table="corrected_fluorescence_traces",
        column="corrected_fluorescence",
        rows="all cells",
        reason="the trace is not the corrected one; release 1.1.0 fixed it",
        source=Source.RELEASE_NOTES,
        where="true",
        before="1.1.0",
    ),
    KnownDefect(
        name="omissions-without-end",
        table="stimulus_presentations",
        column="end_frame",
        rows="omissions",
        reason="files before release 1.1.0 store no last frame for them",
        source=Source.ALLENSDK_2_12,
        where="omitted AND end_frame IS NULL",
    ),
    KnownDefect(
        name="no-licks",
        table="licks",
        column=None,
        rows="sessions without licks",
        reason="most passive sessions have none, and their files have no licking module",
        source=Source.ALLENSDK,
        rule=Rule.ROWS_EXPECTED,
        unless=Evidence("trials", "lick_times"),
    ),
    KnownDefect(
        name="no-rewards",
        table="rewards",
        column=None,
        rows="sessions without rewards",
        reason="most passive sessions have none, and their files have no rewards module",
        source=Source.ALLENSDK,
        rule=Rule.ROWS_EXPECTED,
        unless=Evidence("trials", "reward_volume"),
    ),
    KnownDefect(
        name="no-eye-tracking",
        table="eye_tracking",
        column=None,
        rows="sessions without eye tracking",
        reason="behaviour boxes have no eye camera, and some imaging sessions no usable video",
        source=Source.ALLENSDK,
        rule=Rule.ROWS_EXPECTED,
    ),
    KnownDefect(
        name="no-rig-geometry",
        table="eye_tracking_rig_geometry",
        column=None,
        rows="sessions whose file does not hold the geometry of the rig",
        reason="behaviour boxes have no eye camera; sessions with eye tracking may lack it too",
        source=Source.ALLENSDK,
        rule=Rule.ROWS_EXPECTED,
    ),
    KnownDefect(
        name="no-templates",
        table="stimulus_templates",
        column=None,
        rows="sessions with gratings",
        reason="files before release 1.1.0 hold no images of gratings",
        source=Source.ALLENSDK_2_12,
        rule=Rule.ROWS_EXPECTED,
        unless=Evidence("task_parameters", "stimulus", "images"),
    ),
    KnownDefect(
        name="no-valid-roi",
        table="cell_specimens",
        column=None,
        rows="planes without a valid ROI",
        reason="only valid ROIs are cells, and a plane may have none",
        source=Source.ALLENSDK,
        rule=Rule.ROWS_EXPECTED,
    ),
    *(
        KnownDefect(
            name=f"no-cells-in-{name.replace('_', '-')}",
            table=name,
            column=None,
            rows="planes without a valid ROI",
            reason="only cells have traces, and the plane has no cells",
            source=Source.ALLENSDK,
            rule=Rule.ROWS_EXPECTED,
            unless=Evidence("cell_specimens", "cell_roi_id"),
        )
        for name in (
            "dff_traces",
            "corrected_fluorescence_traces",
            "demixed_traces",
            "neuropil_traces",
            "stimulus_responses",
            "mean_responses",
        )
    ),
    *(
        KnownDefect(
            name=f"no-{name.replace('_', '-')}",
            table=name,
            column=None,
            rows="planes of releases before 1.1.0",
            reason="their files do not hold these traces",
            source=Source.RELEASE_NOTES,
            rule=Rule.ROWS_EXPECTED,
            before="1.1.0",
        )
        for name in ("demixed_traces", "neuropil_traces")
    ),
    *(
        KnownDefect(
            name="cells-without-events",
            table="events",
            column=None,
            rows="cells without event detection, or without lambda or noise_std",
            reason="the released reader drops them too",
            source=Source.ALLENSDK,
            rule=rule,
        )
        for rule in (Rule.ROWS_EXPECTED, Rule.ROW_PER_PARENT)
    ),
    KnownDefect(
        name="clock-goes-on",
        table="ophys_timestamps",
        column="timestamps",
        rows="planes whose clock has more times than there are frames",
        reason="the released reader returns all times; frame k is still element k",
        source=Source.ALLENSDK,
        rule=Rule.ONE_PER_FRAME,
    ),
    KnownDefect(
        name="lick-index-lost",
        table="trials",
        column="lick_times",
        rows="sessions with as many licks in trials as trials",
        reason="the release's writer loses the index in this case; licks are assigned by time",
        source=Source.ALLENSDK,
    ),
    *(
        KnownDefect(
            name=f"no-{name.replace('_', '-')}",
            table="trials",
            column=name,
            rows="sessions of old releases",
            reason="the release notes call the column new in 1.1.0, so older files may lack it",
            source=Source.RELEASE_NOTES,
        )
        for name in ("change_time", "response_latency")
    ),
    KnownDefect(
        name="session-type-without-images",
        table="task_parameters",
        column="image_set",
        rows="sessions whose type names neither images nor gratings",
        reason="the released reader fails on them; image_set is NULL",
        source=Source.ALLENSDK,
    ),
)

BY_NAME: dict[str, KnownDefect] = {defect.name: defect for defect in reversed(KNOWN)}
"""The known defects by name; a name that stands for two rules has the same table and reason."""


def known(table: str, rule: Rule, release: str) -> list[KnownDefect]:
    """The known defects of a table that break a rule and can occur in a release."""
    return [d for d in KNOWN if (d.table, d.rule) == (table, rule) and d.in_release(release)]


def breaking(rule: Rule) -> list[str]:
    """The names of the known defects that break a rule, in any table and release.

    >>> breaking(Rule.ROW_PER_PARENT)
    ['cells-without-events']
    """
    return list(dict.fromkeys(d.name for d in KNOWN if (d.rule or Rule.KNOWN_DEFECT) is rule))


def occurrence(name: str, detail: str) -> Occurrence:
    """The record of a known defect in one file.

    >>> occurrence("lick-index-lost", "licks assigned by time").table_name
    'trials'
    """
    return Occurrence(name, BY_NAME[name].table, detail)
