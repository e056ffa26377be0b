"""Where the lake is that a command is given: moved, named by the environment, in S3, nowhere."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from builders.cli import TRIALS, cells, csv_of, output, refusal, run
from builders.lake import write_rows

from pipelines.catalog.connect import _packaged_httpfs
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


@pytest.mark.process
@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(100_000_000_000) a, range(1000) b",
        "SELECT 1 FROM range(1_000_000_000)",
    ],
)
def test_an_interrupted_query_ends_with_one_line_and_leaves_no_output(
    lake: Path, tmp_path: Path, query: str
) -> None:
    program = "from pipelines.cli.app import main; main()"
    file = tmp_path / "out.csv"
    args = [sys.executable, "-c", program, "sql", "--lake", str(lake), "-o", str(file), query]
    with subprocess.Popen(args, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".out.csv.part").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, b"error: interrupted\n")
    assert [p.name for p in tmp_path.iterdir()] == ["lake"]


def test_no_lake(tmp_path: Path) -> None:
    assert refusal("sql", "--lake", tmp_path, "SELECT 1", code=1) == (
        f"error: {tmp_path} has no catalog.duckdb. Build it with `vblake catalog --lake {tmp_path}`."
    )


def test_a_lake_url_of_another_kind() -> None:
    assert (
        refusal("sql", "--lake", "gs://x/y", "SELECT 1", code=1)
        == "error: gs://x/y: a lake is a local folder or an s3:// prefix"
    )


def test_nothing_is_written_anywhere(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {p: p.stat().st_mtime_ns for p in lake.rglob("*")}
    output("sql", "--lake", lake, "SELECT * FROM trials ORDER BY ALL")
    assert {p: p.stat().st_mtime_ns for p in lake.rglob("*")} == before
    assert list((tmp_path / "here").iterdir()) == []


# --- a lake in S3 ------------------------------------------------------------------------------------------------------------


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


@pytest.mark.network
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


@pytest.mark.network
def test_a_lake_in_s3_without_a_catalog(s3_lake: str) -> None:
    assert refusal("sql", "--lake", f"{s3_lake}/none", "SELECT 1", code=1) == (
        f"error: {s3_lake}/none has no catalog.duckdb. Build it with `vblake catalog --lake {s3_lake}/none`."
    )
