"""Shared fixtures: one synthetic bucket and one lake from it per test session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.ingest import IngestRequest, MouseReport, ingest, prepare
from pipelines.planning import Selection
from pipelines.sample import write_sample
from pipelines.sources import SourceSpec

Ingest = Callable[..., list[MouseReport]]


@pytest.fixture(scope="session")
def sample_bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic bucket of two mice; tests must not change it."""
    folder = tmp_path_factory.mktemp("sample") / "bucket"
    write_sample(folder, mice=2, seed=7)
    return folder


@pytest.fixture(scope="session")
def sample_lake(sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample bucket as a lake; tests must not change it."""
    lake = tmp_path_factory.mktemp("sample-lake") / "lake"
    ingest(prepare(IngestRequest(SourceSpec(str(sample_bucket)), str(lake), workers=1)))
    return lake


@pytest.fixture
def bucket(sample_bucket: Path, tmp_path: Path) -> Path:
    """A copy of the sample bucket that a test may damage."""
    copy = tmp_path / "bucket"
    shutil.copytree(sample_bucket, copy)
    return copy


@pytest.fixture
def lake(sample_lake: Path, tmp_path: Path) -> Path:
    """A copy of the sample lake that a test may damage."""
    copy = tmp_path / "lake"
    shutil.copytree(sample_lake, copy)
    return copy


@pytest.fixture
def run_ingest() -> Ingest:
    """`run_ingest(bucket, lake, tables=..., mice=..., force=...)` in this process."""

    def run(
        bucket: Path, lake: Path, *, force: bool = False, workers: int = 1, release: str = "latest", **selection: object
    ) -> list[MouseReport]:
        chosen = Selection(**selection)  # type: ignore[arg-type]
        request = IngestRequest(SourceSpec(str(bucket)), str(lake), selection=chosen, force=force, workers=workers, release=release)
        return ingest(prepare(request))

    return run
