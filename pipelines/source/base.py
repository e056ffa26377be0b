"""Where the released files are: the bucket of the Allen Institute, an S3-compatible server, or a folder with its keys.

S3 itself is in `pipelines.source.object_store`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from schemas.errors import SourceError, TransientSourceError, UsageError

READ_LIMIT = 256 * 2**20
"""Largest object `read` takes into memory. The real manifest has about 3 MB, the largest project table 1.5 MB."""

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
ATTEMPTS = 8
"""With one failing request in ten, one in 10^8 fails eight times; the whole dataset takes some 10^5. The waits add up to about 25 s, which
a server that is restarted may need."""

_LONGEST_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """How to reach a source; picklable, so that worker processes open their own.

    Attributes:
        url: a local folder, or `s3://bucket[/prefix]`; the keys of the released bucket lie directly under it.
        endpoint_url: address of an S3-compatible server; None for AWS.
        anonymous: send unsigned requests; otherwise the usual AWS credential chain is asked.
        region: AWS region of the bucket.
        connect_timeout_s, read_timeout_s: seconds one connection attempt, or one wait for data, may take.
        attempts: how often a request is tried in all before its error is raised.

    Raises:
        UsageError: the url or endpoint cannot be used, or holds credentials (which would end up in logs and ledgers).
    """

    url: str
    endpoint_url: str | None = None
    anonymous: bool = True
    region: str = "us-west-2"
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    attempts: int = ATTEMPTS

    def __post_init__(self) -> None:
        for name, held in (
            ("source", _holds_more(self.url)),
            ("endpoint url", re.search("[@?#]", self.endpoint_url or "")),
        ):
            if held:
                raise UsageError(
                    f"The {name} must not hold credentials, a query or a fragment (it is not shown here). "
                    "Credentials come from the usual AWS places: environment, profile or instance role."
                )
        bucket = self.url.removeprefix("s3://")
        if "://" in bucket or not bucket or (bucket != self.url and bucket.startswith("/")):
            raise UsageError(
                f"The source {self.url!r} cannot be used. Give a folder or s3://bucket[/prefix]."
            )
        if not (self.endpoint_url or "http://").startswith(("http://", "https://")):
            raise UsageError(
                f"The endpoint url {self.endpoint_url!r} does not start with http:// or https://."
            )
        if self.endpoint_url is not None and not _is_address(self.endpoint_url):
            raise UsageError(
                f"The endpoint url {self.endpoint_url!r} cannot be used. Give http://host:port or https://host."
            )
        for name, seconds in (
            ("connect time-out", self.connect_timeout_s),
            ("time-out", self.read_timeout_s),
        ):
            if not 0 < seconds <= _LONGEST_TIMEOUT_S:
                raise UsageError(
                    f"The {name} {seconds:g} s cannot be used. Give a number of seconds above 0, at most a day's."
                )
        if self.attempts < 1:
            raise UsageError(f"{self.attempts} attempts cannot be made. Give 1 or more.")


def _holds_more(url: str) -> bool:
    """Whether a URL has a user, a query or a fragment; the name of a folder may look like it."""
    address, _, rest = url.partition("://")[2].partition("/")
    return "@" in address or bool(re.search("[?#]", address + rest))


def _is_address(url: str) -> bool:
    """Whether a URL names a host, and a port if any."""
    try:
        parts = urlsplit(url)
        return (
            bool(parts.hostname)
            and url.isprintable()
            and " " not in url
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


class ReplacedError(TransientSourceError):
    """The object was replaced by another while it was read; it can be read from the start."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """An object as it is; whatever is read of it later must be of that same one, or `ReplacedError` is raised.

    Attributes:
        key: its key.
        version_id: the version asked for; None for the newest.
        size: bytes.
        etag: what the server calls its content; None where it does not say.
    """

    key: str
    version_id: str | None
    size: int
    etag: str | None = None


@dataclass(slots=True)
class Traffic:
    """What reading cost.

    Attributes:
        bytes_moved: bytes of objects that came over the network, those of answers that broke off and were repeated included.
    """

    bytes_moved: int = 0


class Source(Protocol):
    """A bucket's worth of objects. Keys are those of the released bucket, without a leading `/`.

    Every method raises `SourceError` (the object is not there or may not be read) or `TransientSourceError` (the bucket
    did not answer properly after all attempts), naming key and version.
    """

    spec: SourceSpec
    traffic: Traffic

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of the newest version of every object whose key starts with `prefix`, from one listing."""
        ...

    def pin(self, key: str, version_id: str | None) -> Pinned:
        """One object version, to read ranges of."""
        ...

    def read(self, key: str, version_id: str | None) -> bytes:
        """A whole small object (at most `READ_LIMIT` bytes)."""
        ...

    def read_range(self, obj: Pinned, start: int, stop: int) -> bytes:
        """Exactly the bytes [start, stop) of an object. Safe to call from several threads."""
        ...

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        """Streams a whole object into the file `to`, overwriting it; returns its bytes.

        After an error `to` may be half written. A `LakeError` says that it cannot be written.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """The object as a file that can be opened in place; None where the source is not a folder."""
        ...

    def close(self) -> None:
        """Gives up what other threads are still asking for, and refuses further requests."""
        ...


def named(spec: SourceSpec, key: str, version_id: str | None) -> str:
    """What to call an object in errors."""
    where = f"{spec.url} at {spec.endpoint_url}" if spec.endpoint_url else spec.url
    return f"{key} in {where}" if version_id is None else f"{key} (version {version_id}) in {where}"


def check_small(size: int, what: str) -> None:
    """Refuses to take more than `READ_LIMIT` bytes into memory."""
    if size > READ_LIMIT:
        raise SourceError(
            f"{what} has {size} bytes; expected a manifest or table, at most {READ_LIMIT}. Check the source."
        )
