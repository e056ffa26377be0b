"""A published lake: read over plain HTTP by DuckLake, DuckDB's catalog, Polars and PyArrow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from builders.cli import output, refusal
from builders.lakes import query
from servers.s3 import BUCKET, S3Server

import vblake
from pipelines.catalog.connect import connect
from pipelines.catalog.macros import MACROS
from pipelines.frozen.publish import publish
from pipelines.lake.store import LocalStore, open_store
from schemas import TABLES
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.errors import LakeError
from schemas.views import VIEWS

PYTHON = os.environ.get("VBLAKE_DUCKLAKE_PYTHON")
"""An interpreter with DuckDB and DuckLake's extension; `make test-ducklake` makes it."""
WORKER = Path(__file__).parents[1] / "builders" / "with_ducklake.py"
with_ducklake = pytest.mark.skipif(
    PYTHON is None, reason="VBLAKE_DUCKLAKE_PYTHON is not set; `make test-ducklake` does it"
)

DECLARED = ("_tables", "_columns", "_foreign_keys", "_joins")
ALL_ROWS = "SELECT count(*), sum(md5_number_lower(t::VARCHAR)::HUGEINT)::VARCHAR FROM {} t"
SHAPE = "SELECT column_name, column_type FROM (DESCRIBE {})"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("web"), versioned=False) as running:
        yield running


@pytest.fixture(scope="module")
def published(sample_lake: Path, server: S3Server) -> str:
    """Address of the sample lake, published with it."""
    address = f"{server.url}/{BUCKET}/vb"
    folder = server.objects.root / "vb"
    output("publish", "--lake", sample_lake, "--to", folder, "--url", address)
    return address


