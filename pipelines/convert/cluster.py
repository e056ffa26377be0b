"""Converts files on the workers of a Dask scheduler.

Workers stage what they convert where this process finds it: in a local lake's staging folder, which
they must see under the same path, or in a lake's bucket. Before the first file it is made sure that
they do, and that they run the same code; workers that join later are asked with their first file.

What runs on a worker is in `cluster_worker.py`.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pipelines.convert.cluster_worker import (
    Order,
    answer_probe,
    convert_there,
    failed,
    own_staging,
)
from pipelines.convert.fingerprint import differences, fingerprint
from pipelines.convert.staged import (
    ConvertSettings,
    FileResult,
    staged_images,
    staging_folder,
)
from pipelines.convert.worker import BYTES_PER_WORKER
from pipelines.lake.store import S3Store, clear
from pipelines.log import ROOT
from pipelines.os_errors import first_line
from pipelines.release.selection import FileTask
from schemas.errors import ClusterError, UsageError
from schemas.layout import STAGING

CONNECT_S = 10.0
_ROUND_S = 2.0


@dataclass(frozen=True)
class Cluster:
    """Which workers convert files, and how.

    Attributes:
        address: of the Dask scheduler.
        lake: URL of a lake in a bucket, in which workers stage files; None for a local lake.
        wait_s: how long to wait for workers while there are none, seconds.
        memory: bound on the memory of all workers together, bytes; None for what each has.
    """

    address: str
    lake: str | None
    wait_s: float
    memory: int | None = None


def convert_on_cluster(
    tasks: Sequence[FileTask], settings: ConvertSettings, cluster: Cluster
) -> Generator[FileResult]:
    """Yields the results of files as they are ready; what is wrong with a file is in its result.

    A file during which workers die is tried once more, alone.

    Raises:
        UsageError: Dask is not installed, or the address is none.
        ClusterError: there is no scheduler, there are no workers, they run other code, or do not
            see the staging folder; or the scheduler has gone.
        VblakeError: what a worker raised: the lake's disk is full and the like.
    """
    with _connected(cluster.address) as client:
        _await_workers(client, cluster)
        _check_code(_ask(cluster, client.run, fingerprint, on_error="return"))
        probe = f"probe-{uuid.uuid4().hex}"
        _check_staging(client, settings, cluster, probe)
        order = Order(settings, cluster.lake, probe, fingerprint())
        suspects: list[FileTask] = []
        for result in _convert(client, tasks, order, cluster, slots=None):
            if isinstance(result, FileTask):
                suspects.append(result)
            else:
                yield result
        # One at a time, so that each is blamed for its own deaths only.
        for result in _convert(client, suspects, order, cluster, slots=1):
            yield _died(result, settings) if isinstance(result, FileTask) else result
        if cluster.lake:
            store = S3Store(cluster.lake)
            client.run(clear, own_staging(store), on_error="ignore")
            store.drop(STAGING)
        else:
            for path in settings.staging.glob(f"{probe}*"):
                path.unlink(missing_ok=True)


# --- the connection


@contextmanager
def _connected(address: str) -> Generator[Any]:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
        from distributed.comm.core import CommClosedError
    except ImportError:
        raise UsageError(
            "--dask needs the package distributed: pip install 'vblake[dask]'"
        ) from None
    with _silent():
        try:
            get_address_host_port(address)  # a Client that fails over it says so once more at exit
            client = _client(Client, address)
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"--dask {address}: this is no address of a Dask scheduler ({first_line(error)}). "
                "Give one like tcp://host:8786."
            ) from None
        except (TimeoutError, OSError, RuntimeError):
            raise ClusterError(
                f"--dask {address}: no Dask scheduler answers there within {CONNECT_S:g} s. "
                "Check the address, and that the scheduler runs."
            ) from None
        try:
            yield client
        except (CancelledError, asyncio.CancelledError, CommClosedError, TimeoutError):
            raise _gone(address) from None
        finally:
            with suppress(OSError, asyncio.TimeoutError, RuntimeError):
                client.close(timeout=CONNECT_S)


def _client(client: Any, address: str) -> Any:
    """Connects to a scheduler. Of an address where something else answers, Dask never gives up."""
    made: Future[Any] = Future()

    def connect() -> None:
        try:
            made.set_result(client(address, timeout=CONNECT_S, set_as_default=False))
        except Exception as error:  # noqa: BLE001 - raised below, in the other thread
            made.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()
    return made.result(timeout=2 * CONNECT_S)


def _gone(address: str) -> ClusterError:
    return ClusterError(
        f"--dask {address}: the Dask scheduler does not answer any more. Start it and run the same "
        "command again: what is finished is kept."
    )


def _ask(cluster: Cluster, question: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Returns what the scheduler answers.

    Raises:
        ClusterError: it has gone. Dask first tries to connect again, and raises an OSError.
    """
    try:
        return question(*arguments, **options)
    except OSError:
        raise _gone(cluster.address) from None


