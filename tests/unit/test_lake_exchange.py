"""Putting files in a folder: what takes whose place, what stays, what a file system may lack."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lake import swap as exchange
from pipelines.lake.store import LocalStore
from pipelines.lake.swap import put, tidy
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


def _held(folder: Path) -> dict[str, int]:
    return {
        p.name: pq.ParquetFile(p).read().column("value").to_pylist()[0] for p in folder.iterdir()
    }


def test_files_are_replaced_added_and_removed_under_their_names_and_the_others_stay(
    tmp_path: Path, staging: Path
) -> None:
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, 1), "b.parquet": _staged(staging, 7)}, staging)
    assert _held(folder) == {"a.parquet": 1, "b.parquet": 7}
    inode = (folder / "b.parquet").stat().st_ino
    put(folder, {"a.parquet": _staged(staging, 2), "c.parquet": _staged(staging, 3)}, staging)
    assert _held(folder) == {"a.parquet": 2, "b.parquet": 7, "c.parquet": 3}
    put(folder, {"a.parquet": _staged(staging, 4), "c.parquet": None, "never": None}, staging)
    assert _held(folder) == {"a.parquet": 4, "b.parquet": 7}
    assert (folder / "b.parquet").stat().st_ino == inode


def test_the_same_content_replaces_nothing_also_where_it_was_moved_before(
    tmp_path: Path, staging: Path
) -> None:
    folder = tmp_path / "t"
    for value in (1, 2):
        put(folder, {"a.parquet": _staged(staging, value)}, staging)
    before = folder.stat().st_ino, (folder / "a.parquet").stat().st_ino
    put(folder, {"a.parquet": _staged(staging, 2)}, staging)
    assert (folder.stat().st_ino, (folder / "a.parquet").stat().st_ino) == before


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


def test_who_lists_a_folder_while_it_changes_finds_every_name_by_its_path(
    tmp_path: Path, staging: Path
) -> None:
    """DuckDB opens the folder, then asks for each name in it by path, and passes over those that are gone."""
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, 1), "b.parquet": _staged(staging, 1)}, staging)
    opened = os.open(folder, os.O_RDONLY)
    put(folder, {"a.parquet": _staged(staging, 2), "b.parquet": _staged(staging, 2)}, staging)
    put(folder, {"a.parquet": _staged(staging, 3)}, staging)
    tidy(staging)
    names = sorted(os.listdir(opened))  # noqa: PTH208 - a folder that is open has no path
    os.close(opened)
    assert names == ["a.parquet", "b.parquet"]
    assert all((folder / name).is_file() for name in names)


def test_what_was_exchanged_goes_after_a_while(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1, 2):
        files = {name: _staged(staging, value) for name in ("a.parquet", "b.parquet")}
        put(tmp_path / "t", dict(files), staging)
    tidy(staging)
    (left,) = staging.iterdir()
    assert {p.name: p.stat().st_size for p in left.iterdir()} == {"a.parquet": 0, "b.parquet": 0}
    monkeypatch.setattr(exchange, "_KEEP_S", -1.0)
    tidy(staging)
    assert not staging.exists()


def test_without_exchange_and_links_files_are_replaced_one_by_one(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(exchange, "_exchange", lambda *_: False)
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, 1), "b.parquet": _staged(staging, 7)}, staging)
    put(folder, {"a.parquet": _staged(staging, 2), "b.parquet": None}, staging)
    assert _held(folder) == {"a.parquet": 2}


def test_another_failure_of_a_link_is_not_passed_over_and_leaves_nothing(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    staged = _staged(staging, 1)
    monkeypatch.setattr(Path, "hardlink_to", full)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path / "t", {"a.parquet": staged}, staging)
    assert not (tmp_path / "t").exists()
    assert list(staging.iterdir()) == [staged]
