"""A lake on a plain web server, which lists nothing and sends ranges of bytes."""

from __future__ import annotations

import base64
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import numpy as np
import pytest
from builders.cli import csv_of, output, refusal
from servers.objects import Fault
from servers.s3 import BUCKET, S3Server

import vblake
from schemas import TABLES


@pytest.fixture(scope="module")
def server(sample_lake: Path) -> Iterator[S3Server]:
    with S3Server(sample_lake, versioned=False) as running:
        yield running


@pytest.fixture
def address(server: S3Server) -> str:
    server.faults = None
    server.reset_counters()
    return f"{server.url}/{BUCKET}"


def test_a_lake_on_a_web_server_equals_a_local_one(sample_lake: Path, address: str) -> None:
    with vblake.open(address) as there, vblake.open(sample_lake) as here:
        for table in (t for t in TABLES if (sample_lake / t).is_dir()):
            assert there.scan(table).collect().equals(here.scan(table).collect()), table
        with pytest.raises(LookupError, match=r"no roi_masks: it was not ingested where the lake"):
            there.scan("roi_masks")
        query = "SELECT * FROM annotated_presentations ORDER BY ALL LIMIT 100"
        assert there.sql(query).fetchall() == here.sql(query).fetchall()
        one = here.scan("dff_traces").first().collect()["ophys_experiment_id"].item()
        ours, theirs = here.experiment(one), there.experiment(one)
        assert theirs.dff.equals(ours.dff)
        assert theirs.max_projection.equals(ours.max_projection)
        times = [float(ours.ophys_timestamps[100])]
        around = (
            lake.around("pupil_area", one_, times, 1, 1)
            for lake, one_ in ((here, ours), (there, theirs))
        )
        np.testing.assert_array_equal(*(windows.load() for windows in around))
        assert np.array_equal(
            vblake.read_traces(address, one).values, ours.read_traces("dff").values
        )


def test_ids_are_read_from_their_files_alone(
    sample_lake: Path, server: S3Server, address: str
) -> None:
    with vblake.open(address) as lake:
        assert server.counters.requests == {"range": 1}, "the catalog"
        one = lake.scan("ophys_experiments").last().collect().row(0, named=True)
        key, value = "ophys_experiment_id", one["ophys_experiment_id"]
        reads = (
            lambda: lake.scan("dff_traces", ophys_experiment_id=value).collect(),
            lambda: lake.experiment(value).dff,
            lambda: lake.sql(f"SELECT count(dff) FROM dff_traces WHERE {key} = {value}").fetchall(),
            lambda: lake.sql(
                f"FROM dff_traces SEMI JOIN (SELECT {value} AS {key}) USING ({key})"
            ).fetchall(),
        )
        for read in reads:
            server.reset_counters()
            read()
            files = [k for k in server.counters.bytes_sent if k.startswith("dff_traces/")]
            assert [f for f in files if f"/{key}={value}/" in f]
            assert len(files) <= 2, "DuckDB takes the columns from the first file"
            assert set(server.counters.requests) == {"range"}


def test_commands_on_a_web_server(sample_lake: Path, address: str) -> None:
    query = "SELECT mouse_id, count(*) AS n FROM trials GROUP BY ALL ORDER BY ALL"
    assert csv_of("--lake", address, query) == csv_of("--lake", sample_lake, query)
    assert output("describe", "licks", "--lake", address).startswith("table ")
    assert refusal("sql", "--lake", address, "FROM 'http://127.0.0.1:1/x.csv'").startswith(
        "error: Permission Error"
    )
    assert refusal("verify", "--lake", address, code=1) == (
        f"error: {address}: a lake is a local folder or an s3:// prefix"
    )


