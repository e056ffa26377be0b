"""Files of the lake that cannot be read any more: a disk that failed, a copy that was cut off."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pyarrow as pa

from pipelines.lake.store import Store
from schemas.errors import LakeError


class DamagedError(LakeError):
    """A Parquet file of the lake is damaged."""


def brief(error: Exception) -> str:
    """The first line of what Arrow says."""
    return str(error).strip().split("\n", 1)[0]


@contextmanager
def reading(store: Store, path: str) -> Generator[None]:
    """For a block that reads a Parquet file of the lake.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        yield
    except PermissionError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{store.root}/{path} is damaged ({brief(error)})") from error
