"""What a lake can do without: staged files, old generations, spilled queries."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.lake.generations import changing, drop, generation, removable, tables_of
from pipelines.lake.store import LocalStore, Store, clear
from schemas.layout import GENERATIONS

_SPILLED = "vblake-duckdb-*"
"""Folders of `vblake.connection` for queries that need more than the memory."""
_UNUSED_S = 24 * 3600.0


@dataclass(frozen=True)
class Leftover:
    """Something that can be removed.

    Attributes:
        what: for people.
        place: a path or URL.
        bytes: what removing it frees: a file that the lake shares is not counted.
        remove: removes it.
    """

    what: str
    place: str
    bytes: int
    remove: Callable[[], object]


def find_leftovers(store: Store) -> list[Leftover]:
    """What is left of commands that were killed, and the generations that can be gone back to.

    Hold the lake's lock (`generations.changing`) for as long as they are removed.
    """
    found: list[Leftover] = []
    if store.staging.is_dir() and any(store.staging.iterdir()):
        staging = store.staging
        size = _bytes(staging)
        found.append(Leftover("staged files", str(staging), size, partial(clear, staging)))
    for number, marker in removable(store).items():
        what = f"generation {number}, release {marker.release}"
        place = f"{store.root}/{GENERATIONS}/{number}"
        if isinstance(store, LocalStore):
            size = _bytes(Path(place))
        else:
            old = generation(store, number)
            size = sum(sum(old.files(table).values()) for table in tables_of(old))
        found.append(Leftover(what, place, size, partial(drop, store, number)))
    return [*found, *_spilled()]


def _spilled() -> Iterator[Leftover]:
    """Folders of queries that were killed; those of the last day may be in use."""
    for folder in sorted(Path(tempfile.gettempdir()).glob(_SPILLED)):
        if time.time() - folder.stat().st_mtime > _UNUSED_S:
            text = "temporary files of a query"
            yield Leftover(text, str(folder), _bytes(folder), partial(clear, folder))


def _bytes(folder: Path) -> int:
    found = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum(stat.st_size for stat in found if stat.st_nlink == 1)


def clean(store: Store, *, remove: bool) -> list[Leftover]:
    """Finds what a lake can do without.

    Args:
        store: the lake.
        remove: whether to remove it.

    Raises:
        LakeError: another process is writing to the lake.
    """
    with changing(store):
        found = find_leftovers(store)
        for leftover in found if remove else ():
            leftover.remove()
    return found