@contextmanager
def _silent() -> Generator[None]:
    """Keeps Dask from logging on stderr: what goes wrong is said in one line."""
    names = [n for n in logging.root.manager.loggerDict if n.startswith(("distributed", "tornado"))]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _await_workers(client: Any, cluster: Cluster) -> None:
    """Waits until there is a worker, and says so.

    Raises:
        ClusterError: there is none in time, or the scheduler has gone.
    """
    latest = time.monotonic() + cluster.wait_s
    told = False
    while not _ask(cluster, client.nthreads):
        if client.status != "running":
            raise _gone(cluster.address)
        if time.monotonic() >= latest:
            raise ClusterError(
                f"--dask {cluster.address}: the scheduler has no workers, and none came within "
                f"{cluster.wait_s:g} s. Start some, or give a longer --dask-wait. "
                "What is finished is kept."
            )
        if not told:
            told = True
            logging.getLogger(ROOT).warning(
                "the Dask scheduler at %s has no workers; waiting up to %g s for some",
                cluster.address,
                cluster.wait_s,
            )
        time.sleep(min(_ROUND_S, max(0.05, cluster.wait_s / 10)))


# --- checks before the first file


def _check_code(found: Mapping[str, Any]) -> None:
    """Raises a ClusterError if workers run other code, by worker what `fingerprint` gave there."""
    here = fingerprint()
    others: dict[str, list[str]] = {}
    for worker, there in found.items():
        if isinstance(there, dict):
            differs = differences(here, there)
        else:  # an older vblake, or none
            differs = f"vblake cannot be used there: {type(there).__name__}: {first_line(there)}"
        if differs:
            others.setdefault(differs, []).append(worker)
    if others:
        listed = "; ".join(f"{_some(w)}: {differs}" for differs, w in others.items())
        raise ClusterError(
            f"Dask workers run other code than this process, so they may give other values: "
            f"{listed}. Install the same versions there (constraints.txt has ours)."
        )


def _some(workers: Sequence[str]) -> str:
    more = f" and {len(workers) - 2} more" if len(workers) > 2 else ""
    return ", ".join(workers[:2]) + more


def _check_staging(client: Any, settings: ConvertSettings, cluster: Cluster, name: str) -> None:
    """Raises a ClusterError unless all workers can stage files where this process finds them.

    The file with this name stays there, for workers that join later.
    """
    store = S3Store(cluster.lake) if cluster.lake else None
    place = f"{cluster.lake}/{STAGING}" if cluster.lake else str(settings.staging)
    if store is not None:
        store.drop(STAGING)  # what an interrupted run has left
        store.write(f"{STAGING}/{name}", b"")
    else:
        settings.staging.mkdir(parents=True, exist_ok=True)
        (settings.staging / name).touch()
    found = _ask(cluster, client.run, answer_probe, settings, cluster.lake, name, on_error="return")
    wrong: dict[str, list[str]] = {}
    for worker, answer in found.items():
        problem = answer if isinstance(answer, str) else first_line(answer)
        seen = isinstance(answer, str) and (
            store.exists(f"{STAGING}/{answer}") if store else (settings.staging / answer).exists()
        )
        if not seen:
            wrong.setdefault("" if problem.startswith(name) else problem, []).append(worker)
    if wrong:
        why = "; ".join(f"{_some(w)}{f' ({p})' if p else ''}" for p, w in wrong.items())
        raise ClusterError(
            f"Dask workers and this process do not both see {place}, where converted files are "
            f"handed over: {why}. Use a lake on a file system that all machines mount under the "
            "same path, or one in a bucket that all may write to."
        )


