"""Names with everything in them, file permissions, and clocks that jump."""

from __future__ import annotations

import os
import random
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from builders.command import vblake
from builders.lakes import contents
from servers.s3 import S3Server

from pipelines.check.lake import verify
from pipelines.ingest import ingest, prepare
from pipelines.lake.store import LocalStore, open_store
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


def output(*args: str | Path, **options: Any) -> str:
    done = vblake(*args, **options)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode()
    return done.stdout.decode()


def test_names_with_everything_in_them(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, one_mouse: int, soak: bool, seed: int
) -> None:
    for name in NAMES if soak else random.Random(seed).sample(NAMES, 1):
        check_name(sample_bucket, sample_lake, tmp_path, name, one_mouse)


def check_name(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, name: str, one_mouse: int
) -> None:
    """For lake, source, working folder and output."""
    here = tmp_path / name
    here.mkdir()
    shutil.copytree(sample_bucket, here / f"source {name}")
    lake = f"lake {name}"
    chosen = Selection(mice=(one_mouse,))
    with S3Server(here / f"source {name}") as server:
        source = SourceSpec("s3://visual-behavior-ophys-data", server.url)
        request = IngestRequest(
            source,
            str(here / lake),
            selection=chosen,
            workers=0,
            verify_hash=True,
        )
        first = ingest(prepare(request))
    assert [e.error for r in first for e in r.entries if e.error] == []
    assert verify(LocalStore(here / lake)) == []
    again = prepare(
        IngestRequest(SourceSpec(str(here / f"source {name}")), str(here / lake), selection=chosen)
    )
    assert (len(again.todo), len(again.done)) == (0, len(first[0].entries))

    query = "SELECT count(*) AS n FROM trials"
    expected = f"SELECT count(*) FROM trials WHERE mouse_id = {one_mouse}"
    with duckdb.connect(str(sample_lake / "catalog.duckdb"), read_only=True) as con:
        rows = con.execute(expected).fetchall()[0][0]
    assert output("sql", "--lake", lake, "--format", "csv", query, cwd=here) == f"n\n{rows}\n"
    assert output("sql", "--lake", lake, "-o", f"{name}.parquet", query, cwd=here) == ""
    assert pl.read_parquet(here / f"{name}.parquet", glob=False).rows() == [(rows,)]
    assert output("verify", "--lake", lake, cwd=here).endswith("no problems\n")
    assert f"{rows:,}" in output("status", "--lake", lake, cwd=here)
    assert "describes release" in output("catalog", "--lake", lake, cwd=here)
    assert output(
        "plan", "--lake", lake, "--source", f"source {name}", "--mouse", str(one_mouse), cwd=here
    )

    # As others read it: the catalog from another working directory, and after a move.
    with duckdb.connect(str(here / lake / "catalog.duckdb"), read_only=True) as con:
        assert con.execute(query).fetchall() == [(rows,)]
    (here / lake).rename(here / f"moved {name}")
    with duckdb.connect(str(here / f"moved {name}" / "catalog.duckdb"), read_only=True) as con:
        con.execute("SET VARIABLE lake_root = ?", [as_pattern(str(here / f"moved {name}"))])
        assert con.execute(query).fetchall() == [(rows,)]


