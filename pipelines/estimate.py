"""How much disk and time an ingest will need, by what was measured, here if possible."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.convert.pool import workers_for
from pipelines.convert.worker import READ_SHARE
from pipelines.lake.state import LastRun
from pipelines.lake.store import LocalStore
from pipelines.release.selection import FileKind

if TYPE_CHECKING:
    from pipelines.prepare import Prepared

MEASURED = "files of the released size, docs/performance.md"

_IN_LAKE: Mapping[FileKind, float] = {
    FileKind.BEHAVIOR_SESSION: 7.66 / 196,
    FileKind.OPHYS_EXPERIMENT: 210 / 670,
}
"""Bytes of Parquet per byte of NWB: a behaviour file, and the larger kind of plane."""
_SECONDS_PER_BYTE: Mapping[FileKind, float] = {
    FileKind.BEHAVIOR_SESSION: 0.56 / 196e6,
    FileKind.OPHYS_EXPERIMENT: 2.14 / 670e6,
}
"""Processor seconds of a worker."""
_RATE = 50_000_000
"""Bytes per second from a bucket."""


@dataclass(frozen=True)
class Estimate:
    """What an ingest will need.

    Attributes:
        lake_bytes: by which the lake grows.
        staging_bytes: converted files of mice that are not published yet, at most.
        free_bytes: on the lake's disk; None for a bucket.
        fetch_bytes: from a bucket.
        fetch_s: seconds that it takes to fetch them at `rate`.
        rate: bytes per second.
        convert_s: seconds of all workers; files are fetched meanwhile.
        workers: how many there will be.
        last_run: how fast the lake's last ingest was; None if that is not known.
        total_s: seconds for all as fast as that, fetching and publishing included.
    """

    lake_bytes: int
    staging_bytes: int
    free_bytes: int | None
    fetch_bytes: int
    fetch_s: float
    rate: int
    convert_s: float
    workers: int
    last_run: LastRun | None = None
    total_s: float | None = None


def estimate(prepared: Prepared) -> Estimate:
    """What an ingest will need for the files that it has to do."""
    request, store, todo = prepared.request, prepared.store, prepared.todo
    by_mouse: dict[int, float] = defaultdict(float)
    for task in todo:
        by_mouse[task.mouse_id] += (task.bytes or 0) * _IN_LAKE[task.kind]
    workers = max(1, min(workers_for(request.workers, request.memory), len(todo)))
    # The files of a mouse wait for each other, and the next mouse begins meanwhile.
    staged = sum(sorted(by_mouse.values())[-2:])
    remote = request.source.url.startswith("s3://")
    whole = remote and prepared.settings.verify_hash
    if whole:
        staged += sum(sorted(task.bytes or 0 for task in todo)[-workers:])
    fetched = sum(
        (task.bytes or 0) * (1 if whole else READ_SHARE[task.kind]) for task in todo if remote
    )
    seconds = sum((task.bytes or 0) * _SECONDS_PER_BYTE[task.kind] for task in todo)
    free = None
    if isinstance(store, LocalStore):
        place = next(p for p in (store.folder, *store.folder.parents) if p.exists())
        free = shutil.disk_usage(place).free
    last = None if request.dask else LastRun.of(store)
    total = None
    if last is not None:
        # More workers need not be faster: the network, or the disk, may be what they wait for.
        rate = last.rate * min(1, workers / last.workers)
        total = sum(task.bytes or 0 for task in todo) / rate
    return Estimate(
        lake_bytes=round(sum(by_mouse.values())),
        staging_bytes=round(staged),
        free_bytes=free,
        fetch_bytes=round(fetched),
        fetch_s=fetched / _RATE,
        rate=_RATE,
        convert_s=seconds / workers,
        workers=workers,
        last_run=last,
        total_s=total,
    )
