"""Replacing the files of a folder all at once, so that a name never stands for other bytes than before.

Readers open a Parquet file by name more than once in a query: for the footer, then for the data (DuckDB 1.5 and Polars 2.1 do). If the name
stood for a new file in between, they would decode its bytes by the old footer: mostly an error, but a wrong answer for the first column,
and in Polars a query that never ends. So a file that takes the place of another has a name of its own, and the folder that has the new
one changes places with the old folder in one step. A reader that holds the old name is told that there is no such file; it may ask again.
"""

from __future__ import annotations

import ctypes
import errno
import filecmp
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from schemas.layout import successor

_AT_FDCWD = -100
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""
_KEEP_S = 5.0
"""A reader may be about to list a folder that was exchanged; it is to find the old names there, not nothing."""
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EXDEV)
"""What file systems answer that know no exchange or no hard links."""


def put(folder: Path, files: Mapping[str, Path | None], staging: Path) -> None:
    """Puts finished files into a folder of a lake, all at once; those that they replace go. Staged files stay where they are.

    Nothing happens to a file whose new bytes are its old ones. On a file system that cannot exchange folders (NFS, SMB, some FUSE), files
    are replaced one by one under their own names.

    Args:
        folder: made if it is missing.
        files: by name, the staged file, on the same file system; None removes.
        staging: folder for what is made on the way, and for what was replaced until `clear`.
    """
    changes = {name: (standing(folder / name), staged) for name, staged in files.items()}
    changes = {name: (old, new) for name, (old, new) in changes.items() if not _same(old, new)}
    if not changes:
        return
    fresh = {successor(old.name) if old else name: new for name, (old, new) in changes.items() if new}
    for staged in fresh.values():
        with staged.open("rb") as file:
            # Without this, a power cut after the rename can leave an empty file under the final name.
            os.fsync(file.fileno())
    changed = staging / f"replaced-{uuid.uuid4().hex}"
    changed.mkdir(parents=True)
    for name, staged in fresh.items():
        _link(staged, changed / name)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        changed.rename(folder)
        return
    gone = {old for old, _ in changes.values()}
    for path in folder.iterdir():
        if path not in gone:
            _link(path, changed / path.name)
    if not _exchange(changed, folder):
        for name, (old, new) in changes.items():
            if new:
                (changed / (successor(old.name) if old else name)).replace(old or folder / name)
            elif old:
                old.unlink()
    _forget(staging)


def _same(old: Path | None, new: Path | None) -> bool:
    return old is new if old is None or new is None else filecmp.cmp(old, new, shallow=False)


def standing(path: Path) -> Path | None:
    """The file that stands for a path now: under that name, or under a later one."""
    if path.is_file():
        return path
    later = re.compile(rf"{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}")
    try:
        return next((p for p in path.parent.iterdir() if later.fullmatch(p.name)), None)
    except (FileNotFoundError, NotADirectoryError):
        return None


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


def _forget(staging: Path) -> None:
    """Removes what was replaced some time ago: a run that replaces much must not need the lake's size twice."""
    for folder in staging.glob("replaced-*"):
        if abs(time.time() - folder.stat().st_ctime) > _KEEP_S:
            shutil.rmtree(folder, ignore_errors=True)
