"""`vblake sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders.cli import refusal, run

from pipelines.sample.bucket import SampleSummary


def test_sample_says_that_it_is_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def write_sample(out: Path, **options: Any) -> SampleSummary:
        options.pop("progress")("a/b.nwb", 1, 2)
        given.update(options, out=out)
        return SampleSummary("1.0.1", 1, 1, 1, 2_000_000, out)

    monkeypatch.setattr("pipelines.sample.bucket.write_sample", write_sample)
    options = {"out": tmp_path / "b", "scale": "real", "mice": 1, "seed": 3, "release": "1.0.1"}
    result = run("sample", *(part for name, v in options.items() for part in (f"--{name}", v)))
    assert result.exit_code == 0
    assert given == options | {"workers": 1}
    assert result.stderr == "[1/2] a/b.nwb\n"
    assert result.stdout == (
        f"{tmp_path}/b: synthetic release 1.0.1, 2 files of 1 mouse, 2.0 MB\n"
        "SYNTHETIC DATA: every number is simulated, no file holds a recording. Never publish it as, or mix it with, the released data.\n"
        f"Next: vblake ingest --source {tmp_path}/b --lake lake\n"
    )


def test_sample_does_not_write_over_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "visual-behavior-ophys").mkdir()
    (tmp_path / "visual-behavior-ophys" / "something").touch()
    assert refusal("sample", "--out", tmp_path) == (
        f"error: The sample cannot be written: {tmp_path}/visual-behavior-ophys already holds files; give an empty folder or remove it."
    )
