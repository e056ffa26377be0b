"""The S3 source against moto's server (versions, anonymous reads, real answers) and a scripted one (faults, headers)."""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from builders.bucket import Bucket, manifest_key

from pipelines.release.manifest import load_release, versions
from pipelines.release.project_tables import read_project_tables
from pipelines.release.selection import Selection
from pipelines.release.tasks import plan
from pipelines.source import object_store as s3
from pipelines.source.base import Source, SourceSpec
from pipelines.source.open import open_source
from schemas.errors import LakeError, SourceError, TransientSourceError

BUCKET = "visual-behavior-ophys-data"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Store:
    """A public, versioned bucket on the server; `put` returns the version id. The server refuses unsigned reads of what is not public."""

    endpoint: str
    client: Any

    def put(self, key: str, content: bytes) -> str:
        return self.client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL="public-read")[
            "VersionId"
        ]

    def source(self, **spec: Any) -> Source:
        return open_source(SourceSpec(f"s3://{BUCKET}", self.endpoint, **{"attempts": 2, **spec}))


@pytest.fixture(scope="module")
def store(endpoint: str) -> Iterator[Store]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-west-2",
        aws_access_key_id="writer",
        aws_secret_access_key="secret",
    )
    client.create_bucket(
        Bucket=BUCKET,
        ACL="public-read",
        CreateBucketConfiguration={"LocationConstraint": "us-west-2"},
    )
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    yield Store(endpoint, client)
    client.close()


def test_pinned_version_is_read_after_a_newer_one_was_put(store: Store, tmp_path: Path) -> None:
    old, new = store.put("a/pinned.nwb", b"the old content"), store.put("a/pinned.nwb", b"new")
    source = store.source()
    assert source.read("a/pinned.nwb", old) == b"the old content"
    assert source.read("a/pinned.nwb", new) == b"new"
    assert source.read("a/pinned.nwb", None) == b"new"
    assert source.pin("a/pinned.nwb", old).size == 15
    assert source.pin("a/pinned.nwb", None).size == 3
    assert source.fetch("a/pinned.nwb", old, tmp_path / "old") == 15
    assert (tmp_path / "old").read_bytes() == b"the old content"
    assert source.sizes("a/pinned") == {"a/pinned.nwb": 3}
    assert source.local_path("a/pinned.nwb") is None


def test_deleted_object_is_still_there_by_its_version(store: Store) -> None:
    version = store.put("a/deleted.nwb", b"content")
    store.client.delete_object(Bucket=BUCKET, Key="a/deleted.nwb")
    assert store.source().read("a/deleted.nwb", version) == b"content"
    with pytest.raises(SourceError, match=r"a/deleted.nwb in .*: there is no such object"):
        store.source().read("a/deleted.nwb", None)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 12_345])
