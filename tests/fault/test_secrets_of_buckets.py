"""What signs the requests to a lake in S3 is in no message, log or traceback, whatever fails."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from builders.cli import run
from builders.network import without_waits

import vblake
from pipelines.lake.lock import writing
from pipelines.lake.store import open_store
from schemas.errors import LakeError
from vblake import s3_client

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAK3YC4N4RY",
    "AWS_SECRET_ACCESS_KEY": "S3CR3TC4N4RY",
    "AWS_SESSION_TOKEN": "T0K3NC4N4RY",
}
PRESIGNED = "X-Amz-Signature=S1GNC4N4RY"
ANSWERS = {
    "wrong key": (403, "SignatureDoesNotMatch", "may not do that"),
    "expired": (400, "ExpiredToken", "HTTP 400"),
    "missing bucket": (404, "NoSuchBucket", "there is no such bucket"),
    "wrong region": (301, "PermanentRedirect", "the bucket is in another region"),
    "presigned": (307, "TemporaryRedirect", ""),
    "broken": (500, "InternalError", "HTTP 500"),
    "away": (0, "", "broke off the connection"),
    "slow": (-1, "", "does not answer in time"),
}


class _Echo(BaseHTTPRequestHandler):
    """A server whose errors repeat all that was sent to it, as those of S3 do in part."""

    status, code = 500, ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing."""

    def do_GET(self) -> None:
        if self.status < 0:
            time.sleep(1)
        if self.status <= 0:
            return self.connection.close()
        sent = "".join(f"<Header>{name}: {value}</Header>" for name, value in self.headers.items())
        keys = "".join(f"<AWSAccessKeyId>{value}</AWSAccessKeyId>" for value in SECRETS.values())
        body = f"<Error><Code>{self.code}</Code>{keys}{sent}<R>{self.path}</R></Error>".encode()
        self.send_response(self.status)
        if self.status == 307:
            self.send_header("Location", f"http://{self.headers['Host']}/x?{PRESIGNED}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Echo]]:
    """The server, at which AWS's settings point."""

    class Handler(_Echo):
        pass

    without_waits(monkeypatch)
    quick = {"read_timeout_s": 0.3, "attempts": 2}
    monkeypatch.setattr(
        s3_client.connect, "__kwdefaults__", s3_client.connect.__kwdefaults__ | quick
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name, value in SECRETS.items():
            monkeypatch.setenv(name, value)
        s3_client.open_bucket.cache_clear()
        yield Handler
        server.shutdown()
    s3_client.open_bucket.cache_clear()


def _write() -> None:
    store = open_store("s3://lab/vb")
    store.write("a.csv", b"1")


def _lock() -> None:
    with writing(open_store("s3://lab/vb")):
        pass


@pytest.mark.parametrize("name", ANSWERS)
def test_secrets_stay_secret(
    name: str,
    echo: type[_Echo],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    echo.status, echo.code, meaning = ANSWERS[name]
    said: list[str] = []
    calls: list[Callable[[], object]] = [
        lambda: vblake.open("s3://lab/vb"),
        _write,
        _lock,
        lambda: open_store("s3://lab/vb").drop("trials"),
    ]
    for call in calls:
        with pytest.raises((LakeError, OSError)) as caught:
            call()
        assert meaning in str(caught.value)
        said.append("".join(traceback.format_exception(caught.value)))
    for command in (("sql", "SELECT 1"), ("status",), ("verify",)):
        result = run(command[0], "--lake", "s3://lab/vb", *command[1:])
        assert result.exit_code == 1
        assert len(result.stderr.strip().splitlines()) == 1
        said.append(result.output)
    said += [record.getMessage() for record in caplog.records]
    said += capfd.readouterr()
    for text in said:
        for secret in (*SECRETS.values(), PRESIGNED, "Authorization", "Credential="):
            assert secret not in text
