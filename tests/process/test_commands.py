"""Commands on the sample lake, and one that is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
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


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(100_000_000_000) a, range(1000) b",
        "SELECT 1 FROM range(1_000_000_000)",
    ],
)
def test_an_interrupted_query_ends_with_one_line_and_leaves_no_output(
    good: Path, tmp_path: Path, query: str
) -> None:
    program = "from pipelines.cli.app import main; main()"
    file = tmp_path / "out.csv"
    args = [sys.executable, "-c", program, "sql", "--lake", str(good), "-o", str(file), query]
    with subprocess.Popen(args, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".out.csv.part").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, b"error: interrupted\n")
    assert [p.name for p in tmp_path.iterdir()] == []
