"""What the rows of a table must fulfil beyond types and keys, declared with each table. No I/O.

A check is data. Workers apply it to every batch before they publish a file, and `vblake verify`
applies the same check to every row group of the lake (`pipelines.check.rows`). Foreign keys are
declared in `schemas.model`; known violations in the released data are in `schemas.known_defects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What a violation means for the rows."""

    ERROR = "error"
    """Results can be wrong: the rows are held back, or those in the lake need repair."""
    WARNING = "warning"
    """The rows are published, and the violation is listed."""
    KNOWN = "known exception"
    """A known defect of the released data (`schemas.known_defects`)."""


class Rule(StrEnum):
    """The stable names of all rules. A finding names the rule that it breaks."""

    # The NWB file as a whole, and each table as it is read
    FILE_IDENTITY = "file_identity"
    SOURCE_DATA = "source_data"
    READER_FAILED = "reader_failed"
    # One table of one NWB file
    SCHEMA = "schema"
    NOT_NULL = "not_null"
    PRIMARY_KEY = "primary_key"
    CLOCK_ASCENDING = "clock_ascending"
    FINITE = "finite"
    LIST_LENGTH = "list_length"
    EXACTLY_ONE_TRUE = "exactly_one_true"
    ALWAYS_TRUE = "always_true"
    END_NOT_BEFORE_START = "end_not_before_start"
    WHOLE_IMAGE = "whole_image"
    PIXELS_IN_IMAGE = "pixels_in_image"
    # The tables of one NWB file together
    ROWS_EXPECTED = "rows_expected"
    FOREIGN_KEY = "foreign_key"
    PARENT_HELD_BACK = "parent_held_back"
    ROW_PER_PARENT = "row_per_parent"
    FRAME_IN_CLOCK = "frame_in_clock"
    ONE_PER_FRAME = "one_per_frame"
    # A file and the image sets of the lake
    SAME_IMAGE = "same_image"
    IMAGE_NOT_IN_SET = "image_not_in_set"
    # Only a lake can break these
    KNOWN_DEFECT = "known_defect"
    FILE_READABLE = "file_readable"
    FILE_PLACE = "file_place"
    FILE_EMPTY = "file_empty"
    ROW_ORDER = "row_order"
    LEDGER = "ledger"
    NOT_IN_LEDGER = "not_in_ledger"
    CATALOG = "catalog"


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What users must know of a rule.

    Attributes:
        level: what a violation means.
        protects: what holds where the rule holds.
        can_be_allowed: whether `--allow` publishes rows that break the rule. Without identity,
            types, keys or references, rows cannot be used; a warning holds nothing back.
        known: what public reports say of the released data, empty if nothing. The known defects
            that break the rule are declared in `schemas.known_defects`.
    """

    level: Level
    protects: str
    can_be_allowed: bool = False
    known: str = ""


_ERROR, _ALLOWED = Level.ERROR, True

RULES: Mapping[Rule, RuleFacts] = {
    Rule.FILE_IDENTITY: RuleFacts(
        _ERROR,
        "The file is the one that the manifest and the project tables mean: ids, mouse, structure "
        "and hash. Otherwise all of its tables are held back.",
    ),
    Rule.SOURCE_DATA: RuleFacts(
        _ERROR,
        "What the file holds can be read as the table is documented: presence, shapes, types and "
        "lengths. Otherwise there are no rows.",
        known="Eye-tracking series of different lengths in some sessions (AllenSDK issue 1545).",
    ),
    Rule.READER_FAILED: RuleFacts(
        _ERROR, "The reader copes with what the file holds. Where it does not, please report it."
    ),
    Rule.SCHEMA: RuleFacts(_ERROR, "Columns have the declared names, types and order."),
    Rule.NOT_NULL: RuleFacts(_ERROR, "Required columns have a value in every row."),
    Rule.PRIMARY_KEY: RuleFacts(_ERROR, "A key stands for one row, so that joins repeat none."),
    Rule.CLOCK_ASCENDING: RuleFacts(
        _ERROR, "Times are finite and never go back, so that windows find all samples.", _ALLOWED
    ),
    Rule.FINITE: RuleFacts(_ERROR, "Lists of numbers hold neither NaN nor infinity.", _ALLOWED),
    Rule.LIST_LENGTH: RuleFacts(
        _ERROR, "Lists on one time base have the same number of items in all rows.", _ALLOWED
    ),
    Rule.EXACTLY_ONE_TRUE: RuleFacts(
        _ERROR,
        "Of flags that exclude each other, such as a trial's outcomes, one is true.",
        _ALLOWED,
    ),
    Rule.ALWAYS_TRUE: RuleFacts(_ERROR, "Only valid ROIs are cells.", _ALLOWED),
    Rule.END_NOT_BEFORE_START: RuleFacts(_ERROR, "No interval ends before it starts.", _ALLOWED),
    Rule.WHOLE_IMAGE: RuleFacts(_ERROR, "An image has height times width pixels.", _ALLOWED),
    Rule.PIXELS_IN_IMAGE: RuleFacts(
        _ERROR, "A mask holds pixels of its image, ascending, each once.", _ALLOWED
    ),
    Rule.ROWS_EXPECTED: RuleFacts(
        _ERROR, "A table that every file of the kind fills is not empty.", _ALLOWED
    ),
    Rule.FOREIGN_KEY: RuleFacts(_ERROR, "Rows refer to rows that are there."),
    Rule.PARENT_HELD_BACK: RuleFacts(
        _ERROR,
        "Rows that depend on others which are held back, or missing from the lake, wait for them.",
    ),
    Rule.ROW_PER_PARENT: RuleFacts(
        _ERROR, "Each row of the other table has one here: every cell has its trace.", _ALLOWED
    ),
    Rule.FRAME_IN_CLOCK: RuleFacts(
        _ERROR,
        "A frame number is a frame of its clock, so that it has a time.",
        _ALLOWED,
        "Licks one frame past the stimulus clock in some sessions (AllenSDK issue 1729).",
    ),
    Rule.ONE_PER_FRAME: RuleFacts(
        _ERROR, "A trace has one value per frame of its clock, so that each has a time.", _ALLOWED
    ),
    Rule.SAME_IMAGE: RuleFacts(
        _ERROR, "An image of an image set has the same pixels in all sessions."
    ),
    Rule.IMAGE_NOT_IN_SET: RuleFacts(
        Level.WARNING,
        "Presentations show images of their image set. Omissions, gratings, movies and gray "
        "screens have no image.",
        known="Imaging session 919888953 was reported to show images of set A under the name of "
        "set B (AllenSDK issues 2216 and 2220).",
    ),
    Rule.KNOWN_DEFECT: RuleFacts(
        Level.KNOWN, "Known defects of the released data that break no other rule are listed."
    ),
    Rule.FILE_READABLE: RuleFacts(_ERROR, "Every file of the lake opens and decodes."),
    Rule.FILE_PLACE: RuleFacts(_ERROR, "Rows lie in the file where readers expect them, once."),
    Rule.FILE_EMPTY: RuleFacts(Level.WARNING, "No file of the lake is without rows."),
    Rule.ROW_ORDER: RuleFacts(_ERROR, "Files are sorted, so that queries skip what they can."),
    Rule.LEDGER: RuleFacts(_ERROR, "The lake holds as many rows of each file as it recorded."),
    Rule.NOT_IN_LEDGER: RuleFacts(
        Level.WARNING, "No interrupted run has left rows behind. The next ingest clears them."
    ),
    Rule.CATALOG: RuleFacts(_ERROR, "The catalog opens, and its views return all rows."),
}


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
        length: of the lists, where they all have the same.
    """

    rule: Rule
    columns: tuple[str, ...]
    expected: str
    clock: Clock | None = None
    length: int | None = None


def ascending(column: str) -> Check:
    """Times are finite and never go back, over the rows of a recording or within each list."""
    return Check(Rule.CLOCK_ASCENDING, (column,), "times that are finite and do not decrease")


def finite(column: str) -> Check:
    """No item of a list is NaN or infinite."""
    return Check(Rule.FINITE, (column,), "finite numbers")


def of_length(column: str, length: int) -> Check:
    """Every list that is not NULL has this number of items."""
    return Check(Rule.LIST_LENGTH, (column,), f"lists of {length} items", length=length)


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


def in_set(image: str, image_set: str) -> Check:
    """Presentations that show an image (`shows_image`) name one of their image set."""
    return Check(Rule.IMAGE_NOT_IN_SET, (image, image_set), "images of their set")


def shows_image(name: str | None) -> bool:
    """Whether what a presentation shows is an image that `stimulus_templates` must have.

    Movies and gray screens have no name. Releases before 1.1.0 hold no images of gratings.

    >>> [shows_image(name) for name in ("im065", "omitted", "gratings_90.0", "gray", None)]
    [True, False, False, False, False]
    """
    return name not in (None, "omitted", "gray") and not name.startswith("gratings")
