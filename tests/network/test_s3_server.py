"""The S3 server of the tests is as strict as S3 where clients rely on it."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from servers.s3 import BUCKET, S3Server

from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source

CONTENT = bytes(i * 7 % 251 for i in range(100_000))
KEY = "vb/a file.nwb"
OBJECT = f"/{BUCKET}/vb/a%20file.nwb"
MANIFEST = {
    "metadata_files": {},
    "data_files": {"0": {"url": f"https://s3/{KEY}", "version_id": "pinned", "file_hash": ""}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "bucket"
    (root / "vb/manifests").mkdir(parents=True)
    (root / KEY).write_bytes(CONTENT)
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
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_ranges(server: S3Server) -> None:
    status, headers, body = ask(server, OBJECT, Range="bytes=10-19")
    assert (status, body) == (206, CONTENT[10:20])
    assert headers["content-range"] == "bytes 10-19/100000"
    assert headers["x-amz-version-id"] == "pinned"
    assert ask(server, OBJECT, Range="nonsense")[::2] == (200, CONTENT)
    assert ask(server, OBJECT, Range="bytes=100000-100001")[0] == 416
    status, headers, body = ask(server, OBJECT, method="HEAD", If_Match=headers["etag"])
    assert (status, headers["content-length"], body) == (200, "100000", b"")
    assert server.counters.ranges == {KEY: [(10, 20), (100000, 100002)]}
    assert server.counters.bytes_sent == {KEY: 10 + 100_000}
    assert server.counters.requests == {"range": 2, "get": 1, "head": 1}


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        (f"{OBJECT}?versionId=other", "GET", (404, "NoSuchVersion")),
        (f"/{BUCKET}/vb/%2e%2e/%2e%2e/secret", "GET", (404, "NoSuchKey")),
        ("/another/vb/a%20file.nwb", "GET", (404, "NoSuchBucket")),
        (OBJECT, "PUT", (405, "MethodNotAllowed")),
        (f"{OBJECT}?acl", "GET", (501, "NotImplemented: acl")),
    ],
)
def test_refusals(server: S3Server, path: str, method: str, expected: tuple[int, str]) -> None:
    status, _, body = ask(server, path, method=method)
    assert [(status, code) for code in re.findall("<Code>([^<]*)", body.decode())] == [expected]


def test_listing_by_pages(server: S3Server, folder: Path) -> None:
    expected = {"vb/x/b+c.nwb": 1, "vb/x/d&e%.nwb": 1, "vb/x/f/g.nwb": 1, "vb/x/ü.nwb": 1}
    for key in expected:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(b"x")
    source = open_source(SourceSpec(f"s3://{BUCKET}", server.url))
    assert source.sizes("vb/x/") == expected
    assert server.counters.requests == {"list": 2}
    for key in expected:
        assert source.read(key, None) == b"x"


def test_a_fault_of_the_server_itself_is_raised(folder: Path) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a fault in the test")

    with (
        pytest.raises(LookupError, match="a fault in the test"),
        S3Server(folder, faults=broken) as server,
        pytest.raises(ConnectionError),
    ):
        ask(server, OBJECT)
