"""Puts the staged tables of a mouse in place: parents before children, the ledger last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.convert.staged import FileResult
from pipelines.lake import ledger
from pipelines.lake.ledger import Entry, Status, TableOutcome, TableStatus
from pipelines.lake.merge import merge_mouse
from pipelines.lake.store import Store, clear
from pipelines.publish.image_sets import publish_images
from pipelines.release.selection import FileKind, FileTask, MissingFile, tables_in
from schemas import TABLES, Storage, Subject, Table
from schemas.errors import DataError
from schemas.layout import relative_path


def _path(table: Table, task: FileTask) -> str:
    return relative_path(
        table,
        mouse_id=task.mouse_id,
        behavior_session_id=task.behavior_session_id,
        ophys_session_id=task.ophys_session_id,
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
    _put(store, path, merged)


def _publish_whole(table: Table, store: Store, results: Sequence[FileResult]) -> None:
    for result in results:
        _put(store, _path(table, result.task), result.staged(table.name))


def _put(store: Store, path: str, staged: Path | None) -> None:
    if staged is None:
        store.remove(path)
    else:
        store.publish(staged, path)


def _withdraw(result: FileResult, before: Entry | None) -> FileResult:
    """Holds back what an earlier run published if it depends on a table that is held back now."""
    withdrawn = {t.table for t in result.held_back}
    for name in before.row_counts if before and not result.error else ():
        parent = next((p for p in TABLES[name].depends_on if p in withdrawn), None)
        if parent is not None and name not in result.task.tables:
            withdrawn.add(name)
            result = result.with_outcomes(TableOutcome.of_parent(name, parent))
    return result


def _entry(result: FileResult, before: Entry | None) -> Entry:
    """Makes the ledger's entry of a file; what earlier runs did with other tables still holds."""
    task = result.task
    tables = {
        name: TableOutcome(name, TableStatus.NOT_REQUESTED)
        for name in tables_in(task.kind, gives_behavior=task.gives_behavior)
    }
    tables |= {t.table: t for t in before.tables} if before else {}
    defects = before.known_defects if before else ()
    if result.error is None:
        tables |= {t.table: t for t in result.tables}
        defects = tuple(d for d in defects if d.table_name not in result.row_counts)
    else:
        whole = DataError(result.error, rule=result.rule.value)
        tables |= {
            name: TableOutcome.held_back(name, whole)
            for name in task.tables
            if tables[name].status is TableStatus.NOT_REQUESTED
        }
    entry = ledger.entry_for(
        task,
        Status.INGESTED if result.error is None else Status.QUARANTINED,
        error=result.error,
        bytes_fetched=result.bytes_fetched,
        tables=tuple(tables.values()),
        image_set=result.image_set or (before and before.image_set),
        images=tuple(result.images) or (before.images if before else ()),
        warnings=result.warnings,
        known_defects=(*defects, *result.known_defects),
    )
    if entry.status is Status.INGESTED and entry.held_back:
        return replace(entry, status=Status.PARTIAL)
    return entry


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
    before = ledger.read_mouse(store, mouse_id)
    results = [
        _withdraw(publish_images(store, r, release), before.get(r.task.identity)) for r in results
    ]
    good = [r for r in results if r.error is None]
    for table in TABLES.values():
        having = [r for r in good if table.name in r.row_counts]
        if not having or table.subject is Subject.STIMULUS:
            continue
        if table.storage is Storage.MOUSE:
            _publish_merged(table, store, mouse_id, having, release, before)
        else:
            _publish_whole(table, store, having)
    entries = [_entry(r, before.get(r.task.identity)) for r in results]
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
        tables=earlier.tables if earlier else (),
    )
