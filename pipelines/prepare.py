"""Plans an ingest: reads the release and the lake, and finds the files to convert.

`pipelines.ingest` carries out what is prepared here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.convert.staged import ConvertSettings, left_unpublished
from pipelines.lake.generations import generation, in_progress, settle
from pipelines.lake.ledger import (
    Entry,
    Ledger,
    Status,
    TableOutcome,
    givers,
    program_version,
    read_ledger,
)
from pipelines.lake.marker import LATEST, Marker, read_marker
from pipelines.lake.origin import check_origin
from pipelines.lake.store import Store, open_store
from pipelines.log import ROOT
from pipelines.publish.image_sets import images_in_lake
from pipelines.release.manifest import Release, load_release, versions
from pipelines.release.project_tables import ProjectTables, read_project_tables
from pipelines.release.selection import FileTask, MissingFile, Plan, Selection
from pipelines.release.tasks import plan
from pipelines.request import DATA_PREFIX, IngestRequest
from pipelines.source.base import at_once
from pipelines.source.open import Source, open_source
from pipelines.upgrade import Upgrade, merge_plans, needs_upgrade, plan_upgrade
from schemas import SCHEMA_VERSION


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
    todo, done = todo_and_done(chosen.tasks, ledger, request, store)
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
    todo, done = todo_and_done(chosen.tasks, ledger, request, built)
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


def _settings(request: IngestRequest, store: Store) -> ConvertSettings:
    check = request.verify_hash or request.source.ignore_versions
    return ConvertSettings(request.source, store.staging, check, program_version())


def todo_and_done(
    tasks: Iterable[FileTask], ledger: Ledger, request: IngestRequest, store: Store
) -> tuple[list[FileTask], list[FileTask]]:
    """Returns the files to convert, and those that a lake has already."""
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
