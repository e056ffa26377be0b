"""Explains errors of the machine: a full disk, a read-only folder and other limits."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import LakeError

_AGAIN = "run the same command again: what is finished is kept"
_MAKE_ROOM = f"Make room there and {_AGAIN}."
_NOT_ALLOWED = "Give a folder that you may write to, or get the right to write to this one."
_FILES = f"Raise the limit on open files (ulimit -n) or use fewer --workers, and {_AGAIN}."
_FAULT = f"The disk or the file server has a fault. Repair it and {_AGAIN}."

_MEANING = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: (
        "Raise the limit on the size of a file (ulimit -f, or that of the file system) "
        f"and {_AGAIN}."
    ),
    errno.EROFS: _NOT_ALLOWED,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: _FAULT,
    errno.ESTALE: _FAULT,
    errno.ENODEV: _FAULT,
    errno.ENXIO: _FAULT,
    errno.ENAMETOOLONG: "Give a folder with a shorter name.",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_limit(error: OSError) -> bool:
    """Whether the error is a limit of the machine, not a mistake in the program."""
    return error.errno in _MEANING


def free(folder: Path) -> str:
    """Returns the free space of a folder's disk as text. The folder need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free"


def unwritable(error: OSError, folder: Path) -> LakeError:
    """Returns the error for a file that cannot be written.

    Args:
        error: the system's error; PyArrow and others do not name the file.
        folder: the folder that was being written to.
    """
    number = error.errno or 0
    room = f", {free(folder)}" if number in _FULL else ""
    return LakeError(
        f"{error.filename or folder} cannot be written: {os.strerror(number)}{room}. "
        f"{_MEANING.get(number, _NOT_ALLOWED)}"
    )


def first_line(error: BaseException) -> str:
    """Returns a library's message without the statement or stack trace that may follow it."""
    return str(error).strip().split("\n", 1)[0]


@contextmanager
def within_limits(folder: Path) -> Generator[None]:
    """Turns errors of the disk into one line for the user.

    Raises:
        LakeError: the disk is full, the folder read-only or the like.
    """
    try:
        yield
    except OSError as error:
        if not is_limit(error):
            raise
        raise unwritable(error, folder) from error
