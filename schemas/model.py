"""The parts of a table declaration.

Each table of the lake is declared once, as a `Table` of `Column`s. Arrow schemas, casts, checks,
the catalog's comments and the data dictionary are derived from it. Nothing here does I/O or
imports Arrow, so that commands which only describe tables start at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property
from typing import Any

from schemas.checks import Check


class Type(StrEnum):
    """The column types of the lake, by their DuckDB names."""

    INT64 = "BIGINT"
    FLOAT64 = "DOUBLE"
    FLOAT32 = "FLOAT"
    """For what vblake computes and seven digits are enough; what files hold is FLOAT64."""
    BOOL = "BOOLEAN"
    STRING = "VARCHAR"
    TIMESTAMP = "TIMESTAMP"
    """Microseconds, UTC; in the files labelled so, in the catalog without a time zone."""
    LIST_FLOAT64 = "DOUBLE[]"
    LIST_FLOAT32 = "FLOAT[]"
    LIST_INT64 = "BIGINT[]"
    LIST_UINT32 = "UINTEGER[]"
    LIST_UINT8 = "UTINYINT[]"
    LIST_STRING = "VARCHAR[]"
    TABLE_OUTCOMES = (
        'STRUCT("table" VARCHAR, status VARCHAR, "rule" VARCHAR, "column" VARCHAR, '
        'expected VARCHAR, found VARCHAR, "rows" BIGINT, allowed_rules VARCHAR[])[]'
    )
    """The ledger's outcome per table."""
    KNOWN_DEFECTS = "STRUCT(defect VARCHAR, table_name VARCHAR, detail VARCHAR)[]"
    """The ledger's known defects of a file."""

    @property
    def is_list(self) -> bool:
        """Whether a value is a list, whose numbers are kept bit for bit, NaN included."""
        return self.value.endswith("[]")


class Subject(StrEnum):
    """What a table describes, and so which file it is read from."""

    PROJECT = "project"
    """The project tables of a release (CSV)."""
    BEHAVIOR = "behavior"
    """A behaviour session: read once, from its behaviour file or the first of its planes."""
    OPHYS = "ophys"
    """One imaging plane: read from each experiment file."""
    STIMULUS = "stimulus"
    """An image set: read once per set, from the first file that holds it."""
    LEDGER = "ledger"
    """vblake's own record of what was ingested."""


class Storage(StrEnum):
    """How the rows of a table are distributed over files."""

    PROJECT = "one file"
    MOUSE = "one file per mouse"
    """Small tables. Queries over 5,000 files of 500 rows take ten to thirty times longer than over
    the same rows in 107 files."""
    SESSION = "one file per behaviour session"
    EXPERIMENT = "one file per experiment"
    IMAGE_SET = "one file per image set"

    @property
    def partitions(self) -> tuple[str, ...]:
        """The Hive columns, from the outermost folder inwards.

        With a folder for each id, a filter on any of them opens the matching files alone: 1 of
        4,815 in 0.11 s, where all footers take 0.31 s.
        """
        return _PARTITIONS[self]


_PARTITIONS = {
    Storage.PROJECT: (),
    Storage.MOUSE: ("mouse_id",),
    Storage.SESSION: ("mouse_id", "behavior_session_id"),
    Storage.EXPERIMENT: (
        "mouse_id",
        "behavior_session_id",
        "ophys_session_id",
        "ophys_experiment_id",
    ),
    Storage.IMAGE_SET: ("image_set",),
}


@dataclass(frozen=True, slots=True)
class ParquetEncoding:
    """How the columns of a table are encoded; the writer and the page of tables both read it.

    Attributes:
        zstd: level of compression; None for LZ4.
        dictionaries: on text and on the ids of sources.
        byte_stream_split: on floats.
        deltas: on integers without a dictionary.
    """

    zstd: int | None
    dictionaries: bool = False
    byte_stream_split: bool = False
    deltas: bool = False

    def __str__(self) -> str:
        """Returns the encoding in words.

        >>> str(ParquetEncoding(3, deltas=True))
        'zstd 3, deltas on integers'
        """
        parts = ["LZ4" if self.zstd is None else f"zstd {self.zstd}"]
        parts += ["dictionaries on text and on ids of sources"] if self.dictionaries else []
        parts += ["byte stream split on floats"] if self.byte_stream_split else []
        parts += ["deltas on integers"] if self.deltas else []
        return ", ".join(parts)


