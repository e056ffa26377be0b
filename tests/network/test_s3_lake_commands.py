"""Commands on a lake in S3."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders.cli import cells, csv_of, output, refusal, run

from pipelines.catalog.connect import _packaged_httpfs


@pytest.fixture
def s3_lake(good: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The good lake in a bucket of moto's server, beside an object that is not the lake's."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "it's secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for file in good.rglob("*"):
        if file.is_file():
            client.upload_file(
                str(file), "bucket", f"lakes/one/{file.relative_to(good).as_posix()}"
            )
    client.put_object(Bucket="bucket", Key="other.csv", Body=b"a\n1\n")
    client.close()
    yield "s3://bucket/lakes/one"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.parametrize("packaged", [True, False])
def test_a_lake_in_s3(
    s3_lake: str, packaged: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not packaged:
        monkeypatch.setattr("pipelines.catalog.connect._packaged_httpfs", lambda: None)
    elif _packaged_httpfs() is None:
        pytest.skip("there is no duckdb-extension-httpfs for this version of DuckDB")
    assert csv_of("--lake", s3_lake, "SELECT mouse_id, count(*) FROM trials GROUP BY ALL") == [
        ["mouse_id", "count_star()"],
        ["101", "5"],
    ]
    assert run("sql", "--lake", s3_lake, "-o", tmp_path / "t.parquet", "FROM trials").exit_code == 0
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_rows == 5
    assert refusal("sql", "--lake", s3_lake, "FROM 's3://bucket/other.csv'").startswith(
        'error: Permission Error: Cannot access file "s3://bucket/other.csv"'
    )
    verdict = output("verify", "--lake", s3_lake).splitlines()[-1]
    assert verdict.startswith(f"{s3_lake}: ")
    assert verdict.endswith(" files read, no problems")
    assert cells(output("status", "--lake", s3_lake), "trials")[1] == "5"


def test_a_lake_in_s3_without_a_catalog(s3_lake: str) -> None:
    assert refusal("sql", "--lake", f"{s3_lake}/none", "SELECT 1", code=1) == (
        f"error: {s3_lake}/none has no catalog.duckdb. Build it with `vblake catalog --lake {s3_lake}/none`."
    )
