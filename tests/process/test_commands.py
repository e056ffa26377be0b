"""Commands on the sample lake."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
from builders.cli import output

from pipelines.check.lake import verify
from pipelines.lake.store import LocalStore
from schemas import TABLES


def test_the_ingested_sample_has_no_problems(sample_lake: Path) -> None:
    assert verify(LocalStore(sample_lake)) == []


def test_status_counts_what_verify_counts(sample_lake: Path) -> None:
    found = json.loads(output("status", "--lake", sample_lake, "--json"))
    rows = {t["table"]: t["rows"] for t in found["tables"]}
    held = {
        name: sum(
            pq.ParquetFile(f).metadata.num_rows for f in (sample_lake / name).rglob("*.parquet")
        )
        for name in TABLES
    }
    assert rows == held
    assert {t["missing"] for t in found["tables"]} == {0}


def test_plan_counts_what_is_done(sample_bucket: Path, sample_lake: Path) -> None:
    found = json.loads(output("plan", "--source", sample_bucket, "--lake", sample_lake, "--json"))
    assert (found["todo"], found["bytes"], found["missing"]) == (0, 0, 0)
    assert found["done"] == found["files"] > 0
    again = json.loads(
        output("plan", "--source", sample_bucket, "--lake", sample_lake, "--json", "--force")
    )
    assert (again["todo"], again["done"]) == (found["done"], 0)
