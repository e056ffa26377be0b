"""Puts a finished Parquet file in its place in a local lake, in one step."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path

_NO_LINKS = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EXDEV,
)
"""The errors of file systems without hard links."""


def put(staged: Path, target: Path, staging: Path) -> None:
    """Puts a file in its place, and replaces the one that is there by a rename.

    A file whose content would not change is left alone. The staged file stays where it is.

    Args:
        staged: the file, on the same file system.
        target: its place; the folder is made if it is missing.
        staging: folder for an intermediate file.
    """
    staging.mkdir(parents=True, exist_ok=True)
    changed = staging / f"put-{uuid.uuid4().hex}"
    try:
        if _prepare(staged, target, changed):
            target.parent.mkdir(parents=True, exist_ok=True)
            changed.replace(target)
    except BaseException:
        changed.unlink(missing_ok=True)
        raise


def _prepare(staged: Path, standing: Path, changed: Path) -> bool:
    """Makes what will replace a file; returns False and makes nothing if it would be the same."""
    from pipelines.lake.new_version import (
        supersede,  # pyarrow.parquet: 0.16 s, which `vblake sql` need not pay
    )

    if not standing.is_file():
        _link(staged, changed)
    elif not supersede(staged, standing, changed):
        return False
    with changed.open("rb") as file:
        # Without this, a power cut after the rename can leave an empty file under the final name.
        os.fsync(file.fileno())
    return True


def _link(path: Path, other: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no hard links."""
    try:
        other.hardlink_to(path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(path, other)
