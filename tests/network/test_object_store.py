"""The bucket as a source: versions, checks of answers, credentials and regions."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from builders.network import PATIENCE_S, without_waits
from servers.chaos import ANY, DEFINITE
from servers.moto import moto
from servers.s3 import BUCKET, Fault, S3Server

from pipelines.source import base
from pipelines.source import range_file as ranges
from pipelines.source.base import ReplacedError, SourceSpec
from pipelines.source.object_store import ObjectStoreSource
from schemas.errors import LakeError, SourceError, TransientSourceError, UsageError
from vblake import s3_client

ROOT = Path(__file__).parents[2]
KEY = "vb/a b+%ü.nwb"
CONTENT = bytes(i * 7 % 251 for i in range(100_000))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the waits between attempts, and hides the settings of this machine."""
    without_waits(monkeypatch)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bucket/vb").mkdir(parents=True)
    (tmp_path / "bucket" / KEY).write_bytes(CONTENT)
    (tmp_path / "bucket/vb/empty").write_bytes(b"")
    return tmp_path / "bucket"


def source_of(server: S3Server, **spec: Any) -> ObjectStoreSource:
    return ObjectStoreSource(SourceSpec(f"s3://{BUCKET}", server.url, **{"attempts": 2, **spec}))


def version_of(server: S3Server, key: str = KEY) -> str:
    return server.objects.find(key, None).version_id


# --- moto: another server, whose answers are not ours


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Any]]:
    """The endpoint of moto's server, with a public bucket that keeps versions and a private one."""
    place = {"LocationConstraint": "us-west-2"}
    with moto() as (endpoint, client):
        client.create_bucket(Bucket=BUCKET, ACL="public-read", CreateBucketConfiguration=place)
        client.create_bucket(Bucket="private", CreateBucketConfiguration=place)
        client.put_object(Bucket="private", Key="a/b.nwb", Body=b"content")
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield endpoint, client


def test_a_pinned_version_is_read_after_a_newer_one_was_put(
    store: tuple[str, Any], tmp_path: Path
) -> None:
    endpoint, client = store
    old, new = (
        client.put_object(Bucket=BUCKET, Key="a/pinned.nwb", Body=content, ACL="public-read")
        for content in (b"the old content", b"new")
    )
    old, new = old["VersionId"], new["VersionId"]
    source = ObjectStoreSource(SourceSpec(f"s3://{BUCKET}", endpoint))
    assert source.read("a/pinned.nwb", old) == b"the old content"
    assert source.read("a/pinned.nwb", new) == source.read("a/pinned.nwb", None) == b"new"
    with closing(source.open("a/pinned.nwb", old)) as file:
        assert (file.size, file.read(7)) == (15, b"the old")
    assert source.fetch("a/pinned.nwb", old, tmp_path / "old") == 15
    assert (tmp_path / "old").read_bytes() == b"the old content"
    assert source.sizes("a/") == {"a/pinned.nwb": 3}


