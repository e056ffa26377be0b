"""A small strict S3 server on loopback that serves a folder: versions, byte ranges, latency,
bandwidth, faults on demand, and counts.

    with S3Server(folder, latency=0.03, bandwidth=40e6) as server:
        source = open_source(SourceSpec(f"s3://{BUCKET}", server.url))

Read-only and path-style (`/bucket/key`). What it does not know it refuses (501), so that no client
passes by an accident of a lenient server. Benchmarks run it in a process of its own (in theirs it
would wait for the GIL); it prints its URL, under which `/_counters` gives the counts as JSON and
`/_counters?reset` sets them to 0 after that:

    python -m servers.s3 FOLDER --latency 0.03 --bandwidth 40e6
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from servers.objects import Counters, Fault, Faults, Folder, RefusedError, RequestInfo

__all__ = ["BUCKET", "Counters", "Fault", "Faults", "RequestInfo", "S3Server"]

BUCKET = "visual-behavior-ophys-data"
_STEP_S = 0.005
"""With a bandwidth, a body is sent in pieces of this many seconds."""
_PIECE = 1 << 20
"""Bytes that a connection sends at a time on a link that all share."""
_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_END = 1 << 62
"""The last byte of a range without one."""
_OTHER = bytes(range(255, -1, -1))
"""What the bytes of a replaced object become."""
_OBJECT_PARAMETERS = frozenset(("versionId",))
_LIST_PARAMETERS = frozenset(
    ("list-type", "prefix", "max-keys", "continuation-token", "delimiter", "encoding-type")
)


class S3Server:
    """Serves a folder as a bucket while it is entered.

    Args:
        folder: the bucket's keys are the paths of the files in it.
        latency: seconds between a request and the first byte of its answer.
        bandwidth: bytes a second on each connection; None for no limit.
        link: bytes a second on all connections together; None for no limit.
        versions: files of the versions of a key, by version id, the newest last; paths are relative
            to the folder. Keys that are not in it have the version ids that the manifests in the
            folder pin, else one made from the name.
        faults: see `Faults`.
        versioned: whether the bucket keeps versions; if not, no answer names one, and asking for
            one is refused.
        page: keys on a page of a listing.
        tls: with it the server speaks HTTPS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        latency: float = 0.0,
        bandwidth: float | None = None,
        link: float | None = None,
        versions: Mapping[str, Mapping[str, str | Path]] | None = None,
        faults: Faults | None = None,
        versioned: bool = True,
        page: int = 1000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.objects = Folder(folder, versions or {})
        self.versioned = versioned
        self.latency, self.bandwidth, self.faults, self.page = latency, bandwidth, faults, page
        self.link, self._link_free = link, 0.0
        self.counters = Counters()
        self.problems: list[BaseException] = []
        self._lock = threading.Lock()
        self._seen: Counter[tuple[object, ...]] = Counter()
        self._open = 0
        self._http = _Http(("127.0.0.1", 0), _Handler, self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        """Address of the server: the endpoint URL."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.close_all()
        if self.problems and error is None:
            raise self.problems[0]

    def reset_counters(self) -> None:
        """Resets the counters."""
        with self._lock:
            self.counters = Counters()

    def wait_for_link(self, count: int) -> float:
        """Returns the seconds until so many bytes have passed the link, which they now take."""
        assert self.link is not None
        with self._lock:
            now = time.perf_counter()
            self._link_free = max(now, self._link_free) + count / self.link
            return self._link_free - now

    def begin(
        self,
        kind: str,
        method: str,
        key: str,
        version_id: str | None,
        asked: tuple[int, int] | None,
    ) -> Fault | None:
        """Counts a request and asks for its fault."""
        with self._lock:
            info = RequestInfo(self.counters.requests.total(), kind, method, key, version_id, asked)
            identity = (method, key, version_id, asked)
            before = self._seen[identity]
            self._seen[identity] += 1
            self.counters.requests[kind] += 1
            if kind in ("range", "get", "head"):
                self.counters.versions.setdefault(key, set()).add(version_id)
            if asked is not None:
                self.counters.ranges.setdefault(key, []).append(asked)
        return self.faults(info, before) if self.faults else None

    def is_open(self, change: int) -> None:
        """Counts a request that started (1) or ended (-1)."""
        with self._lock:
            self._open += change
            self.counters.at_once = max(self.counters.at_once, self._open)

    def will_send(self, key: str, count: int) -> None:
        """Counts bytes of a body; before they are sent, so that who received them finds them
        counted."""
        with self._lock:
            self.counters.bytes_sent[key] += count


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[_Handler], s3: S3Server) -> None:
        super().__init__(address, handler)
        self.s3 = s3
        self._connections: set[socket.socket] = set()
        self._closing = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._closing:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._closing:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """Ends the connections that clients keep alive, and with them their threads."""
        self.server_close()
        with self._closing:
            for connection in self._connections:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client may go when it likes; anything else is a fault of this server, raised when it is
        # left.
        if error is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            self.s3.problems.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def s3(self) -> S3Server:
        """The server this connection belongs to."""
        return cast(_Http, self.server).s3

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Nothing: what happened is in the counters."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = do_GET  # noqa: N815

    def _answer(self) -> None:
        s3 = self.s3
        s3.is_open(1)
        try:
            url = urlsplit(self.path)
            if url.path == "/_counters":
                return self._counters("reset" in url.query)
            if s3.latency:
                time.sleep(s3.latency)
            bucket, _, key = unquote(url.path).lstrip("/").partition("/")
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            try:
                if self.command not in ("GET", "HEAD"):
                    self.close_connection = True  # the body was not read
                    raise RefusedError(405, "MethodNotAllowed")
                if bucket != BUCKET:
                    raise RefusedError(404, "NoSuchBucket")
                self._object(key, query) if key else self._list(query)
            except RefusedError as refused:
                self._error(refused.status, refused.code)
        finally:
            s3.is_open(-1)

    def _object(self, key: str, query: dict[str, str]) -> None:
        s3, version_id, asked = self.s3, query.get("versionId"), self.headers.get("Range")
        if unknown := set(query) - _OBJECT_PARAMETERS:
            raise RefusedError(501, f"NotImplemented: {', '.join(sorted(unknown))}")
        # S3 answers a range that it cannot parse with the whole object.
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        span = (int(match[1]), int(match[2] or _END) + 1) if match else None
        if last := re.fullmatch(r"bytes=-(\d+)", asked or ""):
            size = s3.objects.find(key, version_id).size
            span = (max(0, size - int(last[1])), size)
        kind = "head" if self.command == "HEAD" else "range" if span else "get"
        fault = s3.begin(kind, self.command, key, version_id, span) or Fault()
        if not self._goes_on(fault):
            return
        if version_id is not None and not s3.versioned:
            raise RefusedError(404, "NoSuchVersion")
        found = s3.objects.find(key, version_id)
        etag = f'"{found.etag[-2:0:-1]}"' if fault.replaced else found.etag
        if fault.matches and self.headers.get("If-Match", etag) != etag:
            raise RefusedError(412, "PreconditionFailed")
        if span and (span[0] >= found.size or span[0] >= span[1]):
            raise RefusedError(416, "InvalidRange")
        ranged = span is not None and not fault.whole
        start, stop = (span[0], min(span[1], found.size)) if span and ranged else (0, found.size)
        headers = {
            "Content-Type": "binary/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": formatdate(found.modified, usegmt=True),
        }
        if ranged:
            headers["Content-Range"] = (
                fault.content_range or f"bytes {start}-{stop - 1}/{found.size}"
            )
        if s3.versioned:
            own = "replaced" if fault.replaced else found.version_id
            headers["x-amz-version-id"] = (version_id or own) if fault.lie else own
        status = 206 if ranged else 200
        if self.command == "HEAD":  # without reading the file, which may have hundreds of MB
            self._head(status, headers, stop - start - (0 if fault.declared else fault.missing))
            return
        with found.path.open("rb") as file:
            file.seek(start)
            body = file.read(stop - start)
        if fault.replaced:
            body = body.translate(_OTHER)
        self._deliver(status, headers, body, fault, key)

    def _goes_on(self, fault: Fault) -> bool:
        """Applies faults before the answer; returns whether to answer at all."""
        if fault.stall_s:
            time.sleep(fault.stall_s)
        if fault.reset == "before":
            self._reset()
            return False
        if fault.status is not None:
            raise RefusedError(fault.status, fault.code)
        return True

    def _head(self, status: int, headers: Mapping[str, str], length: int) -> None:
        """Sends the head of an answer, to a body of `length` bytes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _deliver(
        self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault, key: str = ""
    ) -> None:
        """Answers with a body, of which a fault may leave out the end."""
        sent = body[: len(body) - fault.missing]
        self._head(status, headers, len(body if fault.declared else sent))
        if self.command == "HEAD":
            return
        if fault.reset == "middle":
            sent = sent[: len(sent) // 2]
        if key:
            self.s3.will_send(key, len(sent))
        bandwidth = 1 / fault.drip_s if fault.drip_s else self.s3.bandwidth
        if self.s3.link and key:
            self._send_in_turn(sent)
        else:
            self._send(sent, bandwidth)
        if fault.reset == "middle":
            self._reset()
        elif fault.missing and fault.declared:
            self.close_connection = True

    def _send(self, body: bytes, bandwidth: float | None) -> None:
        """Sends bytes within the bandwidth."""
        if bandwidth is None:
            self.wfile.write(body)
            return
        step = max(1, int(bandwidth * _STEP_S))
        began = time.perf_counter()
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            ahead = began + (start + len(piece)) / bandwidth - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
            self.wfile.write(piece)

    def _send_in_turn(self, body: bytes) -> None:
        """Sends bytes when the link, which all connections share, has room for them."""
        for start in range(0, len(body), _PIECE):
            piece = memoryview(body)[start : start + _PIECE]
            time.sleep(self.s3.wait_for_link(len(piece)))
            self.wfile.write(piece)

    def _reset(self) -> None:
        # Lingering for 0 s makes the kernel send RST instead of FIN; the reader's file is closed
        # too, else the socket stays open.
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def _list(self, query: dict[str, str]) -> None:
        s3, prefix = self.s3, query.get("prefix", "")
        fault = s3.begin("list", self.command, prefix, None, None) or Fault()
        if self.command != "GET" or query.get("list-type") != "2" or set(query) - _LIST_PARAMETERS:
            raise RefusedError(501, "NotImplemented")
        if not self._goes_on(fault):
            return
        keys, limit = s3.objects.keys(prefix), min(int(query.get("max-keys", "1000")), s3.page)
        after = query.get("continuation-token", "").encode()
        left = [k for k in keys if k.encode() > bytes.fromhex(after.decode())] if after else keys
        folders: list[str] = []
        if (delimiter := query.get("delimiter", "")) != "":
            below = {key: key[len(prefix) :].split(delimiter) for key in left}
            folders = sorted({prefix + n[0] + delimiter for n in below.values() if len(n) > 1})
            left = [key for key, names in below.items() if len(names) == 1]
        page, more = left[:limit], len(left) > limit
        entries: list[str] = []
        for key in page:
            found = s3.objects.find(key, None)
            modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(found.modified))
            facts = {
                "Key": escape(key),
                "LastModified": modified,
                "ETag": escape(found.etag),
                "Size": found.size,
                "StorageClass": "STANDARD",
            }
            entries.append(
                f"<Contents>{''.join(f'<{n}>{v}</{n}>' for n, v in facts.items())}</Contents>"
            )
        head = {
            "Name": BUCKET,
            "Prefix": escape(prefix),
            "KeyCount": len(page),
            "MaxKeys": limit,
            "IsTruncated": str(more).lower(),
        }
        if more:
            head["NextContinuationToken"] = page[-1].encode().hex()
        content = "".join(f"<{name}>{value}</{name}>" for name, value in head.items()) + "".join(
            entries
            + [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders]
        )
        xml = (
            _HEAD
            + f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</ListBucketResult>'.encode()
        )
        answer = fault.listing(xml) if fault.listing else xml
        self._deliver(200, {"Content-Type": "application/xml"}, answer, fault)

    def _error(self, status: int, code: str) -> None:
        error = (
            f"<Error><Code>{escape(code)}</Code><Resource>{escape(self.path)}</Resource></Error>"
        )
        self._deliver(status, {"Content-Type": "application/xml"}, _HEAD + error.encode(), Fault())

    def _counters(self, reset: bool) -> None:
        counted = self.s3.counters.to_json() | {"processor_s": time.process_time()}
        counts = json.dumps(counted).encode()
        self._deliver(200, {"Content-Type": "application/json"}, counts, Fault())
        if reset:
            self.s3.reset_counters()


def _own_certificate(to: Path) -> ssl.SSLContext:
    """Makes a certificate, and writes that of its authority to a file."""
    import trustme

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(to))
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def main() -> None:
    """Serves a folder until the process is told to end."""
    parser = argparse.ArgumentParser(
        description="Serve a folder as an S3 bucket on loopback; prints its URL, runs until it is killed."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds before the first byte of each answer"
    )
    parser.add_argument(
        "--bandwidth",
        type=float,
        default=None,
        help="bytes a second on each connection, e.g. 40e6; no limit if not given",
    )
    parser.add_argument(
        "--link",
        type=float,
        default=None,
        help="bytes a second on all connections together; no limit if not given",
    )
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="FILE",
        help="speak HTTPS, and write the certificate that clients must trust to this file",
    )
    options = parser.parse_args()
    with S3Server(
        options.folder,
        latency=options.latency,
        bandwidth=options.bandwidth,
        link=options.link,
        tls=_own_certificate(options.tls) if options.tls else None,
    ) as server:
        print(server.url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
