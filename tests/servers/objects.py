"""The objects that the S3 server serves, the faults that it injects, and its counters."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A client's request.

    Attributes:
        number: number of earlier requests, of any kind.
        kind: see `Counters.requests`.
        method: HTTP method.
        key: object key, or the prefix of a listing.
        version_id: requested version, None for the newest.
        range: requested bytes [start, stop); None for the whole object.
    """

    number: int
    kind: str
    method: str
    key: str
    version_id: str | None = None
    range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """The faults of one request; several may be combined.

    Attributes:
        status, code: answer with this error instead, e.g. 503 and SlowDown.
        stall_s: seconds to wait before the answer.
        drip_s: send the body byte by byte, waiting this long after each.
        reset: reset the connection `before` the answer, or in the `middle` of its body.
        missing: number of bytes to leave out at the end of the body.
        declared: whether Content-Length still states the whole body then; the connection is closed
            afterwards.
        whole: answer a range request with 200 and the whole object.
        content_range: answer a range request with this Content-Range.
        replaced: serve other bytes of the same length, with another ETag and version id, as if the
            object had been replaced.
        lie: claim to serve the requested version; only the ETag differs.
        matches: whether If-Match is respected; some servers ignore it.
        listing: makes the answer to a listing from the right one.
    """

    status: int | None = None
    code: str = "InternalError"
    stall_s: float = 0.0
    drip_s: float = 0.0
    reset: str | None = None
    missing: int = 0
    declared: bool = True
    whole: bool = False
    content_range: str | None = None
    replaced: bool = False
    lie: bool = False
    matches: bool = True
    listing: Callable[[bytes], bytes] | None = None


Faults = Callable[[RequestInfo, int], Fault | None]
"""Called for each request with the number of equal requests before it (method, key, version and
range); returns the fault, if any.
"""


@dataclass
class Counters:
    """Counts requests and bytes. A complete answer is counted before the client has it.

    Attributes:
        requests: by kind: `range`, `get` (whole object), `head`, `list`.
        bytes_sent: bytes of object bodies by key, without listings and errors.
        ranges: requested bytes [start, stop) of each key, in the order of the requests.
        versions: requested version ids of each key; None for the newest.
        at_once: largest number of concurrent requests.
    """

    requests: Counter[str] = field(default_factory=Counter[str])
    bytes_sent: Counter[str] = field(default_factory=Counter[str])
    ranges: dict[str, list[tuple[int, int]]] = field(
        default_factory=dict[str, list[tuple[int, int]]]
    )
    versions: dict[str, set[str | None]] = field(default_factory=dict[str, set[str | None]])
    at_once: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns what benchmarks report, as plain JSON."""
        return {
            "requests": self.requests,
            "bytes_sent": self.bytes_sent,
            "at_once": self.at_once,
        }


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object."""

    path: Path
    version_id: str
    size: int
    modified: float

    @property
    def etag(self) -> str:
        """Changes with the content, as far as the file's size and time tell."""
        text = f"{self.version_id} {self.size} {self.modified}"
        return f'"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"'


class RefusedError(Exception):
    """An error to answer with."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Folder:
    """A folder as a bucket with versions; see `S3Server` for its arguments."""

    def __init__(self, root: Path, versions: Mapping[str, Mapping[str, str | Path]]) -> None:
        self.root = root.resolve()
        self._versions = versions
        self._pinned = pinned_versions(self.root)

    def find(self, key: str, version_id: str | None) -> Stored:
        """Returns one version of an object, by default the newest.

        Raises:
            RefusedError: there is no such object, or no such version of it.
        """
        own = self._versions.get(key)
        plain = all(part not in ("", ".", "..") for part in key.split("/")) and "\0" not in key
        if own is None and not (plain and (self.root / key).is_file()):
            raise RefusedError(404, "NoSuchKey")
        if own is None:
            ids = self._pinned.get(key) or [
                hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
            ]
            own = dict.fromkeys(ids, key)
        newest = list(own)[-1] if version_id is None else version_id
        if newest not in own:
            raise RefusedError(404, "NoSuchVersion")
        path = self.root / own[newest]
        facts = path.stat()
        return Stored(path, newest, facts.st_size, facts.st_mtime)

    def keys(self, prefix: str) -> list[str]:
        """Keys that start with the prefix, in S3's order: that of their UTF-8 bytes."""
        hidden = {Path(path).as_posix() for own in self._versions.values() for path in own.values()}
        files = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()}
        return sorted(
            (k for k in (files - hidden) | set(self._versions) if k.startswith(prefix)),
            key=str.encode,
        )


def pinned_versions(folder: Path) -> dict[str, list[str]]:
    """Version ids that the manifests pin, by key; those of the newest release last."""
    found: dict[str, list[str]] = {}

    def number(path: Path) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", path.stem)]

    for path in sorted(folder.glob("*/manifests/*.json"), key=number):
        try:
            manifest = json.loads(path.read_bytes())
            entries = [*manifest["metadata_files"].values(), *manifest["data_files"].values()]
            for entry in entries:
                key = unquote(urlsplit(entry["url"]).path).lstrip("/")
                found.setdefault(key, []).append(entry["version_id"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a manifest that a test has damaged, which the client must detect
    return found