def test_credentials_come_from_environment_and_profiles(
    store: tuple[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = SourceSpec("s3://private", store[0])
    with pytest.raises(
        SourceError,
        match=r"unsigned requests may not read it, or it does not exist \(.* HTTP 403.*\)\. Buckets",
    ):
        ObjectStoreSource(spec).read("a/b.nwb", None)
    (tmp_path / "aws").write_text(
        "[lab]\naws_access_key_id = reader\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    signed = replace(spec, anonymous=False, profile="lab")
    assert ObjectStoreSource(signed).read("a/b.nwb", None) == b"content"
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert ObjectStoreSource(replace(spec, anonymous=False)).read("a/b.nwb", None) == b"content"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_PROFILE")
    again = replace(spec, anonymous=False, read_timeout_s=59)
    assert ObjectStoreSource(again).read("a/b.nwb", None) == b"content"


# --- what an answer must be


@pytest.mark.parametrize("size", [0, 12_345])
def test_whole_objects_come_in_parts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(ranges, "PART", 1000)
    (folder / "large").write_bytes(CONTENT[:size])
    (tmp_path / "to").write_bytes(b"x" * 20_000)
    with S3Server(folder) as server:
        source = source_of(server)
        assert source.fetch("large", version_of(server, "large"), tmp_path / "to") == size
        assert server.counters.requests["range"] == -(-size // 1000)
    assert (tmp_path / "to").read_bytes() == CONTENT[:size]
    assert source.traffic.bytes_moved == size


_ENDS = """
import sys
from pipelines.source import range_file
from pipelines.source.base import SourceSpec
from pipelines.source.object_store import ObjectStoreSource

range_file.PART = 1 << 20
file = ObjectStoreSource(SourceSpec(sys.argv[1], sys.argv[2])).open(sys.argv[3], None)
file.prefetch([(0, file.size)])
file.read(1)
"""


def test_a_process_may_end_while_it_fetches(folder: Path) -> None:
    """Threads of obstore that return to Python while it ends would abort the process."""
    (folder / "large").write_bytes(bytes(8 << 20))
    with S3Server(folder) as server:
        command = [sys.executable, "-c", _ENDS, f"s3://{BUCKET}", server.url, "large"]
        for _ in range(8):
            ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
            assert (ended.returncode, ended.stderr) == (0, "")


def test_an_object_that_is_not_there(folder: Path) -> None:
    with S3Server(folder) as server:
        source = source_of(server)
        where = f"in s3://{BUCKET} at {server.url}"
        with pytest.raises(SourceError) as caught:
            source.read("none", None)
        assert str(caught.value).startswith(f"none {where}: there is no such object")
        assert not caught.value.retryable
        with pytest.raises(
            SourceError, match=r"\(version unknown\).*: the bucket has no such .* --ignore-versions"
        ):
            source.open(KEY, "unknown")
        other = ObjectStoreSource(SourceSpec("s3://other", server.url))
        with pytest.raises(SourceError, match=r"there is no such bucket \(the server answered"):
            other.sizes("")


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "InvalidArgument"), (404, "NoSuchVersion"), (501, "NotImplemented")],
)
def test_a_server_without_versions(folder: Path, status: int, code: str) -> None:
    """However a server refuses a version id, the error names the option that leaves it out."""
    refusal = Fault(status=status, code=code)
    with S3Server(folder, faults=lambda r, _: refusal if r.version_id else None) as server:
        with pytest.raises(SourceError, match=r"no such version.*--ignore-versions") as caught:
            source_of(server).read(KEY, "v1")
        assert not caught.value.retryable
        assert source_of(server, ignore_versions=True).read(KEY, "v1") == CONTENT


WRONG = {
    "another version": (Fault(replaced=True, matches=False), SourceError, "version.* --ignore-ver"),
    "another object": (Fault(replaced=True, lie=True), ReplacedError, "the object was replaced"),
    "another ETag": (Fault(replaced=True, lie=True, matches=False), ReplacedError, "was replaced"),
    "whole object": (Fault(whole=True), SourceError, "the server does not answer range requests"),
    "another range": (Fault(content_range="bytes 0-9/100000"), SourceError, "range requests"),
    "another size": (Fault(content_range="bytes 20000-29999/99999"), ReplacedError, "replaced"),
    "short": (Fault(missing=7, declared=False), ReplacedError, "9993 bytes instead of 10000"),
}


@pytest.mark.parametrize(("fault", "error", "text"), WRONG.values(), ids=WRONG)
def test_an_answer_of_something_else_is_never_taken(
    folder: Path, fault: Fault, error: type[SourceError], text: str
) -> None:
    with S3Server(folder) as server:
        file = source_of(server).open(KEY, version_of(server))
        server.faults = lambda *_: fault
        file.prefetch([(20_000, 30_000)])
        file.seek(20_000)
        with pytest.raises(error, match=text) as caught:
            file.read(10_000)
        assert type(caught.value) is error
        file.close()


def test_a_replaced_object_is_read_again_at_most_twice(folder: Path, tmp_path: Path) -> None:
    short = Fault(missing=7, declared=False)
    with S3Server(folder) as server:
        source = source_of(server)
        server.faults = lambda r, n: short if r.kind == "range" and n < 2 else None
        assert source.fetch(KEY, version_of(server), tmp_path / "to") == len(CONTENT)
        assert (tmp_path / "to").read_bytes() == CONTENT
        server.faults = lambda r, _: short if r.kind == "range" else None
        with pytest.raises(ReplacedError):
            source.read(KEY, None)
        assert server.counters.requests == {"head": 3, "range": 6}


def test_a_small_object_takes_one_request(folder: Path) -> None:
    with S3Server(folder) as server:
        source = source_of(server)
        assert source.read(KEY, version_of(server)) == CONTENT
        assert server.counters.requests == {"range": 1}
        with pytest.raises(SourceError, match=r"vb/empty in .*: it is empty.* \(.* HTTP 416"):
            source.read("vb/empty", None)


def test_a_listing_is_requested_again_and_never_taken_for_empty(folder: Path) -> None:
    def broken(xml: bytes) -> bytes:
        return xml[: len(xml) // 2]

    def page(_: bytes) -> bytes:
        return b"<html><body>Welcome to the hotel's network</body></html>"

    with S3Server(folder, faults=lambda r, n: Fault(listing=broken) if n < 2 else None) as server:
        source = source_of(server)
        assert source.sizes("vb/") == {KEY: 100_000, "vb/empty": 0}
        for fault, text in (
            (Fault(listing=broken), "the listing broke off or is not one of S3's"),
            (Fault(reset="middle"), "the listing broke off or is not one of S3's"),
            (Fault(listing=page), "is empty"),
        ):
            server.faults = lambda *_, fault=fault: fault
            with pytest.raises(SourceError, match=f"the listing of 'vb/' in .* {text}"):
                source.sizes("vb/")


def test_large_objects_are_not_read_into_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "READ_LIMIT", 99_999)
    with S3Server(folder) as server, pytest.raises(SourceError, match="has 100000 bytes; expected"):
        source_of(server).read(KEY, None)


def test_a_full_disk_is_not_a_fault_of_the_source(folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with (
        S3Server(folder) as server,
        pytest.raises(LakeError, match=r"/dev/full cannot be written: No space left on device"),
    ):
        source_of(server).fetch(KEY, None, Path("/dev/full"))


# --- attempts and time-outs


def test_attempts_are_counted_and_bounded(folder: Path) -> None:
    slow_down = Fault(status=503, code="SlowDown")
    with S3Server(folder, faults=lambda *_: slow_down) as server:
        source = source_of(server, attempts=3)
        with pytest.raises(TransientSourceError) as caught:
            source.sizes("vb/")
        assert str(caught.value) == (
            f"the listing of 'vb/' in s3://{BUCKET} at {server.url}: "
            "the server answered HTTP 503 SlowDown (3 attempts). Try again later."
        )
        assert server.counters.requests["list"] == 3


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("429", r"HTTP 429 \w+ \(2 attempts\)\. Try again later"),
        ("reset before the answer", r"broke off the connection \(2 attempts\)\. Check the network"),
        ("stall", r"sent nothing for 0\.7 s, or too slowly \(2 attempts\)\. Try again later, or"),
        ("403", "unsigned requests may not read it, or it does not exist"),
    ],
)
def test_a_fault_that_lasts_is_said(folder: Path, kind: str, text: str) -> None:
    fault = (ANY | DEFINITE)[kind]
    with (
        S3Server(folder, faults=lambda *_: fault) as server,
        pytest.raises(SourceError, match=text),
    ):
        source_of(server, read_timeout_s=PATIENCE_S).read(KEY, None)


