"""Takes out of a lake what its ledger does not list: rows of files that it no longer holds.

Call it on a generation that nobody reads yet, because references dangle in between.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from pipelines.convert.staged import TEMPLATES
from pipelines.lake.ledger import Entry, read_ledger, read_mouse
from pipelines.lake.merge import merge_mouse
from pipelines.lake.store import Store, reading
from pipelines.lake.writer import write_table
from pipelines.publish.image_sets import images_of
from schemas import TABLES, Storage, Subject, Table
from schemas.layout import relative_path


def purge_mouse(store: Store, mouse_id: int, release: str) -> None:
    """Removes the rows of a mouse that no entry of its ledger counts."""
    entries = read_mouse(store, mouse_id).values()
    for table in TABLES.values():
        if table.subject not in (Subject.BEHAVIOR, Subject.OPHYS):
            continue
        counted = [entry for entry in entries if entry.row_counts.get(table.name)]
        if table.storage is Storage.MOUSE:
            _purge_merged(table, store, mouse_id, counted, release)
        else:
            _purge_whole(table, store, mouse_id, counted)


def _purge_whole(table: Table, store: Store, mouse_id: int, entries: Iterable[Entry]) -> None:
    wanted = {entry.path_of(table) for entry in entries}
    for path in store.files(f"{table.name}/mouse_id={mouse_id}").keys() - wanted:
        store.remove(path)


def _purge_merged(
    table: Table, store: Store, mouse_id: int, entries: Iterable[Entry], release: str
) -> None:
    key = table.unit_key
    assert key is not None, table.name
    path = relative_path(table, mouse_id=mouse_id)
    wanted = {getattr(entry, key) for entry in entries}
    if not wanted:
        store.remove(path)
        return
    with reading(store, path):
        file = store.parquet(path)
        ids = file.read([key]).column(key) if file else None
        present = set[int]() if ids is None else set(ids.unique().to_pylist())
    if gone := present - wanted:
        store.staging.mkdir(parents=True, exist_ok=True)
        target = store.staging / f"{table.name}-{mouse_id}.parquet"
        sources = dict.fromkeys(gone)
        merged = merge_mouse(table, store, path, sources, target, release=release, held=wanted)
        assert merged is not None, path
        store.publish(merged, path)


def purge_images(store: Store, release: str) -> None:
    """Removes the images that no file of the ledger shows."""
    shown: dict[str, set[str]] = defaultdict(set)
    table = TABLES[TEMPLATES]
    for entry in read_ledger(store).values():
        if entry.image_set is not None and entry.row_counts.get(TEMPLATES) is not None:
            shown[relative_path(table, image_set=entry.image_set)] |= set(entry.images)
    for path in store.files(TEMPLATES):
        _keep_images(table, store, path, shown[path], release)


def _keep_images(table: Table, store: Store, path: str, names: set[str], release: str) -> None:
    with reading(store, path):
        file = store.parquet(path)
        images = images_of(file) if file else {}
        left = {name: image for name, image in images.items() if name in names}
        if not left:
            store.remove(path)
        elif file is not None and len(left) < len(images):
            # Each image is a row group, in the order of the names.
            groups = [n for n, name in enumerate(images) if name in left]
            staged = store.staging / f"{TEMPLATES}.parquet"
            rows = (file.read_row_group(n) for n in groups)
            write_table(table, staged, rows, release=release, images=json.dumps(left))
            store.publish(staged, path)
