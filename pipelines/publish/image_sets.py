"""Image sets, which the lake keeps once each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipelines.convert.staged import TEMPLATES, FileResult
from pipelines.lake.damage import DamagedError, reading
from pipelines.lake.store import Store, clear
from pipelines.release.selection import FileTask
from schemas import TABLES
from schemas.errors import DataError, SourceError
from schemas.layout import relative_path

ExtractTemplates = Callable[[FileTask, str], tuple[Path, int]]
"""Writes the templates of a file's image set, with a signature, to a staged file; see `convert_templates`."""


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
    return (
        result.error is None
        and result.image_set is not None
        and _lake_signature(store, result.image_set) is None
    )


def with_templates(store: Store, result: FileResult, extract: ExtractTemplates) -> FileResult:
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
