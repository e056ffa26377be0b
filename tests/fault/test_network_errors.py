"""What the user reads when a bucket cannot be read, and what nobody may read: keys, tokens, passwords, signatures."""

from __future__ import annotations

import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme
from builders.cli import run
from builders.lakes import behavior_file
from builders.network import quarantined, without_waits
from servers.s3 import BUCKET, Fault, RequestInfo, S3Server

from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from schemas.errors import SourceError, TransientSourceError

KEY = "visual-behavior-ophys/a.nwb"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_waits(monkeypatch)


def error_of(endpoint: str, **spec: object) -> SourceError:
    source = open_source(
        SourceSpec(f"s3://{BUCKET}", endpoint, **{"attempts": 2, "connect_timeout_s": 5.0, **spec})
    )  # type: ignore[arg-type]
    with pytest.raises(SourceError) as caught:
        source.read(KEY, None)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


# --- errors in words


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    error = error_of(f"http://{address}")
    assert str(error) == (
        f"{KEY} in s3://{BUCKET} at http://{address}: {address}, or the proxy on the way to it, "
        "refuses connections (2 attempts). Check --endpoint-url, HTTPS_PROXY and HTTP_PROXY, or try "
        "again later."
    )
    assert isinstance(error, TransientSourceError)


def test_a_name_that_is_not_known() -> None:
    error = error_of("http://nowhere.invalid:9000")
    assert "the name nowhere.invalid:9000 cannot be resolved" in str(error)


def test_a_server_that_accepts_no_connection() -> None:
    """Its queue is full: what a firewall that drops packets looks like."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        filling = [socket.socket() for _ in range(8)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(address)
        error = error_of(f"http://127.0.0.1:{address[1]}", connect_timeout_s=0.3, attempts=1)
        for one in filling:
            one.close()
    assert (
        "did not accept a connection within 0.3 s. Try again later, or give a longer --connect-timeout."
        in str(error)
    )


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[str]:
    """A server with a certificate of an authority of its own, `own.pem`; gives its address."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "own.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_certificates(tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = error_of(f"https://{tls}")
    assert f"the certificate of {tls} cannot be trusted (2 attempts). Check" in str(error)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "own.pem"))
    assert "the server answered HTTP 501" in str(error_of(f"https://{tls}", attempts=1))


def test_https_to_a_server_without(tmp_path: Path) -> None:
    with S3Server(tmp_path) as server:
        address = server.url.removeprefix("http://")
        error = error_of(f"https://{address}")
    assert f"{address} does not speak TLS (2 attempts). Check --endpoint-url" in str(error)


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://user:hunter2@127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    error = error_of("http://s3.example.org")
    assert "s3.example.org, or the proxy on the way to it, refuses connections" in str(error)
    assert "hunter2" not in str(error)


def test_what_a_server_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    with S3Server(
        tmp_path, faults=lambda *_: Fault(status=418, code="\x9b31mRed\nLine" + "x" * 200)
    ) as server:
        source = open_source(SourceSpec(f"s3://{BUCKET}", server.url))
        with pytest.raises(SourceError) as caught:
            source.sizes("")
    assert "the request was refused (the server answered HTTP 418)" in str(caught.value)


# --- settings


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--timeout", "0", "The time-out 0 s cannot be used"),
        ("--connect-timeout", "1e9", "The connect time-out 1e+09 s cannot be used"),
        ("--retries", "-1", "--retries is '-1'; expected 0 or more."),
        (
            "--endpoint-url",
            "http://host:port",
            "The endpoint url 'http://host:port' cannot be used",
        ),
    ],
)
def test_settings_that_make_no_sense(option: str, value: str, said: str) -> None:
    result = run("plan", option, value)
    assert result.exit_code == 2
    assert said in result.output


# --- secrets

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEJr//////////wEaDExampleToken",
}
SIGNED = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI",
    "FwoGZXIvYXdzEJr",
    "X-Amz-Signature",
    "Signature=",
    "hunter2",
)

PROGRAM = """
import logging, os, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
from assets.commands import main
main()
"""


def test_credentials_are_written_nowhere(sample_bucket: Path, tmp_path: Path) -> None:
    """All that an ingest says and leaves behind, with files that fail and all libraries logging."""
    bad = behavior_file(sample_bucket, 0).relative_to(sample_bucket).as_posix()
    lost = behavior_file(sample_bucket, 1).relative_to(sample_bucket).as_posix()

    def faults(request: RequestInfo, _: int) -> Fault | None:
        if request.key == bad and request.kind == "range":
            return Fault(status=403, code="SignatureDoesNotMatch")
        return Fault(reset="before") if request.key == lost else None

    environment = {
        k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy")
    }
    environment |= SECRETS | {"DAGSTER_HOME": str(tmp_path / "home")}
    with S3Server(sample_bucket, faults=faults) as server:
        options = ["--endpoint-url", server.url, "--no-anon", "--retries", "1", "--workers", "1"]
        options += ["--lake", "lake", "--tables", "running_speed"]
        command = [sys.executable, "-c", PROGRAM, "ingest", *options]
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": root},
            capture_output=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 3, done.stderr.decode()
    assert (
        "the AWS credentials are not valid here (the server answered HTTP 403"
        in quarantined(tmp_path / "lake")[bad][0]
    )
    assert "broke off the connection (2 attempts)" in quarantined(tmp_path / "lake")[lost][0]
    left = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert any(p.suffix == ".db" for p in left)
    assert b"boto" in left[tmp_path / "debug.log"] or b"asyncio" in left[tmp_path / "debug.log"]
    said = {Path("stdout"): done.stdout, Path("stderr"): done.stderr}
    for path, content in (left | said).items():
        for secret in SIGNED:
            assert secret.encode() not in content, f"{secret} in {path}"
    for path in (p for p in left if p.suffix == ".db"):
        with sqlite3.connect(path) as con:
            dump = "\n".join(con.iterdump())
        assert not [s for s in SIGNED if s in dump], path


def test_urls_with_secrets_are_refused_without_showing_them() -> None:
    """tests/unit/test_sources.py has the other forms."""
    result = run("plan", "--endpoint-url", "https://user:hunter2@s3.example.org")
    assert result.exit_code == 2
    assert "must not hold credentials" in result.output
    assert "hunter2" not in result.output