def test_objects_in_parts(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(s3, "_PART", 1000)
    monkeypatch.setattr(s3, "_CHUNK", 300)
    content = bytes(i * 7 % 251 for i in range(size))
    version = store.put("a/large.nwb", content)
    (tmp_path / "to").write_bytes(b"x" * 20_000)
    assert store.source().fetch("a/large.nwb", version, tmp_path / "to") == size
    assert (tmp_path / "to").read_bytes() == content
    assert store.source().fetch("a/large.nwb", None, tmp_path / "to") == size


def test_missing_object_version_and_bucket(store: Store, tmp_path: Path) -> None:
    version, other = store.put("a/b.nwb", b"content"), store.put("a/other.nwb", b"x")
    source = store.source()
    where = f"in s3://{BUCKET} at {store.endpoint}"
    calls: list[Callable[[str, str | None], object]] = [
        source.read,
        source.pin,
        lambda key, version: source.fetch(key, version, tmp_path / "to"),
    ]
    for call in calls:
        with pytest.raises(SourceError) as caught:
            call("a/none.nwb", None)
        assert (
            str(caught.value)
            == f"a/none.nwb {where}: there is no such object (the server answered HTTP 404). Check the source."
        )
        assert not caught.value.retryable
        for unknown in (other, "no-such-version"):
            with pytest.raises(SourceError) as caught:
                call("a/b.nwb", unknown)
            assert str(caught.value).startswith(
                f"a/b.nwb (version {unknown}) {where}: the bucket has no such version of it"
            )
    assert source.read("a/b.nwb", version) == b"content"
    with pytest.raises(
        SourceError,
        match=r"there is no such bucket \(the server answered HTTP 404 NoSuchBucket\). Check source and endpoint url",
    ):
        open_source(SourceSpec("s3://no-such-bucket", store.endpoint)).sizes("")


def test_listing_is_paged_and_relative_to_the_prefix(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    keys = [f"mirror/visual-behavior-ophys/listed/{i:04} +%.nwb" for i in range(8)]
    for i, key in enumerate(keys):
        store.put(key, b"x" * (i % 3))
    expected = {key.removeprefix("mirror/"): i % 3 for i, key in enumerate(keys)}
    assert store.client.list_objects_v2(Bucket=BUCKET, Prefix="mirror/")["IsTruncated"]
    mirror = open_source(SourceSpec(f"s3://{BUCKET}/mirror/", store.endpoint))
    assert mirror.sizes("visual-behavior-ophys/listed/") == expected
    assert mirror.read("visual-behavior-ophys/listed/0002 +%.nwb", None) == b"xx"
    assert mirror.sizes("visual-behavior-ophys/none/") == {}


def test_unsigned_reads_of_what_is_not_public_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client.create_bucket(
        Bucket="private", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    store.client.put_object(Bucket="private", Key="a/b.nwb", Body=b"content")
    spec = SourceSpec("s3://private", store.endpoint, attempts=2)
    with pytest.raises(
        SourceError,
        match=r"unsigned requests may not read it, or it does not exist \(.*HTTP 403\). Buckets that are not public need",
    ):
        open_source(spec).read("a/b.nwb", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert open_source(replace(spec, anonymous=False)).read("a/b.nwb", None) == b"content"


def test_a_release_from_the_bucket(store: Store) -> None:
    bucket = Bucket()
    manifest = bucket.manifest()
    entries = {
        entry["url"].split("/", 3)[3]: entry
        for part in ("metadata_files", "data_files")
        for entry in manifest[part].values()
    }
    for key, content in bucket.objects().items():
        entries[key]["version_id"] = store.put(key, content)
        store.put(key, b"a later version, of another release")
    store.put(manifest_key("1.1.0"), json.dumps(manifest).encode())
    source = store.source()
    assert versions(source) == ["1.1.0"]
    release = load_release(source)
    planned = plan(
        read_project_tables(source, release),
        release,
        Selection(mice=(100001,)),
        source.sizes("visual-behavior-ophys/"),
    )
    assert [task.file_key for task in planned.tasks] == [1001, 5001]
    assert source.read(planned.tasks[0].object.key, planned.tasks[0].object.version_id).startswith(
        b"not really HDF5"
    )


def _read_in_child(spec: SourceSpec, key: str, version: str) -> bytes:
    return open_source(spec).read(key, version)


def test_worker_processes_open_their_own(store: Store) -> None:
    version = store.put("a/b.nwb", b"content")
    source = store.source()
    assert source.read("a/b.nwb", version) == b"content"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read_in_child, (source.spec, "a/b.nwb", version)) == b"content"


# --- a server that does what it is told


@dataclass
class Scripted:
    """Answers (status, headers, body, bytes sent before the connection breaks off or None) in turn, the last one for ever."""

    answers: list[tuple[int, dict[str, str], bytes, int | None]]
    seen: list[tuple[str, str, dict[str, str]]] = field(
        default_factory=list[tuple[str, str, dict[str, str]]]
    )
    url: str = ""

    def source(self, **spec: Any) -> Source:
        return open_source(
            SourceSpec("s3://bucket", self.url, **{"attempts": 3, "read_timeout_s": 1, **spec})
        )


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scripted]]:
    monkeypatch.setattr(s3.random, "uniform", lambda low, high: 0.0)  # no waiting between attempts
    servers: list[tuple[ThreadingHTTPServer, Thread]] = []

    def start(*answers: tuple[int, dict[str, str], bytes, int | None]) -> Scripted:
        script = Scripted(list(answers))
        numbers = itertools.count()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                script.seen.append(
                    (self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
                )
                status, headers, body, sent = script.answers[
                    min(next(numbers), len(script.answers) - 1)
                ]
                self.send_response(status)
                for name, value in {
                    "Content-Length": str(len(body)),
                    "ETag": '"e"',
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body[:sent])
                if sent is not None:
                    self.close_connection = True

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        return script

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def _refusal(status: int, code: str) -> tuple[int, dict[str, str], bytes, int | None]:
    return (
        status,
        {},
        f"<Error><Code>{code}</Code><Message>signed by AKIASECRET</Message></Error>".encode(),
        None,
    )


GOOD = (200, {"x-amz-version-id": "v1"}, b"content", None)


@pytest.mark.parametrize(
    "fault",
    [
        _refusal(503, "SlowDown"),
        _refusal(500, "InternalError"),
        _refusal(429, "TooManyRequests"),
        _refusal(400, "RequestTimeout"),
        (200, {"x-amz-version-id": "v1"}, b"content", 3),
        (200, {"x-amz-version-id": "v1"}, b"content", 0),
    ],
    ids=["503", "500", "429", "timeout", "broken off", "nothing sent"],
)
def test_passing_faults_are_tried_again(scripted: Callable[..., Scripted], fault: Any) -> None:
    server = scripted(GOOD, fault, fault, GOOD)
    source = server.source()
    assert source.read("k", "v1") == b"content"
    assert [method for method, *_ in server.seen] == ["HEAD", "GET", "GET", "GET"]


def test_attempts_are_bounded(scripted: Callable[..., Scripted]) -> None:
    server = scripted(_refusal(503, "SlowDown"))
    with pytest.raises(TransientSourceError) as caught:
        server.source().read("k", "v1")
    assert str(caught.value) == (
        f"k (version v1) in s3://bucket at {server.url}: the server answered HTTP 503 (3 attempts). Try again later."
    )
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (404, "NoSuchKey"), (400, "InvalidRequest"), (409, "Conflict")],
)
def test_refusals_are_confirmed_and_then_believed(
    scripted: Callable[..., Scripted], status: int, code: str
) -> None:
    server = scripted(GOOD, _refusal(status, code))
    with pytest.raises(SourceError) as caught:
        server.source(attempts=100).read("k", None)
    assert f"the server answered HTTP {status} {code})" in str(caught.value)
    assert not caught.value.retryable
    assert len(server.seen) == 1 + s3.CONFIRMED


