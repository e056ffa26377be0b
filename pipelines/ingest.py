"""Carries out an ingest: converts files, publishes mouse by mouse, builds the catalog.

What there is to do comes from `pipelines.prepare`. Files are converted in worker processes
(`pipelines.convert`); this process publishes each mouse as soon as its last file is converted
(`pipelines.publish`), while the workers go on with the next. With `begun` the caller has time for
something else before the first file is ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.convert.pool import ahead_of, converting, workers_for
from pipelines.convert.staged import FileResult, finished_before
from pipelines.lake.generations import changing
from pipelines.lake.ledger import Entry, Status, read_ledger
from pipelines.lake.marker import create_lake, read_marker
from pipelines.lake.state import LastRun
from pipelines.lake.store import S3Store, Store, clear
from pipelines.prepare import Prepared, todo_and_done
from pipelines.publish.image_sets import images_in_lake
from pipelines.publish.mouse import publish_mouse
from pipelines.publish.project import publish_project_tables
from pipelines.release.selection import FileKind, FileTask
from schemas.checks import Rule
from schemas.errors import LakeChangedError
from schemas.layout import CATALOG, MARKER

if TYPE_CHECKING:
    from pipelines.convert.cluster import Cluster


@dataclass(frozen=True)
class MouseReport:
    """The outcome for the files of one mouse.

    Attributes:
        mouse_id: the mouse.
        entries: the files that were read, or that the release does not have.
        changed: other files, from which rows had to be taken out of the lake.
    """

    mouse_id: int
    entries: tuple[Entry, ...]
    changed: tuple[Entry, ...] = ()

    @property
    def quarantined(self) -> list[Entry]:
        """Entries of files that could not be converted, or for which the release has none."""
        return [e for e in self.entries if e.status in (Status.QUARANTINED, Status.SKIPPED)]

    @property
    def row_counts(self) -> Mapping[str, int]:
        """Rows by table from the files of this run."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            for table, rows in entry.row_counts.items():
                counts[table] = counts.get(table, 0) + rows
        return counts


OnFile = Callable[[FileResult], None]
OnMouse = Callable[[MouseReport], None]


def ignore(_: object) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Begun:
    """An ingest that holds the lake's lock, and whose workers are converting files: see `begun`."""

    prepared: Prepared
    store: Store
    mice: dict[int, _Mouse]
    results: Iterator[FileResult]

    def finish(self, *, on_file: OnFile = ignore, on_mouse: OnMouse = ignore) -> list[MouseReport]:
        """Publishes the files mouse by mouse as they are converted, and builds the catalog.

        Args and returns: see `ingest`.
        """
        # They import DuckDB, which planning does without.
        from pipelines.catalog.build import GrowingCatalog
        from pipelines.next_generation import complete

        lake, marker = self.prepared.store, self.prepared.next_marker
        if (upgrade := self.prepared.upgrade) is not None:
            reports = self._publish(on_file, on_mouse, lambda: None)
            if not upgrade_waits_for(self.prepared, reports):
                complete(lake, marker, () if upgrade.new_schema else upgrade.mice)
            return reports
        with closing(GrowingCatalog(lake, marker.release)) as catalog:
            reports = self._publish(on_file, on_mouse, catalog.keep_up)
            if reports or not lake.exists(CATALOG):
                catalog.settle()
        return reports

    def _publish(
        self, on_file: OnFile, on_mouse: OnMouse, published: Callable[[], None]
    ) -> list[MouseReport]:
        reports: list[MouseReport] = []

        def publish(mouse: _Mouse) -> None:
            missing = self.prepared.missing_of(mouse.id)
            release = self.prepared.release.version
            entries = publish_mouse(self.store, mouse.id, mouse.results, missing, release)
            published()
            read = {result.task.identity for result in mouse.results}
            changed = [e for e in entries if e.identity not in read and e.status is Status.PARTIAL]
            own = [e for e in entries if e not in changed]
            reports.append(MouseReport(mouse.id, tuple(own), tuple(changed)))
            on_mouse(reports[-1])

        for mouse in [m for m in self.mice.values() if not m.tasks]:
            publish(mouse)  # it has missing files only
        for result in self.results:
            on_file(result)
            mouse = self.mice[result.task.mouse_id]
            mouse.results.append(result)
            if len(mouse.results) == len(mouse.tasks):
                publish(self.mice.pop(mouse.id))
        return reports


