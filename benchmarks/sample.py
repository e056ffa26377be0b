"""Writes what the benchmarks read by default: buckets of real-scale files, and lakes."""

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


def mouse_lake(work: Path) -> Path:
    """Returns the lake of one mouse of real scale of a work folder, making it if needed."""
    lake = work / "mouse-lake"
    if not (lake / "catalog.duckdb").exists():
        bucket = sample_bucket(work, 1)
        print(f"ingesting {bucket} into {lake} ...", file=sys.stderr)
        run_once(python("assets", "ingest", "--source", bucket, "--lake", lake))
    return lake


def full_size_lake(work: Path) -> Path:
    """Returns the lake of the dataset's full size of a work folder, making it if needed."""
    lake = work / "full-size-lake"
    if not (lake / "catalog.duckdb").exists():  # written last
        template = mouse_lake(work)
        shutil.rmtree(lake, ignore_errors=True)
        print(f"making a full-size lake in {lake} ...", file=sys.stderr)
        command = python("benchmarks.full_size", "--template", template, "--lake", lake)
        run_once(command, timeout_s=3600)
    return lake


def many_files_lake(work: Path) -> tuple[Path, Path]:
    """Returns a lake with as many files as the dataset's, small ones, and the bucket it is of.

    It makes both if needed.
    """
    folder = work / "many-files"
    lake, bucket = folder / "lake", folder / "bucket"
    if not (lake / "catalog.duckdb").exists():  # written last
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making a lake of 31,500 files in {lake} ...", file=sys.stderr)
        tiny, template = folder / "one-mouse", folder / "one-mouse-lake"
        run_once(python("assets", "sample", "--mice", 1, "--out", tiny))
        run_once(python("assets", "ingest", "--source", tiny, "--lake", template))
        where = ("--template", template, "--lake", lake, "--bucket", bucket)
        run_once(python("benchmarks.full_size", *where), timeout_s=3600)
    return lake, bucket
