"""What the released data are known to break of the declarations, and why it is let pass. No I/O.

Nothing of this is dropped in silence: a file that needs an exception gets a warning in the ledger which names it, and `vblake verify` lists
every exception that occurs. What is not listed here quarantines the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """What of the declarations an exception is from."""

    ROWS = "rows are expected"
    COMPLETE = "every row of the table referred to has a row"
    CLOCK = "as many as the clock has frames"
    VALUE = "values are what the column says"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Content of the same file that an exception does not go with.

    Attributes:
        table, column: where to look.
        equals: the value that speaks against the exception; None means any list item, or any number above 0.
    """

    table: str
    column: str
    equals: str | None = None


@dataclass(frozen=True, slots=True)
class KnownException:
    """Something in the released data that is not as declared.

    Attributes:
        name: for warnings and reports.
        table, column: where; no column where it concerns whole rows.
        rule: what is broken.
        rows: which rows, in words.
        reason: why they are let pass.
        source: section of the dataset's description, NWB_TABLES.md or the user's document.
        where: which rows of the lake, as SQL, for exceptions that rows themselves show.
        warned: how the reader's warning begins, for exceptions that only the reader sees.
        unless: what in the same file speaks against it.
        before: release in which it no longer occurs.
    """

    name: str
    table: str
    column: str | None
    rule: Rule
    rows: str
    reason: str
    source: str
    where: str | None = None
    warned: str | None = None
    unless: Evidence | None = None
    before: str | None = None

    def in_release(self, release: str) -> bool:
        """Whether the exception can occur in a release."""
        return self.before is None or _version(release) < _version(self.before)


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


_TRUNCATED = "934610593, 958310218, 975358131, 1011688792"

