"""The S3 server of the tests is as strict as S3 where clients rely on it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from servers.s3 import BUCKET, Fault, S3Server

from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from schemas.errors import SourceError

CONTENT = bytes(i * 7 % 251 for i in range(100_000))
MANIFEST = {
    "metadata_files": {},
    "data_files": {
        "0": {
            "url": f"https://{BUCKET}.s3.us-west-2.amazonaws.com/vb/a%20file.nwb",
            "version_id": "pinned",
            "file_hash": "",
        }
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "bucket"
    (root / "vb/manifests").mkdir(parents=True)
    (root / "vb/a file.nwb").write_bytes(CONTENT)
    (root / "vb/manifests/m_v1.0.0.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "secret").write_text("outside")
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[S3Server]:
    with S3Server(folder, page=3) as running:
        yield running


def ask(
    server: S3Server, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def code(body: bytes) -> str:
    found = re.search(rb"<Code>([^<]*)</Code>", body)
    assert found
    return found[1].decode()


OBJECT = f"/{BUCKET}/vb/a%20file.nwb"


def test_ranges(server: S3Server) -> None:
    status, headers, body = ask(server, OBJECT, Range="bytes=10-19")
    assert (status, body) == (206, CONTENT[10:20])
    assert headers["content-range"] == "bytes 10-19/100000"
    assert headers["x-amz-version-id"] == "pinned"
    assert ask(server, OBJECT, Range="bytes=99990-200000")[2] == CONTENT[99990:]
    assert ask(server, OBJECT, Range="nonsense")[::2] == (200, CONTENT)
    status, _, body = ask(server, OBJECT, Range="bytes=100000-100001")
    assert (status, code(body)) == (416, "InvalidRange")
    status, headers, body = ask(server, OBJECT, method="HEAD")
    assert (status, headers["content-length"], body) == (200, "100000", b"")
    assert server.counters.ranges == {
        "vb/a file.nwb": [(10, 20), (99990, 200001), (100000, 100002)]
    }
    assert server.counters.bytes_sent == {"vb/a file.nwb": 10 + 10 + 100_000}
    assert server.counters.requests == {"range": 3, "get": 1, "head": 1}


@pytest.mark.parametrize(
    ("path", "method", "headers", "expected"),
    [
        (f"{OBJECT}?versionId=other", "GET", {}, (404, "NoSuchVersion")),
        (f"/{BUCKET}/vb/none.nwb", "GET", {}, (404, "NoSuchKey")),
        (f"/{BUCKET}/vb/manifests", "GET", {}, (404, "NoSuchKey")),
        (f"/{BUCKET}/../secret", "GET", {}, (404, "NoSuchKey")),
        (f"/{BUCKET}/vb/%2e%2e/%2e%2e/secret", "GET", {}, (404, "NoSuchKey")),
        ("/another/vb/a%20file.nwb", "GET", {}, (404, "NoSuchBucket")),
        (OBJECT, "PUT", {}, (405, "MethodNotAllowed")),
        (OBJECT, "DELETE", {}, (405, "MethodNotAllowed")),
        (OBJECT, "GET", {"If_Match": '"another"'}, (412, "PreconditionFailed")),
        (f"{OBJECT}?acl", "GET", {}, (501, "NotImplemented: acl")),
        (f"/{BUCKET}?list-type=2&delimiter=/", "GET", {}, (501, "NotImplemented")),
    ],
)
def test_refusals(
    server: S3Server, path: str, method: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    status, _, body = ask(server, path, method=method, **headers)
    assert (status, code(body)) == expected


def test_the_same_object_matches(server: S3Server) -> None:
    etag = ask(server, OBJECT, method="HEAD")[1]["etag"]
    assert ask(server, OBJECT, If_Match=etag)[0] == 200


def test_listing_by_pages(server: S3Server, folder: Path) -> None:
    for name in ("b+c.nwb", "d&e%.nwb", "f/g.nwb", "ü.nwb"):
        path = folder / "vb/x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    source = open_source(SourceSpec(f"s3://{BUCKET}", server.url))
    expected = {"vb/x/b+c.nwb": 1, "vb/x/d&e%.nwb": 1, "vb/x/f/g.nwb": 1, "vb/x/ü.nwb": 1}
    assert source.sizes("vb/x/") == expected
    assert source.sizes("vb/") == expected | {
        "vb/a file.nwb": 100_000,
        "vb/manifests/m_v1.0.0.json": len(json.dumps(MANIFEST)),
    }
    assert server.counters.requests == {"list": 2 + 2}
    for key in expected:
        assert source.read(key, None) == b"x"


def test_versions(folder: Path) -> None:
    (folder / "old").write_bytes(b"old content")
    versions = {"vb/a file.nwb": {"1": "old", "2": "vb/a file.nwb"}, "vb/gone.nwb": {"1": "old"}}
    with S3Server(folder, versions=versions) as server:
        source = open_source(SourceSpec(f"s3://{BUCKET}", server.url))
        assert source.read("vb/a file.nwb", "1") == b"old content"
        assert source.read("vb/a file.nwb", None) == source.read("vb/a file.nwb", "2") == CONTENT
        assert set(source.sizes("")) == {
            "vb/a file.nwb",
            "vb/gone.nwb",
            "vb/manifests/m_v1.0.0.json",
        }
        with pytest.raises(SourceError, match="no such version"):
            source.read("vb/a file.nwb", "pinned")


def test_a_version_passed_off_as_another(folder: Path) -> None:
    (folder / "old").write_bytes(b"old content")
    versions = {"vb/a file.nwb": {"1": "old", "2": "vb/a file.nwb"}}
    lies = [False]
    with S3Server(
        folder, versions=versions, faults=lambda *_: Fault(version="1", lie=lies[0])
    ) as server:
        source = open_source(SourceSpec(f"s3://{BUCKET}", server.url))
        with pytest.raises(SourceError, match="the server sent another version"):
            source.read("vb/a file.nwb", "2")
        lies[0] = True
        assert source.read("vb/a file.nwb", "2") == b"old content"  # only a hash would tell


def test_a_fault_of_the_server_itself_is_raised(folder: Path) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a fault in the test")

    with (
        pytest.raises(LookupError, match="a fault in the test"),
        S3Server(folder, faults=broken) as server,
        pytest.raises(ConnectionError),
    ):
        ask(server, OBJECT)


def test_the_command_serves_and_counts(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "servers.s3",
        str(folder),
        "--latency",
        "0.001",
        "--bandwidth",
        "40e6",
    ]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            source = open_source(SourceSpec(f"s3://{BUCKET}", url))
            assert source.read("vb/a file.nwb", "pinned") == CONTENT
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            for expected in ({"vb/a file.nwb": 100_000}, {}):
                connection.request("GET", "/_counters?reset")
                assert json.loads(connection.getresponse().read())["bytes_sent"] == expected
            connection.close()
        finally:
            process.terminate()