class Encoding(Enum):
    """Encodings of tables, chosen by measurement (docs/performance.md)."""

    SMALL = ParquetEncoding(3, dictionaries=True, byte_stream_split=True, deltas=True)
    SIGNAL = ParquetEncoding(1, byte_stream_split=True, deltas=True)
    """Dense samples. With LZ4, traces are 15 % faster to write and 0 to 6 % larger, and running
    up to 19 % larger."""
    EYE_TRACKING = ParquetEncoding(None, byte_stream_split=True, deltas=True)
    """With LZ4 30 % faster to write and 25 % to read, and 1 to 3 % larger."""
    SPARSE = ParquetEncoding(1)
    """Mostly zeros, where BYTE_STREAM_SPLIT doubles the size."""
    EVENTS = ParquetEncoding(-2)
    """Long and sparse: 10 to 20 % faster to write than with level 1, and 0 to 3 % larger."""
    RESPONSES = ParquetEncoding(None, deltas=True)
    """Single precision, part of it mostly zeros. LZ4 is a quarter faster to write and a third to
    read than zstd 1, and 12 % larger, which is 0.4 % of what a plane takes."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: canonical name: the one in the dataset's own document, if it is there.
        type: see `Type`.
        description: one sentence, for people.
        unit: `s`, `px`, `um`, ... or None where there is none.
        source: path in the NWB file, or the formula, in the notation of docs/tables.md.
        required: whether every row must have a value (keys, and columns that every release stores).
        optional: whether some releases' files lack the column, which is then NULL throughout.
        documented: whether the dataset's own document lists it.
        sentinels: integers that mean "no value" in the files; they become NULL.
        alias: name in newer releases, which the catalog's view offers beside the canonical one.
    """

    name: str
    type: Type
    description: str
    unit: str | None = None
    source: str = ""
    required: bool = False
    optional: bool = False
    documented: bool = False
    sentinels: tuple[int, ...] = ()
    alias: str | None = None

    @property
    def comment(self) -> str:
        """Description and unit in one line."""
        return f"{self.description} [{self.unit}]" if self.unit else self.description


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` refer to the primary key `references` of `table` where they are not NULL.

    Attributes:
        complete: whether each row of `table` from the same file must also be referred to.
        agree: columns that must have the same value in both rows.
        since: first release that has `table`, None if all have it.
    """

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]
    complete: bool = False
    agree: tuple[str, ...] = ()
    since: str | None = None


@dataclass(frozen=True)  # no slots, for the cached properties
class Table:
    """One table.

    Attributes:
        columns: in file order, keys first.
        primary_key: columns that together are unique and never NULL; empty if rows have only an
            order.
        order: columns by which a file is sorted; ties keep the order of the NWB file.
        rows_expected: whether a source file without any row breaks a rule; exceptions are in
            `schemas.known_defects`.
        checks: further rules for the rows.
        derived_from: tables whose rows its own are computed from, beside those of foreign keys.
        by_name_only: whether the table is ingested only if it is selected by name.
    """

    name: str
    description: str
    subject: Subject
    storage: Storage
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    order: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    encoding: Encoding = Encoding.SMALL
    checks: tuple[Check, ...] = ()
    rows_expected: bool = True
    derived_from: tuple[str, ...] = ()
    by_name_only: bool = False

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}")

    @cached_property
    def depends_on(self) -> tuple[str, ...]:
        """The tables without whose rows its own cannot be published."""
        return (*(key.table for key in self.foreign_keys), *self.derived_from)

    @cached_property
    def partitions(self) -> tuple[Column, ...]:
        """The Hive columns, whose values are in the names of folders, outermost first."""
        return tuple(self[name] for name in self.storage.partitions)

    @cached_property
    def stored(self) -> tuple[Column, ...]:
        """The columns inside the files: all but the Hive columns."""
        return tuple(c for c in self.columns if c.name not in self.storage.partitions)

    @cached_property
    def converted(self) -> tuple[Column, ...]:
        """The columns of rows before they are written: all but that of the outermost folder."""
        return tuple(c for c in self.columns if c.name not in self.storage.partitions[:1])

    @cached_property
    def unit_key(self) -> str | None:
        """The id of the source that a row came from. Rows are replaced source by source."""
        names = {c.name for c in self.columns}
        if self.subject is Subject.OPHYS:
            return "ophys_experiment_id"
        return (
            "behavior_session_id"
            if self.subject is Subject.BEHAVIOR and "behavior_session_id" in names
            else None
        )

    @cached_property
    def own_key(self) -> tuple[str, ...]:
        """The columns of the primary key that tell the rows of one recording apart."""
        outer = (self.unit_key, *self.storage.partitions)
        return tuple(name for name in self.primary_key if name not in outer)


def column(
    name: str,
    type_: Type,
    description: str,
    unit: str | None = None,
    source: str = "",
    **flags: Any,
) -> Column:
    """A column that the dataset's own document does not list."""
    return Column(name, type_, description, unit, source, **flags)


def documented(
    name: str,
    type_: Type,
    description: str,
    unit: str | None = None,
    source: str = "",
    **flags: Any,
) -> Column:
    """A column that the dataset's own document lists."""
    return Column(name, type_, description, unit, source, documented=True, **flags)