KNOWN: tuple[KnownException, ...] = (
    KnownException(
        "imaged-sessions-have-no-file",
        "behavior_sessions",
        "file_id",
        Rule.VALUE,
        "sessions that were imaged",
        "they have no behaviour file (-999 in the release): behaviour is read from the first plane listed",
        "NWB_TABLES.md 7.4, 7.5",
        where="file_id IS NULL AND ophys_experiment_id IS NOT NULL",
    ),
    KnownException(
        "containers-not-released",
        "ophys_sessions",
        "ophys_container_id",
        Rule.VALUE,
        "all imaging sessions",
        "the lists hold wrong extra ids, which release 1.0.1 corrected",
        "NWB_TABLES.md 7.6, 8.2",
        where="true",
        before="1.0.1",
    ),
    KnownException(
        "session-types-of-0.2",
        "behavior_sessions",
        "session_type",
        Rule.VALUE,
        "13 sessions that the release does not name",
        "their session type is wrong; release 0.3.0 corrected it",
        "NWB_TABLES.md 8.2",
        where="true",
        before="0.3.0",
    ),
    KnownException(
        "truncated-sessions",
        "behavior_sessions",
        None,
        Rule.VALUE,
        f"behaviour sessions {_TRUNCATED}, imaging session 875259383 and behaviour session 931566300",
        "their recordings are truncated, or were withdrawn in release 1.1.0; the files are whole and hold less",
        "NWB_TABLES.md 8.2, 9",
        where=f"behavior_session_id IN ({_TRUNCATED}, 931566300) OR ophys_session_id = 875259383",
        before="1.1.0",
    ),
    KnownException(
        "wrong-corrected-traces",
        "corrected_fluorescence_traces",
        "corrected_fluorescence",
        Rule.VALUE,
        "all cells",
        "the trace is not the corrected one; release 1.1.0 mended it",
        "NWB_TABLES.md 3.4, 8.2",
        where="true",
        before="1.1.0",
    ),
    KnownException(
        "omissions-without-end",
        "stimulus_presentations",
        "end_frame",
        Rule.VALUE,
        "omissions",
        "files before release 1.1.0 give them no last frame",
        "NWB_TABLES.md 2.5",
        where="omitted AND end_frame IS NULL",
    ),
    KnownException(
        "no-licks",
        "licks",
        None,
        Rule.ROWS,
        "sessions without licks",
        "most passive sessions have none, and their files no licking module",
        "NWB_TABLES.md 2.1, 9",
        unless=Evidence("trials", "lick_times"),
    ),
    KnownException(
        "no-rewards",
        "rewards",
        None,
        Rule.ROWS,
        "sessions without rewards",
        "most passive sessions have none, and their files no rewards module",
        "NWB_TABLES.md 2.2, 9",
        unless=Evidence("trials", "reward_volume"),
    ),
    KnownException(
        "no-eye-tracking",
        "eye_tracking",
        None,
        Rule.ROWS,
        "sessions without eye tracking",
        "behaviour boxes have no eye camera, and some imaging sessions no usable video",
        "NWB_TABLES.md 2.9, 9",
    ),
    KnownException(
        "no-templates",
        "stimulus_templates",
        None,
        Rule.ROWS,
        "sessions with gratings",
        "files before release 1.1.0 hold no images of gratings",
        "NWB_TABLES.md 4",
        unless=Evidence("task_parameters", "stimulus", "images"),
    ),
    KnownException(
        "no-valid-roi",
        "cell_specimens",
        None,
        Rule.ROWS,
        "planes without a valid ROI",
        "only valid ROIs are cells; a plane may have none",
        "NWB_TABLES.md 9",
    ),
    *(
        KnownException(
            f"no-cells-in-{name.replace('_', '-')}",
            name,
            None,
            Rule.ROWS,
            "planes without a valid ROI",
            "traces are of cells, and the plane has none",
            "NWB_TABLES.md 9",
            unless=Evidence("cell_specimens", "cell_roi_id"),
        )
        for name in (
            "dff_traces",
            "corrected_fluorescence_traces",
            "demixed_traces",
            "neuropil_traces",
        )
    ),
    *(
        KnownException(
            f"no-{name.replace('_', '-')}",
            name,
            None,
            Rule.ROWS,
            "planes of releases before 1.1.0",
            "their files do not hold these traces",
            "NWB_TABLES.md 3.5, 8.3",
            before="1.1.0",
        )
        for name in ("demixed_traces", "neuropil_traces")
    ),
    *(
        KnownException(
            "cells-without-events",
            "events",
            None,
            rule,
            "cells that event detection left out, or gave no lambda or noise_std",
            "the released reader drops them too",
            "NWB_TABLES.md 3.6",
        )
        for rule in (Rule.ROWS, Rule.COMPLETE)
    ),
    KnownException(
        "clock-goes-on",
        "ophys_timestamps",
        "timestamps",
        Rule.CLOCK,
        "planes whose clock has more times than there are frames",
        "the released reader gives all times; frame k is still element k",
        "NWB_TABLES.md 3.7",
    ),
    KnownException(
        "lick-index-lost",
        "trials",
        "lick_times",
        Rule.VALUE,
        "sessions with as many licks in trials as trials",
        "the release's writer loses the index then; licks are assigned by time",
        "NWB_TABLES.md 2.6",
        warned="trials.lick_times: the file has no lick_times_index",
    ),
    *(
        KnownException(
            f"no-{name.replace('_', '-')}",
            "trials",
            name,
            Rule.VALUE,
            "sessions of old releases",
            "the user's document has the column, the notes call it new in 1.1.0: old files may lack it",
            "NWB_TABLES.md 10, point 4",
            warned=f"trials.{name}: the file has no such column",
        )
        for name in ("change_time", "response_latency")
    ),
    KnownException(
        "session-type-without-images",
        "task_parameters",
        "image_set",
        Rule.VALUE,
        "sessions whose type names neither images nor gratings",
        "the released reader fails on them; image_set is NULL",
        "NWB_TABLES.md 9",
        warned="task_parameters.image_set: session type",
    ),
)


def known(table: str, rule: Rule, release: str) -> list[KnownException]:
    """The exceptions of a table from a rule that can occur in a release."""
    return [
        e
        for e in KNOWN
        if e.table == table
        and e.rule is rule
        and e.where is None
        and e.warned is None
        and e.in_release(release)
    ]


def warned(text: str) -> KnownException | None:
    """The exception that a reader's warning is about, if it is known."""
    return next((e for e in KNOWN if e.warned is not None and text.startswith(e.warned)), None)
