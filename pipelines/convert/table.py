"""Converts one table of an open NWB file to staged Parquet, or holds it back."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.check.file import FileCheck
from pipelines.convert.staged import check_staged
from pipelines.lake.ledger import TableOutcome
from pipelines.lake.swap import begin_to_write
from pipelines.lake.writer import TableWriter
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from pipelines.release.selection import FileTask
from schemas import Storage, Table
from schemas.casts import Values, conform
from schemas.checks import Rule
from schemas.errors import DataError, LakeError, SourceError


def _keys(task: FileTask, table: Table) -> dict[str, Values]:
    ids = {
        "behavior_session_id": task.behavior_session_id,
        "ophys_session_id": task.ophys_session_id,
        "ophys_experiment_id": task.ophys_experiment_id,
    }
    names = {c.name for c in table.converted}
    return {k: v for k, v in ids.items() if k in names}


def _ascending(columns: Sequence[pa.ChunkedArray[Any]]) -> bool:
    """Whether no row is smaller than the one before, by the first column, then the next."""
    tied = np.ones(len(columns[0]) - 1, dtype=bool)
    for column in columns:
        numbers = pa.types.is_primitive(column.type)
        values = column.to_numpy() if numbers else np.array(column.to_pylist(), dtype=object)
        if (tied & (values[1:] < values[:-1])).any():
            return False
        tied &= values[1:] == values[:-1]
    return True


def _in_order(table: Table, rows: pa.Table) -> pa.Table:
    """Returns the rows in the table's order, which most files have; ties keep the file's order."""
    names = [
        n
        for n in table.order
        if n in rows.column_names
        and n not in ("behavior_session_id", "ophys_experiment_id", "ophys_session_id")
    ]
    if not names or rows.num_rows < 2:
        return rows
    if _ascending([rows.column(name) for name in names]):
        return rows
    # Arrow's sort is not stable: the row number decides ties.
    numbered = rows.append_column("_row", pa.array(np.arange(rows.num_rows)))
    return numbered.sort_by(
        [*((n, "ascending") for n in names), ("_row", "ascending")]
    ).drop_columns(["_row"])


def convert_table(
    table: Table, task: FileTask, recording: Recording, check: FileCheck, folder: Path
) -> TableOutcome:
    """Converts one table of an open file to `<folder>/<table>.parquet`, or holds it back.

    It is held back if its rows break a rule or cannot be read, or if a table that it depends on is
    held back. There is no file then, nor if the table has no rows.

    Raises:
        OSError, LakeError: the staged file cannot be written.
        SourceError: the rows cannot be fetched.
    """
    if (parent := check.held_back_parent(table)) is not None:
        outcome = TableOutcome.of_parent(table.name, parent)
    else:
        try:
            rows = _write_table(table, task, recording, check, folder)
            return TableOutcome.read(table.name, rows, check.allowed_rules(table))
        except DataError as error:
            outcome = TableOutcome.held_back(table.name, error)
        except (OSError, LakeError, SourceError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - an unforeseen oddity costs one table only
            outcome = TableOutcome.held_back(table.name, unforeseen(error))
        (folder / f"{table.name}.parquet").unlink(missing_ok=True)
    check.hold_back(table)
    return outcome


def unforeseen(error: Exception) -> DataError:
    """Returns the error for what no reader foresees."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return DataError(
        f"vblake failed with {type(error).__name__}: {error} "
        f"({Path(where.filename).name}, line {where.lineno}). Please report this line",
        rule=Rule.READER_FAILED.value,
    )


def _write_table(
    table: Table, task: FileTask, recording: Recording, check: FileCheck, folder: Path
) -> int:
    """Reads, casts, checks and writes one table, one batch in memory at a time.

    Returns:
        Number of rows; there is no file if it is 0.

    Raises:
        DataError: anything wrong in the table.
    """
    path, keys = folder / f"{table.name}.parquet", _keys(task, table)
    # A mouse's file has rows of several objects, so it names none.
    source = {} if table.storage is Storage.MOUSE else {"source": task.object.key}
    with TableWriter(table, path, release=task.release, **source) as writer:
        for read in READERS[table.name](recording):
            batch = conform(table, {**keys, **read.columns}, read.count)
            # Before it is sorted: a clock that runs backwards is an error, not an order.
            check.take(table, batch)
            writer.write(_in_order(table, batch))
    check.finish(table)
    if writer.rows and (problem := check_staged(path, writer.rows)):
        raise LakeError(
            f"{path} {problem}, though it was just written. Check the disk, then ingest again."
        )
    if writer.rows and table.storage is not Storage.MOUSE:  # those are merged first
        begin_to_write(path)
    return writer.rows
