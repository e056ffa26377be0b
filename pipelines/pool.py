"""Files over worker processes. A worker that dies takes only its own file with it."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.convert import ConvertSettings, FileResult, convert_file, convert_templates, staging_folder
from pipelines.planning import FileTask
from schemas.errors import UsageError

BYTES_PER_WORKER = 512 << 20
"""What one worker may need: the largest real files took up to 424 MB, fetched ranges included (docs/performance.md)."""


def workers_for(wanted: int | None, memory: int | None) -> int:
    """Processes to use: as many as asked for, else one per core, as far as the memory goes; one at least.

    Args:
        wanted: number asked for, None for one per core.
        memory: bound on the memory of all workers together, bytes; None for half of the machine's.
    """
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return max(1, min(wanted or len(os.sched_getaffinity(0)), memory // BYTES_PER_WORKER))


class _Here(Executor):
    """Runs in this process, at once: for one worker, where another process would only cost its start."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result, as in every executor
            future.set_exception(error)
        return future


def _processes(workers: int) -> ProcessPoolExecutor:
    # Not fork: this process may have threads (Dagster, progress bar), which a forked child would find locked.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.convert"])
    return ProcessPoolExecutor(workers, mp_context=context)


@contextmanager
def _dask(address: str) -> Generator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--dask needs the package distributed: pip install 'vblake[dask]'") from None
    with Client(address) as client:
        yield client.get_executor()


class FilePool:
    """Worker processes for files.

    Args:
        workers: processes on this machine; 1 means this process.
        dask: address of a Dask scheduler whose workers see the same folders, instead.
    """

    def __init__(self, settings: ConvertSettings, workers: int, dask: str | None = None) -> None:
        self._settings = settings
        self._workers = workers
        self._dask = dask

    def convert(self, tasks: Sequence[FileTask]) -> Iterator[FileResult]:
        """Results in the order in which they are ready; never raises for what is wrong with a file."""
        suspects: list[FileTask] = []
        if self._dask:
            with _dask(self._dask) as executor:
                yield from self._run(executor, deque(tasks), 4 * self._workers, suspects)
        elif self._workers == 1:
            yield from self._run(_Here(), deque(tasks), 1, suspects)
        else:
            waiting = deque(tasks)
            while waiting:
                with _processes(self._workers) as executor:
                    # More than there are workers: they go on while this process publishes a mouse.
                    yield from self._run(executor, waiting, 3 * self._workers, suspects)
        for task in suspects:
            yield self._alone(task)

    def _run(self, executor: Executor, waiting: deque[FileTask], in_flight: int, suspects: list[FileTask]) -> Iterator[FileResult]:
        """Keeps `in_flight` files submitted. If a worker dies, what was in flight becomes suspect and the rest stays waiting."""
        running: dict[Future[FileResult], FileTask] = {}
        try:
            while waiting or running:
                while waiting and len(running) < in_flight:
                    task = waiting.popleft()
                    try:
                        running[executor.submit(convert_file, task, self._settings)] = task
                    except BrokenProcessPool:
                        waiting.appendleft(task)
                        break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        suspects.extend((task, *running.values()))
                        running.clear()
                        return
                    yield result
        finally:
            for future in running:
                future.cancel()

    def _alone(self, task: FileTask) -> FileResult:
        """Tries a file whose worker died once more, with the machine to itself."""
        with _processes(1) as executor:
            try:
                return executor.submit(convert_file, task, self._settings).result()
            except BrokenProcessPool:
                error = (
                    f"file {task.object.key}: the worker process died twice while reading it, the second time alone; "
                    "most often the machine ran out of memory. Use a machine with more memory, or check the file."
                )
                return FileResult(task, staging_folder(task, self._settings), error=error)

    def templates(self, task: FileTask, signature: str) -> tuple[Path, int]:
        """The image set of a file, staged; see `convert_templates`."""
        with _Here() if self._workers == 1 else _processes(1) as executor:
            return executor.submit(convert_templates, task, self._settings, signature).result()