# --- the work


def _convert(
    client: Any,
    tasks: Iterable[FileTask],
    order: Order,
    cluster: Cluster,
    *,
    slots: int | None,
) -> Iterator[FileResult | FileTask]:
    """Yields results, and the files during which workers died."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    left, running = deque(tasks), dict[Any, FileTask]()
    ready: SimpleQueue[Any] = SimpleQueue()
    while left or running:
        if client.status != "running":
            raise _gone(cluster.address)
        _await_workers(client, cluster)
        while left and len(running) < (slots or _ask(cluster, _slots, client, cluster.memory)):
            task = left.popleft()
            future = client.submit(convert_there, task, order, pure=False, retries=0)
            running[future] = task
            future.add_done_callback(ready.put)
        try:
            future = ready.get(timeout=_ROUND_S)
        except Empty:
            continue
        task = running.pop(future)
        try:
            result = _answer(future.result(), task, order.settings)
        except KilledWorker:
            yield task
        except (ClusterError, CancelledError, CommClosedError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - `convert_there` raises nothing
            raise ClusterError(
                f"a Dask worker that has joined later cannot run this vblake: "
                f"{type(error).__name__}: {first_line(error)}. Install the same version there."
            ) from None
        else:
            yield _brought(result, order.settings, cluster.lake)


def _slots(client: Any, memory: int | None) -> int:
    """Returns how many files to have in flight: what threads and memory of all workers allow."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    slots = sum(
        min(w["nthreads"], w["memory_limit"] // BYTES_PER_WORKER or 1)
        if w["memory_limit"]
        else w["nthreads"]
        for w in workers
    )
    if memory is not None:
        slots = min(slots, memory // BYTES_PER_WORKER)
    return max(1, slots)


def _answer(data: bytes, task: FileTask, settings: ConvertSettings) -> FileResult:
    """Returns what `convert_there` has sent.

    Raises:
        ClusterError: the worker can convert nothing.
    """
    try:
        answer: FileResult | str = pickle.loads(data)
    except Exception as error:  # noqa: BLE001 - it costs its file, whatever it is
        return failed(task, settings, error)
    if isinstance(answer, str):
        raise ClusterError(answer)
    return answer


def _brought(result: FileResult, settings: ConvertSettings, lake: str | None) -> FileResult:
    """Returns a result with its staged files in this process's staging folder."""
    if lake is None:
        return result
    store, folder = S3Store(lake), settings.staging / result.folder.name
    result = replace(result, folder=folder)
    if result.error is not None:
        return result
    _download(store, f"{STAGING}/{folder.name}", folder)
    store.drop(f"{STAGING}/{folder.name}")
    if result.images and not settings.images.issuperset(result.images.values()):
        images = staged_images(settings.staging, result.images)
        if not images.exists():
            _download(store, f"{STAGING}/images", images.parent)
    return result


def _download(store: S3Store, path: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in store.bucket.find(f"{store.root}/{path}"):
        part = folder / f"{uuid.uuid4().hex}.part"
        with part.open("wb") as file:
            store.bucket.whole(name).download(file)
        part.replace(folder / name.rsplit("/", 1)[1])


def _died(task: FileTask, settings: ConvertSettings) -> FileResult:
    error = (
        f"file {task.object.key}: Dask workers died while they read it: they were killed (most "
        "often for lack of memory), or the HDF5 library crashed. Give workers more memory, or "
        "check the file."
    )
    return FileResult(task, staging_folder(task, settings), error=error)
