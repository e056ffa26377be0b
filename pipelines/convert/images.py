"""Stages the images of a file's image set. Many files show the same images; one of them is read."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping

import pyarrow as pa

from pipelines.check.file import FileCheck
from pipelines.convert.staged import TEMPLATES, ConvertSettings, check_staged, staged_images
from pipelines.lake.ledger import TableOutcome
from pipelines.lake.writer import write_table
from pipelines.nwb.prefetch import prefetch_images
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from pipelines.nwb.templates import image_digests
from pipelines.release.selection import FileTask
from schemas import TABLES
from schemas.casts import conform
from schemas.errors import DataError

_TABLE = TABLES[TEMPLATES]


def stage_images(
    task: FileTask,
    settings: ConvertSettings,
    recording: Recording,
    check: FileCheck,
    *,
    wait: bool = True,
) -> tuple[TableOutcome, dict[str, str]] | None:
    """Writes the images of a file to a staged file, unless the lake or the staging folder has them.

    Args:
        task: the file.
        settings: which images the lake has, and where to write.
        recording: the file, open.
        check: takes the images.
        wait: whether to wait for another worker that is writing the same images. Without it, the
            other tables need not have been read.

    Returns:
        The outcome of the table, and the digest of each image of the file, by name; none if the
        table is held back. Without `wait` None if another worker is writing the images, or the
        file has none.
    """
    try:
        digests = recording.once(image_digests)
        if not digests and not wait:
            return None  # the other tables show whether there should be some
        if not _stage(digests, task, settings, recording, check, wait=wait):
            return None
    except DataError as error:
        return TableOutcome.held_back(TEMPLATES, error), {}
    return TableOutcome.read(TEMPLATES, len(digests), check.allowed_rules(_TABLE)), digests


def _stage(
    digests: Mapping[str, str],
    task: FileTask,
    settings: ConvertSettings,
    recording: Recording,
    check: FileCheck,
    *,
    wait: bool,
) -> bool:
    """Stages images; returns False if another worker is writing them, without `wait`."""
    if not digests:
        check.finish(_TABLE)
    if settings.images.issuperset(digests.values()):
        return True
    path = staged_images(settings.staging, digests)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another worker may be writing the same images. Its lock ends with it, however it ends.
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if check_staged(path, len(digests)) is not None:
            part = path.with_suffix(".part")
            origin = {name: (digests[name], task.object.key) for name in sorted(digests)}
            prefetch_images(recording)
            rows = _rows(recording, check)
            write_table(_TABLE, part, rows, release=task.release, images=json.dumps(origin))
            part.replace(path)
            # Otherwise they leave 120 to 170 MB in the heap, which the next file cannot use.
            pa.default_memory_pool().release_unused()
    return True


def _rows(recording: Recording, check: FileCheck) -> Iterator[pa.Table]:
    for rows in READERS[TEMPLATES](recording):
        image = conform(_TABLE, rows.columns, rows.count)
        check.take(_TABLE, image)
        yield image