def test_an_answer_that_drips_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the time-out, the whole would take hours."""
    monkeypatch.setattr(s3_client, "LONGEST_ANSWER", timedelta(seconds=0.3))
    with (
        S3Server(folder, faults=lambda *_: Fault(drip_s=0.1)) as server,
        pytest.raises(TransientSourceError, match=r"sent nothing for 0.3 s, or too slowly"),
    ):
        source_of(server, attempts=1, read_timeout_s=0.3, connect_timeout_s=0.3).read(KEY, None)


# --- signatures, regions and settings


class _Regional(BaseHTTPRequestHandler):
    """S3 with a bucket in eu-central-1: elsewhere it answers 301, without a Location."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, str]]

    def do_GET(self) -> None:
        signed = self.headers.get("Authorization", "")
        self.seen.append((self.command, self.path, signed))
        found = "eu-central-1" in signed + self.path and self.path.endswith("/k")
        body = b"content" if found else b"<Error><Code>PermanentRedirect</Code></Error>"
        self.send_response((206 if "Range" in self.headers else 200) if found else 301)
        self.send_header("x-amz-bucket-region", "eu-central-1")
        self.send_header("Content-Range", "bytes 0-6/7")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"e"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def regional() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    _Regional.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Regional)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", _Regional.seen
    server.shutdown()
    thread.join()
    server.server_close()


