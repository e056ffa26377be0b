"""The Parquet files of a frozen lake.

A file is published under a name that contains its hash and is never replaced: who reads an earlier
snapshot, or has the catalog open, reads on. A file that did not change keeps its name, so that it
is not published twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from schemas import Table
from schemas.layout import folder_values

_HASH = 16
"""Digits of the hash in a file's name."""


@dataclass(frozen=True, slots=True)
class FrozenFile:
    """A file of a table.

    Attributes:
        table: name of the table.
        source: its path below the lake that it comes from.
        path: its path below the frozen lake.
        bytes: its size.
        rows: number of its rows.
        sha256: hash of its content, in hexadecimal digits.
    """

    table: str
    source: str
    path: str
    bytes: int
    rows: int
    sha256: str


def frozen_path(path: str, sha256: str) -> str:
    """The path of a file in a frozen lake.

    >>> frozen_path("trials/mouse_id=457841/trials.parquet", 64 * "e")
    'trials/mouse_id=457841/trials-eeeeeeeeeeeeeeee.parquet'
    """
    place = PurePosixPath(path)
    return str(place.with_name(f"{place.stem}-{sha256[:_HASH]}{place.suffix}"))


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """What the footer of a file says of a column, as DuckLake notes it.

    Attributes:
        bytes: of all its pages, compressed.
        values: number of values, NULL included; None in a list.
        nulls: number of NULLs; None where it is not known.
        min: smallest value as text, None where it is not known or there are only NULLs.
        max: largest value as text, likewise.
    """

    bytes: int
    values: int | None = None
    nulls: int | None = None
    min: str | None = None
    max: str | None = None


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer of a Parquet file says.

    Attributes:
        rows: number of rows.
        bytes: length of the footer.
        leaves: its columns without nesting, in the order of the file: fields of structs and items
            of lists are columns of their own.
    """

    rows: int
    bytes: int
    leaves: tuple[ColumnStats, ...]


def read_footer(file: pq.ParquetFile) -> Footer:
    """Reads what DuckLake needs of a footer."""
    metadata = file.metadata
    leaves = tuple(_stats(metadata, leaf) for leaf in range(metadata.num_columns))
    return Footer(metadata.num_rows, metadata.serialized_size, leaves)


def _stats(metadata: Any, leaf: int) -> ColumnStats:
    chunks = [metadata.row_group(g).column(leaf) for g in range(metadata.num_row_groups)]
    size = sum(chunk.total_compressed_size for chunk in chunks)
    if metadata.schema.column(leaf).max_repetition_level:
        return ColumnStats(size)
    all_of_them = [chunk.statistics for chunk in chunks]
    if any(s is None or not s.has_null_count for s in all_of_them):
        return ColumnStats(size, metadata.num_rows)
    nulls = sum(s.null_count for s in all_of_them)
    filled = [s for s in all_of_them if s.num_values]
    if not filled or not all(s.has_min_max for s in filled):
        return ColumnStats(size, metadata.num_rows, nulls)
    least, greatest = min(s.min for s in filled), max(s.max for s in filled)
    return ColumnStats(size, metadata.num_rows, nulls, as_text(least), as_text(greatest))


def as_text(value: Any) -> str:
    """A value as DuckDB writes it.

    >>> as_text(True), as_text(0.5)
    ('true', '0.5')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def stats_of_folders(table: Table, path: str, rows: int) -> Mapping[str, ColumnStats]:
    """What the folders of a file say of its Hive columns."""
    values = folder_values(path)
    return {
        column.name: ColumnStats(0, rows, 0, values[column.name], values[column.name])
        for column in table.partitions
    }
