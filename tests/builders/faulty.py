"""Conversions that do not come to a good end, for worker processes: they find them here by name."""

from __future__ import annotations

import os
import signal
import time

from pipelines.convert.file import convert_file
from pipelines.convert.staged import ConvertSettings, FileResult
from pipelines.release.selection import FileTask

DIES, DIES_ONCE, SPINS, WAITS, EATS = ("dies",), ("dies once",), ("spins",), ("waits",), ("eats",)
"""In the place of a task's tables."""


def convert(task: FileTask, settings: ConvertSettings) -> FileResult:
    """Does what the task says, or `convert_file`."""
    once = settings.staging / f"died-{task.file_key}"
    if task.tables == DIES or (task.tables == DIES_ONCE and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task.tables == SPINS:
        while True:
            pass
    if task.tables == WAITS:
        (settings.staging / f"worker-{os.getpid()}").touch()
        time.sleep(600)
    if task.tables == EATS:
        try:
            bytearray(4 << 30)
        except MemoryError:
            return FileResult(task, settings.staging, error="no more memory")
    return (
        FileResult(task, settings.staging)
        if task.tables == DIES_ONCE
        else convert_file(task, settings)
    )
