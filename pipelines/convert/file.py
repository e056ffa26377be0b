"""Converts one NWB file to staged Parquet: the work of a worker process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from pipelines.check.file import FileCheck, check_ids
from pipelines.convert.images import stage_images
from pipelines.convert.open_file import opened
from pipelines.convert.staged import (
    TEMPLATES,
    ConvertSettings,
    FileResult,
    remember,
    staging_folder,
)
from pipelines.convert.table import convert_table, unforeseen
from pipelines.lake.ledger import TableOutcome
from pipelines.lake.store import clear
from pipelines.nwb.hdf5 import storage
from pipelines.nwb.recording import Recording
from pipelines.nwb.responses import listen
from pipelines.release.selection import FileTask
from pipelines.source.base import ReplacedError, Traffic
from schemas import TABLES
from schemas.checks import Rule
from schemas.errors import DataError, LakeError, SourceError, VblakeError


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


def fetch_ahead(task: FileTask, settings: ConvertSettings, turns: int = 0) -> None:
    """Opens a file in a bucket and starts to fetch it; `convert_file` goes on from there.

    Until then, no more is held of it than while it is converted.

    Args:
        task: the file.
        settings: where it is, and where to write.
        turns: as for `opened`. A file that is converted at once waits for none: files that wait to
            be converted may have them all.
    """
    storage.on_read.set(None)
    _fetched_ahead[task] = _OpenFile(task, settings, turns=turns)


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
        turns: int = 0,
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
            turns=turns,
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
            seconds = time.perf_counter() - began
            again = _OpenFile(task, settings, file.traffic, seconds)
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
    staged: tuple[TableOutcome, dict[str, str]] | None = None
    if TEMPLATES in task.tables and recording.remote is None:
        # Workers that begin together would come to the same images together, and one would wait for
        # the other. From a bucket they come last: they are fetched after all else.
        staged = stage_images(task, settings, recording, check, wait=False)
    outcomes = [
        convert_table(TABLES[name], task, recording, check, result.folder) for name in tables
    ]
    if TEMPLATES in task.tables:
        staged = staged or stage_images(task, settings, recording, check)
    images: dict[str, str] = {}
    if staged is not None:
        outcome, images = staged
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
    return str(unforeseen(error).located(file=key))
