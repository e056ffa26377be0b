"""`vblake plan`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders.bucket import Bucket
from builders.cli import cells, output, refusal

from pipelines.lake.state import LastRun
from pipelines.lake.store import LocalStore
from pipelines.prepare import Prepared, prepare
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec


@pytest.fixture
def bucket_folder(tmp_path: Path) -> Path:
    bucket = Bucket()
    del bucket.files[3]  # experiment 5004 of mouse 100002
    bucket.write(tmp_path / "bucket")
    return tmp_path / "bucket"


def nwb_bytes(folder: Path, *ids: int) -> int:
    return sum(file.stat().st_size for number in ids for file in folder.rglob(f"*_{number}.nwb"))


def test_plan(bucket_folder: Path, tmp_path: Path) -> None:
    text = output("plan", "--source", bucket_folder, "--lake", tmp_path / "new")
    assert text.splitlines()[0] == f"release 1.1.0 from {bucket_folder} into {tmp_path}/new"
    first, second = nwb_bytes(bucket_folder, 1001, 5001), nwb_bytes(bucket_folder, 1004, 5002, 5003)
    assert cells(text, "100001") == ["100001", "2", "2", str(first), "B", "0", "B", "0", "0"]
    assert cells(text, "100002") == ["100002", "4", "3", str(second), "B", "0", "B", "0", "1"]
    assert cells(text, "all") == ["all", "6", "5", str(first + second), "B", "0", "B", "0", "1"]
    assert not (tmp_path / "new").exists()


def test_plan_lists_the_files(bucket_folder: Path, tmp_path: Path) -> None:
    text = output("plan", "--source", bucket_folder, "--lake", tmp_path / "new", "--list")
    listed = {line[2]: line for line in map(str.split, text.splitlines()) if len(line) > 3}
    assert listed["5004"][:4] == ["100002", "ophys_experiment", "5004", "missing"]
    assert "file_id" in listed["5004"]
    key = "visual-behavior-ophys/behavior_sessions/behavior_session_1001.nwb"
    assert listed["1001"][3:] == ["to", "do", str(len(f"not really HDF5: {key}")), "B", key]


def test_plan_as_json(bucket_folder: Path, tmp_path: Path) -> None:
    args = ("plan", "--source", bucket_folder, "--lake", tmp_path / "new", "--mouse", "100002")
    args += ("--tables", "licks,dff_traces", "--json")
    found = json.loads(output(*args))
    size = nwb_bytes(bucket_folder, 1004, 5002, 5003)
    expected = {"release": "1.1.0", "files": 4, "todo": 3, "done": 0, "missing": 1}
    expected |= {"bytes": size, "fetch_at_most": 0}
    assert {name: found[name] for name in expected} == expected
    assert [m["mouse_id"] for m in found["mice"]] == [100002]
    assert "to_do_files" not in found
    listed = json.loads(output(*args, "--list"))
    assert [(f["file_key"], f["tables"], f["gives_behavior"]) for f in listed["to_do_files"]] == [
        (5002, ["dff_traces"], False),
        (5003, ["licks", "dff_traces"], True),
        (1004, ["licks"], True),
    ]
    assert [(f["kind"], f["file_key"]) for f in listed["missing_files"]] == [
        ("ophys_experiment", 5004)
    ]


def test_plan_of_a_remote_source_bounds_what_is_fetched(
    bucket_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(request: IngestRequest) -> Prepared:
        return replace(
            prepare(replace(request, source=SourceSpec(str(bucket_folder)))), request=request
        )

    monkeypatch.setattr("pipelines.prepare.prepare", elsewhere)
    found = json.loads(
        output("plan", "--source", "s3://bucket", "--lake", tmp_path / "new", "--json", "--list")
    )
    assert found["source"] == "s3://bucket"
    at_most = sum(file["fetch_at_most"] for file in found["to_do_files"])
    assert found["fetch_at_most"] == found["bytes"] == at_most > 0


@pytest.mark.parametrize(("last_workers", "seconds"), [(1, 50), (2, 100)])
def test_plan_goes_by_how_fast_the_last_run_was(
    bucket_folder: Path, tmp_path: Path, last_workers: int, seconds: int
) -> None:
    args = ("plan", "--source", bucket_folder, "--lake", tmp_path, "--workers", "1")
    assert "estimate: converting takes " in output(*args)
    todo = nwb_bytes(bucket_folder, 1001, 5001, 1004, 5002, 5003)
    LastRun("2026-11-28", 2, todo, 1.0, 1).note(LocalStore(tmp_path))
    assert "converting takes" in output(*args), "two files say nothing"
    LastRun("2026-11-28", 40, todo, 50.0, last_workers).note(LocalStore(tmp_path))
    assert "with 1 worker, as fast as the run of 2026-11-28 (" in output(*args)
    found = json.loads(output(*args, "--json"))["estimate"]
    assert round(found["total_s"]) == seconds
    assert found["last_run"]["files"] == 40
    (tmp_path / "_last_run.json").write_text("{")
    assert "converting takes" in output(*args)


@pytest.mark.parametrize(
    ("option", "value"), [("--source", "/does/not/exist"), ("--where", "1; DROP TABLE x")]
)
def test_plan_refuses(bucket_folder: Path, tmp_path: Path, option: str, value: str) -> None:
    # The messages are those of the planning, and tested there.
    message = refusal("plan", "--lake", tmp_path / "new", "--source", bucket_folder, option, value)
    assert message.startswith("error: ")
    assert value in message
