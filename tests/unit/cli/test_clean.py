"""`vblake clean`, logs with times, and what `plan` estimates."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from builders.cli import output, run

from pipelines import log
from pipelines.lake.generations import commit, fill, note_building
from pipelines.lake.marker import read_marker
from pipelines.lake.store import LocalStore


def test_clean_lists_and_then_removes_staged_files_and_old_generations(lake: Path) -> None:
    store = LocalStore(lake)
    marker = read_marker(store)
    assert marker is not None
    (lake / "_staging" / "left").mkdir(parents=True)
    (lake / "_staging" / "left" / "trials.parquet").write_bytes(bytes(5_000))
    from dataclasses import replace

    following = replace(marker, generation=marker.generation + 1)
    fill(store, following.generation)
    note_building(store, following)
    built = lake / "_generations" / str(following.generation)
    for name in ("catalog.duckdb", "_upgrade.duckdb"):
        (built / name).write_bytes((lake / "catalog.duckdb").read_bytes())
    commit(store, following)
    before = sorted(
        p for p in lake.rglob("*.parquet") if not p.parts[len(lake.parts)].startswith("_")
    )
    listed = json.loads(output("clean", "--lake", lake, "--json"))
    assert [x["what"] for x in listed["leftovers"]] == [
        "staged files",
        f"generation {marker.generation}, release 1.1.0",
    ]
    assert listed["leftovers"][0]["bytes"] == 5_000
    assert "vblake clean --lake" in output("clean", "--lake", lake)
    assert (lake / "_staging" / "left").exists()
    assert "freed" in output("clean", "--lake", lake, "--yes")
    assert output("clean", "--lake", lake) == f"{lake} has nothing to clean\n"
    after = sorted(
        p for p in lake.rglob("*.parquet") if not p.parts[len(lake.parts)].startswith("_")
    )
    assert before == after


def test_a_log_with_times_has_what_is_recorded_and_what_is_logged(
    lake: Path, tmp_path: Path
) -> None:
    file = tmp_path / "vblake.log"
    output("verify", "--lake", lake, "--quick", "--log-file", file, "--log-format", "json")
    output("catalog", "--lake", lake, "--log-file", file, "--log-format", "json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "end", "start", "end"]
    assert lines[-1]["exit_code"] == 0
    assert lines[0]["time"].endswith("+00:00")
    with log.writing(file, None):
        logging.getLogger(log.ROOT).warning("the lake is\nbusy")
        log.record("2 files", event="plan", files=2)
    warning, plan = file.read_text().splitlines()[-2:]
    assert warning.split(" ", 1)[1] == "WARNING the lake is busy"
    assert plan.split(" ", 1)[1] == "INFO 2 files"


def test_json_lines_take_stderr_if_there_is_no_file(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run("verify", "--lake", lake, "--quick", "--log-format", "json")
    assert [json.loads(line)["event"] for line in result.stderr.splitlines()] == ["start", "end"]
    assert run("verify", "--lake", lake, "--log-file", lake / "no" / "x").exit_code == 2
