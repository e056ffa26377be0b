"""Ingests files of a release into a lake: plan, convert, publish mouse by mouse, build the catalog.

`prepare` plans, `ingest` does the rest. Files are converted in worker processes
(`pipelines.convert`); this process publishes each mouse as soon as its last file is converted
(`pipelines.publish`), while the workers go on with the next. With `begun` the caller has time for
something else before the first file is ready.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.convert.pool import ahead_of, converting, workers_for
from pipelines.convert.staged import ConvertSettings, FileResult, finished_before, left_unpublished
from pipelines.lake.generations import changing, generation, in_progress, settle
from pipelines.lake.ledger import (
    Entry,
    Ledger,
    Status,
    TableOutcome,
    givers,
    program_version,
    read_ledger,
)
from pipelines.lake.marker import LATEST, Marker, create_lake, read_marker
from pipelines.lake.origin import check_origin
from pipelines.lake.state import LastRun
from pipelines.lake.store import S3Store, Store, clear, open_store
from pipelines.log import ROOT
from pipelines.publish.image_sets import images_in_lake
from pipelines.publish.mouse import publish_mouse
from pipelines.publish.project import publish_project_tables
from pipelines.release.manifest import Release, load_release, versions
from pipelines.release.project_tables import ProjectTables, read_project_tables
from pipelines.release.selection import FileTask, MissingFile, Plan, Selection
from pipelines.release.tasks import plan
from pipelines.request import DATA_PREFIX, IngestRequest
from pipelines.source.base import at_once
from pipelines.source.open import Source, open_source
from pipelines.upgrade import Upgrade, merge_plans, needs_upgrade, plan_upgrade
from schemas import SCHEMA_VERSION
from schemas.checks import Rule
from schemas.errors import LakeChangedError
from schemas.layout import CATALOG, MARKER

if TYPE_CHECKING:
    from pipelines.convert.cluster import Cluster


@dataclass(frozen=True)
class Prepared:
    """A request after the release and the lake have been read; nothing has been written yet.

    Attributes:
        marker: what the lake is; None if there is none yet.
        upgrade: what changes because the lake goes over to another release or schema; None if it
            does not.
        ledger: of the lake, or what is kept of it by the upgrade and has been added since.
        todo: files to convert.
        done: files of the selection that the lake has already.
    """

    request: IngestRequest
    store: Store
    marker: Marker | None
    release: Release
    project: ProjectTables
    plan: Plan
    ledger: Ledger
    todo: tuple[FileTask, ...]
    done: tuple[FileTask, ...]
    upgrade: Upgrade | None = None

    @property
    def next_marker(self) -> Marker:
        """What the lake is after the ingest."""
        return _next_marker(self.request, self.marker, self.release)

    @property
    def settings(self) -> ConvertSettings:
        """What the workers need to know."""
        return _settings(self.request, self.store)

    def held_back(self, new: Iterable[Entry] = ()) -> list[tuple[Entry, TableOutcome]]:
        """The tables of the selection that are held back.

        Args:
            new: entries that an ingest has made since.
        """
        ledger = self.ledger | {entry.identity: entry for entry in new}
        return [
            (entry, table)
            for task in self.plan.tasks
            if (entry := ledger.get(task.identity)) is not None
            if entry.status is Status.PARTIAL
            for table in entry.held_back
            if table.table in task.tables
        ]

    @property
    def missing(self) -> tuple[MissingFile, ...]:
        """Files that the release names but the source does not have."""
        return tuple(self.plan.missing)

    @property
    def mice(self) -> list[int]:
        """Mice with something to do, ascending."""
        return sorted({t.mouse_id for t in self.todo} | {m.mouse_id for m in self._news()})

    def _news(self) -> list[MissingFile]:
        """Missing files that are not in the ledger yet."""
        known = {
            identity: entry.error
            for identity, entry in self.ledger.items()
            if entry.status is Status.SKIPPED
        }
        return [
            m
            for m in self.missing
            if known.get((self.release.version, m.kind.value, m.file_key)) != m.reason
        ]

    def missing_of(self, mouse_id: int) -> list[MissingFile]:
        """Missing files of a mouse that the ledger will have to note."""
        return [m for m in self._news() if m.mouse_id == mouse_id]


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


def prepare(request: IngestRequest) -> Prepared:
    """Finds out what there is to do.

    Raises:
        UsageError, SourceError, ReleaseError, LakeError: see the functions called.
    """
    store = open_store(request.lake)
    source = open_source(request.source)
    settle(store, request.wait_s)
    marker = read_marker(store)
    release = load_release(source, _wanted_release(request, marker))
    if request.source.ignore_versions:
        logging.getLogger(ROOT).warning(
            "%s is read without versions: each file is fetched whole, and must have the hash that "
            "the manifest pins",
            request.source.url,
        )
    with at_once() as pool:
        listing = pool.submit(source.sizes, DATA_PREFIX)  # a request for each thousand files
        ledger = read_ledger(store) if marker is not None else {}
        if marker is not None:
            known = [release, *_held_release(source, release, marker)]
            check_origin(store.root, marker, ledger.values(), source.spec.url, known)
        project = read_project_tables(source, release)
        sizes = listing.result()
    if marker is not None and needs_upgrade(marker, release.version):
        upgrade = plan_upgrade(store, marker, ledger, project, release, sizes)
        return _prepare_upgrade(request, store, release, project, upgrade, sizes)
    chosen = plan(project, release, request.selection, sizes)
    todo, done = _split(chosen.tasks, ledger, request, store)
    return Prepared(
        request, store, marker, release, project, chosen, ledger, tuple(todo), tuple(done)
    )


def _prepare_upgrade(
    request: IngestRequest,
    store: Store,
    release: Release,
    project: ProjectTables,
    upgrade: Upgrade,
    sizes: Mapping[str, int],
) -> Prepared:
    """Plans what the lake holds, and what is selected besides."""
    chosen = Plan([], [], [])
    if request.selection != Selection():
        chosen = plan(project, release, request.selection, sizes)
    chosen = merge_plans(chosen, upgrade.tasks, upgrade.missing)
    marker = _next_marker(request, upgrade.before, release)
    built = generation(store, marker.generation)
    ledger = read_ledger(built) if in_progress(store, marker) else dict(upgrade.kept)
    todo, done = _split(chosen.tasks, ledger, request, built)
    return Prepared(
        *(request, store, upgrade.before, release, project, chosen, ledger),
        *(tuple(todo), tuple(done), upgrade),
    )


def _next_marker(request: IngestRequest, marker: Marker | None, release: Release) -> Marker:
    """What the lake is after an ingest."""
    present = marker or Marker(release.version)
    following = replace(
        present,
        release=release.version,
        schema_version=SCHEMA_VERSION,
        follows_latest=_follows_latest(request, marker),
        origin=release.origin,
        source=request.source.url,
        synthetic=release.synthetic,
    )
    if needs_upgrade(present, release.version):
        return replace(following, generation=present.generation + 1)
    return following


def _follows_latest(request: IngestRequest, marker: Marker | None) -> bool:
    """Whether the lake is to follow the newest release: as asked, else as before."""
    if request.release is not None:
        return request.release == LATEST
    return marker is None or marker.follows_latest


def _wanted_release(request: IngestRequest, marker: Marker | None) -> str:
    """The release to ingest: what is asked for, else what the lake follows."""
    if request.release is not None:
        return request.release
    return LATEST if marker is None or marker.follows_latest else marker.release


def _held_release(source: Source, release: Release, marker: Marker) -> list[Release]:
    """The release that the lake holds, if it is another one and the source still has it."""
    if marker.release == release.version or marker.release not in versions(source):
        return []
    return [load_release(source, marker.release)]


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
        tasks = _in_order(mouse for mouse in unfinished.values() if mouse.tasks)
        with _converting(prepared, store, tasks) as results:
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
    todo, _ = _split(prepared.todo, ledger, prepared.request, store)
    for task in todo:
        if task.mouse_id in found:
            found[task.mouse_id].tasks.append(task)
    return found


def _in_order(mice: Iterable[_Mouse]) -> list[FileTask]:
    """Returns the files in the order of conversion.

    Mouse by mouse, so that the first can be queried while the others are converted; mice with the
    longest files first. The longest of each mouse comes before the others of the mouse before, so
    that no worker is left with a long file at the end.
    """

    def size(task: FileTask) -> int:
        return task.bytes or 0

    ordered = sorted(mice, key=lambda m: (-max(map(size, m.tasks)), m.id))
    files = [sorted(mouse.tasks, key=size, reverse=True) for mouse in ordered]
    longest, others = [of[:1] for of in files], [of[1:] for of in files]
    moved = zip([*longest, []], [[], *others], strict=True)
    return [task for first, rest in moved for task in (*first, *rest)]


@contextmanager
def _converting(
    prepared: Prepared, store: Store, tasks: Sequence[FileTask]
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
    workers = min(workers_for(request.workers, request.memory), len(left))
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


def _settings(request: IngestRequest, store: Store) -> ConvertSettings:
    check = request.verify_hash or request.source.ignore_versions
    return ConvertSettings(request.source, store.staging, check, program_version())


def _split(
    tasks: Iterable[FileTask], ledger: Ledger, request: IngestRequest, store: Store
) -> tuple[list[FileTask], list[FileTask]]:
    """Returns the files to convert, and those that the lake has already."""
    todo: list[FileTask] = []
    done: list[FileTask] = []
    interrupted, settings = store.staging.is_dir(), _settings(request, store)
    if interrupted:
        # Images that the lake has were not staged.
        settings = replace(settings, images=images_in_lake(store))
    behavior = givers(ledger.values())
    # The files that give behaviour come first: planes that wait for one which is read again, and
    # may succeed this time, are read with it.
    for listed in sorted(tasks, key=lambda task: not task.gives_behavior):
        entry = ledger.get(listed.identity)
        task = _with_ledger(listed, entry, request)
        held = (
            entry is not None
            and entry.covers(task, behavior.get(task.behavior_session_id))
            and not (interrupted and left_unpublished(task, settings, entry.ingested_at))
        )
        (done if held and not request.force else todo).append(task)
        if task.gives_behavior and entry and not held and not entry.error:
            del behavior[task.behavior_session_id]
    return todo, done


def _with_ledger(task: FileTask, entry: Entry | None, request: IngestRequest) -> FileTask:
    """Adds to a task which rules its tables may break, and which others are held back.

    What an earlier run allowed stays allowed, unless the file is converted again with `force`.
    """
    allowed = set(task.allowed) | {
        (table, allow.rule.value)
        for allow in request.allow
        if allow.file_key in (None, task.file_key)
        for table in task.tables
    }
    if entry is None:
        return replace(task, allowed=frozenset(allowed))
    if not request.force:
        allowed |= {(t.table, rule) for t in entry.tables for rule in t.allowed_rules}
    held_back = tuple(t.table for t in entry.held_back if t.table not in task.tables)
    if (allowed, held_back) == (task.allowed, task.held_back):
        return task
    return replace(task, allowed=frozenset(allowed), held_back=held_back)


def mice_of_release(request: IngestRequest) -> set[int]:
    """Returns the ids of all mice of the release that an ingest would be of."""
    source, marker = open_source(request.source), read_marker(open_store(request.lake))
    release = load_release(source, _wanted_release(request, marker))
    project = read_project_tables(source, release)
    return set(project.tables["behavior_sessions"].column("mouse_id").to_pylist())


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
