"""Limits that a process can be put under: rights that are taken away, small disks, read-only
folders."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def without_rights() -> None:
    """For `preexec_fn`: permissions of files hold for root too, from the next program on."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for right in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            if libc.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def small_files(size: int) -> Callable[[], None]:
    """For `preexec_fn`: no file may become larger."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def small_disk(folder: Path, size: int) -> Generator[Callable[[int], None]]:
    """Mounts a disk of `size` bytes at a folder; yields a function that resizes it.

    Skips the test where mounting is not allowed.
    """
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield lambda other: _mount("-o", f"remount,size={other}", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Generator[None]:
    """A folder on a file system that is mounted read-only. Skips the test where mounting is not
    allowed."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _mount(*args: str | Path) -> None:
    try:
        done = subprocess.run(["mount", *args], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextmanager
def modes(mode: int, *folders: Path) -> Generator[None]:
    """Folders with other permissions for a while."""
    before = {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(mode)
    try:
        yield
    finally:
        for folder, old in before.items():
            folder.chmod(old)
