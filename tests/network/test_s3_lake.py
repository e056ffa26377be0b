"""A lake in S3, on a real S3 server on loopback: written, merged, catalogued and queried."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders.lakes import query

import vblake
from pipelines.catalog.connect import connect
from pipelines.check.lake import verify
from pipelines.ingest import ingest, prepare
from pipelines.lake.store import open_store
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES
from schemas.errors import LakeError


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "writer",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="lab")
        yield "s3://lab/lakes"
    server.stop()


def test_a_lake_in_s3_equals_a_local_one(
    sample_bucket: Path, sample_lake: Path, bucket: str, tmp_path: Path
) -> None:
    # The second run merges into the files of the first.
    remote_lake, local_lake = f"{bucket}/vb", tmp_path / "lake"
    sessions = query(
        sample_lake,
        "SELECT behavior_session_id FROM source_files GROUP BY ALL "
        "ORDER BY count(ophys_experiment_id) DESC, 1 LIMIT 3",
    )
    source = SourceSpec(str(sample_bucket))
    for part in (sessions[:2], sessions[2:]):
        chosen = Selection(behavior_sessions=tuple(session for (session,) in part))
        for lake in (remote_lake, str(local_lake)):
            request = IngestRequest(source, lake, selection=chosen, workers=0)
            assert not [e for r in ingest(prepare(request)) for e in r.quarantined]
    store = open_store(remote_lake)
    with connect(store) as con:
        for name in TABLES:
            if name != "source_files":
                remote = con.execute(
                    f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL"
                ).fetchall()
                assert remote == query(
                    local_lake, f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL"
                ), name
    assert [p for p in verify(store) if p.severity == "error"] == []
    assert not store.staging.exists()
    with vblake.open(remote_lake) as there, vblake.open(local_lake) as here:
        assert there.sql("SELECT count(*) FROM licks").fetchall() == [
            (len(here.scan("licks").collect()),)
        ]
        assert there.scan("licks").collect().equals(here.scan("licks").collect())
        ((experiment,),) = here.sql("SELECT min(ophys_experiment_id) FROM dff_traces").fetchall()
    remote = vblake.read_traces(remote_lake, experiment)
    assert np.array_equal(remote.values, vblake.read_traces(local_lake, experiment).values)


def test_large_files_in_s3_are_read_in_ranges(
    bucket: str, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"{bucket}/ranges")
    files = sorted(sample_lake.glob("dff_traces/**/*.parquet"))
    for file in files:
        store.publish(
            shutil.copy(file, tmp_path / "staged.parquet"),
            file.relative_to(sample_lake).as_posix(),
        )
    monkeypatch.setattr("pipelines.lake.store._WHOLE", 1 << 10)
    monkeypatch.setattr("s3fs.S3FileSystem.cat_file", None)
    for file in files:
        opened = store.parquet(file.relative_to(sample_lake).as_posix())
        assert opened is not None
        assert opened.read().equals(pq.ParquetFile(file).read())
    assert store.parquet("dff_traces/none.parquet") is None


def test_a_prefix_without_a_lake_is_said_to_be_none(bucket: str) -> None:
    with pytest.raises(LakeError) as caught:
        connect(open_store(f"{bucket}/none"))
    assert (
        str(caught.value)
        == "s3://lab/lakes/none has no catalog.duckdb. Build it with `vblake catalog --lake s3://lab/lakes/none`."
    )
