"""Converts one NWB file to staged Parquet: the work of a worker process."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.check.file import FileCheck, check_ids
from pipelines.convert.images import stage_images
from pipelines.convert.open_file import opened
from pipelines.convert.staged import (
    TEMPLATES,
    ConvertSettings,
    FileResult,
    check_staged,
    remember,
    staging_folder,
)
from pipelines.lake.ledger import TableOutcome
from pipelines.lake.store import clear
from pipelines.lake.writer import TableWriter
from pipelines.nwb.hdf5 import storage
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from pipelines.nwb.responses import listen
from pipelines.release.selection import FileTask
from pipelines.source.base import ReplacedError, Traffic
from schemas import TABLES, Storage, Table
from schemas.casts import Values, conform
from schemas.checks import Rule
from schemas.errors import DataError, LakeError, SourceError, VblakeError


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
            outcome = TableOutcome.held_back(table.name, _failure(error))
        (folder / f"{table.name}.parquet").unlink(missing_ok=True)
    check.hold_back(table)
    return outcome


def _failure(error: Exception) -> DataError:
    """Returns the error for what a reader does not foresee."""
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
    return writer.rows


def convert_file(
    task: FileTask, settings: ConvertSettings, *, on_read: Callable[[int], None] | None = None
) -> FileResult:
    """Converts the selected tables of one file to staged Parquet.

    What is wrong with one table holds back that table and those that refer to it. What is wrong
    with the whole file or with the network is in the result, as its error.

    Args:
        task: the file and its tables.
        settings: where it is, and where to write.
        on_read: told the bytes of each part of the file that was read.

    Raises:
        OSError, LakeError: the disk of the lake, which no other file would find in a better state.
    """
    storage.on_read.set(on_read)
    result = _convert(_fetched_ahead.pop(task, None) or _OpenFile(task, settings))
    # What refers to itself would stay: Python collects nothing by itself while a file is open.
    gc.collect()
    return result


def fetch_ahead(task: FileTask, settings: ConvertSettings) -> None:
    """Opens a file in a bucket and starts to fetch it; `convert_file` goes on from there.

    Until then, no more is held of it than while it is converted.
    """
    storage.on_read.set(None)
    _fetched_ahead[task] = _OpenFile(task, settings)


class _OpenFile:
    """The file of a task, open for its readers; one in a bucket is being fetched.

    Attributes:
        folder: for its staged tables.
        traffic: counts the bytes that are fetched.
        seconds: spent on the file until it was open.
    """

    def __init__(
        self,
        task: FileTask,
        settings: ConvertSettings,
        traffic: Traffic | None = None,
        seconds: float = 0.0,
    ) -> None:
        began = time.perf_counter()
        self.task, self.settings = task, settings
        self.folder = staging_folder(task, settings)
        self.folder.mkdir(parents=True)
        self.traffic = traffic or Traffic()
        self._closing = ExitStack()
        self._error: Exception | None = None
        opening = opened(
            task,
            settings,
            _read_tables(task),
            self.traffic,
            self.folder,
            signature=TEMPLATES in task.tables,
        )
        try:
            self._recording = self._closing.enter_context(opening)
        except Exception as error:  # noqa: BLE001 - whoever converts the file is told
            self._error = error
        self.seconds = seconds + time.perf_counter() - began

    @contextmanager
    def recording(self) -> Generator[Recording]:
        """Gives what the readers read, and closes the file after the block.

        Raises:
            Exception: the one that was raised when the file was opened.
        """
        if self._error is not None:
            raise self._error
        with self._closing:
            yield self._recording


_fetched_ahead: dict[FileTask, _OpenFile] = {}


def _read_tables(task: FileTask) -> list[str]:
    """Returns the tables that are converted row by row: all but the images."""
    return [name for name in task.tables if name != TEMPLATES]


def _convert(file: _OpenFile, starts: int = 3) -> FileResult:
    """Converts an open file; see `convert_file`.

    Args:
        file: the file.
        starts: how many times to start, if the object is replaced while it is read.
    """
    began = time.perf_counter() - file.seconds
    task, settings = file.task, file.settings
    result = FileResult(task, file.folder)
    try:
        with file.recording() as recording:
            result = _convert_tables(result, recording, settings)
    except ReplacedError as error:
        clear(file.folder)
        if starts > 1:
            again = _OpenFile(task, settings, file.traffic, time.perf_counter() - began)
            return _convert(again, starts - 1)
        result = replace(result, error=str(error), passing=error.retryable)
    except (OSError, LakeError):
        clear(file.folder)
        raise
    except Exception as error:  # noqa: BLE001 - a bug that one file meets must not stop the others
        clear(file.folder)
        rule = Rule.FILE_IDENTITY if isinstance(error, DataError) else result.rule
        passing = isinstance(error, VblakeError) and error.retryable
        described = _described(error, task.object.key)
        result = replace(result, error=described, rule=rule, passing=passing)
    result = replace(result, bytes_fetched=file.traffic.bytes_moved)
    if result.error is None:
        remember(result, settings)
    return replace(result, seconds=time.perf_counter() - began)


def _convert_tables(
    result: FileResult, recording: Recording, settings: ConvertSettings
) -> FileResult:
    task = result.task
    check_ids(task, recording)
    check = FileCheck(task, recording)
    tables = _read_tables(task)
    listen(recording, tables)
    outcomes = [
        convert_table(TABLES[name], task, recording, check, result.folder) for name in tables
    ]
    images: dict[str, str] = {}
    if TEMPLATES in task.tables:
        outcome, images = stage_images(task, settings, recording, check)
        outcomes.append(outcome)
    return replace(
        result,
        tables=tuple(outcomes),
        image_set=recording.image_set if images else None,
        images=images,
        warnings=tuple(recording.warnings),
        known_defects=tuple(recording.known_defects),
    )


def _described(error: Exception, key: str) -> str:
    """Returns what to tell the user about a file that could not be converted."""
    if isinstance(error, DataError):
        return str(error.located(file=key))
    if isinstance(error, SourceError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            f"file {key}: it takes more memory than a worker may have. Check the file; "
            "if it is good, please report it."
        )
    return str(_failure(error).located(file=key))
