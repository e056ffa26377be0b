"""The lake that commands are given."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def lake(good: Path, tmp_path: Path) -> Path:
    """A copy of the good lake, which is also one that was moved."""
    copy = tmp_path / "lake"
    shutil.copytree(good, copy)
    return copy