def test_server_that_redirects_everything_is_given_up(scripted: Callable[..., Scripted]) -> None:
    server = scripted(_refusal(301, "PermanentRedirect"))
    with pytest.raises(
        SourceError, match=r"the server redirects every request. Check endpoint url"
    ):
        server.source().read("k", None)


def test_server_that_hangs_is_given_up(scripted: Callable[..., Scripted]) -> None:
    server = scripted((200, {"Content-Length": "100"}, b"content", None))
    with pytest.raises(
        TransientSourceError, match=r"sent nothing for 0.3 s, or too slowly \(1 attempt\)"
    ):
        server.source(attempts=1, read_timeout_s=0.3).read("k", None)


@pytest.mark.parametrize("headers", [{}, {"x-amz-version-id": "v2"}, {"x-amz-version-id": "null"}])
def test_server_that_ignores_the_version_is_not_believed(
    scripted: Callable[..., Scripted], tmp_path: Path, headers: dict[str, str]
) -> None:
    server = scripted((200, headers, b"content", None))
    for call in (
        server.source().read,
        server.source().pin,
        lambda k, v: server.source().fetch(k, v, tmp_path / "to"),
    ):
        with pytest.raises(SourceError, match="it does not keep versions as S3 does"):
            call("k", "v1")
    assert all("versionId=v1" in path for _, path, _ in server.seen)


def test_server_that_ignores_ranges_is_not_believed(
    scripted: Callable[..., Scripted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PART", 4)
    server = scripted(GOOD)
    with pytest.raises(SourceError, match="does not answer range requests"):
        server.source().fetch("k", "v1", tmp_path / "to")


def test_full_disk_is_not_a_fault_of_the_source(scripted: Callable[..., Scripted]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with pytest.raises(
        LakeError, match=r"/dev/full cannot be written: No space left on device, .*\. Make room"
    ):
        scripted(GOOD).source().fetch("k", "v1", Path("/dev/full"))


def test_listing_that_does_not_end(scripted: Callable[..., Scripted]) -> None:
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
    server = scripted((200, {}, page, None))
    with pytest.raises(
        SourceError, match=r"the listing of 'a/' in s3://bucket at .*: it does not end"
    ):
        server.source().sizes("a/")


def test_requests_are_unsigned_unless_credentials_are_asked_for(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "sessiontoken")
    server = scripted(GOOD, GOOD, GOOD, GOOD, GOOD, _refusal(403, "SignatureDoesNotMatch"))
    server.source().read("k", "v1")
    server.source(anonymous=False).read("k", "v1")
    assert "authorization" not in server.seen[0][2]
    assert "AKIASECRET" in server.seen[2][2]["authorization"]
    with pytest.raises(SourceError, match="the AWS credentials are not valid here") as caught:
        server.source(anonymous=False).read("k", "v1")
    for secret in ("AKIASECRET", "hunter2", "sessiontoken"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_missing_credentials(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = scripted(GOOD)
    with pytest.raises(
        SourceError,
        match=r"there are no complete AWS credentials. Set them in the usual AWS places, or leave out --no-anon",
    ):
        server.source(anonymous=False).read("k", "v1")
    assert server.seen == []