Regional = tuple[str, list[tuple[str, str, str]]]


def test_the_region_is_asked_for(regional: Regional, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsigned requests to AWS go to the region's own address, signed ones name the region."""
    endpoint, seen = regional
    monkeypatch.setattr(s3_client, "AWS", endpoint + "/region-{region}")
    assert ObjectStoreSource(SourceSpec("s3://lab")).read("k", None) == b"content"
    assert [line[:2] for line in seen] == [
        ("HEAD", "/region-us-east-1/lab"),
        ("GET", "/region-eu-central-1/lab/k"),
    ]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    spec = SourceSpec("s3://lab", endpoint, anonymous=False)
    assert ObjectStoreSource(spec).read("k", None) == b"content"
    assert "/eu-central-1/s3/" in seen[-1][2]


def test_a_region_that_is_given_is_not_asked_for(
    regional: Regional, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, seen = regional
    monkeypatch.setattr(s3_client, "AWS", endpoint + "/region-{region}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    for spec, region in (
        (SourceSpec("s3://lab", region="us-west-1"), "us-west-1"),
        (SourceSpec("s3://lab"), "ap-south-1"),
        (SourceSpec(f"s3://{BUCKET}", region="us-west-1"), "us-west-1"),
        (SourceSpec(f"s3://{BUCKET}"), "us-west-2"),
    ):
        with pytest.raises(SourceError) as caught:
            ObjectStoreSource(spec).read("k", None)
        assert f"the bucket is in another region than {region}. Leave out --region" in str(
            caught.value
        )
    assert [line[1] for line in seen] == [
        "/region-us-west-1/lab/k",
        "/region-ap-south-1/lab/k",
        f"/region-us-west-1/{BUCKET}/k",
        f"/region-us-west-2/{BUCKET}/k",
    ]


def test_unsigned_is_the_default_and_settings_win_over_the_environment(
    regional: Regional, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, seen = regional
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_PROFILE": "none",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "us-west-1",
        "AWS_SKIP_SIGNATURE": "false",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_S3_EXPRESS": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match="another region"):
        ObjectStoreSource(SourceSpec(f"s3://{BUCKET}", endpoint)).read("k", None)
    assert seen == [("GET", f"/{BUCKET}/k", "")]


def test_credentials_that_are_missing_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server(folder) as server:
        source = source_of(server, anonymous=False)
        with pytest.raises(SourceError, match=r"there are no valid AWS credentials\. Set them"):
            source.read(KEY, None)
        monkeypatch.setenv("AWS_PROFILE", "hunter2")
        with pytest.raises(SourceError, match=r"there is no such AWS profile") as caught:
            source.read(KEY, None)
        assert "hunter2" not in str(caught.value)
        assert server.counters.requests.total() == 0
        monkeypatch.delenv("AWS_PROFILE")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        server.faults = lambda *_: Fault(status=403, code="SignatureDoesNotMatch")
        with pytest.raises(SourceError, match="the AWS credentials are not valid here") as caught:
            source.sizes("vb/")
        for secret in ("AKIAEXAMPLE", "hunter2"):
            assert secret not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None


def test_an_authority_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/none/ca.pem")
    source = ObjectStoreSource(SourceSpec("s3://lab", "https://127.0.0.1:9"))
    with pytest.raises(UsageError, match=r"ca\.pem, which AWS_CA_BUNDLE names, cannot be read"):
        source.read(KEY, None)


def test_a_setting_that_obstore_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hunter2").write_text("not PEM")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "hunter2"))
    with pytest.raises(UsageError, match=r"s3://lab cannot be opened: a setting is not valid") as e:
        ObjectStoreSource(SourceSpec("s3://lab", "http://127.0.0.1:9")).read(KEY, None)
    assert "hunter2" not in str(e.value)
    assert e.value.__context__ is None
