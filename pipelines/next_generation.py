"""Builds the next generation of a lake, and makes the lake become it or an earlier one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.catalog.build import build_catalog, describe_lake
from pipelines.catalog.relocate import relocated
from pipelines.lake import generations
from pipelines.lake.generations import SHOWN, generation
from pipelines.lake.ledger import Entry, read_ledger, write_mouse
from pipelines.lake.marker import Marker, read_marker
from pipelines.lake.new_version import may_replace, supersede
from pipelines.lake.store import LocalStore, Store
from pipelines.publish.project import publish_project_tables
from pipelines.publish.purge import purge_images, purge_mouse
from pipelines.release.project_tables import MANIFEST_NAMES
from schemas import TABLES
from schemas.errors import LakeError, UsageError
from schemas.layout import CATALOG, GENERATIONS, relative_path

if TYPE_CHECKING:
    import pyarrow as pa


def begin(
    store: Store,
    marker: Marker,
    entries: Iterable[Entry],
    project: Mapping[str, pa.Table] | None,
    *,
    carry: bool = True,
) -> Store:
    """Starts the next generation of a lake, or goes on with it after a kill.

    Args:
        store: the lake, whose lock is held.
        marker: what it is to be.
        entries: its ledger, before any file is converted.
        project: its project tables; None for those that the lake has.
        carry: whether it has the files of the lake; not if their schema is another one.

    Returns:
        The storage of the generation.
    """
    if generations.in_progress(store, marker):
        return generation(store, marker.generation)
    begun = generations.begin(store, marker.generation)
    if carry:
        generations.fill(store, marker.generation)
    by_mouse: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_mouse[entry.mouse_id].append(entry)
    mice = {entry.mouse_id for entry in read_ledger(store).values()} if carry else set[int]()
    for mouse in sorted(mice | by_mouse.keys()):
        write_mouse(begun, mouse, by_mouse[mouse], marker.release)
    if project is not None:
        publish_project_tables(begun, project, marker.release)
        for name in MANIFEST_NAMES.keys() - project.keys():
            begun.remove(relative_path(TABLES[name]))
    if carry:
        purge_images(begun, marker.release)
    generations.note_building(store, marker)
    return begun


def complete(store: Store, marker: Marker, mice: Iterable[int]) -> None:
    """Completes the generation that was begun, and makes the lake become it.

    Args:
        store: the lake, whose lock is held.
        marker: what it is to be.
        mice: those of which the generation may have rows that its ledger does not list.
    """
    built = generation(store, marker.generation)
    for mouse in mice:
        purge_mouse(built, mouse, marker.release)
    purge_images(built, marker.release)
    build_catalog(built, marker.release)
    catalog = built.read(CATALOG)
    assert catalog is not None
    _commit(store, marker, catalog)


def _commit(store: Store, marker: Marker, catalog: bytes) -> None:
    """Gives a generation the two catalogs that `generations.commit` shows, and commits it."""
    built, place = generation(store, marker.generation), f"{GENERATIONS}/{marker.generation}"
    built.write(CATALOG, relocated(store, catalog, files=place))
    built.write(SHOWN, relocated(store, catalog, below=place))
    generations.commit(store, marker)
    describe_lake(store)


def roll_back(store: Store, wait_s: float = 0.0) -> Marker:
    """Makes a lake what it was before the last upgrade or removal.

    It stays at that release until another is asked for. What it was until now can be gone back to
    in the same way.

    Returns:
        What the lake is now.

    Raises:
        UsageError: there is nothing to go back to.
        LakeError: there is no lake, or another process is writing to it.
    """
    with generations.changing(store, wait_s):
        present = read_marker(store)
        if present is None:
            raise UsageError(f"{store.root} is not a vblake lake. Check --lake (or VBLAKE_LAKE).")
        earlier = generations.kept(store).get(present.previous or 0)
        if earlier is None:
            raise UsageError(
                f"{store.root} has nothing to go back to: it was not upgraded yet, or "
                "what it was before was dropped."
            )
        marker = replace(
            earlier,
            generation=present.generation + 1,
            previous=present.generation,
            follows_latest=False,
        )
        source = generation(store, earlier.generation)
        begun = generations.begin(store, marker.generation)
        generations.fill(store, marker.generation, earlier.generation)
        if isinstance(store, LocalStore) and isinstance(begun, LocalStore):
            _protect_readers(store, begun)
        catalog = source.read(CATALOG)
        if catalog is None:
            raise LakeError(f"{source.root} has no {CATALOG}, so it cannot be gone back to.")
        _commit(store, marker, catalog)
        generations.drop(store, earlier.generation)  # the lake is it now
        return marker


def _protect_readers(store: LocalStore, begun: LocalStore) -> None:
    """Writes files anew that would mislead readers of those that they replace.

    A new version of a file avoids the places of the data of the old one (`lake.new_version`). The
    other way round that has to be made sure of.
    """
    for table in generations.tables_of(begun):
        for path in begun.files(table):
            old, standing = begun.folder / path, store.folder / path
            differs = standing.is_file() and not old.samefile(standing)
            if differs and not may_replace(old, standing):
                fresh = old.with_suffix(".part")
                if supersede(old, standing, fresh):
                    fresh.replace(old)
