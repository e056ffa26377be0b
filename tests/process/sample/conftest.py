"""Synthetic buckets; tests must not change them."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from pipelines.sample.bucket import SampleSummary, write_sample
from pipelines.sample.design import TINY, plan_sessions


@pytest.fixture(scope="session")
def summary(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("bucket"), mice=1)


@pytest.fixture(scope="session")
def bucket(summary: SampleSummary) -> Path:
    return summary.root


@pytest.fixture(scope="session")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions in the older layout, one of gratings and one of two planes."""
    kept = ("TRAINING_0", "OPHYS_4")
    plan = [
        session for session in plan_sessions(1, 0, TINY) if session.session_type.startswith(kept)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sample.bucket.plan_sessions", Mock(return_value=plan))
        return write_sample(tmp_path_factory.mktemp("legacy"), mice=1, release="1.0.1").root
