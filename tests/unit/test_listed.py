"""What the project tables list for a file goes with its task, so that the worker can compare."""

from __future__ import annotations

from pathlib import Path

from builders.bucket import Bucket

from pipelines.release.selection import FileTask, Selection
from pipelines.release.tasks import plan


def _tasks(bucket: Bucket, folder: Path) -> dict[int, FileTask]:
    release, project = bucket.read(folder)
    return {task.file_key: task for task in plan(project, release, Selection(), {}).tasks}


def test_a_task_carries_the_cells_that_the_release_lists_for_its_experiment(tmp_path: Path) -> None:
    tasks = _tasks(Bucket(), tmp_path)
    assert {key: task.cells for key, task in tasks.items()} == {
        1001: None,
        1004: None,
        5001: (9001, 9002),
        5002: (9003,),
        5003: (),
        5004: (),
    }
    assert {task.unlisted for task in tasks.values()} == {()}


def test_releases_before_1_0_0_list_no_cells(tmp_path: Path) -> None:
    bucket = Bucket(version="0.3.0")
    del bucket.tables["ophys_cells_table"]
    assert {task.cells for task in _tasks(bucket, tmp_path).values()} == {None}


def test_a_task_carries_the_project_tables_that_lack_its_sessions(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.tables["ophys_session_table"] = [
        row for row in bucket.tables["ophys_session_table"] if row["ophys_session_id"] != "2003"
    ]
    bucket.tables["behavior_session_table"] = [
        row
        for row in bucket.tables["behavior_session_table"]
        if row["behavior_session_id"] != "1002"
    ]
    assert {key: task.unlisted for key, task in _tasks(bucket, tmp_path).items()} == {
        1001: (),
        1004: (),
        5001: ("behavior_sessions",),
        5002: ("ophys_sessions",),
        5003: ("ophys_sessions",),
        5004: ("ophys_sessions",),
    }