@pytest.mark.parametrize("odd", ["?", "\\"])
def test_a_name_that_duckdb_cannot_work_with_is_refused(
    sample_bucket: Path, tmp_path: Path, odd: str
) -> None:
    with pytest.raises(LakeError) as caught:
        ingest(
            prepare(
                IngestRequest(SourceSpec(str(sample_bucket)), str(tmp_path / f"a{odd}b"), workers=0)
            )
        )
    assert (
        str(caught.value)
        == f"{tmp_path}/a{odd}b has {odd} in its path, where DuckDB cannot work. Give another --lake."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have UTF-8 names only")
def test_a_name_that_is_not_utf8_is_refused(sample_bucket: Path, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(
        LakeError, match=r"caf\\udce9 is not UTF-8, which DuckDB needs\. Give another --lake\."
    ):
        open_store(name)
    done = vblake("status", "--lake", os.fsencode(name))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"is not UTF-8" in done.stderr


# --- permissions -----------------------------------------------------------------------------------------------------------------


def test_files_have_the_permissions_that_the_umask_gives(
    sample_bucket: Path, tmp_path: Path, one_mouse: int, soak: bool
) -> None:
    for umask in (0o002, 0o022, 0o077) if soak else (0o002,):
        (tmp_path / oct(umask)).mkdir()
        check_umask(sample_bucket, tmp_path / oct(umask), umask, one_mouse)


def check_umask(sample_bucket: Path, tmp_path: Path, umask: int, one_mouse: int) -> None:
    lake = tmp_path / "lake"
    options = ("--lake", lake, "--mouse", str(one_mouse), "--workers", "2")
    output("ingest", "--source", sample_bucket, *options, preexec_fn=lambda: os.umask(umask))
    output(
        "sql",
        "--lake",
        lake,
        "-o",
        tmp_path / "a.parquet",
        "FROM licks",
        preexec_fn=lambda: os.umask(umask),
    )
    output(
        "sql",
        "--lake",
        lake,
        "-o",
        tmp_path / "a.csv",
        "FROM licks",
        preexec_fn=lambda: os.umask(umask),
    )
    found = {
        p: stat.S_IMODE(p.stat().st_mode) for p in (lake, *lake.rglob("*"), *tmp_path.glob("a.*"))
    }
    assert len(found) > 50
    wrong = {
        p: oct(mode)
        for p, mode in found.items()
        if mode != (0o777 if p.is_dir() else 0o666) & ~umask
    }
    assert wrong == {}


# --- clocks ------------------------------------------------------------------------------------------------------------------------

JUMPING = """
import sys, time
real, calls = time.time, 0
def jumping():
    # An hour back and forth, a day back halfway.
    global calls
    calls += 1
    return real() + (3600 if calls % 2 else -3600) - 86400 * (calls > 50)
time.time = jumping
from assets.commands import main
sys.argv = ['vblake', *sys.argv[1:]]
main()
"""


def test_a_clock_that_jumps_while_a_command_runs(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, one_mouse: int
) -> None:
    lake = tmp_path / "lake"
    args = (
        "ingest",
        "--source",
        sample_bucket,
        "--lake",
        lake,
        "--mouse",
        str(one_mouse),
        "--workers",
        "1",
    )
    done = subprocess.run(
        [sys.executable, "-c", JUMPING, *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds = [float(s) for s in re.findall(r" in (-?[\d.]+) s$", done.stderr, re.M)]
    assert seconds
    assert all(0 <= s < 600 for s in seconds), "durations are not measured by that clock"
    assert verify(LocalStore(lake)) == []


def test_a_clock_that_was_wrong_between_runs(
    bucket: Path, tmp_path: Path, one_mouse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a run in the future, then one in the past: what is done stays done, and what has changed is read again."""
    now = datetime.now(UTC)

    class Clock(datetime):
        shift = timedelta(days=4000)

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now + cls.shift

    monkeypatch.setattr("pipelines.lake.ledger.datetime", Clock)
    monkeypatch.setattr("pipelines.catalog.build.datetime", Clock)
    request = IngestRequest(
        SourceSpec(str(bucket)),
        str(tmp_path / "lake"),
        selection=Selection(mice=(one_mouse,)),
        workers=0,
    )
    ingest(prepare(request))
    before = contents(tmp_path / "lake")
    for file in tmp_path.rglob("*"):
        os.utime(file, (now.timestamp() + 4e8, now.timestamp() + 4e8))
    Clock.shift = timedelta(days=-4000)
    assert prepare(request).todo == ()
    reports = ingest(
        prepare(
            IngestRequest(
                SourceSpec(str(bucket)),
                request.lake,
                selection=request.selection,
                force=True,
                workers=0,
            )
        )
    )
    assert {e.ingested_at for r in reports for e in r.entries} == {now - timedelta(days=4000)}
    assert contents(tmp_path / "lake") == before
    assert verify(LocalStore(tmp_path / "lake")) == []
