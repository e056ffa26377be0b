"""A lake in S3, on moto's server on loopback: written, merged, catalogued and queried."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import obstore
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import s3fs
from builders.cli import cells, csv_of, output, refusal, run
from builders.fixtures import Ingest
from builders.lakes import query
from builders.mini import mini_bucket
from builders.violations import VIOLATIONS, ids, violation_bucket
from moto.moto_api import recorder
from servers.moto import moto
from servers.s3 import BUCKET, Fault, S3Server

import vblake
from pipelines.catalog.connect import connect
from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake import lease
from pipelines.lake.lock import writer, writing
from pipelines.lake.store import open_store
from pipelines.next_generation import roll_back
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.errors import LakeError
from vblake.bucket_file import MEDIUM
from vblake.connection import connect as vblake_connect
from vblake.files import find_files, s3_file_system
from vblake.s3_client import open_bucket


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket to write to, and an object in it that is not a lake's."""
    with moto() as (endpoint, client), pytest.MonkeyPatch.context() as patch:
        settings = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "writer",
            "AWS_SECRET_ACCESS_KEY": "it's secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        client.create_bucket(
            Bucket="lab", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        client.put_object(Bucket="lab", Key="other.csv", Body=b"a\n1\n")
        open_bucket.cache_clear()  # a client of another test asks another server
        yield "s3://lab"


def _put(folder: Path, url: str) -> None:
    """Uploads a lake."""
    import boto3

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    for file in folder.rglob("*"):
        if file.is_file():
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            client.upload_file(str(file), bucket, key)


def test_a_lake_in_s3_equals_a_local_one(s3: str, tmp_path: Path, run_ingest: Ingest) -> None:
    bucket, local, remote = tmp_path / "bucket", tmp_path / "lake", f"{s3}/lakes/vb"
    violation_bucket(VIOLATIONS[:3], damaged=False).write(bucket)
    tables = ("trials", "licks", "ophys_timestamps", "dff_traces", "stimulus_templates")
    run_ingest(bucket, local, tables=tables)
    # The second run adds a session of the first one's mouse, whose files it merges.
    assert ids(0)[0] == ids(3)[0]
    for experiments in ((ids(0)[3], ids(1)[3]), ()):
        request = IngestRequest(
            SourceSpec(str(bucket)),
            remote,
            selection=Selection(experiments=experiments, tables=tables),
            workers=0,
        )
        assert not [e for r in ingest(prepare(request)) for e in r.quarantined]
    store = open_store(remote)
    with connect(store.root) as con:
        for name in ("behavior_sessions", *tables):
            rows = f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL"
            assert con.execute(rows).fetchall() == query(local, rows), name
    assert verify(store) == []
    assert not store.staging.exists()
    with vblake.open(remote) as there, vblake.open(local) as here:
        assert there.sql("SELECT count(*) FROM licks").fetchall() == [(12,)]
        assert there.scan("licks").collect().equals(here.scan("licks").collect())
    traces = vblake.read_traces(remote, ids(0)[3])
    assert np.array_equal(traces.values, vblake.read_traces(local, ids(0)[3]).values)


