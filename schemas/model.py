"""What a table declaration is made of.

A table of the lake is declared once, as a `Table` of `Column`s; Arrow schemas, casts, checks, the catalog's comments and the
data dictionary are all derived from it. Nothing here does I/O, and nothing here imports Arrow, so that commands which
only talk about tables start at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from schemas.checks import Check


class Type(StrEnum):
    """The column types of the lake, by their DuckDB names."""

    INT64 = "BIGINT"
    FLOAT64 = "DOUBLE"
    BOOL = "BOOLEAN"
    STRING = "VARCHAR"
    TIMESTAMP = "TIMESTAMP WITH TIME ZONE"
    """Microseconds, UTC."""
    LIST_FLOAT64 = "DOUBLE[]"
    LIST_FLOAT32 = "FLOAT[]"
    LIST_INT64 = "BIGINT[]"
    LIST_UINT32 = "UINTEGER[]"
    LIST_UINT8 = "UTINYINT[]"
    LIST_STRING = "VARCHAR[]"
    ROW_COUNTS = "STRUCT(table_name VARCHAR, row_count BIGINT)[]"
    """The ledger's rows per table."""
    KNOWN_DEFECTS = "STRUCT(defect VARCHAR, table_name VARCHAR, detail VARCHAR)[]"
    """The ledger's known defects of a file."""

    @property
    def is_list(self) -> bool:
        """Whether a value is a list; its numbers are then kept bit for bit, NaN included."""
        return self.value.endswith("[]")


class Subject(StrEnum):
    """What a table describes, hence which file it is read from."""

    PROJECT = "project"
    """The project tables of a release (CSV)."""
    BEHAVIOR = "behavior"
    """A behaviour session: read once per session, from its behaviour file or the first of its planes."""
    OPHYS = "ophys"
    """One imaging plane: read from each experiment file."""
    STIMULUS = "stimulus"
    """An image set: read once per set, from the first file that holds it."""
    LEDGER = "ledger"
    """vblake's own record of what was ingested."""


class Storage(StrEnum):
    """How the rows of a table are spread over files."""

    PROJECT = "one file"
    MOUSE = "one file per mouse"
    """Small tables. 5,000 files of 500 rows take ten to thirty times longer to query than the same rows in 107 files."""
    SESSION = "one file per behaviour session"
    EXPERIMENT = "one file per experiment"
    IMAGE_SET = "one file per image set"


@dataclass(frozen=True, slots=True)
class ParquetEncoding:
    """How the columns of a table are encoded; the writer and the page of tables both read it.

    Attributes:
        zstd: level of compression.
        dictionaries: on text and on the ids of sources.
        byte_stream_split: on floats.
        deltas: on integers without a dictionary.
    """

    zstd: int
    dictionaries: bool = False
    byte_stream_split: bool = False
    deltas: bool = False

    def __str__(self) -> str:
        """Returns the encoding in words.

        >>> str(ParquetEncoding(3, deltas=True))
        'zstd 3, deltas on integers'
        """
        parts = [f"zstd {self.zstd}"]
        parts += ["dictionaries on text and on ids of sources"] if self.dictionaries else []
        parts += ["byte stream split on floats"] if self.byte_stream_split else []
        parts += ["deltas on integers"] if self.deltas else []
        return ", ".join(parts)


class Encoding(Enum):
    """Encodings of tables, chosen by measurement (docs/performance.md)."""

    SMALL = ParquetEncoding(3, dictionaries=True, byte_stream_split=True, deltas=True)
    SIGNAL = ParquetEncoding(1, byte_stream_split=True, deltas=True)
    """Dense samples."""
    SPARSE = ParquetEncoding(1)
    """Mostly zeros, where BYTE_STREAM_SPLIT doubles the size."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: canonical name, the documented one where the document names it.
        type: see `Type`.
        description: one sentence, for people.
        unit: `s`, `px`, `um`, ... or None where there is none.
        source: path in the NWB file, or the formula, in the notation of docs/tables.md.
        required: whether a value must be present in every row (a key, or a column that every release stores).
        optional: whether a file may lack the column, which then is NULL throughout (newer or older releases).
        documented: whether the user's document of the dataset lists it.
        sentinels: integers that mean "no value" in the files and become NULL.
        alias: the name newer releases use; the catalog's view offers it beside the canonical name.
        partition: whether the value is in the folder's name and not in the file.
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
    partition: bool = False

    @property
    def comment(self) -> str:
        """Description and unit in one line."""
        return f"{self.description} [{self.unit}]" if self.unit else self.description


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` of this table refer to the primary key `references` of `table`, where they are not NULL.

    Attributes:
        complete: whether each row of `table` from the same file is referred to, too.
        agree: columns of both tables that must have the same value in the row referred to.
        since: first release that has `table`; None if all have it.
    """

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]
    complete: bool = False
    agree: tuple[str, ...] = ()
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        columns: in their order in the file, the keys first.
        primary_key: columns that together are unique and never NULL; empty where rows have an order but no key.
        order: columns the rows are sorted by inside a file (ties keep the order of the NWB file).
        rows_expected: whether a source file that gives no row at all is in error, unless `schemas.known_defects` has an exception.
        checks: what the rows must fulfil besides.
        by_name_only: whether the table is ingested only when it is asked for by name.
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
    by_name_only: bool = False

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}")

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns that are inside the files, i.e. all but the Hive partition column."""
        return tuple(c for c in self.columns if not c.partition)

    @property
    def partition(self) -> Column | None:
        """The Hive partition column, if the table has one."""
        return next((c for c in self.columns if c.partition), None)

    @property
    def unit_key(self) -> str | None:
        """The id that tells which source a row came from: rows are replaced by whole sources."""
        names = {c.name for c in self.columns}
        if self.subject is Subject.OPHYS:
            return "ophys_experiment_id"
        return (
            "behavior_session_id"
            if self.subject is Subject.BEHAVIOR and "behavior_session_id" in names
            else None
        )


def column(
    name: str,
    type_: Type,
    description: str,
    unit: str | None = None,
    source: str = "",
    **flags: Any,
) -> Column:
    """A column that newer or older releases may have beyond the user's document."""
    return Column(name, type_, description, unit, source, **flags)


def documented(
    name: str,
    type_: Type,
    description: str,
    unit: str | None = None,
    source: str = "",
    **flags: Any,
) -> Column:
    """A column that the user's document of the dataset lists."""
    return Column(name, type_, description, unit, source, documented=True, **flags)
