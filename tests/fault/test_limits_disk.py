"""A disk that fills up, and folders that may not be read or written: one line says so, the lake stays whole, the next run goes on."""

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
from builders.fixtures import Figure
from builders.lake import build_lake
from builders.lakes import contents
from builders.machine import modes, read_only, small_disk, small_files, without_rights

from pipelines.catalog.build import build_catalog
from pipelines.check.finding import Level
from pipelines.check.lake import verify
from pipelines.ingest import ingest, prepare
from pipelines.lake.store import LocalStore
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.errors import LakeError

AGAIN = "and run the same command again: what is finished is kept."


def request(bucket: Path, lake: Path, workers: int = 0) -> IngestRequest:
    return IngestRequest(SourceSpec(str(bucket)), str(lake), workers=workers)


def check_whole(lake: Path) -> None:
    """Whatever a reader sees opens, and with a catalog all else is right as well."""
    for file in lake.glob("[!_]*/**/*.parquet"):
        pq.ParquetFile(file).read()
    if (lake / "catalog.duckdb").exists():
        assert [p for p in verify(LocalStore(lake)) if p.level is Level.ERROR] == []


def finish(bucket: Path, lake: Path, expected: Path) -> None:
    """Completes an ingest; what had been converted is not converted again."""
    kept = {p.parent.name: p.stat().st_mtime_ns for p in (lake / "_staging").glob("*/result.json")}
    taken: set[str] = set()

    def note(result: object) -> None:
        folder = getattr(result, "folder", lake)
        if kept.get(folder.name) == (folder / "result.json").stat().st_mtime_ns:
            taken.add(folder.name)

    ingest(prepare(request(bucket, lake)), on_file=note)
    assert taken == set(kept)
    check_whole(lake)
    assert contents(lake) == contents(expected)


def test_a_disk_that_is_full(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, soak: bool, seed: int, figure: Figure
) -> None:
    whole = sum(p.stat().st_size for p in sample_lake.rglob("*") if p.is_file())
    with small_disk(tmp_path / "disk", 1 << 20) as resize:
        lake = tmp_path / "disk" / "lake"
        # Each time a little larger, so that it is full at another place; what is there stays.
        sizes = sorted(
            random.Random(seed).uniform(0.02, 1.1) * whole for _ in range(20 if soak else 4)
        )
        full = 0
        for size in sizes:
            resize(int(size))
            try:
                ingest(prepare(request(sample_bucket, lake)))
            except LakeError as error:
                full += 1
                text = str(error)
                assert re.search(r"cannot be written[ :(].*\d MB free", text), (seed, size, text)
                assert str(lake) in text
                assert "\n" not in text
            check_whole(lake)
        assert full > 0, seed
        resize(10 * whole)
        finish(sample_bucket, lake, sample_lake)
    figure(
        f"disk full: {full} of {len(sizes)} sizes of disk too small, each a line for the user; then the lake equals an undisturbed one"
    )


def _build(lake: str) -> str:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        build_catalog(LocalStore(Path(lake)), "1.1.0")
    except LakeError as error:
        return str(error)
    return ""


def test_a_catalog_that_cannot_be_written_leaves_the_old_one(lake: Path) -> None:
    before = (lake / "catalog.duckdb").read_bytes()
    text = contained(_build, str(lake), seconds=60, memory=1 << 30).value
    assert text.startswith(f"{lake}/catalog.duckdb cannot be written (")
    assert "File too large; " in text
    assert text.endswith(
        f"Repair the cause and run `vblake catalog --lake {lake}`. The tables are complete."
    )
    assert (lake / "catalog.duckdb").read_bytes() == before
    assert list((lake / "_staging").iterdir()) == []


