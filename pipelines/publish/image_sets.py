"""Publishes image sets. The lake has each set once: the union of the images its sessions show."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from pipelines.convert.staged import TEMPLATES, FileResult, staged_images
from pipelines.lake.ledger import TableOutcome
from pipelines.lake.store import DamagedError, Store, reading
from pipelines.lake.writer import write_table
from schemas import TABLES
from schemas.checks import Rule
from schemas.errors import IntegrityError
from schemas.layout import relative_path

_TABLE = TABLES[TEMPLATES]


class Image(NamedTuple):
    """An image in the lake.

    Attributes:
        digest: see `pipelines.nwb.templates.image_digests`.
        file: key of the object that it was read from.
    """

    digest: str
    file: str


def images_in_lake(store: Store) -> frozenset[str]:
    """Returns the digests of all images in the lake."""
    return frozenset(
        image.digest
        for path in store.files(TEMPLATES)
        for image in _images_at(store, path).values()
    )


def _images_at(store: Store, path: str) -> dict[str, Image]:
    """Returns the images of a set in the lake by name; none if the file is missing or damaged."""
    try:
        with reading(store, path):
            file = store.parquet(path)
            return images_of(file) if file else {}
    except DamagedError:
        return {}  # the images are written again


def images_of(file: pq.ParquetFile) -> dict[str, Image]:
    """Returns the images of a Parquet file by name, in the order of its rows."""
    found: dict[str, list[str]] = json.loads(file.schema_arrow.metadata.get(b"images", b"{}"))
    return {name: Image(*fields) for name, fields in found.items()}


def publish_images(store: Store, result: FileResult, release: str) -> FileResult:
    """Adds the images of a file to their set in the lake.

    Returns:
        The result; the table is held back if the lake has another picture under an image's name.
    """
    if result.error or not result.images:
        return result
    path = relative_path(_TABLE, image_set=result.image_set)
    held = _images_at(store, path)
    for name, digest in result.images.items():
        if name in held and held[name].digest != digest:
            error = _other(result, name, held[name])
            outcome = TableOutcome.held_back(TEMPLATES, error)
            return replace(result.with_outcomes(outcome), image_set=None, images={})
    new = set(result.images) - set(held)
    if new:
        staged = staged_images(store.staging, result.images)
        if held:
            staged = _union(store, path, held, staged, new, release)
        store.publish(staged, path)
    return result


def _other(result: FileResult, name: str, held: Image) -> IntegrityError:
    return IntegrityError(
        f"image {name} of image set {result.image_set} differs from the one in the lake",
        column="image_name",
        expected=f"the picture in {held.file}",
        found=f"another size or other pixels of {name} in {result.image_set}",
        hint="An image has one picture in all sessions, so one of the two files is wrong.",
        rule=Rule.SAME_IMAGE.value,
    )


def _union(
    store: Store,
    path: str,
    held: dict[str, Image],
    staged: Path,
    new: Collection[str],
    release: str,
) -> Path:
    """Writes the images of the lake and the new ones of a staged file to another staged file."""
    with reading(store, path):
        present, added = store.parquet(path), pq.ParquetFile(staged)
        assert present is not None
        images = images_of(added)
        numbers = {name: (added, number) for number, name in enumerate(images) if name in new}
        numbers |= {name: (present, number) for number, name in enumerate(held)}
        # Each image is a row group, in the order of the names.
        rows = (file.read_row_group(number) for _, (file, number) in sorted(numbers.items()))
        known = {name: (images | held)[name] for name in sorted(numbers)}
        target = store.staging / f"{TEMPLATES}.parquet"
        write_table(_TABLE, target, rows, release=release, images=json.dumps(known))
    return target
