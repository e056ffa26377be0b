"""`vblake check`: what an ingest would make of a file, by itself or as one of a bucket."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
from builders.cli import output, run
from builders.lakes import edit
from builders.mini import EXPERIMENT, EXPERIMENT_FILE, MINI, mini_bucket

from schemas.checks import Rule


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A whole experiment file, outside of any bucket."""
    return Path(shutil.copy(MINI / "bucket" / EXPERIMENT_FILE, tmp_path / "plane.nwb"))


def report(*args: object, code: int) -> dict[str, Any]:
    result = run("check", "--format", "json", *args)
    assert result.exit_code == code, result.output
    (found,) = json.loads(result.stdout)
    return found


def broken(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(v["rule"], v["table"]) for v in found["violations"]}


def test_a_good_file(file: Path) -> None:
    found = report(file, code=0)
    assert (found["verdict"], found["violations"], found["in_source"]) == ("good", [], False)
    rows = {t["table"]: t["rows"] for t in found["tables"]}
    shapes = {d["path"]: (d["dtype"], d["shape"]) for d in found["datasets"]}
    assert shapes["/processing/rewards/volume/data"] == ("float64", [rows["rewards"]])
    assert shapes["/processing/ophys/dff/traces/data"][1][1] >= rows["dff_traces"] > 0
    assert shapes["/identifier"] == ("text", [])
    assert set(file.parent.iterdir()) == {file}


def test_every_rule_that_a_table_breaks_is_named(file: Path) -> None:
    with edit(file) as h5:
        licks = h5["/processing/licking/licks"]
        licks["data"][-1] = 10**6
        times = licks["timestamps"][()]
        times[:2] = times[1::-1]
        licks["timestamps"][()] = times
        rows = len(times)
    found = report(file, code=3)
    assert broken(found) == {
        (Rule.CLOCK_ASCENDING, "licks"),
        (Rule.FRAME_IN_CLOCK, "licks"),
        (Rule.PARENT_HELD_BACK, "presentation_annotations"),
        (Rule.PARENT_HELD_BACK, "mean_responses"),
    }
    held_back = {t["table"]: t for t in found["tables"] if t["status"] == "held_back"}
    assert held_back["licks"]["rows"] == rows
    assert held_back.keys() == {"licks"} | {
        t for t in held_back if held_back[t]["rule"] == Rule.PARENT_HELD_BACK
    }


def test_what_cannot_be_listed_does_not_hide_what_is_held_back(file: Path) -> None:
    clock = "/processing/stimulus/timestamps/timestamps"
    with edit(file) as h5:
        header = h5py.h5o.get_info(h5[clock].id).addr
    content = bytearray(file.read_bytes())
    content[header : header + 8] = b"\x77" * 8
    file.write_bytes(content)
    found = report(file, code=3)
    assert (Rule.SOURCE_DATA, "stimulus_timestamps") in broken(found)
    assert "the file cannot be listed" in found["warnings"][-1]


def test_the_report_for_people_says_what_was_found_where(file: Path) -> None:
    with edit(file) as h5:
        h5["/processing/licking/licks/data"][-1] = 10**6
        frames = len(h5["/processing/stimulus/timestamps/timestamps"])
    result = run("check", file)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{file}: held back\n")
    assert (
        "* frame_in_clock, can be allowed: table licks, column frame\n"
        f"    expected 0 to {frames - 1}, frames of the clock in stimulus_timestamps\n"
        "    found frame 1000000\n"
    ) in result.stdout
    assert "* /processing/licking/licks/: data " in result.stdout


@pytest.mark.parametrize("name", [EXPERIMENT_FILE, str(EXPERIMENT)])
def test_a_file_of_a_bucket_is_compared_with_the_release(tmp_path: Path, name: str) -> None:
    bucket = tmp_path / "bucket"
    mini_bucket().write(bucket)
    with edit(bucket / EXPERIMENT_FILE) as h5:
        h5["/general/subject/subject_id"][()] = "1"
    found = report(name, "--source", bucket, code=3)
    assert (found["file"], found["in_source"]) == (EXPERIMENT_FILE, True)
    assert [v["rule"] for v in found["violations"]] == [Rule.FILE_IDENTITY]
    assert "column mouse_id" in found["error"]
    assert found == report(bucket / EXPERIMENT_FILE, "--source", bucket, code=3)


def test_a_file_that_is_no_nwb_file_is_unreadable(file: Path) -> None:
    good = output("check", file)
    file.write_bytes(file.read_bytes()[:-100])
    result = run("check", file, MINI / "bucket" / EXPERIMENT_FILE)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{file}: unreadable\n")
    assert "cannot be opened as HDF5" in result.stdout
    assert result.stdout.endswith(good[good.index("\nNo rule") :]), "the other file is reported"


@pytest.mark.parametrize("table", ["lick", "ophys_cells"])
def test_tables_that_a_file_does_not_have_are_refused(file: Path, table: str) -> None:
    result = run("check", file, "--tables", table)
    assert (result.exit_code, result.stdout) == (2, "")
    assert table in result.stderr


def test_a_name_that_is_no_file_is_refused(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    mini_bucket().write(bucket)
    result = run("check", EXPERIMENT + 1, "--source", bucket)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{EXPERIMENT + 1} is neither a file here nor one of the release" in result.stderr
    assert f"Did you mean {EXPERIMENT}?" in result.stderr
    result = run("check", bucket, "--source", bucket)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{bucket} is a folder. Give the files in it that are to be checked." in result.stderr
