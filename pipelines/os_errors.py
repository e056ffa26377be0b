"""What a full disk, a read-only folder and other limits of the machine mean for whoever runs vblake."""

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
_FAULT = f"The disk or the file server has a fault. See to it and {_AGAIN}."

_MEANING = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: f"Raise the limit on the size of a file (ulimit -f, or that of the file system) and {_AGAIN}.",
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
    """Whether the machine said no, as against a mistake in the program."""
    return error.errno in _MEANING


def free(folder: Path) -> str:
    """Room on the disk of a folder, which need not exist yet, for people."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free"


def unwritable(error: OSError, folder: Path) -> LakeError:
    """What to tell the user of a file that cannot be written.

    Args:
        error: what the system said; PyArrow and others do not name the file.
        folder: where was to be written.
    """
    number = error.errno or 0
    room = f", {free(folder)}" if number in _FULL else ""
    return LakeError(
        f"{error.filename or folder} cannot be written: {os.strerror(number)}{room}. {_MEANING.get(number, _NOT_ALLOWED)}"
    )


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