@contextmanager
def begun(prepared: Prepared, mice: Iterable[int] | None = None) -> Generator[Begun]:
    """Starts an ingest, which is finished with the value of the block: workers begin at once.

    Whatever the block does before that, it does while files are converted. An exception in the
    block stops them.

    Args:
        prepared: from `prepare`.
        mice: only these; all in an upgrade.

    Raises:
        LakeError: as for `ingest`.
    """
    lake = prepared.store
    create_lake(lake, prepared.next_marker)
    building = prepared.next_marker if prepared.upgrade else None
    with changing(lake, prepared.request.wait_s, building):
        _check_unchanged(prepared)
        store = _destination(prepared)
        unfinished = _mice_to_do(prepared, store, None if prepared.upgrade else mice)
        workers = workers_for(prepared.request.workers, prepared.request.memory)
        tasks = _in_order((mouse for mouse in unfinished.values() if mouse.tasks), workers)
        with _converting(prepared, store, tasks, workers) as results:
            yield Begun(prepared, store, unfinished, results)
        clear(lake.staging)


def ingest(
    prepared: Prepared,
    *,
    mice: Iterable[int] | None = None,
    on_file: OnFile = ignore,
    on_mouse: OnMouse = ignore,
) -> list[MouseReport]:
    """Converts and publishes the files to do, mouse by mouse, and builds the catalog.

    Args:
        prepared: from `prepare`.
        mice: only these.
        on_file: called for each converted or failed file.
        on_mouse: called for each mouse when its files are in the lake.

    Returns:
        One report per mouse that had something to do. Files that fail are quarantined in the
        ledger; they do not stop the others.

    Raises:
        LakeError: the lake cannot be written, another process is writing to it, or has upgraded it
            since the plan was made.
    """
    with begun(prepared, mice) as work:
        return work.finish(on_file=on_file, on_mouse=on_mouse)


def _destination(prepared: Prepared) -> Store:
    """Returns the storage to publish to, with the project tables: the lake or its next generation.

    The lake becomes the latter once all files are there, unless some are lacking.
    """
    store, marker, tables = prepared.store, prepared.next_marker, prepared.project.tables
    if (upgrade := prepared.upgrade) is not None:
        # It imports DuckDB, which planning does without.
        from pipelines.next_generation import begin

        return begin(store, marker, upgrade.kept.values(), tables, carry=not upgrade.new_schema)
    _note(prepared)
    publish_project_tables(store, tables, prepared.release.version)
    return store


def upgrade_waits_for(prepared: Prepared, reports: Iterable[MouseReport]) -> list[Entry]:
    """The files for which an upgrade has to wait: the lake has them, and they cannot be fetched.

    Otherwise the lake would lose data because of a network that fails. A file that was fetched and
    is damaged in the new release holds nothing up.
    """
    had_rows = prepared.upgrade.had_rows if prepared.upgrade else frozenset[tuple[str, int]]()
    return [
        entry
        for report in reports
        for entry in report.entries
        if entry.status is Status.QUARANTINED
        and (entry.file_kind.value, entry.file_key) in had_rows
        and any(outcome.rule == Rule.FILE_READABLE for outcome in entry.held_back)
    ]


def _check_unchanged(prepared: Prepared) -> None:
    """Checks that the lake still is what the plan was made for."""
    present = read_marker(prepared.store)
    planned = prepared.marker or prepared.next_marker
    assert present is not None
    for name in ("release", "schema_version", "generation"):
        if getattr(present, name) != getattr(planned, name):
            raise LakeChangedError(
                f"{prepared.store.root} was upgraded, rolled back or created by another command "
                f"since this one was planned (release {present.release}). Run this one again."
            )


def _note(prepared: Prepared) -> None:
    """Writes the marker anew if the lake is to follow another release, or its source has moved."""
    if (marker := prepared.next_marker) != read_marker(prepared.store):
        prepared.store.write(MARKER, marker.to_json())


@dataclass
class _Mouse:
    """The files of a mouse to convert, and the results so far."""

    id: int
    tasks: list[FileTask] = field(default_factory=list[FileTask])
    results: list[FileResult] = field(default_factory=list[FileResult])


