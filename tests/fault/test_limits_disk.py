"""A disk that fills up, and folders that may not be read or written: one line, and a whole lake."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders.command import COMMAND, vblake
from builders.contained import contained
from builders.fixtures import Figure, Ingest
from builders.lake import build_lake
from builders.lakes import contents
from builders.machine import modes, read_only, small_disk, small_files, without_rights

from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake.store import LocalStore, private
from pipelines.prepare import prepare
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.checks import Level
from schemas.errors import LakeError


def check_whole(lake: Path) -> None:
    """Whatever a reader sees opens, and with a catalog all else is right as well."""
    for file in lake.glob("[!_]*/**/*.parquet"):
        pq.ParquetFile(file).read()
    if (lake / "catalog.duckdb").exists():
        assert [p for p in verify(LocalStore(lake)) if p.level is Level.ERROR] == []


def finish(bucket: Path, lake: Path, expected: Path) -> None:
    """Completes an ingest."""
    ingest(prepare(IngestRequest(SourceSpec(str(bucket)), str(lake), workers=0)))
    check_whole(lake)
    assert contents(lake) == contents(expected)


def test_a_disk_that_is_full(
    sample_bucket: Path,
    sample_lake: Path,
    tmp_path: Path,
    run_ingest: Ingest,
    soak: bool,
    seed: int,
    figure: Figure,
) -> None:
    whole = sum(p.stat().st_size for p in sample_lake.rglob("*") if p.is_file())
    with small_disk(tmp_path / "disk", 1 << 20) as resize:
        lake = tmp_path / "disk" / "lake"
        rng = random.Random(seed)
        # Each time a little larger, so that it is full at another place; what is there stays.
        sizes = sorted(rng.uniform(0.02, 0.9) * whole for _ in range(20 if soak else 2))
        for size in sizes:
            resize(int(size))
            with pytest.raises(LakeError) as caught:
                run_ingest(sample_bucket, lake)
            text = str(caught.value)
            assert re.search(r"cannot be written[ :(].*\d MB free", text), (seed, size, text)
            assert str(lake) in text
            assert "\n" not in text
            check_whole(lake)
        resize(10 * whole)
        finish(sample_bucket, lake, sample_lake)
    figure(
        f"disk full: {len(sizes)} sizes of disk too small, each a line for the user; then the "
        "lake equals an undisturbed one"
    )


def _limited_ingest(bucket: str, lake: str, size: int) -> str:
    small_files(size)()
    try:
        ingest(prepare(IngestRequest(SourceSpec(bucket), lake, workers=0)))
    except LakeError as error:
        return str(error)
    return ""


def test_a_limit_on_the_size_of_files_is_one_line(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, soak: bool, seed: int
) -> None:
    lake = tmp_path / "lake"
    again = "and run the same command again: what is finished is kept."
    for size in sorted(random.Random(seed).sample(range(2_000, 150_000), 10 if soak else 1)):
        arguments = str(sample_bucket), str(lake), size
        text = contained(_limited_ingest, *arguments, seconds=60, memory=1 << 30).value
        line = rf"{lake}\S* cannot be written: File too large\. Raise the limit .*"
        assert re.fullmatch(line + re.escape(again), text), (seed, size, text)
        check_whole(lake)
    finish(sample_bucket, lake, sample_lake)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", [["sql", "FROM licks"], ["status"], ["--help"]])
def test_an_output_on_a_full_disk(sample_lake: Path, args: list[str]) -> None:
    environment = os.environ | {"VBLAKE_LAKE": str(sample_lake)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *args], stdout=full, stderr=subprocess.PIPE, check=False, env=environment
        )
    assert (done.returncode, done.stderr) == (1, b"error: the output: No space left on device\n")


# --- rights


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The hand-made lake."""
    build_lake(tmp_path / "small")
    return tmp_path / "small"


def refused(*args: str | Path, code: int = 1) -> str:
    """The last line of a command that fails without a traceback."""
    done = vblake(*args, preexec_fn=without_rights)
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b""), text
    assert "Traceback" not in text
    return text.splitlines()[-1]


def check_readable(small: Path) -> None:
    for args in (["status"], ["sql", "SELECT count(*) FROM trials"], ["verify"]):
        done = vblake(*args, "--lake", small, preexec_fn=without_rights)
        assert (done.returncode, done.stderr) == (0, b""), args
        assert done.stdout


def test_a_lake_that_may_not_be_written(small: Path) -> None:
    folders, files = ([p for p in small.rglob("*") if p.is_dir() is kind] for kind in (True, False))
    with modes(0o555, small, *folders), modes(0o444, *files):
        before = {p: p.stat().st_mtime_ns for p in small.rglob("*")}
        check_readable(small)
        assert refused("catalog", "--lake", small) == (
            f"error: {small}/_lock cannot be written: Permission denied. Give a folder that you "
            "may write to, or get the right to write to this one."
        )
        assert {p: p.stat().st_mtime_ns for p in small.rglob("*")} == before


def test_a_lake_on_a_read_only_disk(small: Path) -> None:
    with read_only(small):
        check_readable(small)
        assert refused("catalog", "--lake", small).startswith(
            f"error: {small}/_lock cannot be written: Read-only file system. Give a folder"
        )


@pytest.mark.parametrize("part", ["", "trials/mouse_id=101", "source_files"])
def test_a_part_of_the_lake_that_may_not_be_read_is_not_taken_for_empty(
    small: Path, part: str
) -> None:
    with modes(0o000, small / part):
        for command in ("status", "verify"):
            line = refused(command, "--lake", small)
            assert line.endswith(": Permission denied"), line
            assert str(small / part) in line


def test_folders_where_nothing_can_be_written(
    sample_bucket: Path, small: Path, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    with modes(0o555, closed):
        line = refused("ingest", "--source", sample_bucket, "--lake", closed / "lake")
        assert line.startswith(f"error: {closed}/lake cannot be made: ")
        assert line.endswith(". Give a folder that you may write to as --lake.")
        line = refused("sql", "--lake", small, "-o", closed / "x.parquet", "SELECT 1", code=2)
        assert f"{closed}/x.parquet cannot be written" in line


def test_staging_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private(tmp_path / "mine")
    private(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("open", "link"):
        with pytest.raises(LakeError, match=f"{name} is not a folder that only you can write to"):
            private(tmp_path / name)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(LakeError, match="is not a folder that only you can write to"):
        private(tmp_path / "mine")