def test_the_user_reads_one_line_where_a_file_may_not_grow(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, soak: bool, seed: int
) -> None:
    lake = tmp_path / "lake"
    for size in sorted(random.Random(seed).sample(range(2_000, 150_000), 10 if soak else 1)):
        done = vblake(
            "ingest",
            "--source",
            sample_bucket,
            "--lake",
            lake,
            "--workers",
            "2",
            preexec_fn=small_files(size),
        )
        *_, last = done.stderr.decode().splitlines()
        assert done.returncode == 1, (seed, size)
        assert re.fullmatch(
            rf"error: {lake}\S* cannot be written: File too large\. Raise the limit .*{re.escape(AGAIN)}"
            r"|error: Dagster cannot write its record in \S+ \(.*\)\. Free the folder, .*",
            last,
        ), (
            seed,
            size,
            last,
        )
        assert b"Traceback" not in done.stderr, (seed, size)
        check_whole(lake)
    finish(sample_bucket, lake, sample_lake)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    "args",
    [
        ["sql", "FROM licks"],
        ["sql", "--format", "csv", "FROM licks"],
        ["status"],
        ["verify", "--quick"],
        ["--version"],
        ["--help"],
    ],
)
def test_an_output_on_a_full_disk(sample_lake: Path, args: list[str]) -> None:
    where = {"VBLAKE_LAKE": str(sample_lake)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *args],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            env=os.environ | where,
        )
    assert (done.returncode, done.stderr) == (1, b"error: the output: No space left on device\n")


# --- rights ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The hand-made lake."""
    build_lake(tmp_path / "small")
    return tmp_path / "small"


READING = [
    (["status"], "release 1.1.0 in"),
    (["sql", "SELECT count(*) FROM trials"], "1 row"),
    (["verify"], "no problems"),
]


def refused(*args: str | Path) -> str:
    done = vblake(*args, preexec_fn=without_rights)
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), text
    (line,) = text.splitlines()
    return line


def test_a_lake_that_may_not_be_written(small: Path) -> None:
    with (
        modes(0o555, small, *[p for p in small.rglob("*") if p.is_dir()]),
        modes(0o444, *[p for p in small.rglob("*") if p.is_file()]),
    ):
        before = {p: p.stat().st_mtime_ns for p in small.rglob("*")}
        for args, part in READING:
            done = vblake(*args, "--lake", small, preexec_fn=without_rights)
            assert (done.returncode, done.stderr) == (0, b""), args
            assert part in done.stdout.decode()
        assert refused("catalog", "--lake", small) == (
            f"error: {small}/_lock cannot be written: Permission denied. Give a folder that you may write to, or get the right to write to this one."
        )
        assert {p: p.stat().st_mtime_ns for p in small.rglob("*")} == before


def test_a_lake_on_a_read_only_disk(small: Path) -> None:
    with read_only(small):
        for args, part in READING:
            done = vblake(*args, "--lake", small)
            assert (done.returncode, done.stderr) == (0, b""), args
            assert part in done.stdout.decode()
        assert refused("catalog", "--lake", small).startswith(
            f"error: {small}/_lock cannot be written: Read-only file system. Give a folder"
        )


@pytest.mark.parametrize("mode", [0o000, 0o444])
@pytest.mark.parametrize("part", ["", "trials", "trials/mouse_id=101", "source_files"])
def test_a_part_of_the_lake_that_may_not_be_read_is_not_taken_for_empty(
    small: Path, part: str, mode: int
) -> None:
    with modes(mode, small / part):
        for command in ("status", "verify"):
            line = refused(command, "--lake", small)
            assert line.endswith(": Permission denied"), line
            assert str(small / part) in line


def test_a_lake_where_none_can_be_made(sample_bucket: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    with modes(0o555, tmp_path / "closed"):
        done = vblake(
            "ingest",
            "--source",
            sample_bucket,
            "--lake",
            tmp_path / "closed/lake",
            preexec_fn=without_rights,
        )
    *_, last = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert last.startswith(f"error: {tmp_path}/closed/lake cannot be made: ")
    assert last.endswith(". Give a folder that you may write to as --lake.")
    assert b"Traceback" not in done.stderr


def test_an_output_that_may_not_be_written(small: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    with modes(0o555, tmp_path / "closed"):
        for name in ("x.csv", "x.json", "x.parquet"):
            done = vblake(
                "sql",
                "--lake",
                small,
                "-o",
                tmp_path / "closed" / name,
                "SELECT 1",
                preexec_fn=without_rights,
            )
            assert done.returncode == 2, name
            assert f"{tmp_path}/closed/{name} cannot be written" in done.stderr.decode()
            assert b"Traceback" not in done.stderr


def test_staging_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.lake.store import private

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
