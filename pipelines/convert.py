"""One NWB file to staged Parquet: the work of a worker process. Holds one table of one file in memory, traces in batches."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.cache import FileCache
from pipelines.lake.store import clear
from pipelines.lake.writer import write_table
from pipelines.nwb.needs import prefetch
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording, open_recording
from pipelines.nwb.templates import signature
from pipelines.planning import FileKind, FileTask
from pipelines.ranges import RangeFile
from pipelines.sources import SourceSpec, open_source
from schemas import SCHEMA_VERSION, TABLES, Subject, Table
from schemas.arrow import from_numpy, to_numpy
from schemas.casts import Values, conform
from schemas.errors import DataError, IntegrityError, SourceError

TEMPLATES = "stimulus_templates"
_RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """What a worker needs to know beside the file; goes to other processes.

    Attributes:
        source: where the bucket is.
        staging: folder for staged files.
        verify_hash: fetch objects of a remote source whole and check their hash, instead of reading the needed ranges.
        cache: folder for whole objects.
        cache_bytes: bound on that folder.
    """

    source: SourceSpec
    staging: Path
    verify_hash: bool
    cache: Path
    cache_bytes: int


@dataclass(frozen=True)
class FileResult:
    """What a worker has to say of one file.

    Attributes:
        task: the file.
        folder: where the staged tables lie, as `<table>.parquet`; tables without rows have no file.
        row_counts: rows of every table that was read.
        error: why the file could not be converted, None if it was.
        image_set: the file's image set and the digest of its templates.
        bytes_fetched: bytes moved from a remote source.
        seconds: time spent.
        warnings: what was unusual.
    """

    task: FileTask
    folder: Path
    row_counts: dict[str, int] = field(default_factory=dict[str, int])
    error: str | None = None
    image_set: str | None = None
    image_signature: str | None = None
    bytes_fetched: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def staged(self, table: str) -> Path | None:
        """Staged file of a table, None if it has no rows."""
        return self.folder / f"{table}.parquet" if self.row_counts.get(table) else None


def _keys(task: FileTask, table: Table) -> dict[str, Values]:
    ids = {
        "behavior_session_id": task.behavior_session_id,
        "ophys_session_id": task.ophys_session_id,
        "ophys_experiment_id": task.ophys_experiment_id,
    }
    names = {c.name for c in table.stored}
    return {} if table.subject is Subject.STIMULUS else {k: v for k, v in ids.items() if k in names}


def _check_ids(task: FileTask, recording: Recording) -> None:
    """The file must be the one that the project tables say it is."""
    claims: list[tuple[str, int | None, int]] = [("behavior_session_id", task.behavior_session_id, recording.behavior_session_id)]
    if task.kind is FileKind.OPHYS_EXPERIMENT:
        claims.append(("ophys_experiment_id", task.file_key, recording.ophys_experiment_id))
        claims.append(("ophys_session_id", task.ophys_session_id, recording.ophys_session_id))
    for name, expected, found in claims:
        if expected != found:
            raise IntegrityError(
                "the file is of another recording than the release says",
                file=task.object.key,
                column=name,
                expected=str(expected),
                found=str(found),
                hint="The manifest or the object is wrong.",
            )


def _ascending(column: pa.ChunkedArray[Any]) -> bool:
    if pa.types.is_primitive(column.type):
        values = to_numpy(column)
        return bool(np.all(values[1:] >= values[:-1]))
    texts = column.to_pylist()
    return texts == sorted(texts)


def _in_order(table: Table, rows: pa.Table) -> pa.Table:
    """Rows sorted by the table's order, which most files have already; ties keep the file's order."""
    names = [
        n for n in table.order if n in rows.column_names and n not in ("behavior_session_id", "ophys_experiment_id", "ophys_session_id")
    ]
    if not names or rows.num_rows < 2:
        return rows
    if len(names) == 1 and _ascending(rows.column(names[0])):
        return rows
    # Arrow's sort is not stable: the row number decides ties.
    numbered = rows.append_column("_row", from_numpy(np.arange(rows.num_rows)))
    return numbered.sort_by([*((n, "ascending") for n in names), ("_row", "ascending")]).drop_columns(["_row"])


def _check_keys(table: Table, rows: pa.Table) -> None:
    """Primary keys must not repeat within a file; rows are in key order."""
    own = [n for n in table.primary_key if n in rows.column_names]
    if not own or rows.num_rows < 2:
        return
    repeated = np.ones(rows.num_rows - 1, dtype=bool)
    for name in own:
        column = rows.column(name)
        values = to_numpy(column) if pa.types.is_primitive(column.type) else np.array(column.to_pylist())
        repeated &= values[1:] == values[:-1]
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0]) + 1
        found = ", ".join(f"{n} {rows.column(n)[row]}" for n in own)
        raise IntegrityError(
            "a primary key repeats", table=table.name, column=", ".join(own), expected="unique keys", found=f"{found} twice"
        )


def _read(table: Table, task: FileTask, recording: Recording) -> Iterator[pa.Table]:
    keys = _keys(task, table)
    for rows in READERS[table.name](recording):
        batch = _in_order(table, conform(table, {**keys, **rows.columns}, rows.count))
        _check_keys(table, batch)
        yield batch


def write_staged(table: Table, task: FileTask, recording: Recording, folder: Path, **key_values: str) -> int:
    """Reads one table of an open file and writes it to `<folder>/<table>.parquet`.

    Returns:
        Number of rows; there is no file if it is 0.

    Raises:
        DataError: anything wrong in the file; names file, table and column.
    """
    try:
        rows = write_table(
            table,
            folder / f"{table.name}.parquet",
            _read(table, task, recording),
            release=task.release,
            source=task.object.key,
            **key_values,
        )
    except DataError as error:
        raise error.located(file=task.object.key, table=table.name) from None
    if not rows and table.rows_expected:
        raise IntegrityError(
            "the table is empty", file=task.object.key, table=table.name, expected="rows, as every session has them", found="none"
        )
    return rows


@dataclass(frozen=True, slots=True)
class Opened:
    """A release file, open for reading."""

    recording: Recording
    _fetched: Callable[[], int]

    @property
    def bytes_fetched(self) -> int:
        """Bytes moved from a remote source so far."""
        return self._fetched()


@contextmanager
def opened(task: FileTask, settings: ConvertSettings, tables: Sequence[str], *, signature: bool = False) -> Generator[Opened]:
    """The file of a task. The one seam between sources and readers.

    A file of a local folder is opened in place. Of a remote object just the ranges that `tables` are read from are fetched, ahead of the
    readers, and with `signature` those that the digest of the image set is made of; or, with `verify_hash`, the whole object.

    Raises:
        SourceError: the file cannot be fetched.
        NotNwbError: it is not a file of this dataset.
    """
    source, obj = open_source(settings.source), task.object
    local = source.local_path(obj.key)
    if local is not None:
        with open_recording(local, obj.key) as recording:
            yield Opened(recording, lambda: 0)
    elif settings.verify_hash:
        with FileCache(settings.cache, settings.cache_bytes).get(source, obj) as cached, open_recording(cached.path, obj.key) as recording:
            yield Opened(recording, lambda: cached.bytes_fetched)
    else:
        size = source.size(obj.key, obj.version_id)
        remote = RangeFile(lambda start, stop: source.read_range(obj.key, obj.version_id, start, stop), size)
        try:
            # The file object is closed last: h5py still asks it while it closes its own.
            with closing(remote), open_recording(remote, obj.key) as recording:
                prefetch(recording, tables, remote, signature=signature)
                yield Opened(recording, lambda: remote.bytes_fetched)
        finally:
            # Whatever a reader made of it: what could not be fetched was not missing in the file.
            if remote.failure is not None:
                raise remote.failure from None


def staging_folder(task: FileTask, settings: ConvertSettings) -> Path:
    """Folder for the staged tables of a file."""
    return settings.staging / f"{task.kind.value}_{task.file_key}"


def convert_file(task: FileTask, settings: ConvertSettings) -> FileResult:
    """Converts the selected tables of one file to staged Parquet; never raises for what is wrong with the file or the network.

    The image set's templates are not written here: which file gives them is decided by the process that publishes.
    """
    started = time.perf_counter()
    folder = staging_folder(task, settings)
    clear(folder)
    folder.mkdir(parents=True)
    counts: dict[str, int] = {}
    warnings: list[str] = []
    result = FileResult(task, folder)
    try:
        own = [name for name in task.tables if name != TEMPLATES]
        with opened(task, settings, own, signature=TEMPLATES in task.tables) as file:
            recording = file.recording
            _check_ids(task, recording)
            for name in own:
                counts[name] = write_staged(TABLES[name], task, recording, folder)
            images = signature(recording) if TEMPLATES in task.tables else None
            result = replace(result, image_set=recording.image_set if images else None, image_signature=images)
            result = replace(result, bytes_fetched=file.bytes_fetched)
            warnings = recording.warnings
    except (DataError, SourceError) as error:
        clear(folder)
        text = str(error.located(file=task.object.key)) if isinstance(error, DataError) else str(error)
        return replace(result, error=text, seconds=time.perf_counter() - started)
    except OSError:
        # Reading gives a DataError or SourceError; what is left is the lake's disk, which no other file will find any better.
        raise
    except Exception as error:  # noqa: BLE001 - an oversight of ours with one file must not keep the others out
        clear(folder)
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"file {task.object.key}: vblake failed with {type(error).__name__}: {error} "
            f"({Path(where.filename).name}, line {where.lineno}). This is a mistake in vblake; please report it with this line."
        )
        return replace(result, error=text, seconds=time.perf_counter() - started)
    # A worker takes many files; what one needed is given back before the next.
    pa.default_memory_pool().release_unused()
    result = replace(result, row_counts=counts, warnings=tuple(warnings), seconds=time.perf_counter() - started)
    _remember(result)
    return result


def convert_templates(task: FileTask, settings: ConvertSettings, image_signature: str) -> tuple[Path, int]:
    """Writes the templates of the file's image set to staged Parquet.

    Returns:
        The staged file, and the bytes moved from a remote source for it.

    Raises:
        DataError: the templates cannot be read.
    """
    folder = settings.staging / f"templates_{task.kind.value}_{task.file_key}"
    clear(folder)
    folder.mkdir(parents=True)
    with opened(task, settings, [TEMPLATES]) as file:
        write_staged(TABLES[TEMPLATES], task, file.recording, folder, image_signature=image_signature)
        return folder / f"{TEMPLATES}.parquet", file.bytes_fetched


def _fingerprint(task: FileTask) -> str:
    return repr((SCHEMA_VERSION, task))


def _remember(result: FileResult) -> None:
    """Notes beside the staged files that they are complete, so that an interrupted run need not convert the file again."""
    facts = {
        "fingerprint": _fingerprint(result.task),
        "row_counts": result.row_counts,
        "image_set": result.image_set,
        "image_signature": result.image_signature,
        "bytes_fetched": result.bytes_fetched,
        "warnings": result.warnings,
    }
    temporary = result.folder / f"{_RESULT}.part"
    temporary.write_text(json.dumps(facts))
    temporary.replace(result.folder / _RESULT)


def finished_before(task: FileTask, settings: ConvertSettings) -> FileResult | None:
    """The result of an earlier, interrupted run for exactly this task, if it got so far."""
    folder = staging_folder(task, settings)
    try:
        facts = json.loads((folder / _RESULT).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if facts.pop("fingerprint") != _fingerprint(task):
        return None
    facts["warnings"] = tuple(facts["warnings"])
    return FileResult(task, folder, **facts)
