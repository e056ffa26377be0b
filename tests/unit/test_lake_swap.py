"""Putting a file in its place: what it replaces, what stays, what a file system may lack."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lake.store import LocalStore
from pipelines.lake.swap import put
from pipelines.lake.writer import write_table
from schemas import TABLES
from schemas.casts import conform
from schemas.layout import relative_path


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "_staging"
    folder.mkdir()
    return folder


def _staged(staging: Path, value: int) -> Path:
    path = staging / f"{value}-{time.monotonic_ns()}.staged"
    pq.write_table(pa.table({"value": [value]}), path)
    return path


def _value(path: Path) -> int:
    return pq.ParquetFile(path).read().column("value").to_pylist()[0]


def test_a_file_makes_its_folders_and_replaces_the_one_of_its_name(
    tmp_path: Path, staging: Path
) -> None:
    target = tmp_path / "t" / "mouse_id=1" / "behavior_session_id=2" / "t.parquet"
    for value in (1, 2):
        staged = _staged(staging, value)
        put(staged, target, staging)
        assert _value(target) == value
        assert staged.exists()
    assert [p for p in (tmp_path / "t").rglob("*") if p.is_file()] == [target]
    assert not [*staging.glob("put-*")]


def test_the_same_content_replaces_nothing_also_where_it_was_moved_before(
    tmp_path: Path, staging: Path
) -> None:
    target = tmp_path / "t" / "a.parquet"
    for value in (1, 2):
        put(_staged(staging, value), target, staging)
    before = target.stat().st_ino
    put(_staged(staging, 2), target, staging)
    assert target.stat().st_ino == before


def test_what_is_left_staged_can_be_rewritten_without_touching_the_published_file(
    tmp_path: Path,
) -> None:
    table, store = TABLES["licks"], LocalStore(tmp_path / "lake")
    path = relative_path(table, mouse_id=1)
    staged = store.staging / "licks.parquet"
    staged.parent.mkdir(parents=True)

    def write(count: int) -> None:
        columns = {"behavior_session_id": 7, "timestamps": 0.5, "frame": 1}
        write_table(table, staged, [conform(table, columns, count)], release="1.1.0")

    write(3)
    store.publish(staged, path)
    write(5)
    file = store.parquet(path)
    assert file is not None
    assert file.metadata.num_rows == 3


def test_without_links_a_file_is_copied(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    put(_staged(staging, 1), tmp_path / "t" / "a.parquet", staging)
    assert _value(tmp_path / "t" / "a.parquet") == 1


def test_another_failure_of_a_link_is_not_passed_over_and_leaves_nothing(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    staged = _staged(staging, 1)
    monkeypatch.setattr(Path, "hardlink_to", full)
    with pytest.raises(OSError, match="No space left"):
        put(staged, tmp_path / "t" / "a.parquet", staging)
    assert not (tmp_path / "t").exists()
    assert list(staging.iterdir()) == [staged]
