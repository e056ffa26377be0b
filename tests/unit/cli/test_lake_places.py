"""Where the lake is that a command is given: moved, named by the environment, in S3, nowhere."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from builders.cli import TRIALS, csv_of, output, refusal
from builders.lake import write_rows

from pipelines.lake.store import LocalStore


def test_a_moved_lake_from_another_folder_with_links(
    good: Path, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with duckdb.connect(str(lake / "catalog.duckdb"), read_only=True) as con:
        assert con.execute("SELECT root FROM _lake").fetchone() == (str(good),), (
            "the catalog was built elsewhere"
        )
    (tmp_path / "link").symlink_to(lake)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (lake / TRIALS).unlink()
    write_rows(
        LocalStore(lake), "trials", [{"behavior_session_id": 1001, "trials_id": 77}], mouse_id=101
    )
    for path in ("../lake", "../link", "../here/../link"):
        assert csv_of("--lake", path, "SELECT trials_id FROM trials") == [["trials_id"], ["77"]]


def test_a_folder_whose_name_looks_like_a_pattern(lake: Path, tmp_path: Path) -> None:
    odd = tmp_path / "it's [1] *odd?"
    lake.rename(odd)
    assert csv_of("--lake", odd, "SELECT mouse_id, count(*) FROM trials GROUP BY 1")[1] == [
        "101",
        "5",
    ]
    assert output("verify", "--lake", odd).endswith("files read, no problems\n")


def test_the_lake_from_the_environment(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VBLAKE_LAKE", str(lake))
    assert csv_of("SELECT count(*) FROM licks")[1] == ["2"]


def test_no_lake(tmp_path: Path) -> None:
    assert refusal("sql", "--lake", tmp_path, "SELECT 1", code=1) == (
        f"error: {tmp_path} is not a vblake lake: it has no catalog.duckdb. Check the path, or make "
        f"a lake with `vblake ingest --lake {tmp_path}`."
    )


@pytest.mark.parametrize("command", [["status"], ["sql", "SELECT 1"]])
@pytest.mark.parametrize("lake", ["s3://", "s3:///vb"])
def test_a_bucket_without_a_name(lake: str, command: list[str]) -> None:
    said = refusal(*command, "--lake", lake, code=1)
    assert said.startswith(f"error: {lake}: a bucket is missing. Give s3://bucket/")


def test_nothing_is_written_anywhere(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {p: p.stat().st_mtime_ns for p in lake.rglob("*")}
    output("sql", "--lake", lake, "SELECT * FROM trials ORDER BY ALL")
    assert {p: p.stat().st_mtime_ns for p in lake.rglob("*")} == before
    assert list((tmp_path / "here").iterdir()) == []
