"""Writes the synthetic buckets of real-scale files that the benchmarks read by default."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.harness import python, run_once

BUCKET_HELP = "bucket with real-scale files [a synthetic one, written to the work folder]"


def sample_bucket(work: Path, mice: int) -> Path:
    """Returns the synthetic bucket of a work folder, writing it if needed."""
    bucket = work / f"bucket-{mice}-mice"
    if not (bucket / "done").exists():
        shutil.rmtree(bucket, ignore_errors=True)
        print(f"writing a synthetic bucket of {mice} mice to {bucket} ...", file=sys.stderr)
        options = ("--scale", "real", "--mice", mice, "--out", bucket / "data")
        run_once(python("assets", "sample", *options), timeout_s=3600)
        (bucket / "done").touch()
    return bucket / "data"
