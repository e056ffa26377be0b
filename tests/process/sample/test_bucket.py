"""The synthetic bucket as a whole: what is written, and the same bytes for the same seed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders.sampled import all_files, environment

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


def test_same_seed_same_bytes_in_another_process(
    bucket: Path, twin: tuple[Path, subprocess.Popen[bytes]]
) -> None:
    out, process = twin
    assert process.wait() == 0
    copies = all_files(out)
    assert len(copies) == 3
    for copy in copies:
        assert copy.read_bytes() == (bucket / copy.relative_to(out)).read_bytes(), copy.name


def test_the_command_writes_a_bucket(tmp_path: Path) -> None:
    # The entry point refuses pandas, which pynwb needs.
    command = [sys.executable, "-m", "assets", "sample", "--mice", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(all_files(tmp_path)) == 9
