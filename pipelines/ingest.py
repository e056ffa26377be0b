"""The main job: from a selection to a lake that holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain

import pyarrow as pa

from pipelines.catalog.build import GrowingCatalog
from pipelines.convert.pool import FilePool, workers_for
from pipelines.convert.staged import ConvertSettings, FileResult, finished_before, left_unpublished
from pipelines.lake.ledger import Entry, Ledger, Status, read_ledger
from pipelines.lake.lock import writing
from pipelines.lake.store import Store, create_lake, open_store, release_of
from pipelines.lake.swap import tidy
from pipelines.publish.background import Turns
from pipelines.publish.image_sets import lacks_images
from pipelines.publish.mouse import publish_mouse
from pipelines.publish.project import publish_project_tables
from pipelines.release.manifest import Release, load_release
from pipelines.release.project_tables import ProjectTables, read_project_tables
from pipelines.release.selection import FileTask, MissingFile, Plan
from pipelines.release.tasks import plan
from pipelines.request import DATA_PREFIX, IngestRequest
from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from schemas.errors import LakeError
from schemas.layout import CATALOG


@dataclass(frozen=True)
class Prepared:
    """A request after the release and the lake have been looked at; nothing has been written yet.

    Attributes:
        todo: files to convert.
        done: files of the selection that the lake holds already.
    """

    request: IngestRequest
    store: Store
    release: Release
    project: ProjectTables
    plan: Plan
    ledger: Ledger
    todo: tuple[FileTask, ...]
    done: tuple[FileTask, ...]

    @property
    def settings(self) -> ConvertSettings:
        """What the workers need to know."""
        return _settings(self.request, self.store)

    @property
    def missing(self) -> tuple[MissingFile, ...]:
        """Files that the release names but the source does not have."""
        return tuple(self.plan.missing)

    @property
    def mice(self) -> list[int]:
        """Mice with something to do, ascending."""
        return sorted({t.mouse_id for t in self.todo} | {m.mouse_id for m in self._news()})

    def _news(self) -> list[MissingFile]:
        """Missing files that the ledger does not know of yet."""
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
        """Missing files of a mouse that are to be noted in the ledger."""
        return [m for m in self._news() if m.mouse_id == mouse_id]


def _settings(request: IngestRequest, store: Store) -> ConvertSettings:
    return ConvertSettings(
        request.source,
        store.staging,
        request.verify_hash,
        version("vblake"),
    )


def _divided(
    tasks: Iterable[FileTask], ledger: Ledger, request: IngestRequest, store: Store
) -> tuple[list[FileTask], list[FileTask]]:
    """Files to convert, and those that the lake holds already."""
    todo: list[FileTask] = []
    done: list[FileTask] = []
    interrupted, settings = store.staging.is_dir(), _settings(request, store)
    for task in tasks:
        entry = ledger.get((task.release, task.kind.value, task.file_key))
        held = (
            entry is not None
            and entry.covers(task)
            and not (interrupted and left_unpublished(task, settings, entry.ingested_at))
        )
        (done if held and not request.force else todo).append(task)
    return todo, done


def prepare(request: IngestRequest) -> Prepared:
    """Finds out what there is to do.

    Raises:
        UsageError, SourceError, ReleaseError, LakeError: see the functions called.
    """
    store = open_store(request.lake)
    source = open_source(request.source)
    release = load_release(source, request.release)
    held = release_of(store)
    if held is not None and held != release.version:
        raise LakeError(
            f"{store.root} holds release {held}, not {release.version}. "
            f"Keep one lake per release: give another --lake, or --release {held}."
        )
    project = read_project_tables(source, release)
    chosen = plan(project, release, request.selection, source.sizes(DATA_PREFIX))
    ledger = read_ledger(store) if held is not None else {}
    todo, done = _divided(chosen.tasks, ledger, request, store)
    return Prepared(request, store, release, project, chosen, ledger, tuple(todo), tuple(done))


def _longest_first(tasks: Sequence[FileTask]) -> list[FileTask]:
    """Mouse by mouse, so that the first can be used while the others are converted; those with the longest files first, so that no worker
    is left with a long file at the end.
    """
    longest: dict[int, int] = {}
    for task in tasks:
        longest[task.mouse_id] = max(longest.get(task.mouse_id, 0), task.bytes or 0)
    return sorted(tasks, key=lambda t: (-longest[t.mouse_id], t.mouse_id, -(t.bytes or 0)))


def mice_of_release(source: SourceSpec, release: str) -> set[int]:
    """Ids of all mice of a release."""
    opened = open_source(source)
    project = read_project_tables(opened, load_release(opened, release))
    return set(project.tables["behavior_sessions"].column("mouse_id").to_pylist())


def publish_project(prepared: Prepared) -> Mapping[str, pa.Table]:
    """Publishes the project tables of the release, and nothing else.

    Returns:
        The tables by name.
    """
    store, tables = prepared.store, prepared.project.tables
    create_lake(store, prepared.release.version)
    with writing(store):
        publish_project_tables(store, tables, prepared.release.version)
    return tables


@dataclass(frozen=True)
class MouseReport:
    """What became of the files of one mouse."""

    mouse_id: int
    entries: tuple[Entry, ...]

    @property
    def quarantined(self) -> list[Entry]:
        """Entries of files that could not be converted, or that the source does not have."""
        return [e for e in self.entries if e.status is not Status.INGESTED]

    @property
    def row_counts(self) -> Mapping[str, int]:
        """Rows by table that the files of this run gave."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            for table, rows in entry.row_counts.items():
                counts[table] = counts.get(table, 0) + rows
        return counts


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
    """Converts and publishes what is to do, mouse by mouse, and rebuilds the catalog.

    Args:
        prepared: from `prepare`.
        mice: only these.
        on_file: called for each converted or failed file, in the caller's thread.
        on_mouse: called after a mouse's files are in the lake, in the caller's thread.

    Returns:
        One report per mouse that had something to do. Files that fail are in the ledger as quarantined; the others go on.

    Raises:
        LakeError: the lake cannot be written, or another process writes to it.
    """
    request, store, release = prepared.request, prepared.store, prepared.release
    wanted = prepared.mice if mice is None else [m for m in prepared.mice if m in set(mice)]
    create_lake(store, release.version)
    reports: list[MouseReport] = []
    with writing(store):
        publish_project_tables(store, prepared.project.tables, release.version)
        catalog = GrowingCatalog(store, release.version)
        finished: dict[int, list[FileResult]] = {m: [] for m in wanted}
        # Another ingest may have been at it until a moment ago.
        todo, _ = _divided(prepared.todo, read_ledger(store, wanted), request, store)
        tasks = _longest_first(todo)
        left = Counter(t.mouse_id for t in tasks)
        # One mouse is published at a time, beside the conversion of the next.
        workers = min(workers_for(request.workers, request.memory), max(1, len(tasks)))
        with (
            FilePool(prepared.settings, workers, request.dask) as files,
            Turns[MouseReport]() as publishing,
        ):

            def publish(mouse: int) -> MouseReport:
                missing = prepared.missing_of(mouse)
                entries = publish_mouse(
                    store, mouse, finished[mouse], missing, release.version, files.templates
                )
                catalog.keep_up()
                return MouseReport(mouse, tuple(entries))

            def published(some: Iterable[MouseReport]) -> None:
                for report in some:
                    del finished[report.mouse_id]
                    reports.append(report)
                    on_mouse(report)

            for mouse in [m for m in wanted if not left[m]]:
                publishing.add(publish, mouse)
            again = (
                []
                if request.force
                else [r for r in (finished_before(t, prepared.settings) for t in tasks) if r]
            )
            seen: set[str | None] = set()
            taken = {r.task.object.key for r in again}
            for result in chain(
                again, files.convert([t for t in tasks if t.object.key not in taken])
            ):
                on_file(result)
                if result.image_signature is not None and result.image_set not in seen:
                    seen.add(result.image_set)
                    if lacks_images(store, result):
                        files.begin_templates(result.task, result.image_signature)
                mouse = result.task.mouse_id
                finished[mouse].append(result)
                left[mouse] -= 1
                if not left[mouse]:
                    publishing.add(publish, mouse)
                published(publishing.done())
            published(publishing.rest())
        if reports or not store.exists(CATALOG):
            catalog.settle()
        tidy(store.staging)
    return reports
