"""Writes Parquet files as the tables declare them (`schemas.model.Encoding`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import SCHEMA_VERSION, Table, Type
from schemas.arrow import file_schema
from schemas.layout import ROW_GROUP_ROWS

_FLOATS = (Type.FLOAT64, Type.FLOAT32, Type.LIST_FLOAT64, Type.LIST_FLOAT32)
_INTEGERS = (Type.INT64, Type.LIST_INT64, Type.LIST_UINT8, Type.LIST_UINT32)
_TEXTS = (Type.STRING, Type.LIST_STRING)

_SOURCE_IDS = ("behavior_session_id", "ophys_session_id", "ophys_experiment_id")
"""One value per source file: a dictionary makes runs of them, which group and filter a third faster
than deltas."""


def _leaf(name: str, type_: Type) -> str:
    return f"{name}.list.element" if type_.is_list else name


def parquet_options(table: Table) -> dict[str, Any]:
    """Returns the arguments of `pyarrow.parquet.ParquetWriter` for a table."""
    how = table.encoding.value
    columns: dict[str, str] = {}
    dictionaries: list[str] = []
    for column in table.stored:
        leaf = _leaf(column.name, column.type)
        if how.dictionaries and (column.type in _TEXTS or column.name in _SOURCE_IDS):
            dictionaries.append(leaf)
        elif how.byte_stream_split and column.type in _FLOATS:
            columns[leaf] = "BYTE_STREAM_SPLIT"
        elif how.deltas and column.type in _INTEGERS:
            columns[leaf] = "DELTA_BINARY_PACKED"
    return {
        "compression": "LZ4_RAW" if how.zstd is None else "zstd",
        "compression_level": how.zstd,
        "write_statistics": [c.name for c in table.stored if not c.type.is_list],
        "store_schema": True,
        "use_dictionary": dictionaries or False,
        "column_encoding": columns or None,
    }


class TableWriter:
    """Writes a table batch by batch to a local Parquet file. Use it in a `with` statement.

    Each batch starts a row group. The file is made with the first row; without rows there is none.

    Args:
        table: the declaration; batches have its schema.
        path: local file, replaced if it exists; its folder must exist.
        release: release of the dataset, kept in the file's key-value metadata.
        key_values: further entries of the key-value metadata.

    Attributes:
        rows: number of rows written.
    """

    def __init__(self, table: Table, path: Path, *, release: str, **key_values: str) -> None:
        self._facts = {"release": release, "schema_version": SCHEMA_VERSION, **key_values}
        self._table, self._path = table, path
        self._schema = file_schema(table)
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, batch: pa.Table) -> None:
        """Appends rows, which follow those before in the table's order."""
        if not batch.num_rows:
            return
        if self._writer is None:
            # A published file may be a second name of what an earlier run left here, which must
            # not be written to.
            self._path.unlink(missing_ok=True)
            # In the lake, the ids of the folders are in the path alone. A file that is copied out
            # of it still says whose rows it has.
            ids = {n: str(batch.column(n)[0]) for n in self._table.storage.partitions[1:]}
            self._schema = file_schema(self._table, self._facts | ids)
            options = parquet_options(self._table)
            self._writer = pq.ParquetWriter(self._path, self._schema, **options)
        rows = batch.select(self._schema.names).replace_schema_metadata(self._schema.metadata)
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        self.rows += batch.num_rows


def write_table(
    table: Table, path: Path, batches: Iterable[pa.Table], *, release: str, **key_values: str
) -> int:
    """Writes batches with a `TableWriter`, at most one of them in memory.

    Returns:
        Number of rows. If it is 0 there is no file.
    """
    with TableWriter(table, path, release=release, **key_values) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.rows
