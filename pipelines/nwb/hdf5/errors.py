"""What h5py raises for damaged content.

Each `with hdf5_errors()` block holds calls to h5py and nothing else, so that a mistake in our own
code never passes for a damaged file.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import h5py as _h5py  # pyright: ignore[reportMissingTypeStubs]

h5py: Any = _h5py  # it has no stubs, so what it returns is Any until a declared type takes it


class HdfError(Exception):
    """HDF5 cannot read something, or would invent data that the file does not hold."""


@contextmanager
def hdf5_errors() -> Generator[None]:
    """Turns what h5py raises for damaged content into an `HdfError`."""
    try:
        yield
    # h5py chooses among these by HDF5's error number; UnicodeDecodeError is a ValueError.
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise HdfError(str(error) or type(error).__name__) from error
