"""The generations of a lake: what it held before an upgrade, and what it is to hold after one.

An upgrade builds a whole lake in a folder of its own, `_generations/N`, whose files are further
names of those that stay the same. It becomes the lake in these steps:

1. what the lake holds is kept in `_generations/<its number>`;
2. the marker of the new generation is written: from here on the upgrade will be finished;
3. the catalog is replaced by one whose views read `_generations/N`: the moment for readers. Queries
   that have the earlier catalog open may take a while to end;
4. the folders of the tables are exchanged, one after another, for globs;
5. the catalog is replaced by one whose views read the tables' folders, and the lake's marker.

A kill before step 2 leaves the lake as it was, one after it is made good by the next command: every
step may be repeated. Nothing is ever written into a published file, so that generations can share
them. Staging, lock and Dagster's record are not part of a generation.
"""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pipelines.lake.lock import writing
from pipelines.lake.marker import Marker, read_marker
from pipelines.lake.store import LocalStore, Store
from pipelines.lake.swap import REPLACED
from schemas.errors import LakeError
from schemas.layout import CATALOG, GENERATIONS, MARKER

BUILDING = "_building.json"
"""Marker of a generation that is not complete yet."""
SHOWN = "_upgrade.duckdb"
"""Catalog of a generation whose views read its own folder, for readers of step 3."""
_LEFT_S = 3600.0
"""How long the folder of a generation stays after the lake has become it: a reader may have opened
the catalog of step 3."""
_QUERY_S = 10.0
"""How long an upgrade waits for queries through the earlier catalog."""
_LISTED_S = 60.0
"""How long the folder of a table stays after it was exchanged: a reader may be listing it."""


def generation(store: Store, number: int) -> Store:
    """The storage of a generation. Creates and checks nothing."""
    return store.within(f"{GENERATIONS}/{number}")


def kept(store: Store) -> dict[int, Marker]:
    """The complete generations of a lake by number, besides the one that it is."""
    marker = read_marker(store)
    return {n: m for n, m in _complete(store).items() if marker is None or n != marker.generation}


def removable(store: Store) -> dict[int, Marker]:
    """The generations that a lake can do without, by number.

    In a bucket these include the folder in which the present one was built. That of a local lake
    goes by itself.
    """
    return kept(store) if isinstance(store, LocalStore) else _complete(store)


def _numbers(store: Store) -> list[int]:
    return sorted(int(name) for name in store.folders(GENERATIONS) if name.isdecimal())


def _complete(store: Store) -> dict[int, Marker]:
    found = {n: read_marker(generation(store, n)) for n in _numbers(store)}
    return {number: marker for number, marker in found.items() if marker is not None}


def tables_of(store: Store) -> list[str]:
    """The folders of tables in a lake or generation, whatever version of vblake made them."""
    return [name for name in store.folders() if not name.startswith(("_", "."))]


def drop(store: Store, number: int) -> None:
    """Removes a generation; a kill in between leaves one that is not complete."""
    gone = generation(store, number)
    if gone.exists(MARKER):
        gone.remove(MARKER)
    store.drop(f"{GENERATIONS}/{number}")


def in_progress(store: Store, marker: Marker) -> bool:
    """Whether a generation that is being built is this one, so that it can be gone on with."""
    data = generation(store, marker.generation).read(BUILDING)
    if data is None:
        return False
    building = Marker.from_json(data)
    return _target(building) == _target(marker)


def _target(marker: Marker) -> tuple[str, str, int]:
    return marker.release, marker.schema_version, marker.generation


def begin(store: Store, number: int) -> Store:
    """Starts a generation, without files."""
    drop(store, number)
    return generation(store, number)


def fill(store: Store, number: int, source: int | None = None) -> None:
    """Gives a generation all files of another, by default of the lake."""
    place = "" if source is None else f"{GENERATIONS}/{source}/"
    for table in tables_of(store if source is None else generation(store, source)):
        store.copy_folder(f"{place}{table}", f"{GENERATIONS}/{number}/{table}")


def note_building(store: Store, marker: Marker) -> None:
    """Notes what a generation is to be; a killed upgrade goes on from here."""
    generation(store, marker.generation).write(BUILDING, marker.to_json())