def test_a_file_that_cannot_be_read_is_told_in_the_words_of_vblake(
    server: S3Server, address: str
) -> None:
    server.faults = lambda request, _: Fault(status=403) if "licks" in request.key else None
    said = refusal("sql", "--lake", address, "SELECT count(*) FROM licks", code=1)
    pattern = (
        rf"error: {re.escape(address)}/licks/\S+\.parquet cannot be read from the web server "
        r"\(403 Forbidden\)\.\nIf files were replaced while the query ran, run it again\."
    )
    assert re.fullmatch(pattern, said), said


def test_a_file_that_is_gone_and_a_server_that_fails(server: S3Server, address: str) -> None:
    with vblake.open(address) as lake:
        server.faults = lambda request, _: Fault(status=404) if "licks" in request.key else None
        with pytest.raises(duckdb.Error, match=r"licks\.parquet is not there \(404\)\. Check the"):
            lake.sql("SELECT count(*) FROM licks").fetchall()
        # A query that failed leaves nothing behind: neither an open transaction nor a fault.
        assert "licks" in lake.tables["table_name"]
        assert lake.describe("licks").height > 3
        server.faults = None
        ((licks,),) = lake.sql("SELECT count(*) FROM licks").fetchall()
        assert licks > 0
        server.faults = lambda *_: Fault(status=403)
        with pytest.raises(OSError, match=r"trials\.parquet cannot be read .* \(403 "):
            lake.scan("trials").collect()
        server.faults = lambda *_: Fault(reset="before")
        with pytest.raises(OSError, match=r"trials\.parquet cannot be read from the web server \("):
            lake.scan("trials").collect()


def test_no_lake_at_the_address(address: str) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        vblake.open(f"{address}/elsewhere/")
    assert (
        str(raised.value) == f"{address}/elsewhere has no catalog.duckdb. Check the lake's address."
    )


def test_a_server_without_ranges(server: S3Server, address: str) -> None:
    server.faults = lambda *_: Fault(whole=True)
    with pytest.raises(
        OSError, match=r"catalog\.duckdb: the web server does not send ranges of bytes"
    ):
        vblake.open(address)


def test_a_catalog_that_lists_no_files(sample_lake: Path, tmp_path: Path) -> None:
    shutil.copy(sample_lake / "catalog.duckdb", tmp_path)
    with duckdb.connect(tmp_path / "catalog.duckdb") as connection:
        connection.execute("DROP TABLE _files")
    with S3Server(tmp_path, versioned=False) as server:
        lake = vblake.open(f"{server.url}/{BUCKET}")
        with (
            lake,
            pytest.raises(OSError, match=r"does not list the lake's files, .* `vblake catalog`"),
        ):
            lake.scan("trials")


class _Guarded(SimpleHTTPRequestHandler):
    """Wants a password, and knows no ranges."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given) != b"me:it's s3cret":
            return self.send_error(401)
        with suppress(ConnectionError):  # a client that wanted a range goes away
            super().do_GET()


@contextmanager
def guarded(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_password_is_sent_and_never_told(sample_lake: Path) -> None:
    with guarded(sample_lake) as host:
        for password, message in (("it's%20s3cret", "does not send ranges"), ("s3cre7", "401")):
            with pytest.raises(OSError, match=message) as raised:
                vblake.open(f"http://me:{password}@{host}")
            assert str(raised.value).startswith(f"http://{host}/catalog.duckdb")
            assert "s3cre" not in str(raised.value)
            said = refusal("sql", "--lake", f"http://me:{password}@{host}", "SELECT 1", code=1)
            assert message in said
            assert "s3cre" not in said


def test_addresses_that_are_none_and_packages_that_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError) as raised:
        vblake.open("https://me:s3cret@host/lake?sig=s3cret")
    assert str(raised.value) == (
        "https://host/lake: the address of a lake has no query (?...) and no fragment (#...), since "
        "the paths of its files are appended to it."
    )
    with pytest.raises(ValueError, match="a lake is a folder, or an s3://, https:// or http://"):
        vblake.open("ftp://host/lake")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        vblake.open("https://host/lake")
    assert str(missing.value) == 'This needs aiohttp. Install it with: pip install "vblake[remote]"'
