"""Ingests files of a release into a lake: plan, convert, publish mouse by mouse, build the catalog.

`prepare` plans, `ingest` does the rest. Files are converted in worker processes
(`pipelines.convert`); this process publishes each mouse as soon as its last file is converted
(`pipelines.publish`), while the workers go on with the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import pyarrow as pa

from pipelines.catalog.build import GrowingCatalog
from pipelines.convert.pool import convert_files, workers_for
from pipelines.convert.staged import ConvertSettings, FileResult, finished_before, left_unpublished
from pipelines.lake.ledger import Entry, Ledger, Status, TableOutcome, givers, read_ledger
from pipelines.lake.lock import writing
from pipelines.lake.marker import LATEST, Marker, create_lake, read_marker
from pipelines.lake.origin import check_origin
from pipelines.lake.store import Store, clear, open_store
from pipelines.log import ROOT
from pipelines.publish.image_sets import images_in_lake
from pipelines.publish.mouse import publish_mouse
from pipelines.publish.project import publish_project_tables
from pipelines.release.manifest import Release, load_release, versions
from pipelines.release.project_tables import ProjectTables, read_project_tables
from pipelines.release.selection import FileTask, MissingFile, Plan
from pipelines.release.tasks import plan
from pipelines.request import DATA_PREFIX, IngestRequest
from pipelines.source.open import Source, open_source
from schemas.errors import LakeError
from schemas.layout import CATALOG, MARKER


@dataclass(frozen=True)
class Prepared:
    """A request after the release and the lake have been read; nothing has been written yet.

    Attributes:
        marker: what the lake is; None if there is none yet.
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

    @property
    def next_marker(self) -> Marker:
        """What the lake is after the ingest."""
        return replace(
            self.marker or Marker(self.release.version),
            follows_latest=_follows_latest(self.request, self.marker),
            origin=self.release.origin,
            source=self.request.source.url,
            synthetic=self.release.synthetic,
        )

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
    """The outcome for the files of one mouse."""

    mouse_id: int
    entries: tuple[Entry, ...]

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
    marker = read_marker(store)
    release = load_release(source, _wanted_release(request, marker))
    if request.source.ignore_versions:
        logging.getLogger(ROOT).warning(
            "%s is read without versions: each file is fetched whole, and must have the hash that "
            "the manifest pins",
            request.source.url,
        )
    ledger = read_ledger(store) if marker is not None else {}
    if marker is not None:
        known = [release, *_held_release(source, release, marker)]
        check_origin(store.root, marker, ledger.values(), source.spec.url, known)
    if marker is not None and marker.release != release.version:
        raise LakeError(
            f"{store.root} holds release {marker.release}, not {release.version}. "
            f"Keep one lake per release: give another --lake, or --release {marker.release}."
        )
    project = read_project_tables(source, release)
    chosen = plan(project, release, request.selection, source.sizes(DATA_PREFIX))
    todo, done = _split(chosen.tasks, ledger, request, store)
    return Prepared(
        request, store, marker, release, project, chosen, ledger, tuple(todo), tuple(done)
    )


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
        LakeError: the lake cannot be written, or another process is writing to it.
    """
    store, release = prepared.store, prepared.release.version
    reports: list[MouseReport] = []
    create_lake(store, prepared.next_marker)
    with writing(store, prepared.request.wait_s):
        _note(prepared)
        publish_project_tables(store, prepared.project.tables, release)
        catalog = GrowingCatalog(store, release)

        def publish(mouse: _Mouse) -> None:
            missing = prepared.missing_of(mouse.id)
            entries = publish_mouse(store, mouse.id, mouse.results, missing, release)
            catalog.keep_up()
            reports.append(MouseReport(mouse.id, tuple(entries)))
            on_mouse(reports[-1])

        unfinished = _mice_to_do(prepared, mice)
        for mouse in [m for m in unfinished.values() if not m.tasks]:
            publish(unfinished.pop(mouse.id))  # it has missing files only
        tasks = _in_order(unfinished.values())
        with closing(_convert(prepared, tasks)) as results:
            for result in results:
                on_file(result)
                mouse = unfinished[result.task.mouse_id]
                mouse.results.append(result)
                if len(mouse.results) == len(mouse.tasks):
                    publish(unfinished.pop(mouse.id))
        if reports or not store.exists(CATALOG):
            catalog.settle()
        clear(store.staging)
    return reports


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


def _mice_to_do(prepared: Prepared, mice: Iterable[int] | None) -> dict[int, _Mouse]:
    """Returns the mice with something to do, by id."""
    chosen = prepared.mice if mice is None else [m for m in prepared.mice if m in {*mice}]
    found = {mouse: _Mouse(mouse) for mouse in chosen}
    # Read again: another process may have ingested some of it between `prepare` and the lock.
    ledger = read_ledger(prepared.store, chosen)
    todo, _ = _split(prepared.todo, ledger, prepared.request, prepared.store)
    for task in todo:
        if task.mouse_id in found:
            found[task.mouse_id].tasks.append(task)
    return found


def _in_order(mice: Iterable[_Mouse]) -> list[FileTask]:
    """Returns the files in the order of conversion.

    Mouse by mouse, so that the first can be queried while the others are converted; mice with the
    longest files first, so that no worker is left with a long file at the end.
    """

    def size(task: FileTask) -> int:
        return task.bytes or 0

    ordered = sorted(mice, key=lambda m: (-max(map(size, m.tasks)), m.id))
    return [t for mouse in ordered for t in sorted(mouse.tasks, key=size, reverse=True)]


def _convert(prepared: Prepared, tasks: Sequence[FileTask]) -> Generator[FileResult]:
    """Yields the results of files: first what an interrupted run has finished, then the others."""
    request = prepared.request
    settings = replace(prepared.settings, images=images_in_lake(prepared.store))
    left: list[FileTask] = []
    for task in tasks:
        result = None if request.force else finished_before(task, settings)
        if result is None:
            left.append(task)
        else:
            yield result
    if left:
        workers = min(workers_for(request.workers, request.memory), len(left))
        with closing(convert_files(left, settings, workers, request.dask)) as results:
            yield from results


def _settings(request: IngestRequest, store: Store) -> ConvertSettings:
    check = request.verify_hash or request.source.ignore_versions
    return ConvertSettings(request.source, store.staging, check, version("vblake"))


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
    allowed = {
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
    return replace(task, allowed=frozenset(allowed), held_back=held_back)


def mice_of_release(request: IngestRequest) -> set[int]:
    """Returns the ids of all mice of the release that an ingest would be of."""
    source, marker = open_source(request.source), read_marker(open_store(request.lake))
    release = load_release(source, _wanted_release(request, marker))
    project = read_project_tables(source, release)
    return set(project.tables["behavior_sessions"].column("mouse_id").to_pylist())


def publish_project(prepared: Prepared) -> Mapping[str, pa.Table]:
    """Publishes the project tables of the release, and nothing else.

    Returns:
        The tables by name.
    """
    store, tables = prepared.store, prepared.project.tables
    create_lake(store, prepared.next_marker)
    with writing(store, prepared.request.wait_s):
        publish_project_tables(store, tables, prepared.release.version)
    return tables
