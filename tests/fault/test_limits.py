"""Names with everything in them, file permissions, and clocks that jump."""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from builders.cli import output, run
from builders.command import vblake
from builders.lakes import contents
from servers.s3 import BUCKET, S3Server

from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake.store import LocalStore, open_store
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from pipelines.sql_text import as_pattern
from schemas.errors import LakeError

NAMES = [
    'it\'s "here"; DROP TABLE x --',
    "Übung 日本 [1]* {a,b} $HOME `id` %41 #&!",
    " -rf ~ \t.",
    "two\nlines",
]


@pytest.fixture(scope="module")
def one_mouse(sample_bucket: Path) -> int:
    """The mouse of the sample with the fewest files."""
    prepared = prepare(IngestRequest(SourceSpec(str(sample_bucket)), "/nowhere"))
    return min(prepared.mice, key=lambda mouse: sum(t.mouse_id == mouse for t in prepared.todo))


def test_names_with_everything_in_them(
    sample_bucket: Path,
    sample_lake: Path,
    tmp_path: Path,
    one_mouse: int,
    soak: bool,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lake, source, working folder and output have such names."""
    trials = f"SELECT count(*) FROM trials WHERE mouse_id = {one_mouse}"
    with duckdb.connect(str(sample_lake / "catalog.duckdb"), read_only=True) as con:
        ((rows,),) = con.execute(trials).fetchall()
    for name in NAMES if soak else random.Random(seed).sample(NAMES, 1):
        here = tmp_path / name
        here.mkdir()
        monkeypatch.chdir(here)
        shutil.copytree(sample_bucket, f"source {name}")
        _check_names(here, name, one_mouse, rows)


def _check_names(here: Path, name: str, mouse: int, rows: int) -> None:
    lake, bucket = f"lake {name}", f"source {name}"
    selection = Selection(mice=(mouse,), tables=("trials", "licks"))
    with S3Server(here / bucket) as server:
        source = SourceSpec(f"s3://{BUCKET}", server.url)
        request = IngestRequest(source, lake, selection=selection, workers=0, verify_hash=True)
        assert [e.error for r in ingest(prepare(request)) for e in r.entries if e.error] == []
    again = prepare(IngestRequest(SourceSpec(bucket), lake, selection=selection))
    assert again.todo == ()
    assert again.done

    query = "SELECT count(*) AS n FROM trials"
    assert output("sql", "--lake", lake, "--format", "csv", query) == f"n\n{rows}\n"
    assert run("sql", "--lake", lake, "-o", f"{name}.parquet", query).exit_code == 0
    assert pl.read_parquet(here / f"{name}.parquet", glob=False).rows() == [(rows,)]
    assert output("verify", "--lake", lake).endswith("no problems\n")
    assert f"{rows:,}" in output("status", "--lake", lake)
    assert "describes release" in output("catalog", "--lake", lake)
    assert output("plan", "--lake", lake, "--source", bucket, "--mouse", mouse)

    # As others read it, after a move.
    moved = here / f"moved {name}"
    (here / lake).rename(moved)
    with duckdb.connect(str(moved / "catalog.duckdb"), read_only=True) as con:
        con.execute("SET VARIABLE lake_root = ?", [as_pattern(str(moved))])
        assert con.execute(query).fetchall() == [(rows,)]


@pytest.mark.parametrize("odd", ["?", "\\"])
def test_a_name_that_duckdb_cannot_work_with_is_refused(
    sample_bucket: Path, tmp_path: Path, odd: str
) -> None:
    lake = str(tmp_path / f"a{odd}b")
    with pytest.raises(LakeError) as caught:
        ingest(prepare(IngestRequest(SourceSpec(str(sample_bucket)), lake, workers=0)))
    assert str(caught.value) == (
        f"{lake} has {odd} in its path, where DuckDB cannot work. Give another --lake."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have UTF-8 names only")
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(
        LakeError, match=r"caf\\udce9 is not UTF-8, which DuckDB needs\. Give another --lake\."
    ):
        open_store(name)
    done = vblake("status", "--lake", os.fsencode(name))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"is not UTF-8" in done.stderr


def test_files_have_the_permissions_that_the_umask_gives(
    sample_bucket: Path, tmp_path: Path, one_mouse: int
) -> None:
    lake, umask = tmp_path / "lake", 0o002
    selected = ("--source", sample_bucket, "--mouse", str(one_mouse), "--workers", "2")
    for command in (
        ("ingest", *selected),
        ("sql", "-o", tmp_path / "a.parquet", "FROM licks"),
        ("sql", "-o", tmp_path / "a.csv", "FROM licks"),
    ):
        done = vblake(*command, "--lake", lake, umask=umask)
        assert done.returncode == 0, done.stderr
    found = {p: stat.S_IMODE(p.stat().st_mode) for p in (*lake.rglob("*"), *tmp_path.glob("a.*"))}
    assert len(found) > 50
    wrong = {
        p: oct(mode)
        for p, mode in found.items()
        if mode != (0o777 if p.is_dir() else 0o666) & ~umask
    }
    assert wrong == {}


def test_a_clock_that_is_wrong_and_jumps(
    bucket: Path, tmp_path: Path, one_mouse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in the future, then one in the past: what is done stays done."""
    now, calls, real = datetime.now(UTC), count(), time.time

    class Clock(datetime):
        shift = timedelta(days=4000)

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now + cls.shift

    monkeypatch.setattr("pipelines.lake.ledger.datetime", Clock)
    monkeypatch.setattr("pipelines.catalog.declared.datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * (-1) ** next(calls))
    source, lake = SourceSpec(str(bucket)), str(tmp_path / "lake")
    selection = Selection(mice=(one_mouse,), tables=("trials", "dff_traces"))
    request = IngestRequest(source, lake, selection=selection, workers=0)
    ingest(prepare(request))
    before = contents(tmp_path / "lake")
    for file in tmp_path.rglob("*"):
        os.utime(file, (now.timestamp() + 4e8, now.timestamp() + 4e8))
    Clock.shift = timedelta(days=-4000)
    assert prepare(request).todo == ()
    forced = IngestRequest(source, lake, selection=selection, force=True, workers=0)
    reports = ingest(prepare(forced))
    assert {e.ingested_at for r in reports for e in r.entries} == {now - timedelta(days=4000)}
    assert contents(tmp_path / "lake") == before
    assert verify(LocalStore(tmp_path / "lake")) == []
