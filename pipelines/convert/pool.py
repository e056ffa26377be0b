"""Files over worker processes. A worker that dies takes only its own file with it, and none outlives the process it works for."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from pipelines.convert.staged import TEMPLATES, ConvertSettings, FileResult, staging_folder
from pipelines.convert.workers import BYTES_PER_WORKER, bounded, processes, seconds_for, unbounded
from pipelines.release.selection import FileTask
from schemas.errors import DataError, IntegrityError, SourceError, UsageError


def workers_for(wanted: int | None, memory: int | None) -> int:
    """Processes to use: as many as asked for, else one per core, as far as the memory goes; one at least.

    Args:
        wanted: number asked for, None for one per core; 0 stays 0, which means this process.
        memory: bound on the memory of all workers together, bytes; None for half of the machine's.
    """
    if wanted == 0:
        return 0
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return max(1, min(wanted or len(os.sched_getaffinity(0)), memory // BYTES_PER_WORKER))


def _convert_file(task: FileTask, settings: ConvertSettings) -> FileResult:
    # Loaded where files are read: this process can do without the readers and h5py.
    from pipelines.convert.file import convert_file

    return convert_file(task, settings)


def _convert_templates(
    task: FileTask, settings: ConvertSettings, signature: str
) -> tuple[Path, int]:
    from pipelines.convert.file import convert_templates

    return convert_templates(task, settings, signature)


class _Here(Executor):
    """Runs in this process, at once: where a test or a debugger wants to look inside."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result, as in every executor
            future.set_exception(error)
        return future


@contextmanager
def _dask(address: str) -> Generator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "--dask needs the package distributed: pip install 'vblake[dask]'"
        ) from None
    with Client(address) as client:
        yield client.get_executor()


class FilePool:
    """Worker processes for files. Use it in a `with` statement; what ends it early, like Ctrl-C, ends the workers too.

    Args:
        workers: processes on this machine; 0 means this process.
        dask: address of a Dask scheduler whose workers see the same folders, instead.
    """

    def __init__(self, settings: ConvertSettings, workers: int, dask: str | None = None) -> None:
        self._settings = settings
        self._workers = workers
        self._dask = dask
        self._lock = Lock()
        self._executor: ProcessPoolExecutor | None = None
        self._begun: dict[str, tuple[FileTask, Future[tuple[Path, int]]]] = {}
        self._others = frozenset(multiprocessing.active_children())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for worker in set(multiprocessing.active_children()) - self._others:
                worker.kill()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _local(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = processes(self._workers)
            return self._executor

    def _drop(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._executor is broken:
                self._executor = None
        broken.shutdown()

    def convert(self, tasks: Sequence[FileTask]) -> Iterator[FileResult]:
        """Results in the order in which they are ready; never raises for what is wrong with a file."""
        suspects: list[FileTask] = []
        waiting = deque(tasks)
        if self._dask:
            with _dask(self._dask) as executor:
                yield from self._run(
                    executor, unbounded, waiting, 4 * (self._workers or 1), suspects
                )
        elif not self._workers:
            yield from self._run(_Here(), unbounded, waiting, 1, suspects)
        else:
            while waiting:
                executor = self._local()
                # One more than there are workers: none waits for this process to hand it the next.
                yield from self._run(executor, bounded, waiting, self._workers + 1, suspects)
                if waiting or suspects:
                    self._drop(executor)
        for task in suspects:
            yield self._alone(task)

    def _run(
        self,
        executor: Executor,
        wrapped: Callable[..., FileResult],
        waiting: deque[FileTask],
        in_flight: int,
        suspects: list[FileTask],
    ) -> Iterator[FileResult]:
        """Keeps `in_flight` files submitted. If a worker dies, what was in flight becomes suspect and the rest stays waiting."""
        running: dict[Future[FileResult], FileTask] = {}
        try:
            while waiting or running:
                while waiting and len(running) < in_flight:
                    task = waiting.popleft()
                    try:
                        running[
                            executor.submit(
                                wrapped,
                                seconds_for(task.bytes or 0),
                                _convert_file,
                                task,
                                self._settings,
                            )
                        ] = task
                    except BrokenProcessPool:
                        waiting.appendleft(task)
                        break
                if not running:
                    return
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
        with processes(1) as executor:
            try:
                return executor.submit(
                    bounded, seconds_for(task.bytes or 0), _convert_file, task, self._settings
                ).result()
            except BrokenProcessPool:
                error = (
                    f"file {task.object.key}: the worker process died twice while reading it, the second time alone: killed (most often "
                    "for want of memory), stopped because it did not come to an end, or crashed in the HDF5 library. "
                    "Use a machine with more memory, or check the file."
                )
                return FileResult(task, staging_folder(task, self._settings), error=error)

    def _submit_templates(
        self, executor: Executor, task: FileTask, signature: str
    ) -> Future[tuple[Path, int]]:
        return executor.submit(
            bounded,
            seconds_for(task.bytes or 0),
            _convert_templates,
            task,
            self._settings,
            signature,
        )

    def begin_templates(self, task: FileTask, signature: str) -> None:
        """Has a worker begin on the image set of a file that `templates` will be asked for."""
        if self._workers and not self._dask and signature not in self._begun:
            with suppress(BrokenExecutor):  # then `templates` begins anew
                self._begun[signature] = (
                    task,
                    self._submit_templates(self._local(), task, signature),
                )

    def templates(self, task: FileTask, signature: str) -> tuple[Path, int]:
        """The image set of a file, staged; see `convert_templates`. May be called from another thread than `convert`.

        Where another file with the same set was begun on, it is that one's.

        Raises:
            DataError: the templates cannot be read, or the worker died over it, twice.
        """
        giver, begun = self._begun.pop(signature, (None, None))
        if begun is not None:
            try:
                return begun.result()
            except BrokenExecutor:
                pass
            except (DataError, SourceError):
                if giver == task:
                    raise
        if not self._workers or self._dask:
            return _convert_templates(task, self._settings, signature)
        for shared in (True, False):
            with nullcontext(self._local()) if shared else processes(1) as executor:
                try:
                    return self._submit_templates(executor, task, signature).result()
                except BrokenExecutor:
                    continue
        raise IntegrityError(
            "the worker process died twice while reading the images",
            file=task.object.key,
            table=TEMPLATES,
            hint="Use a machine with more memory, or check the file.",
        )
