"""Replacing files of a folder: names, what stays, what a file system may lack."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipelines.lake import exchange
from pipelines.lake.exchange import put, standing
from pipelines.lake.store import LocalStore
from pipelines.lake.writer import write_table
from schemas import TABLES
from schemas.casts import conform
from schemas.layout import first_path, relative_path, successor


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "_staging"
    folder.mkdir()
    return folder


def _staged(staging: Path, text: str) -> Path:
    path = staging / f"{text}.staged"
    path.write_text(text)
    return path


def _held(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def test_names_of_what_takes_the_place_of_a_file() -> None:
    assert successor("t/m=1/trials.parquet") == "t/m=1/trials.2.parquet"
    assert successor("t/m=1/trials.9.parquet") == "t/m=1/trials.10.parquet"
    assert first_path("t/m=1.5/trials.10.parquet") == first_path("t/m=1.5/trials.parquet") == "t/m=1.5/trials.parquet"


def test_a_replaced_file_has_a_new_name_and_the_others_stay(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, "1"), "b.parquet": _staged(staging, "b")}, staging)
    assert _held(folder) == {"a.parquet": "1", "b.parquet": "b"}
    inode = (folder / "b.parquet").stat().st_ino
    put(folder, {"a.parquet": _staged(staging, "2"), "c.parquet": _staged(staging, "c")}, staging)
    put(folder, {"a.parquet": _staged(staging, "3"), "c.parquet": None, "never.parquet": None}, staging)
    assert _held(folder) == {"a.3.parquet": "3", "b.parquet": "b"}
    assert standing(folder / "a.parquet") == folder / "a.3.parquet"
    assert standing(folder / "c.parquet") is None
    assert (folder / "b.parquet").stat().st_ino == inode


def test_the_same_bytes_replace_nothing(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, "1")}, staging)
    before = folder.stat().st_ino, (folder / "a.parquet").stat().st_ino
    again = staging / "again"
    again.write_text("1")
    put(folder, {"a.parquet": again}, staging)
    assert (folder.stat().st_ino, (folder / "a.parquet").stat().st_ino) == before


def test_what_is_left_staged_can_be_written_anew_without_touching_the_published_file(tmp_path: Path) -> None:
    table, store = TABLES["licks"], LocalStore(tmp_path / "lake")
    staged, path = tmp_path / "lake/_staging/licks.parquet", relative_path(TABLES["licks"], mouse_id=1)
    staged.parent.mkdir(parents=True)

    def write(count: int) -> None:
        columns = {"behavior_session_id": [7] * count, "timestamps": [0.5] * count, "frame": [1] * count}
        write_table(table, staged, [conform(table, columns, count)], release="1.1.0")

    write(3)
    store.publish(staged, path)
    write(5)
    file = store.parquet(path)
    assert file is not None
    assert file.metadata.num_rows == 3


def test_who_has_opened_the_folder_before_finds_the_old_names(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, "1")}, staging)
    opened = os.open(folder, os.O_RDONLY)
    put(folder, {"a.parquet": _staged(staging, "2")}, staging)
    assert os.listdir(opened) == ["a.parquet"]  # noqa: PTH208 - a folder that is open has no path
    os.close(opened)


def test_without_exchange_and_links_files_are_replaced_under_their_names(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(exchange, "_exchange", lambda *_: False)
    folder = tmp_path / "t"
    put(folder, {"a.parquet": _staged(staging, "1"), "b.parquet": _staged(staging, "b")}, staging)
    put(folder, {"a.parquet": _staged(staging, "2"), "b.parquet": None, "c.parquet": _staged(staging, "c")}, staging)
    assert _held(folder) == {"a.parquet": "2", "c.parquet": "c"}


def test_another_failure_of_a_link_is_not_passed_over(tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "hardlink_to", full)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path / "t", {"a.parquet": _staged(staging, "1")}, staging)
    assert not (tmp_path / "t").exists()
