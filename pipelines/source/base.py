"""What a source of released files is: how to address it, and what can be read from it.

A source is the bucket of the Allen Institute, a bucket on an S3-compatible server, or a local
folder that holds files under the bucket's keys.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from schemas.errors import SourceError, TransientSourceError, UsageError

READ_LIMIT = 256 * 2**20
"""Largest object that `read` loads into memory. The real manifest has about 3 MB, the largest
project table 1.5 MB."""

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
ATTEMPTS = 8
"""With one failing request in ten, one in 10^8 fails eight times; the whole dataset takes some
10^5 requests. The waits add up to about 25 s, enough for a server to restart."""

_LONGEST_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """How to reach a source; picklable, so that each worker process opens its own.

    Attributes:
        url: a local folder, or `s3://bucket[/prefix]`; the released keys lie directly below it.
        endpoint_url: address of an S3-compatible server; None for AWS.
        anonymous: send unsigned requests, even if the environment holds credentials. Otherwise
            boto3 finds the credentials: profile, environment, role of the instance.
        profile: AWS profile with the credentials; None for the one that boto3 chooses.
        region: region of the bucket; None for us-west-2 for the released bucket, else for that of
            AWS_REGION or AWS_DEFAULT_REGION, else to ask S3 for it.
        connect_timeout_s: longest wait for a connection, in seconds.
        read_timeout_s: longest wait for more data, in seconds.
        attempts: how often a request is sent before its failure is reported.
        ignore_versions: read the newest version of each object, whichever is asked for. For copies
            of the bucket that keep no versions; only a hash tells then what was read.

    Raises:
        UsageError: a field cannot be used, or a URL holds credentials, which would end up in logs
            and ledgers.
    """

    url: str
    endpoint_url: str | None = None
    anonymous: bool = True
    profile: str | None = None
    region: str | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    attempts: int = ATTEMPTS
    ignore_versions: bool = False

    def __post_init__(self) -> None:
        self._check_address()
        for name, seconds in (
            ("connect time-out", self.connect_timeout_s),
            ("time-out", self.read_timeout_s),
        ):
            if not 0 < seconds <= _LONGEST_TIMEOUT_S:
                raise UsageError(
                    f"The {name} {seconds:g} s cannot be used. "
                    "Give a number of seconds above 0 and at most 86400."
                )
        if self.attempts < 1:
            raise UsageError(f"{self.attempts} attempts cannot be made. Give 1 or more.")
        if self.region is not None and not re.fullmatch("[a-z0-9-]+", self.region):
            raise UsageError(f"There is no region {self.region!r}. Give one like us-west-2.")
        if self.profile is not None and self.anonymous:
            raise UsageError("A profile signs requests. Leave out the profile, or --anon.")

    @property
    def is_bucket(self) -> bool:
        """Whether this is a bucket; otherwise it is a local folder."""
        return self.url.startswith("s3://")

    def _check_address(self) -> None:
        for name, unsafe in (
            ("source", _has_credentials(self.url)),
            ("endpoint url", re.search("[@?#]", self.endpoint_url or "")),
        ):
            if unsafe:
                raise UsageError(
                    f"The {name} must not hold credentials, a query or a fragment "
                    "(it is not shown here). Credentials come from the usual AWS places: "
                    "profile, environment or role of the instance."
                )
        bucket = self.url.removeprefix("s3://")
        if "://" in bucket or not bucket or (bucket != self.url and bucket.startswith("/")):
            raise UsageError(
                f"The source {self.url!r} cannot be used. Give a folder or s3://bucket[/prefix]."
            )
        if self.endpoint_url is None:
            return
        if not self.endpoint_url.startswith(("http://", "https://")):
            raise UsageError(
                f"The endpoint url {self.endpoint_url!r} does not start with http:// or https://."
            )
        if not _is_address(self.endpoint_url):
            raise UsageError(
                f"The endpoint url {self.endpoint_url!r} cannot be used. "
                "Give http://host:port or https://host."
            )


def _has_credentials(url: str) -> bool:
    """Tells whether a URL has a user, a query or a fragment. Names of folders may look like it."""
    address, _, rest = url.partition("://")[2].partition("/")
    return "@" in address or bool(re.search("[?#]", address + rest))


def _is_address(url: str) -> bool:
    """Tells whether a URL names a host, and a valid port if any."""
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
    """The object was replaced while it was read. It can be read again from the start."""


@dataclass(slots=True)
class Traffic:
    """Counts what reading costs. May be shared by threads.

    Attributes:
        bytes_moved: bytes of objects that came over the network.
    """

    bytes_moved: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, count: int) -> None:
        """Adds bytes that were received."""
        with self._lock:
            self.bytes_moved += count


def named(spec: SourceSpec, key: str, version_id: str | None) -> str:
    """Returns how errors name an object.

    >>> named(SourceSpec("s3://bucket"), "a.nwb", "v1")
    'a.nwb (version v1) in s3://bucket'
    """
    where = f"{spec.url} at {spec.endpoint_url}" if spec.endpoint_url else spec.url
    return f"{key} in {where}" if version_id is None else f"{key} (version {version_id}) in {where}"


@contextmanager
def at_once() -> Generator[ThreadPoolExecutor]:
    """Threads for requests that do not depend on each other.

    An exception in the block does not wait for those that are in flight.
    """
    pool = ThreadPoolExecutor(thread_name_prefix="vblake-read")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def check_small(size: int, what: str) -> None:
    """Refuses to load more than `READ_LIMIT` bytes into memory.

    Raises:
        SourceError: it is more.
    """
    if size > READ_LIMIT:
        raise SourceError(
            f"{what} has {size} bytes; expected a manifest or table of at most {READ_LIMIT} bytes. "
            "Check the source."
        )