def test_large_files_are_read_from_a_temporary_file(
    s3: str, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(good / "dff_traces", f"{s3}/large/dff_traces")
    store = open_store(f"{s3}/large")
    monkeypatch.setattr("vblake.bucket.IN_MEMORY", 1 << 10)
    monkeypatch.setattr("vblake.bucket._CHUNK", 1 << 8)
    for file in good.glob("dff_traces/**/*.parquet"):
        opened = store.parquet(file.relative_to(good).as_posix())
        assert opened is not None
        assert opened.read().equals(pq.ParquetFile(file).read())
    assert store.parquet("dff_traces/none.parquet") is None


def test_pyarrow_and_polars_read_a_lake_through_s3fs(s3: str, good: Path) -> None:
    _put(good / "trials", f"{s3}/others/trials")
    server = s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    rows = query(good, "SELECT trials_id FROM trials ORDER BY ALL")
    with_arrow = ds.dataset("lab/others/trials", filesystem=server, partitioning="hive").to_table()
    with server.open(server.glob("lab/others/trials/**/*.parquet")[0]) as first:
        with_polars = pl.read_parquet(first)
    assert sorted(with_arrow["trials_id"].to_pylist()) == [row for (row,) in rows]
    assert set(with_polars["trials_id"]) <= {row for (row,) in rows}


@pytest.fixture
def counted(good: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server of the lake `good` that counts requests."""
    with S3Server(good) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        open_bucket.cache_clear()
        yield server
    open_bucket.cache_clear()


@pytest.mark.parametrize("deep", [True, False])
def test_verify_takes_two_requests_a_file(counted: S3Server, good: Path, deep: bool) -> None:
    assert verify(open_store(f"s3://{BUCKET}"), deep=deep) == []
    assert counted.counters.requests["head"] == 0
    assert counted.counters.requests.total() <= 2 * len([*good.rglob("*.parquet")])


def test_a_query_takes_three_requests_a_file(counted: S3Server, good: Path) -> None:
    with vblake.open(f"s3://{BUCKET}") as lake:
        for table in ("trials", "stimulus_presentations", "dff_traces", "running_speed"):
            for what in ("count(*)", "max(COLUMNS(*)::VARCHAR)"):
                counted.reset_counters()
                lake.sql(f"SELECT {what} FROM {table}").fetchall()
                files = len([*good.glob(f"{table}/**/*.parquet")])
                assert counted.counters.requests.total() <= 3 * files, (table, what)
                assert counted.counters.requests["head"] == 0


def test_a_frame_takes_the_settings_and_the_requests_of_a_query(
    counted: S3Server, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile's endpoint; then no credentials at all, as for a published lake."""
    (tmp_path / "config").write_text(f"[profile lab]\nendpoint_url = {counted.url}\n")
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = reader\naws_secret_access_key = secret\n"
    )
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in (("AWS_PROFILE", "lab"), ("AWS_ENDPOINT_URL", counted.url)):
        monkeypatch.setenv(name, value)
        open_bucket.cache_clear()
        with vblake.open(f"s3://{BUCKET}") as lake, vblake.open(good) as local:
            (mouse,) = local.sql("SELECT min(mouse_id) FROM trials").fetchone() or ()
            for ids in ({}, {"mouse_id": mouse}):
                counted.reset_counters()
                frame = lake.scan("running_speed", **ids).collect()
                assert frame.equals(local.scan("running_speed", **ids).collect())
                asked = counted.counters.ranges.values()
                assert max((len(ranges) for ranges in asked), default=0) <= 3
        monkeypatch.delenv(name)


CELLS, GROUPS = 16, 5


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as large as those of a plane and of a session, with their row groups."""
    folder = tmp_path_factory.mktemp("large")
    cells = np.arange(CELLS * GROUPS)
    traces = np.zeros((len(cells), 150_000), dtype=np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(traces.reshape(-1)), traces.shape[1])
    columns = {"cell_roi_id": pa.array(cells), "dff": lists.cast(pa.list_(pa.float32()))}
    eye = {f"v{n}": np.zeros(195_000) for n in range(24)}
    for name, table, rows in (
        ("traces", pa.table(columns), CELLS),
        ("eye", pa.table(eye), 70_000),
    ):
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, rows, compression="none", use_dictionary=False)
    assert 36e6 < (folder / "eye.parquet").stat().st_size < MEDIUM
    assert (folder / "traces.parquet").stat().st_size > MEDIUM
    return folder


@pytest.mark.parametrize(
    ("query", "requests", "megabytes"),
    [
        ("SELECT count(*) FROM '{}/traces.parquet'", 1, 0.2),
        ("SELECT avg(list_avg(dff)) FROM '{}/traces.parquet'", 3, 49),
        ("SELECT dff FROM '{}/traces.parquet' WHERE cell_roi_id = 40", 3, 10),
        ("SELECT sum(cell_roi_id) FROM '{}/traces.parquet'", 1 + GROUPS, 2),
        ("SELECT max(len(dff)), max(cell_roi_id) FROM '{}/traces.parquet'", 4, 49),
        ("SELECT avg(v3) FROM '{}/eye.parquet'", 3, 39),
        ("SELECT avg(v3), avg(v20), max(v11) FROM '{}/eye.parquet'", 3, 39),
        ("SELECT max(COLUMNS(*)) FROM '{}/eye.parquet'", 3, 38),
    ],
)
def test_what_large_files_take(
    large: Path, monkeypatch: pytest.MonkeyPatch, query: str, requests: int, megabytes: float
) -> None:
    """In one thread, which asks in the order of the file. tests/unit/test_bucket_file.py has another."""
    with S3Server(large) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        open_bucket.cache_clear()
        with vblake_connect(find_files(f"s3://{BUCKET}")) as con:
            con.execute("SET threads = 1")
            con.execute(query.format(f"s3://{BUCKET}")).fetchall()
    open_bucket.cache_clear()
    assert server.counters.requests["range"] <= requests
    assert sum(server.counters.bytes_sent.values()) < megabytes * 1e6


def test_a_file_that_is_replaced_during_a_query_is_not_mixed(counted: S3Server, good: Path) -> None:
    with vblake.open(f"s3://{BUCKET}") as lake:
        counted.faults = lambda request, _: Fault(replaced=True) if request.range else None
        with pytest.raises(
            duckdb.Error, match=r"trials\.parquet: it was replaced while it was read"
        ):
            lake.sql("SELECT count(*) FROM trials").fetchall()
        counted.faults = None
        assert lake.sql("SELECT count(*) FROM trials").fetchall() == [(5,)]


def test_commands_on_a_lake_in_s3(s3: str, good: Path, tmp_path: Path) -> None:
    lake = f"{s3}/commands"
    _put(good, lake)
    assert csv_of("--lake", lake, "SELECT mouse_id, count(*) AS n FROM trials GROUP BY ALL") == [
        ["mouse_id", "n"],
        ["101", "5"],
    ]
    assert run("sql", "--lake", lake, "-o", tmp_path / "t.parquet", "FROM trials").exit_code == 0
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_rows == 5
    assert refusal("sql", "--lake", lake, "FROM 's3://lab/other.csv'").startswith(
        'error: Permission Error: Cannot access file "s3://lab/other.csv"'
    )
    above = run(
        "sql", "--lake", lake, f"FROM '{lake}/../other.csv'"
    )  # DuckDB 2.0 refuses it itself
    assert re.match("error: .*(do not go up with|Cannot access file)", above.stderr), above.stderr
    assert above.stdout == ""
    verdict = output("verify", "--lake", lake).splitlines()[-1]
    assert verdict.startswith(f"{lake}: ")
    assert verdict.endswith(" files read, no problems")
    assert cells(output("status", "--lake", lake), "trials")[1] == "5"


def test_a_prefix_without_a_lake_is_said_to_be_none(s3: str) -> None:
    assert refusal("sql", "--lake", f"{s3}/none", "SELECT 1", code=1) == (
        f"error: {s3}/none is not a vblake lake: it has no catalog.duckdb. Check the path, or make "
        f"a lake with `vblake ingest --lake {s3}/none`."
    )


# --- one writer at a time


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 4.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.3)


def test_a_second_writer_is_kept_out_of_a_lake_in_s3(s3: str) -> None:
    url, before = f"{s3}/two", writer.set("Dagster run 7")
    with writing(open_store(url)), pytest.raises(LakeError) as error, writing(open_store(url)):
        pass
    writer.reset(before)
    assert re.fullmatch(
        rf"{url} is being written to by another vblake process \(pid {os.getpid()} on "
        rf"{re.escape(socket.gethostname())}, since \S+: Dagster run 7\)\. If that was killed, the "
        r"lake is free in \d+ s\. Run the command again when it has finished; ingest, remove and "
        r"rollback wait with --wait\.",
        str(error.value),
    )
    with writing(open_store(url)):
        pass
    assert set(s3_file_system().find(f"{s3}/two")) == {"lab/two/_lock"}


@pytest.mark.usefixtures("short_lease")
def test_a_living_holder_keeps_its_lease(s3: str) -> None:
    url = f"{s3}/kept"
    with (
        writing(open_store(url)),
        pytest.raises(LakeError, match=r"It was waited for 6 s\."),
        writing(open_store(url), wait_s=6),
    ):
        pass


@pytest.mark.usefixtures("short_lease")
def test_the_lease_of_a_dead_holder_is_taken_over_and_it_can_write_no_more(
    s3: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("vblake"), "propagate", True)
    monkeypatch.setattr(lease, "RENEW_S", 60.0)  # as if the process stood still
    first, second = open_store(f"{s3}/dead"), open_store(f"{s3}/dead")
    with writing(first):
        first.write("a.csv", b"1")
        with writing(second, wait_s=30):
            second.write("a.csv", b"2")
            with pytest.raises(LakeError, match="has lost its lease"):
                first.write("a.csv", b"1")
        assert second.read("a.csv") == b"2"
    said = [r.message for r in caplog.records if r.name == "vblake"]
    assert said[-1].startswith(f"{s3}/dead was being written to by another vblake process (pid ")
    assert said[-1].endswith("a minute: its lease is taken over")


def test_a_server_that_ignores_conditions_is_refused(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put
    monkeypatch.setattr(
        lease.obstore, "put", lambda client, key, data, mode: put(client, key, data)
    )
    with (
        pytest.raises(
            LakeError, match=r"the server ignores conditions of writes \(If-None-Match\)"
        ),
        writing(open_store(f"{s3}/old")),
    ):
        pass


def test_a_lake_in_s3_is_upgraded_and_rolled_back(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where moto keeps its recording
    lake, source = f"{s3}/upgraded", SourceSpec(str(tmp_path / "bucket"))
    first, second = mini_bucket(), mini_bucket()
    first.write(tmp_path / "bucket")
    tables = ("trials", "licks", "dff_traces", "stimulus_templates")
    request = IngestRequest(source, lake, selection=Selection(tables=tables), workers=0)
    ingest(prepare(request))
    second.version, second.metadata = "1.2.0", "project_metadata-1.2.0"
    del second.files[7]  # the behaviour file of mini.SESSION
    sessions = second.tables["behavior_session_table"]
    second.tables["behavior_session_table"] = [row for row in sessions if row["file_id"] != "7"]
    second.write(tmp_path / "bucket")
    store = open_store(lake)
    before = _rows(lake)
    prepared = prepare(IngestRequest(source, lake, workers=0))
    assert prepared.upgrade is not None
    assert (len(prepared.upgrade.kept), len(prepared.upgrade.gone), prepared.todo) == (1, 1, ())
    recorder.start_recording()
    ingest(prepared)
    recorder.stop_recording()
    requests = [json.loads(line) for line in recorder.download_recording().splitlines()]
    of_traces = [r for r in requests if r["url"].endswith("/dff_traces.parquet")]
    writes = [r["headers"] for r in of_traces if r["method"] == "PUT"]
    assert len(writes) == len([h for h in writes if "X-Amz-Copy-Source" in h]) == 2
    assert {r["method"] for r in of_traces} == {"PUT", "GET"}
    after = _rows(lake)
    assert after["trials"] < before["trials"]
    assert after["dff_traces"] == before["dff_traces"]
    assert verify(store) == []
    roll_back(store)
    assert _rows(lake) == before
    assert verify(store) == []
    (store.staging / "left").mkdir(parents=True)
    (store.staging / "left" / "trials.parquet").write_bytes(bytes(5_000))
    listed = json.loads(output("clean", "--lake", lake, "--json"))["leftovers"]
    assert [x["what"] for x in listed[:2]] == ["staged files", "generation 2, release 1.2.0"]
    assert listed[0]["bytes"] == 5_000 < listed[1]["bytes"]
    generations = store.folders("_generations")
    assert f"vblake clean --lake {lake} --yes" in output("clean", "--lake", lake)
    assert store.folders("_generations") == generations
    recorder.reset_recording()
    recorder.start_recording()
    assert "freed" in output("clean", "--lake", lake, "--yes")
    recorder.stop_recording()
    assert output("clean", "--lake", lake) == f"{lake} has nothing to clean\n"
    assert not (store.staging / "left").exists()
    removed = [r for r in recorder.download_recording().splitlines() if '"DELETE"' in r]
    assert [r for r in removed if ".parquet" in r] == [], "a request takes a thousand objects"
    assert store.folders("_generations") == []
    assert _rows(lake) == before


def _rows(lake: str) -> dict[str, int]:
    with vblake.open(lake) as there:
        return {
            name: there.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for name in ("trials", "licks", "dff_traces", "behavior_sessions", "source_files")
        }


def test_a_lake_is_published_into_a_bucket(s3: str, good: Path) -> None:
    place = f"{s3}/public/vb"
    said = output("publish", "--lake", good, "--to", place, "--url", "https://host/vb")
    assert said.splitlines()[-1] == (
        "Next, in DuckDB: ATTACH 'ducklake:https://host/vb/vb.ducklake' AS vb; USE vb;"
    )
    assert output("publish", "--lake", good, "--to", place, "--url", "https://host/vb") == (
        f"{place} already holds this state of release 1.1.0\n"
    )
    keys = {key.split("/", 4)[-1] for key in s3_file_system().find(place)}
    assert not [key for key in keys if key.startswith("_")]
    with vblake.open(place) as there, vblake.open(good) as here:
        for table in ("trials", "running_speed", "dff_traces", "cells"):
            sql = f"SELECT t::VARCHAR FROM {table} t ORDER BY ALL"
            assert there.sql(sql).fetchall() == here.sql(sql).fetchall()
        assert there.scan("dff_traces").collect().equals(here.scan("dff_traces").collect())