def in_ducklake(attach: str, queries: list[str], cwd: Path) -> list[Any]:
    """The rows of queries, in another process and working directory, or the text of the error."""
    assert PYTHON is not None
    done = subprocess.run(
        [Path(PYTHON).absolute(), "-E", WORKER],
        input=json.dumps({"attach": attach, "queries": queries}),
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_lake(lake: Path, queries: list[str]) -> list[Any]:
    with connect(str(lake)) as con:
        rows = [con.execute(sql).fetchall() for sql in queries]
    return json.loads(json.dumps(rows, default=str))


@with_ducklake
def test_ducklake_gives_every_table_view_and_macro(
    sample_lake: Path, published: str, tmp_path: Path
) -> None:
    names = (*TABLES, *VIEWS, *DECLARED, *(f"{BI_SCHEMA}.{name}" for name in BI_VIEWS))
    assert set(MACROS) == {
        "dprime", "dprime_from_counts", "dff_around", "events_around", "running_around",
        "pupil_around",
    }  # fmt: skip
    one = query(
        sample_lake, "SELECT min(ophys_experiment_id), min(behavior_session_id) FROM events"
    )
    ((plane, session),) = one
    queries = [form.format(name) for name in names for form in (SHAPE, ALL_ROWS)]
    queries += [
        "SELECT dprime(0.9, 0.2), dprime_from_counts(40, 10, 2, 18)",
        *(
            f"SELECT count(*), sum(seconds) FROM {name}({of}, {events})"
            for name, of in (
                ("dff_around", plane),
                ("events_around", plane),
                ("running_around", session),
                ("pupil_around", session),
            )
            for events in ("[300, 320], after := 3", "presentations := [3, 5]", "before := 2")
        ),
    ]
    found = in_ducklake(f"ATTACH 'ducklake:{published}/vb.ducklake'; USE vb", queries, tmp_path)
    for sql, ours, theirs in zip(queries, in_lake(sample_lake, queries), found, strict=True):
        assert theirs == ours, sql


@with_ducklake
def test_ducklake_opens_the_files_of_a_session_alone(
    sample_lake: Path, published: str, server: S3Server, tmp_path: Path
) -> None:
    ((session, mouse),) = query(
        sample_lake, "SELECT behavior_session_id, mouse_id FROM eye_tracking LIMIT 1"
    )
    attach = f"ATTACH 'ducklake:{published}/vb.ducklake'; USE vb"
    for table, wanted in (("eye_tracking", f"/behavior_session_id={session}/"), ("licks", mouse)):
        server.reset_counters()
        sql = f"SELECT count(timestamps) FROM {table} WHERE behavior_session_id = {session}"
        assert in_ducklake(attach, [sql], tmp_path) == in_lake(sample_lake, [sql])
        (file,) = [key for key in server.counters.bytes_sent if key.endswith(".parquet")]
        assert str(wanted) in file
    plan = f"EXPLAIN ANALYZE {sql}"
    assert "Total Files Read: 1 " in str(in_ducklake(attach, [plan], tmp_path))


@with_ducklake
def test_ducklake_has_comments_and_a_place_for_readers_to_give(
    sample_lake: Path, server: S3Server, tmp_path: Path
) -> None:
    folder = server.objects.root / "elsewhere"
    said = output("publish", "--lake", sample_lake, "--to", folder)
    assert f"DATA_PATH '{folder}/', OVERRIDE_DATA_PATH true" in said
    address = f"{server.url}/{BUCKET}/elsewhere"
    options = f"(READ_ONLY, DATA_PATH '{address}/', OVERRIDE_DATA_PATH true)"
    trials = TABLES["trials"]
    queries = [
        "SELECT count(*) FROM any_name.trials",
        "SELECT comment FROM duckdb_views() WHERE view_name = 'trials' AND schema_name = 'main'",
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'dff_traces' "
        "AND column_name = 'dff'",
    ]
    found = in_ducklake(
        f"ATTACH 'ducklake:{address}/vb.ducklake' AS any_name {options}", queries, tmp_path
    )
    counted = in_lake(sample_lake, ["SELECT count(*) FROM trials"])
    assert found == [*counted, [[trials.description]], [[TABLES["dff_traces"]["dff"].comment]]]


@with_ducklake
def test_a_further_release_is_a_snapshot(lake: Path, server: S3Server, tmp_path: Path) -> None:
    folder, address = server.objects.root / "twice", f"{server.url}/{BUCKET}/twice"
    queries = [ALL_ROWS.format(name) for name in ("trials", "dff_traces", "cells", "_held_back")]
    before = in_lake(lake, queries)
    publish(LocalStore(lake), LocalStore(folder), address)
    ((mouse,),) = query(lake, "SELECT max(mouse_id) FROM trials")
    output("remove", "--lake", lake, "--mouse", mouse, "--yes")
    done = publish(LocalStore(lake), LocalStore(folder), address)
    assert (done.snapshot, done.copied < 10) == (2, True)
    place = f"'ducklake:{address}/vb.ducklake'"
    now = in_ducklake(f"ATTACH {place}; USE vb", queries, tmp_path)
    earlier = in_ducklake(f"ATTACH {place} AS old (SNAPSHOT_VERSION 1); USE old", queries, tmp_path)
    assert earlier == before
    assert now == in_lake(lake, queries) != before
    both = [f"SELECT count(*), max(mouse_id) FROM trials {at}" for at in ("AT (VERSION => 1)", "")]
    one, two = in_ducklake(f"ATTACH {place}; USE vb", both, tmp_path)
    assert one[0][1] == mouse > two[0][1]


def test_vblake_reads_a_published_lake_from_a_folder_and_a_web_server(
    sample_lake: Path, published: str, server: S3Server
) -> None:
    folder = server.objects.root / "vb"
    with vblake.open(sample_lake) as lake:
        one = lake.scan("dff_traces").first().collect()["ophys_experiment_id"].item()
        for place in (folder, published):
            with vblake.open(place) as copy:
                for name in (t.name for t in TABLES.values() if not t.by_name_only):
                    sql = ALL_ROWS.format(name)
                    assert copy.sql(sql).fetchall() == lake.sql(sql).fetchall(), name
                for table in ("trials", "behavior_sessions", "dff_traces", "stimulus_templates"):
                    assert copy.scan(table).collect().equals(lake.scan(table).collect()), table
                assert copy.experiment(one).dff.equals(lake.experiment(one).dff)
            traces = vblake.read_traces(place, one)
            assert traces.values.shape == vblake.read_traces(sample_lake, one).values.shape


def test_its_catalog_opens_in_the_folder(published: str, server: S3Server, lake: Path) -> None:
    path = server.objects.root / "vb" / "catalog.duckdb"
    with duckdb.connect(path, read_only=True) as con:
        counted = con.execute("SELECT count(*) FROM trials").fetchall()
    assert counted == query(lake, "SELECT count(*) FROM trials")


@with_ducklake
def test_its_catalog_needs_httpfs_alone(published: str, sample_lake: Path, tmp_path: Path) -> None:
    sql = ALL_ROWS.format("bi.trials")
    attach = f"ATTACH '{published}/catalog.duckdb' AS vb (READ_ONLY); USE vb"
    assert in_ducklake(attach, [sql], tmp_path) == in_lake(sample_lake, [sql])


def test_the_manifest_serves_polars_and_pyarrow(
    sample_lake: Path, published: str, server: S3Server
) -> None:
    files = pl.read_parquet(f"{published}/files.parquet")
    assert files["path"].is_unique().all()
    ((mouse,),) = query(sample_lake, "SELECT min(mouse_id) FROM licks")
    chosen = files.filter(table_name="licks", mouse_id=mouse)
    urls = [f"{published}/{path}" for path in chosen["path"]]
    licks = pl.scan_parquet(urls, hive_partitioning=True).collect()
    expected = f"SELECT count(*), sum(timestamps) FROM licks WHERE mouse_id = {mouse}"
    assert [(licks.height, licks["timestamps"].sum())] == query(sample_lake, expected)
    assert licks["mouse_id"].unique().to_list() == [mouse]
    for table, path, rows in files.select("table_name", "path", "rows").iter_rows():
        assert pq.ParquetFile(server.objects.root / "vb" / path).metadata.num_rows == rows, table


def _files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.parquet")}


def test_nothing_is_published_twice(sample_lake: Path, tmp_path: Path) -> None:
    source, target = LocalStore(sample_lake), LocalStore(tmp_path / "vb")
    first = publish(source, target)
    assert (first.snapshot, first.copied) == (1, first.files)
    catalog = target.read("vb.ducklake")
    before = _files(target.folder)
    again = publish(source, target)
    assert (again.snapshot, again.copied) == (None, 0)
    assert target.read("vb.ducklake") == catalog
    assert _files(target.folder) == before
    moved = publish(source, target, "https://host/vb")
    assert (moved.snapshot, moved.copied) == (2, 0)
    with duckdb.connect(target.folder / "vb.ducklake", read_only=True) as con:
        ((files, paths),) = con.execute(
            "SELECT count(*), count(DISTINCT (table_id, path)) FROM ducklake_data_file"
        ).fetchall()
    assert files == paths == first.files


class _Killed(LocalStore):
    """A place whose process is killed instead of putting a file there."""

    def publish(self, staged: Path, path: str) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        super().publish(staged, path)


left: list[None] = []
"""An item for each file that is put there before."""


def test_a_killed_publish_leaves_what_was_there(store: LocalStore, tmp_path: Path) -> None:
    folder = tmp_path / "vb"
    left[:] = [None] * 9
    with pytest.raises(KeyboardInterrupt):
        publish(store, _Killed(folder))
    assert len(_files(folder)) == 9
    assert not (folder / "vb.ducklake").exists()
    publish(store, LocalStore(folder))
    catalog, files = (folder / "vb.ducklake").read_bytes(), _files(folder)
    del files["files.parquet"]
    output("remove", "--lake", store.folder, "--mouse", 102, "--yes")
    for done in range(50):
        left[:] = [None] * done
        try:
            publish(store, _Killed(folder))
        except KeyboardInterrupt:
            assert (folder / "vb.ducklake").read_bytes() == catalog
            assert files.items() <= _files(folder).items()
            continue
        break
    assert done >= 3, "at least the manifest, catalog.duckdb and vb.ducklake"
    with duckdb.connect(folder / "vb.ducklake", read_only=True) as con:
        assert con.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchall() == [(2,)]
    assert not (folder / "_staging").exists()


def test_what_is_published_says_nothing_of_the_machine(
    lake: Path, sample_bucket: Path, tmp_path: Path
) -> None:
    (ledger,) = sorted((lake / "source_files").rglob("*.parquet"))[:1]
    file = pq.ParquetFile(ledger)
    rows = file.read().to_pylist()
    rows[0]["error"] = f"key in {sample_bucket} does not exist."
    rows[0]["warnings"] = [f"{lake}/_staging was full", str(Path.home() / "x")]
    pq.write_table(file.schema_arrow.empty_table().from_pylist(rows, file.schema_arrow), ledger)
    target = tmp_path / "vb"
    publish(LocalStore(lake), LocalStore(target))
    names = {p.name for p in target.iterdir()}
    assert not [n for n in names if n.startswith(("_", "."))]
    words = [str(tmp_path), str(sample_bucket), str(Path.home()) + "/"]
    for path in [p for p in target.rglob("*") if p.is_file()]:
        data = path.read_bytes()
        if path.suffix == ".parquet" and "source_files" in path.parts:
            data = str(pq.ParquetFile(path).read().to_pylist()).encode()
        for word in words:
            assert word.encode() not in data, (path, word)
    with vblake.open(target) as copy:
        assert copy.sql(
            "SELECT error, warnings FROM source_files WHERE error <> ''"
        ).fetchall() == [("key in SOURCE does not exist.", ["LAKE/_staging was full", "~/x"])]


def test_places_that_are_refused(sample_lake: Path, good: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "thesis.tex").touch()
    said = refusal("publish", "--lake", good, "--to", place, code=1)
    assert said == (
        f"error: {place} holds thesis.tex, and no lake is published there (it has no vb.ducklake). "
        "Give an empty or new place as --to."
    )
    assert "overlap" in refusal("publish", "--lake", good, "--to", good / "pub", code=1)
    assert "is itself a lake" in refusal("publish", "--lake", good, "--to", sample_lake, code=1)
    assert "expected an address" in refusal(
        "publish", "--lake", good, "--to", tmp_path / "x", "--url", "host/vb"
    )
    publish(open_store(str(sample_lake)), LocalStore(tmp_path / "other"))
    with pytest.raises(LakeError, match="another project's"):
        publish(LocalStore(good), LocalStore(tmp_path / "other"))