def _mice_to_do(prepared: Prepared, store: Store, mice: Iterable[int] | None) -> dict[int, _Mouse]:
    """Returns the mice with something to do, by id."""
    chosen = prepared.mice if mice is None else [m for m in prepared.mice if m in {*mice}]
    found = {mouse: _Mouse(mouse) for mouse in chosen}
    # Read again: another process may have ingested some of it between `prepare` and the lock.
    ledger = read_ledger(store, chosen)
    todo, _ = todo_and_done(prepared.todo, ledger, prepared.request, store)
    for task in todo:
        if task.mouse_id in found:
            found[task.mouse_id].tasks.append(task)
    return found


def _in_order(mice: Iterable[_Mouse], workers: int) -> list[FileTask]:
    """Returns the files in the order of conversion.

    Mouse by mouse, so that the first can be queried while the others are converted; mice with the
    longest files first. The longest of each mouse comes before the others of the mouse before, so
    that no worker is left with a long file at the end. For that, too, planes come before behaviour
    files among the last few, two for each worker.
    """

    def size(task: FileTask) -> int:
        return task.bytes or 0

    ordered = sorted(mice, key=lambda m: (-max(map(size, m.tasks)), m.id))
    files = [sorted(mouse.tasks, key=size, reverse=True) for mouse in ordered]
    longest, others = [of[:1] for of in files], [of[1:] for of in files]
    moved = zip([*longest, []], [[], *others], strict=True)
    order = [task for first, rest in moved for task in (*first, *rest)]
    few = max(0, len(order) - 2 * workers)
    return order[:few] + sorted(order[few:], key=lambda t: t.kind is FileKind.BEHAVIOR_SESSION)


@contextmanager
def _converting(
    prepared: Prepared, store: Store, tasks: Sequence[FileTask], workers: int
) -> Generator[Iterator[FileResult]]:
    """Converts files in the block. Its value yields their results.

    First come those that an interrupted run has finished, then the others.
    """
    request, began = prepared.request, time.monotonic()
    settings = replace(prepared.settings, images=images_in_lake(store))
    finished: list[FileResult] = []
    left: list[FileTask] = []
    for task in tasks:
        result = None if request.force else finished_before(task, settings)
        if result is None:
            left.append(task)
        else:
            finished.append(result)
    if not left:
        yield iter(finished)
        return
    workers = min(workers, len(left))
    ahead = min(ahead_of(workers, request.memory), len(left) - workers)
    with converting(left, settings, workers, _cluster(prepared), ahead=ahead) as results:
        yield chain(finished, _timed(prepared, max(1, workers), began, results))


def _timed(
    prepared: Prepared, workers: int, began: float, results: Iterable[FileResult]
) -> Generator[FileResult]:
    """Yields results, and keeps for `plan` how fast they came since `began`."""
    files, size = 0, 0
    for result in results:
        if result.error is None:
            files, size = files + 1, size + (result.task.bytes or 0)
        yield result
    request = prepared.request
    # Some tables are read faster than all, and how many processes a cluster has is not known.
    if not request.selection.tables and request.dask is None:
        date = datetime.now(UTC).date().isoformat()
        LastRun(date, files, size, time.monotonic() - began, workers).note(prepared.store)


def _cluster(prepared: Prepared) -> Cluster | None:
    """Returns the Dask workers that convert the files, None for processes of this machine."""
    request, store = prepared.request, prepared.store
    if request.dask is None:
        return None
    from pipelines.convert.cluster import Cluster

    lake = store.root if isinstance(store, S3Store) else None
    return Cluster(request.dask, lake, request.dask_wait_s, request.memory)


def publish_project(prepared: Prepared) -> Mapping[str, pa.Table]:
    """Publishes the project tables of the release, and nothing else; not those of an upgrade.

    Returns:
        The tables by name.
    """
    store, tables = prepared.store, prepared.project.tables
    if prepared.upgrade is not None:
        return tables  # they change together with all other tables
    create_lake(store, prepared.next_marker)
    with changing(store, prepared.request.wait_s):
        _check_unchanged(prepared)
        publish_project_tables(store, tables, prepared.release.version)
    return tables
