"""Puts a finished Parquet file, or the folder of a table, in its place in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import uuid
from contextlib import suppress
from pathlib import Path

_NO_LINKS = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EXDEV,
)
"""The errors of file systems without hard links, or without an exchange of folders."""
_AT_FDCWD = -100
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""
_WRITE_RANGE = 2
"""SYNC_FILE_RANGE_WRITE of Linux."""
REPLACED = "replaced-"
"""Start of the name of a folder that was replaced."""


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


def begin_to_write(path: Path) -> None:
    """Has the kernel begin to write a file to the disk, and does not wait for it.

    `put` waits, and finds less left to do. An error of the disk is told there, too.
    """
    if sys.platform == "linux":
        whole = ctypes.c_int64(0), ctypes.c_int64(0)
        with path.open("rb") as file, suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).sync_file_range(file.fileno(), *whole, _WRITE_RANGE)


def _link(path: Path, other: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no hard links."""
    try:
        other.hardlink_to(path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(path, other)


def file_ids(folder: Path) -> dict[str, int] | None:
    """The inode of every file below a folder; None if it does not exist."""
    if not folder.is_dir():
        return None
    return {
        str(path.relative_to(folder)): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file()
    }


def link_all(folder: Path, other: Path) -> None:
    """Makes a folder with further names of all files of another one."""
    for place, _, names in os.walk(folder):
        target = other / Path(place).relative_to(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            _link(Path(place, name), target / name)


def replace_folder(fresh: Path, folder: Path, away: Path) -> None:
    """Puts a new folder in the place of another, in one step where the file system can.

    Args:
        fresh: the new folder; if it does not exist, the other one is removed.
        folder: the folder to replace; it may not exist yet.
        away: folder for the old one: a reader may be about to list it.
    """
    old = away / f"{REPLACED}{uuid.uuid4().hex}"
    if not folder.is_dir():
        if fresh.is_dir():
            fresh.rename(folder)
    elif not fresh.is_dir():
        folder.rename(old)
    elif _exchange(fresh, folder):
        fresh.rename(old)
    else:  # NFS, SMB, some FUSE: the table is missing for a moment
        folder.rename(old)
        fresh.rename(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; returns False where that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, _EXCHANGE)
        else:
            failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)
    except AttributeError:  # a C library without the function
        return False
    if failed and (code := ctypes.get_errno()) not in _NO_LINKS:
        raise OSError(code, os.strerror(code), str(other))
    return not failed
