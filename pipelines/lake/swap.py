"""Putting files in place in a folder of a local lake, all at once where the file system can."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_AT_FDCWD = -100
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""
_KEEP_S = 5.0
"""A reader may be about to list a folder that was exchanged; it is to find the names there, not nothing."""
_UNSUPPORTED = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EXDEV,
)
"""What file systems answer that know no exchange or no hard links."""


def put(folder: Path, files: Mapping[str, Path | None], staging: Path) -> None:
    """Puts finished Parquet files into a folder of a lake; a file that is there is superseded under its own name.

    Nothing happens to a file whose new content is its old one. One file changes by a rename, several by an exchange of the folder; on a
    file system that cannot exchange folders (NFS, SMB, some FUSE) they change one after the other. Staged files stay where they are.

    Args:
        folder: made if it is missing.
        files: by name, the staged file, on the same file system; None removes.
        staging: folder for what is made on the way, and for what was exchanged until `forget`.
    """
    forget(staging)
    changed = staging / f"replaced-{uuid.uuid4().hex}"
    changed.mkdir(parents=True)
    try:
        _put(folder, files, changed)
    except BaseException:
        shutil.rmtree(changed, ignore_errors=True)
        raise


def _put(folder: Path, files: Mapping[str, Path | None], changed: Path) -> None:
    gone = [name for name, staged in files.items() if staged is None and (folder / name).is_file()]
    for name, staged in files.items():
        if staged is not None:
            _prepare(staged, folder / name, changed / name)
    fresh = [path.name for path in changed.iterdir()]
    if fresh and not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        changed.rename(folder)
        return
    if len(fresh) + len(gone) > 1:
        others = [path for path in folder.iterdir() if path.name not in {*fresh, *gone}]
        for path in others:
            _link(path, changed / path.name)
        if _exchange(changed, folder):
            _hollow(changed)
            return
    for name in fresh:
        (changed / name).replace(folder / name)
    for name in gone:
        (folder / name).unlink()
    shutil.rmtree(changed)


def _prepare(staged: Path, standing: Path, target: Path) -> None:
    """Makes the file that is to stand where there may be one; none if it would be the same."""
    from pipelines.lake.new_version import (
        supersede,  # pyarrow.parquet: 0.16 s, which `vblake sql` need not pay
    )

    if not standing.is_file():
        _link(staged, target)
    elif not supersede(staged, standing, target):
        return
    with target.open("rb") as file:
        # Without this, a power cut after the rename can leave an empty file under the final name.
        os.fsync(file.fileno())


def _link(path: Path, other: Path) -> None:
    """A second name for a file, or a copy where the file system has no such thing."""
    try:
        other.hardlink_to(path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        shutil.copyfile(path, other)
        with other.open("rb") as file:
            os.fsync(file.fileno())


def _exchange(one: Path, other: Path) -> bool:
    """Has two folders change places in one step; False where that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, _EXCHANGE)
        else:
            failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)
    except AttributeError:  # a C library without the function
        return False
    if failed and (code := ctypes.get_errno()) not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), str(other))
    return not failed


def _hollow(folder: Path) -> None:
    """Leaves the names in a folder that was exchanged: who is about to list it needs no more, and the disk is free."""
    empty = folder / ".empty"
    for path in [*folder.iterdir()]:
        empty.touch()
        empty.replace(path)


def forget(staging: Path) -> None:
    """Removes folders that were exchanged some time ago."""
    for folder in staging.glob("replaced-*"):
        if not _recent(folder):
            shutil.rmtree(folder, ignore_errors=True)


def tidy(staging: Path) -> None:
    """Empties the staging folder at the end of a run, but for what was exchanged a moment ago; that is for the next run."""
    for path in [*staging.iterdir()] if staging.is_dir() else []:
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif not (path.name.startswith("replaced-") and _recent(path)):
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        staging.rmdir()


def _recent(folder: Path) -> bool:
    return abs(time.time() - folder.stat().st_ctime) <= _KEEP_S
