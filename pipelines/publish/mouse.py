"""Puts the staged tables of a mouse in place: parents before children, the ledger last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.convert.staged import FileResult
from pipelines.lake import ledger
from pipelines.lake.ledger import Entry, Identity, Ledger, Status, TableOutcome, TableStatus
from pipelines.lake.merge import merge_mouse
from pipelines.lake.store import Store, clear
from pipelines.publish.dependents import Dependents
from pipelines.publish.image_sets import publish_images
from pipelines.release.selection import FileKind, MissingFile, tables_in
from schemas import TABLES, Storage, Subject, Table
from schemas.errors import DataError
from schemas.layout import relative_path


def _publish(
    table: Table,
    store: Store,
    mouse_id: int,
    rows: Mapping[Identity, Path | None],
    entries: Ledger,
    before: Ledger,
) -> None:
    """Publishes the rows of a table by file; None takes out those of earlier runs."""
    if table.storage is not Storage.MOUSE:
        for identity, staged in rows.items():
            _put(store, entries[identity].path_of(table), staged)
        return
    unit = table.unit_key
    assert unit is not None
    path = relative_path(table, mouse_id=mouse_id)
    target = store.staging / f"{table.name}-{mouse_id}.parquet"
    sources = {getattr(entries[i], unit): staged for i, staged in rows.items()}
    held = {getattr(entry, unit) for entry in before.values() if entry.row_counts.get(table.name)}
    release = entries[next(iter(rows))].release
    merged = merge_mouse(table, store, path, sources, target, release=release, held=held)
    _put(store, path, merged)


def _put(store: Store, path: str, staged: Path | None) -> None:
    if staged is None:
        store.remove(path)
    else:
        store.publish(staged, path)


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
        The new entries of the ledger: of these files, and of others whose rows are taken out,
        because they depend on some that are not in the lake any more.
    """
    store.staging.mkdir(parents=True, exist_ok=True)
    before = ledger.read_mouse(store, mouse_id)
    results = [publish_images(store, r, release) for r in results]
    entries = {r.task.identity: _entry(r, before.get(r.task.identity)) for r in results}
    entries |= {e.identity: e for e in (_missing_entry(m, release, before) for m in missing)}
    good = {r.task.identity: r for r in results if r.error is None}

    def staged(identity: Identity, table: str) -> Path | None:
        return good[identity].staged(table) if identity in good else None

    dependents = Dependents(store, before, entries, staged)
    for table in TABLES.values():
        if table.subject is Subject.STIMULUS:
            continue
        rows = {i: r.staged(table.name) for i, r in good.items() if table.name in r.row_counts}
        rows |= dict.fromkeys(dependents.hold_back(table))
        if rows:
            _publish(table, store, mouse_id, rows, entries, before)
    ledger.publish_mouse(store, mouse_id, entries.values(), release)
    for result in results:
        clear(result.folder)
    return list(entries.values())


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
