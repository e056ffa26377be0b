"""Putting the staged tables of a mouse's files in place: parents before children, the ledger last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipelines.lake import ledger
from pipelines.lake.damage import DamagedError, reading
from pipelines.lake.ledger import Entry, Status
from pipelines.lake.merge import merge_mouse
from pipelines.lake.store import Store, clear
from pipelines.lake.writer import write_table
from pipelines.planning import FileKind, FileTask, MissingFile
from pipelines.staged import TEMPLATES, FileResult
from schemas import TABLES, Storage, Subject, Table
from schemas.errors import DataError, SourceError
from schemas.layout import relative_path

ExtractTemplates = Callable[[FileTask, str], tuple[Path, int]]
"""Writes the templates of a file's image set, with a signature, to a staged file; see `convert_templates`."""


def publish_project_tables(store: Store, tables: Mapping[str, pa.Table], release: str) -> None:
    """Writes the project tables, those that changed."""
    store.staging.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        table = TABLES[name]
        staged = store.staging / f"{name}.parquet"
        write_table(table, staged, [rows], release=release)
        path = relative_path(table)
        if store.read(path) == staged.read_bytes():
            staged.unlink()
        else:
            store.publish(staged, path)


def _path(table: Table, task: FileTask) -> str:
    return relative_path(
        table, mouse_id=task.mouse_id, behavior_session_id=task.behavior_session_id, ophys_experiment_id=task.ophys_experiment_id
    )


def _publish_merged(table: Table, store: Store, mouse_id: int, results: Sequence[FileResult], release: str, before: ledger.Ledger) -> None:
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


def _lake_signature(store: Store, image_set: str) -> tuple[str, str] | None:
    """Digest of an image set in the lake and the object it came from."""
    path = relative_path(TABLES[TEMPLATES], image_set=image_set)
    try:
        with reading(store, path):
            file = store.parquet(path)
    except DamagedError:
        return None  # they are put there anew
    if file is None:
        return None
    metadata = file.schema_arrow.metadata
    return metadata[b"image_signature"].decode(), metadata[b"source"].decode()


def lacks_images(store: Store, result: FileResult) -> bool:
    """Whether the lake lacks the image set of a file."""
    return result.error is None and result.image_set is not None and _lake_signature(store, result.image_set) is None


def _with_templates(store: Store, result: FileResult, extract: ExtractTemplates) -> FileResult:
    """Sees to it that the file's image set is in the lake, and that it is the same there."""
    if result.error or TEMPLATES not in result.task.tables:
        return result
    counts = result.row_counts | {TEMPLATES: 0}
    if result.image_set is None or result.image_signature is None:
        return replace(result, row_counts=counts)
    present = _lake_signature(store, result.image_set)
    if present is None:
        try:
            staged, fetched = extract(result.task, result.image_signature)
        except (DataError, SourceError) as error:
            return replace(result, error=str(error), row_counts={})
        store.publish(staged, relative_path(TABLES[TEMPLATES], image_set=result.image_set))
        clear(staged.parent)
        result = replace(result, bytes_fetched=result.bytes_fetched + fetched)
    elif present[0] != result.image_signature:
        error = DataError(
            f"image set {result.image_set} differs from the one in the lake",
            file=result.task.object.key,
            table=TEMPLATES,
            expected=f"the images of {present[1]}",
            found="other names, sizes or pixels",
            hint="An image set is kept once; these two files cannot both be right.",
        )
        return replace(result, error=str(error), row_counts={})
    return replace(result, row_counts=counts)


def _entry(result: FileResult, before: Entry | None) -> Entry:
    """The ledger's entry for a file; rows of earlier runs that are still in the lake stay counted."""
    kept = before.row_counts if before else {}
    if result.error is not None:
        return ledger.entry_for(
            result.task,
            Status.QUARANTINED,
            error=result.error,
            bytes_fetched=result.bytes_fetched,
            row_counts=kept,
            warnings=result.warnings,
        )
    return ledger.entry_for(
        result.task, Status.INGESTED, bytes_fetched=result.bytes_fetched, row_counts=kept | result.row_counts, warnings=result.warnings
    )


def publish_mouse(
    store: Store, mouse_id: int, results: Iterable[FileResult], missing: Iterable[MissingFile], release: str, extract: ExtractTemplates
) -> list[Entry]:
    """Publishes all tables of some files of one mouse, then the ledger.

    A run that is interrupted in between leaves whole tables, with rows of files that the ledger does not name yet; the next run
    replaces them by the same rows.

    Returns:
        The new entries of the ledger.
    """
    results = [_with_templates(store, r, extract) for r in results]
    good = [r for r in results if r.error is None]
    store.staging.mkdir(parents=True, exist_ok=True)
    before = ledger.read_mouse(store, mouse_id)
    for table in TABLES.values():
        having = [r for r in good if table.name in r.task.tables]
        if not having or table.subject is Subject.STIMULUS:
            continue
        if table.storage is Storage.MOUSE:
            _publish_merged(table, store, mouse_id, having, release, before)
        else:
            _publish_whole(table, store, having)
    entries = [_entry(r, before.get((r.task.release, r.task.kind.value, r.task.file_key))) for r in results]
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
