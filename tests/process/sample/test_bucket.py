"""The synthetic bucket as a whole."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from builders.command import vblake
from builders.sampled import all_files

from pipelines.sample.bucket import SampleSummary, write_sample


def test_summary_counts_what_is_there(summary: SampleSummary) -> None:
    files = [path for path in summary.root.rglob("*") if path.is_file()]
    assert (
        summary.release,
        summary.n_mice,
        summary.n_behavior_files,
        summary.n_experiment_files,
    ) == ("1.1.0", 1, 2, 7)
    assert len(all_files(summary.root)) == 9
    assert summary.bytes == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mice": 100}, "mice must be 1 to 99, got 100"),
        ({"release": "1.1"}, "release must be X.Y.Z, such as 1.1.0; got '1.1'"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        write_sample(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_bucket_is_never_overwritten(bucket: Path) -> None:
    with pytest.raises(FileExistsError, match="already holds files"):
        write_sample(bucket, mice=1)


def test_the_command_writes_the_same_bytes_for_the_same_seed(bucket: Path, tmp_path: Path) -> None:
    # Without PYTHONHASHSEED the other process orders its sets differently from this one.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    done = vblake("sample", "--mice", "1", "--out", tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    copies = all_files(tmp_path)
    assert len(copies) == 9
    for copy in copies:
        assert copy.read_bytes() == (bucket / copy.relative_to(tmp_path)).read_bytes(), copy.name
