"""Keeps pandas out of processes that have no use for it.

Wherever pandas is installed, PyArrow imports it the first time that an array is made, and DuckDB
the first time that a query has a parameter: 0.2 s and 36 MB in every process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Refusal:
    """An import finder that refuses pandas and leaves every other module to the other finders.

    `importlib.abc.MetaPathFinder`, whose import takes 2 ms, would add nothing to it.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("vblake does without pandas here", name=fullname)
        return None


def refuse_pandas() -> None:
    """Makes `import pandas` fail in this process from now on, as if it were not installed.

    For processes that run nothing but vblake: its commands and its workers. PyArrow and DuckDB then
    work as they do where pandas is not installed. Without effect where pandas is already imported.
    """
    if not any(isinstance(finder, _Refusal) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Refusal())


def allow_pandas() -> None:
    """Makes `import pandas` possible again, for pynwb, which writes the synthetic bucket."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _Refusal)]