def commit(store: Store, marker: Marker) -> None:
    """Makes a lake the generation that has been built, tables and both catalogs included.

    Args:
        store: the lake, whose lock is held.
        marker: of the new generation.
    """
    before = read_marker(store)
    assert before is not None
    _keep(store, before)
    built = generation(store, marker.generation)
    built.write(MARKER, replace(marker, previous=before.generation).to_json())
    built.remove(BUILDING)
    finish(store)


def _keep(store: Store, marker: Marker) -> None:
    """Keeps what the lake holds as a generation."""
    target = begin(store, marker.generation)
    fill(store, marker.generation)
    if (catalog := store.read(CATALOG)) is not None:
        target.write(CATALOG, catalog)
    target.write(MARKER, marker.to_json())


def _pending(store: Store) -> Marker | None:
    """The generation that a lake is about to become, if that was interrupted."""
    present = read_marker(store)
    later = {n: m for n, m in _complete(store).items() if present and n > present.generation}
    return later[max(later)] if later else None


def finish(store: Store) -> None:
    """Does what is left of an upgrade from step 3 on; nothing if none is under way."""
    if (marker := _pending(store)) is None:
        return
    built = generation(store, marker.generation)
    with _readers_waited_for(store):
        _show(store, built, SHOWN)
    for table in sorted({*tables_of(store), *tables_of(built)}):
        store.replace_folder(f"{GENERATIONS}/{marker.generation}/{table}", table)
    _show(store, built, CATALOG)
    store.write(MARKER, marker.to_json())


@contextmanager
def _readers_waited_for(store: Store) -> Generator[None]:
    """Waits for connections to the catalog that the block replaces, for at most `_QUERY_S`.

    DuckDB locks a catalog for as long as it has it open. The readers of a bucket have copies.
    """
    if not isinstance(store, LocalStore) or not store.exists(CATALOG):
        yield
        return
    with (store.folder / CATALOG).open("r+b") as earlier:
        yield
        latest = time.monotonic() + _QUERY_S
        while _is_read(earlier) and time.monotonic() < latest:
            time.sleep(0.02)


def _is_read(catalog: BinaryIO) -> bool:
    try:
        fcntl.lockf(catalog, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return True
    return False


def _show(store: Store, built: Store, catalog: str) -> None:
    data = built.read(catalog)
    if data is None:
        raise LakeError(
            f"{built.root} lacks {catalog}, so {store.root} cannot become this generation. "
            "Please report this."
        )
    store.write(CATALOG, data)


def settle(store: Store, wait_s: float = 0.0) -> None:
    """Finishes an upgrade that was interrupted after it had been decided on.

    Raises:
        LakeError: another process is writing to the lake.
    """
    if _pending(store) is not None:
        with changing(store, wait_s):
            pass


@contextmanager
def changing(store: Store, wait_s: float = 0.0, target: Marker | None = None) -> Generator[None]:
    """Holds the lake's write lock, and first finishes or undoes what a killed upgrade has left.

    Args:
        store: the lake.
        wait_s: how long to wait for another process that writes to the lake, seconds.
        target: the generation that is to be built, which is gone on with.

    Raises:
        LakeError: another process is writing to the lake, or the disk is full or the like.
    """
    with writing(store, wait_s):
        finish(store)
        present = read_marker(store)
        for number in _numbers(store):
            goes_on = target and target.generation == number and in_progress(store, target)
            complete = generation(store, number).exists(MARKER)
            current = present is not None and number == present.generation
            is_left = complete and current and _aged(store, number)
            if is_left or not (complete or goes_on):
                drop(store, number)
        if isinstance(store, LocalStore):
            _drop_replaced(store)
        yield


def _drop_replaced(store: LocalStore) -> None:
    """Removes folders of tables that were exchanged and that nobody lists any more."""
    for name in store.folders(GENERATIONS):
        folder = store.folder / GENERATIONS / name
        if name.startswith(REPLACED) and time.time() - folder.stat().st_ctime > _LISTED_S:
            store.drop(f"{GENERATIONS}/{name}")


def _aged(store: Store, number: int) -> bool:
    """Whether nobody reads the folder of the generation that the lake is any more."""
    if not isinstance(store, LocalStore):
        return False  # `vblake clean` drops it
    marker = Path(store.folder, GENERATIONS, str(number), MARKER)
    return time.time() - marker.stat().st_mtime > _LEFT_S
