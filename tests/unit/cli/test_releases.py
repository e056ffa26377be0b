"""`vblake releases` and `vblake diff`: what the source has, and what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.bucket import PROJECT, Bucket
from builders.cli import cells, output, refusal

from pipelines.lake.marker import Marker
from schemas.layout import MARKER


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with the releases 1.1.0 and 1.2.0.

    The second one has another version of the file of session 1001, lacks that of experiment 5004 and
    has one of session 1005; it corrects an age and matches a cell.
    """
    folder = tmp_path / "bucket"
    first, second = Bucket(), Bucket("1.2.0", metadata="project_metadata_1.2.0")
    first.write(folder)
    sessions = second.tables["behavior_session_table"]
    training = next(row for row in sessions if row["behavior_session_id"] == "1001")
    sessions.append({**training, "behavior_session_id": "1005", "file_id": "23"})
    training["age_in_days"] = "101"
    second.tables["ophys_cells_table"][0]["cell_specimen_id"] = "8003"
    experiments = second.tables["ophys_experiment_table"]
    experiments[:] = [row for row in experiments if row["ophys_experiment_id"] != "5004"]
    del second.files[3]
    second.nwb[second.files[21]] = b"another version"
    second.files[23] = f"{PROJECT}/behavior_sessions/behavior_session_1005.nwb"
    second.write(folder)
    return folder


def test_releases_are_listed_with_what_the_lake_holds(two: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / MARKER).write_bytes(Marker("1.1.0").to_json())
    text = output("releases", "--source", two, "--lake", lake)
    assert cells(text, "1.1.0")[2:5] == ["6", "2", "4"]
    assert cells(text, "1.1.0")[-2:] == ["holds", "it"]
    assert cells(text, "1.2.0")[2:5] == ["6", "3", "3"]
    assert cells(text, "1.2.0")[-1] == "B"
    found = json.loads(output("releases", "--source", two, "--json"))["releases"]
    assert [(r["release"], r["held"], r["synthetic"]) for r in found] == [
        ("1.1.0", False, False),
        ("1.2.0", False, False),
    ]
    assert found[1]["bytes"] == sum(
        p.stat().st_size for p in two.rglob("*.nwb") if "5004" not in p.name
    )


def test_diff_counts_files_and_rows(two: Path) -> None:
    text = output("diff", "--source", two, "1.1.0", "1.2.0", "--list")
    counts = {change: cells(text, change)[1:3] for change in ("same", "changed", "added")}
    assert counts == {"same": ["1", "3"], "changed": ["1", "0"], "added": ["1", "0"]}
    assert cells(text, "removed")[1:3] == ["0", "1"]
    assert cells(text, "behavior_sessions")[1:] == ["3", "1", "1", "0"]
    assert cells(text, "ophys_experiments")[1:] == ["3", "0", "0", "1"]
    assert cells(text, "ophys_cells")[1:] == ["2", "1", "0", "0"]
    assert "behavior_sessions: age_in_days in 1 row\n" in text
    assert "ophys_cells: cell_specimen_id in 1 row\n" in text
    assert text.endswith(
        f"changed: {PROJECT}/behavior_sessions/behavior_session_1001.nwb\n"
        f"added: {PROJECT}/behavior_sessions/behavior_session_1005.nwb\n"
        f"removed: {PROJECT}/behavior_ophys_experiments/behavior_ophys_experiment_5004.nwb\n"
    )


def test_diff_is_symmetric(two: Path) -> None:
    there = json.loads(output("diff", "--source", two, "1.1.0", "latest", "--json"))
    back = json.loads(output("diff", "--source", two, "latest", "1.1.0", "--json"))
    assert there["files"]["added"] == back["files"]["removed"]
    assert there["tables"]["ophys_experiments"]["removed"] == 1
    assert back["tables"]["ophys_experiments"]["added"] == 1


def test_diff_of_a_release_that_does_not_exist(two: Path) -> None:
    assert refusal("diff", "--source", two, "1.1.0", "2.0.0") == (
        f"error: There is no release '2.0.0' in {two}. Give latest or one of 1.1.0, 1.2.0."
    )
