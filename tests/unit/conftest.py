"""Unit tests stay in their process and do without the sample bucket, so that all of them are fast."""

from __future__ import annotations

import multiprocessing.process
import subprocess

import pytest


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("a unit test starts no process: move it to tests/process")


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess.Popen, "__init__", _refuse)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", _refuse)


@pytest.fixture(scope="session")
def sample_bucket() -> None:
    """The sample bucket takes long to write and needs pynwb."""
    raise AssertionError("a unit test does without the sample bucket: move it to tests/process")
