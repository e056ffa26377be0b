"""One NWB file to staged Parquet: the work of a worker process. Holds one table of one file in memory, traces in batches."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.check.file import FileCheck, check_ids
from pipelines.convert.open_file import opened
from pipelines.convert.staged import (
    TEMPLATES,
    ConvertSettings,
    FileResult,
    check_staged,
    remember,
    staging_folder,
)
from pipelines.lake.store import clear
from pipelines.lake.writer import write_table
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from pipelines.nwb.templates import signature
from pipelines.release.selection import FileTask
from pipelines.source.base import ReplacedError, Traffic
from schemas import TABLES, Storage, Subject, Table
from schemas.casts import Values, conform
from schemas.errors import DataError, LakeError, SourceError


def _keys(task: FileTask, table: Table) -> dict[str, Values]:
    ids = {
        "behavior_session_id": task.behavior_session_id,
        "ophys_session_id": task.ophys_session_id,
        "ophys_experiment_id": task.ophys_experiment_id,
    }
    names = {c.name for c in table.stored}
    return {} if table.subject is Subject.STIMULUS else {k: v for k, v in ids.items() if k in names}


def _ascending(column: pa.ChunkedArray[Any]) -> bool:
    if pa.types.is_primitive(column.type):
        values = column.to_numpy()
        return bool(np.all(values[1:] >= values[:-1]))
    texts = column.to_pylist()
    return texts == sorted(texts)


def _in_order(table: Table, rows: pa.Table) -> pa.Table:
    """Rows sorted by the table's order, which most files have already; ties keep the file's order."""
    names = [
        n
        for n in table.order
        if n in rows.column_names
        and n not in ("behavior_session_id", "ophys_experiment_id", "ophys_session_id")
    ]
    if not names or rows.num_rows < 2:
        return rows
    if len(names) == 1 and _ascending(rows.column(names[0])):
        return rows
    # Arrow's sort is not stable: the row number decides ties.
    numbered = rows.append_column("_row", pa.array(np.arange(rows.num_rows)))
    return numbered.sort_by(
        [*((n, "ascending") for n in names), ("_row", "ascending")]
    ).drop_columns(["_row"])


def _read(
    table: Table, task: FileTask, recording: Recording, check: FileCheck
) -> Iterator[pa.Table]:
    keys = _keys(task, table)
    for rows in READERS[table.name](recording):
        # Before it is sorted: a clock that runs backwards is an error, not an order.
        batch = conform(table, {**keys, **rows.columns}, rows.count)
        check.take(table, batch)
        yield _in_order(table, batch)


def write_staged(
    table: Table,
    task: FileTask,
    recording: Recording,
    check: FileCheck,
    folder: Path,
    **key_values: str,
) -> int:
    """Reads one table of an open file, checks it and writes it to `<folder>/<table>.parquet`.

    Returns:
        Number of rows; there is no file if it is 0.

    Raises:
        DataError: anything wrong in the file; names file, table and column.
        LakeError: the staged file does not hold what was written to it.
    """
    path = folder / f"{table.name}.parquet"
    if table.storage is not Storage.MOUSE:  # the mouse's file has rows of several objects
        key_values["source"] = task.object.key
    try:
        rows = write_table(
            table, path, _read(table, task, recording, check), release=task.release, **key_values
        )
        check.finish(table)
    except DataError as error:
        raise error.located(file=task.object.key, table=table.name) from None
    if rows and (problem := check_staged(path, rows)):
        raise LakeError(
            f"{path} {problem}, though it was just written. Check the disk, then ingest again."
        )
    return rows


def convert_file(
    task: FileTask, settings: ConvertSettings, *, traffic: Traffic | None = None, starts: int = 3
) -> FileResult:
    """Converts the selected tables of one file to staged Parquet; never raises for what is wrong with the file or the network.

    The image set's templates are not written here: which file gives them is decided by the process that publishes. An object that is
    replaced while it is read is read from the start again, `starts` times in all.
    """
    started, traffic = time.perf_counter(), traffic or Traffic()
    folder = staging_folder(task, settings)
    folder.mkdir(parents=True)
    counts: dict[str, int] = {}
    result = FileResult(task, folder)
    try:
        own = [name for name in task.tables if name != TEMPLATES]
        with opened(
            task, settings, own, traffic, folder, signature=TEMPLATES in task.tables
        ) as recording:
            check_ids(task, recording)
            check = FileCheck(task, recording)
            for name in own:
                counts[name] = write_staged(TABLES[name], task, recording, check, folder)
            images = signature(recording) if TEMPLATES in task.tables else None
            if TEMPLATES in task.tables and images is None:
                check.finish(TABLES[TEMPLATES])
            result = replace(
                result, image_set=recording.image_set if images else None, image_signature=images
            )
            result = replace(
                result,
                warnings=tuple(recording.warnings),
                known_defects=tuple(recording.known_defects),
            )
    except (DataError, SourceError) as error:
        clear(folder)
        if isinstance(error, ReplacedError) and starts > 1:
            return convert_file(task, settings, traffic=traffic, starts=starts - 1)
        text = (
            str(error.located(file=task.object.key)) if isinstance(error, DataError) else str(error)
        )
        return replace(result, error=text, **_cost(started, traffic))
    except (OSError, LakeError):
        # Reading gives a DataError or SourceError; what is left is the disk of lake or cache, which no other file will find any better.
        clear(folder)
        raise
    except MemoryError:
        clear(folder)
        text = f"file {task.object.key}: it takes more memory than a worker may have. Check the file; if it is good, please report it."
        return replace(result, error=text, **_cost(started, traffic))
    except Exception as error:  # noqa: BLE001 - an oversight of ours with one file must not keep the others out
        clear(folder)
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"file {task.object.key}: vblake failed with {type(error).__name__}: {error} "
            f"({Path(where.filename).name}, line {where.lineno}). This is a mistake in vblake; please report it with this line."
        )
        return replace(result, error=text, **_cost(started, traffic))
    result = replace(result, row_counts=counts, **_cost(started, traffic))
    remember(result, settings)
    return result


def _cost(started: float, traffic: Traffic) -> dict[str, Any]:
    return {
        "seconds": time.perf_counter() - started,
        "bytes_fetched": traffic.bytes_moved,
    }


def convert_templates(
    task: FileTask,
    settings: ConvertSettings,
    image_signature: str,
    *,
    traffic: Traffic | None = None,
    starts: int = 3,
) -> tuple[Path, int]:
    """Writes the templates of the file's image set to staged Parquet. An object that is replaced meanwhile is begun anew, as above.

    Returns:
        The staged file, and the bytes moved from a remote source for it.

    Raises:
        DataError: the templates cannot be read.
    """
    folder = settings.staging / f"templates_{task.kind.value}_{task.file_key}"
    clear(folder)
    folder.mkdir(parents=True)
    traffic = traffic or Traffic()
    try:
        with opened(task, settings, [TEMPLATES], traffic, folder) as recording:
            write_staged(
                TABLES[TEMPLATES],
                task,
                recording,
                FileCheck(task, recording),
                folder,
                image_signature=image_signature,
            )
    except ReplacedError:
        if starts == 1:
            raise
        return convert_templates(
            task, settings, image_signature, traffic=traffic, starts=starts - 1
        )
    return folder / f"{TEMPLATES}.parquet", traffic.bytes_moved
