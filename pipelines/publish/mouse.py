"""Puts the staged tables of a mouse in place: parents before children, the ledger last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.convert.staged import FileResult
from pipelines.lake import ledger
from pipelines.lake.ledger import Entry, Status
from pipelines.lake.merge import merge_mouse
from pipelines.lake.store import Store, clear
from pipelines.publish.image_sets import publish_images
from pipelines.release.selection import FileKind, FileTask, MissingFile
from schemas import TABLES, Storage, Subject, Table
from schemas.layout import relative_path


def _path(table: Table, task: FileTask) -> str:
    return relative_path(
        table,
        mouse_id=task.mouse_id,
        behavior_session_id=task.behavior_session_id,
        ophys_experiment_id=task.ophys_experiment_id,
    )


def _publish_merged(
    table: Table,
    store: Store,
    mouse_id: int,
    results: Sequence[FileResult],
    release: str,
    before: ledger.Ledger,
) -> None:
    unit = "ophys_experiment_id" if table.subject is Subject.OPHYS else "behavior_session_id"
    path = relative_path(table, mouse_id=mouse_id)
    target = store.staging / f"{table.name}-{mouse_id}.parquet"
    sources = {getattr(r.task, unit): r.staged(table.name) for r in results}
    held = {getattr(entry, unit) for entry in before.values() if entry.row_counts.get(table.name)}
    merged = merge_mouse(table, store, path, sources, target, release=release, held=held)
    if merged is None:
        store.remove(path)
    else:
        store.publish(merged, path)


def _publish_whole(table: Table, store: Store, results: Sequence[FileResult]) -> None:
    store.publish_together({_path(table, r.task): r.staged(table.name) for r in results})


def _entry(result: FileResult, before: Entry | None) -> Entry:
    """Makes the ledger's entry of a file; rows of earlier runs in the lake still count."""
    counts = before.row_counts if before else {}
    defects = before.known_defects if before else ()
    if result.error is None:
        counts = counts | result.row_counts
        # A run may read only some of the tables: what earlier runs found in the others still holds.
        defects = tuple(d for d in defects if d.table_name not in result.task.tables)
    return ledger.entry_for(
        result.task,
        Status.INGESTED if result.error is None else Status.QUARANTINED,
        error=result.error,
        bytes_fetched=result.bytes_fetched,
        row_counts=counts,
        warnings=result.warnings,
        known_defects=(*defects, *result.known_defects),
    )


def publish_mouse(
    store: Store,
    mouse_id: int,
    results: Iterable[FileResult],
    missing: Iterable[MissingFile],
    release: str,
) -> list[Entry]:
    """Publishes all tables of some files of one mouse, then the ledger.

    A run that is interrupted in between leaves whole tables, with rows of files that the ledger
    does not name yet; the next run replaces them with the same rows.

    Args:
        store: the lake.
        mouse_id: the mouse.
        results: its converted and failed files.
        missing: files that the release names but the source does not have.
        release: release of the dataset.

    Returns:
        The new entries of the ledger.
    """
    store.staging.mkdir(parents=True, exist_ok=True)
    results = [publish_images(store, r, release) for r in results]
    good = [r for r in results if r.error is None]
    before = ledger.read_mouse(store, mouse_id)
    for table in TABLES.values():
        having = [r for r in good if table.name in r.task.tables]
        if not having or table.subject is Subject.STIMULUS:
            continue
        if table.storage is Storage.MOUSE:
            _publish_merged(table, store, mouse_id, having, release, before)
        else:
            _publish_whole(table, store, having)
    entries = [
        _entry(r, before.get((r.task.release, r.task.kind.value, r.task.file_key))) for r in results
    ]
    entries += [_missing_entry(m, release, before) for m in missing]
    ledger.publish_mouse(store, mouse_id, entries, release)
    for result in results:
        clear(result.folder)
    return entries


def _missing_entry(missing: MissingFile, release: str, before: ledger.Ledger) -> Entry:
    earlier = before.get((release, missing.kind.value, missing.file_key))
    return Entry(
        mouse_id=missing.mouse_id,
        release=release,
        file_kind=missing.kind,
        file_key=missing.file_key,
        behavior_session_id=missing.behavior_session_id,
        ophys_session_id=missing.ophys_session_id,
        ophys_experiment_id=missing.ophys_experiment_id,
        gives_behavior=missing.kind is FileKind.BEHAVIOR_SESSION,
        object_key=None,
        version_id=None,
        file_hash=None,
        bytes=None,
        bytes_fetched=0,
        status=Status.SKIPPED,
        error=missing.reason,
        row_counts=earlier.row_counts if earlier else {},
    )
