"""Synthetic buckets; tests must not change them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from builders.sampled import environment

from pipelines.sample.bucket import SampleSummary, write_sample
from pipelines.sample.design import TINY, plan_sessions

WRITE = """
import sys
from pathlib import Path
from pipelines.sample import bucket
plan = bucket.plan_sessions
# Their planes share no container with other sessions, so leaving those out changes nothing in them.
kept = ("TRAINING_0", "TRAINING_5", "OPHYS_3")
bucket.plan_sessions = lambda *how: [session for session in plan(*how) if session.session_type.startswith(kept)]
bucket.write_sample(Path(sys.argv[1]), mice=1)
"""


@pytest.fixture(scope="session")
def twin(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[tuple[Path, subprocess.Popen[bytes]]]:
    """Three files of the same bucket written by another process, at the same time as `bucket`."""
    out = tmp_path_factory.mktemp("twin")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITE, str(out)], env=environment()
    ) as process:
        yield out, process


@pytest.fixture(scope="session")
def summary(tmp_path_factory: pytest.TempPathFactory, twin: tuple[Path, Any]) -> SampleSummary:
    del twin  # started first, to run alongside
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
