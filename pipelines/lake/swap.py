"""Puts files into a folder of a local lake, all at once where the file system can."""

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
"""A reader may be about to open names in a folder that was exchanged, so it keeps them this long.
"""
_UNSUPPORTED = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EXDEV,
)
"""The errors of file systems without exchange or hard links."""


def put(folder: Path, files: Mapping[str, Path | None], staging: Path) -> None:
    """Puts finished Parquet files into a folder of a lake, replacing files under their own names.

    A file whose content would not change is left alone. One file changes by a rename, several by an
    exchange of the folder. On a file system that cannot exchange folders (NFS, SMB, some FUSE),
    they change one after another. Staged files stay where they are.

    Args:
        folder: made if it is missing.
        files: by name, the staged file, on the same file system; None removes the file.
        staging: folder for intermediate files, and for exchanged folders until `forget`.
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
            _empty_files(changed)
            return
    for name in fresh:
        (changed / name).replace(folder / name)
    for name in gone:
        (folder / name).unlink()
    shutil.rmtree(changed)


def _prepare(staged: Path, standing: Path, target: Path) -> None:
    """Makes the replacement of a file; makes none if it would be the same."""
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
    """Gives a file a second name, or copies it where the file system has no hard links."""
    try:
        other.hardlink_to(path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        shutil.copyfile(path, other)
        with other.open("rb") as file:
            os.fsync(file.fileno())


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
    if failed and (code := ctypes.get_errno()) not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), str(other))
    return not failed


def _empty_files(folder: Path) -> None:
    """Empties the files of an exchanged folder: a reader that is listing it only needs names."""
    empty = folder / ".empty"
    for path in [*folder.iterdir()]:
        empty.touch()
        empty.replace(path)


def forget(staging: Path) -> None:
    """Removes folders that were exchanged more than `_KEEP_S` seconds ago."""
    for folder in staging.glob("replaced-*"):
        if not _recent(folder):
            shutil.rmtree(folder, ignore_errors=True)


def tidy(staging: Path) -> None:
    """Empties the staging folder at the end of a run, except for recently exchanged folders.

    The next run removes those.
    """
    for path in [*staging.iterdir()] if staging.is_dir() else []:
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif not (path.name.startswith("replaced-") and _recent(path)):
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        staging.rmdir()


def _recent(folder: Path) -> bool:
    return abs(time.time() - folder.stat().st_ctime) <= _KEEP_S
