"""Where the released files are: the bucket of the Allen Institute, an S3-compatible server, or a folder with its keys.

S3 goes through the client of s3fs with retries of our own: the manifest pins every object by its version, which s3fs's
file functions do not all pass on, and their retries multiply with those of botocore.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from schemas.errors import LakeError, SourceError, TransientSourceError, UsageError

READ_LIMIT = 256 * 2**20
"""Largest object `read` takes into memory. The real manifest has about 3 MB, the largest project table 1.5 MB."""

_PART = 16 * 2**20
_PARTS_AT_ONCE = 6  # one connection to S3 gives about 40 MB/s
_CHUNK = 2**20
_TRANSIENT_CODES = frozenset(("RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "ThrottlingException"))

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """How to reach a source; picklable, so that worker processes open their own.

    Attributes:
        url: a local folder, or `s3://bucket[/prefix]`; the keys of the released bucket lie directly under it.
        endpoint_url: address of an S3-compatible server; None for AWS.
        anonymous: send unsigned requests; otherwise the usual AWS credential chain is asked.
        region: AWS region of the bucket.
        connect_timeout_s, read_timeout_s: seconds one connection attempt, or one wait for data, may take.
        attempts: how often a request is tried in all before the error is raised.

    Raises:
        UsageError: the url or endpoint cannot be used, or holds credentials (which would end up in logs and ledgers).
    """

    url: str
    endpoint_url: str | None = None
    anonymous: bool = True
    region: str = "us-west-2"
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    attempts: int = 5

    def __post_init__(self) -> None:
        for name, url in (("source", self.url), ("endpoint url", self.endpoint_url or "")):
            parts = urlsplit(url if "://" in url else "")
            if "@" in parts.netloc or parts.query or parts.fragment:
                raise UsageError(
                    f"The {name} must not hold credentials, a query or a fragment (it is not shown here). "
                    "Credentials come from the usual AWS places: environment, profile or instance role."
                )
        bucket = self.url.removeprefix("s3://")
        if "://" in bucket or not bucket or (bucket != self.url and bucket.startswith("/")):
            raise UsageError(f"The source {self.url!r} cannot be used. Give a folder or s3://bucket[/prefix].")
        if not (self.endpoint_url or "http://").startswith(("http://", "https://")):
            raise UsageError(f"The endpoint url {self.endpoint_url!r} does not start with http:// or https://.")


class Source(Protocol):
    """A bucket's worth of objects. Keys are those of the released bucket, without a leading `/`.

    Every method raises `SourceError` (the object is not there or may not be read) or `TransientSourceError` (the bucket
    did not answer properly after all attempts), naming key and version.
    """

    spec: SourceSpec

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of the newest version of every object whose key starts with `prefix`, from one listing."""
        ...

    def size(self, key: str, version_id: str | None) -> int:
        """Bytes of one object version."""
        ...

    def read(self, key: str, version_id: str | None) -> bytes:
        """A whole small object (at most `READ_LIMIT` bytes)."""
        ...

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        """Streams a whole object into the file `to`, overwriting it; returns its bytes.

        After an error `to` may be half written. A `LakeError` says that it cannot be written.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """The object as a file that can be opened in place; None where the source is not a folder."""
        ...


def open_source(spec: SourceSpec) -> Source:
    """The source a spec describes.

    Raises:
        UsageError: the folder does not exist. A bucket is first asked when it is first read.
    """
    return S3Source(spec) if spec.url.startswith("s3://") else LocalSource(spec)


class LocalSource:
    """A folder with the bucket's keys. It holds one version of each object: version ids are ignored, hashes tell."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._root = Path(spec.url).expanduser().resolve()
        if not self._root.is_dir():
            raise UsageError(f"There is no source folder {spec.url}. Give the one that holds 'visual-behavior-ophys'.")

    def sizes(self, prefix: str) -> dict[str, int]:
        """See `Source.sizes`. Links that lead out of the folder are left out."""
        parent = prefix.rpartition("/")[0]
        base = self._inside(parent) if parent else self._root
        found: dict[str, int] = {}

        def unreadable(error: OSError) -> None:
            raise SourceError(f"{error.filename} cannot be listed ({error.strerror}). Check its permissions.")

        for folder, _, names in os.walk(base, onerror=unreadable) if base.is_dir() else ():
            for path in (Path(folder, name) for name in names):
                key = f"{parent}/{path.relative_to(base).as_posix()}" if parent else path.relative_to(base).as_posix()
                # A dangling link, or one that goes round in circles, is no file: as in a bucket, it is not there.
                if not key.startswith(prefix) or not path.is_file():
                    continue
                if not path.is_symlink() or path.resolve().is_relative_to(self._root):
                    found[key] = path.stat().st_size
        return dict(sorted(found.items()))

    def size(self, key: str, version_id: str | None) -> int:
        """See `Source.size`."""
        return self.local_path(key).stat().st_size

    def read(self, key: str, version_id: str | None) -> bytes:
        """See `Source.read`."""
        _check_small(self.size(key, version_id), _named(self.spec, key, None))
        try:
            return self.local_path(key).read_bytes()
        except OSError as error:
            raise self._failed(key, error) from None

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        """See `Source.fetch`."""
        try:
            file = self.local_path(key).open("rb")
        except OSError as error:
            raise self._failed(key, error) from None
        try:
            with file, to.open("wb") as target:
                shutil.copyfileobj(file, target, _CHUNK)
                return target.tell()
        except OSError as error:
            raise _unwritable(to, error) from None

    def local_path(self, key: str) -> Path:
        """The file of a key.

        Raises:
            SourceError: there is no such file, it is no regular file, or it lies outside the source folder.
        """
        path = self._inside(key)
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            raise self._failed(key, error) from None
        if not regular:
            raise SourceError(f"{key} in {self.spec.url} is a folder or a device; expected a regular file.")
        return path

    def _inside(self, key: str) -> Path:
        if "\0" in key or "\\" in key or any(part in ("", ".", "..") for part in key.split("/")):
            raise SourceError(f"The key {key!r} is not a plain relative path (no '..', no empty parts); it was not opened.")
        try:
            path = (self._root / key).resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in circles
            raise SourceError(f"{key} in {self.spec.url} cannot be resolved ({error}).") from None
        if not path.is_relative_to(self._root):
            raise SourceError(
                f"{key} in {self.spec.url} leads outside that folder through a link; it was not opened. "
                "Copy the files into the folder, or give the folder where they really are as the source."
            )
        return path

    def _failed(self, key: str, error: OSError) -> SourceError:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        return SourceError(f"{key} in {self.spec.url} {reason}. Complete the folder, or read from the bucket.")


class S3Source:
    """A bucket on S3 or on a server that speaks it."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._bucket, _, prefix = spec.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/".removeprefix("/")
        self._filesystem: Any = None
        self._pid = 0

    def sizes(self, prefix: str) -> dict[str, int]:
        """See `Source.sizes`."""
        return self._run(self._sizes(prefix))

    def size(self, key: str, version_id: str | None) -> int:
        """See `Source.size`."""
        return int(self._run(self._head(key, version_id))["ContentLength"])

    def read(self, key: str, version_id: str | None) -> bytes:
        """See `Source.read`."""
        return self._run(self._read(key, version_id))

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        """See `Source.fetch`. Parts of 16 MiB are fetched over six connections, each part retried on its own."""
        return self._run(self._fetch(key, version_id, to))

    def local_path(self, key: str) -> None:
        """None: nothing in a bucket can be opened in place."""

    def _run(self, work: Awaitable[_T]) -> _T:
        import fsspec.asyn
        import s3fs

        # A client does not survive a fork: its sockets and event loop belong to the parent.
        if self._filesystem is None or self._pid != os.getpid():
            timeouts = {"connect_timeout": self.spec.connect_timeout_s, "read_timeout": self.spec.read_timeout_s}
            addressing = {"s3": {"addressing_style": "path"}} if self.spec.endpoint_url else {}
            self._filesystem = s3fs.S3FileSystem(
                anon=self.spec.anonymous,
                endpoint_url=self.spec.endpoint_url,
                client_kwargs={"region_name": self.spec.region},
                config_kwargs={**timeouts, **addressing, "retries": {"total_max_attempts": 1}},
                skip_instance_cache=True,
            )
            self._pid = os.getpid()
        return cast("Any", fsspec.asyn).sync(self._filesystem.loop, lambda: work)

    async def _try(self, request: Callable[[Any], Awaitable[_T]], what: str, version_id: str | None) -> _T:
        """Runs a request on the client, again after transient errors, waiting 0.25 to 8 s in between."""
        import aiohttp
        from botocore.exceptions import BotoCoreError, ClientError

        attempt = 1
        while True:
            try:
                return await request(await self._filesystem.set_session())
            except TransientSourceError as caught:
                error: SourceError = caught
            except (BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError, ConnectionError) as caught:
                error = self._explained(caught, what, version_id, attempt)
            except RecursionError:  # botocore follows a server that redirects everything, e.g. from http to https
                error = SourceError(f"{what}: the server redirects every request. Check endpoint url (http, https) and region.")
            if not error.retryable or attempt >= self.spec.attempts:
                raise error from None  # not from the library's error, whose text can hold request URLs and keys
            await asyncio.sleep(min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.0))
            attempt += 1

    def _explained(self, caught: Exception, what: str, version_id: str | None, attempt: int) -> SourceError:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as BotoConnectionError

        kind, response = type(caught).__name__, cast("dict[str, Any]", getattr(caught, "response", {}))
        if isinstance(caught, ClientError):
            code = str(response.get("Error", {}).get("Code", "unknown"))
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            answer = f"the server answered HTTP {status} {code}"
            # 412: an object that is not pinned was replaced between two of its parts.
            if status >= 500 or status in (412, 429) or code in _TRANSIENT_CODES:
                return TransientSourceError(f"{what}: {answer}, {attempt} times in all. Try again later.")
            if code == "NoSuchBucket":
                cause = "there is no such bucket. Check source and endpoint url"
            elif status == 403:
                how = "unsigned requests" if self.spec.anonymous else "these credentials"
                cause = f"{how} may not read it, or it does not exist. Buckets that are not public need credentials"
            elif version_id is not None and status in (400, 404, 405):
                cause = "the bucket has no such version of it, which the manifest pins: this copy is not complete"
            elif status == 404:
                cause = "there is no such object. Check the source"
            else:
                cause = "the request was refused. Check source, endpoint url and region"
            return SourceError(f"{what}: {cause} ({answer}).")
        if isinstance(caught, BotoCoreError) and not isinstance(caught, (BotoConnectionError, HTTPClientError)):
            return SourceError(f"{what}: the request failed ({kind}). Check source, endpoint url and AWS credentials.")
        times = f"{attempt} times in all. Check network and endpoint url, or try again later."
        return TransientSourceError(f"{what}: the connection failed ({kind}), {times}")

    async def _sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        request = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        while True:
            what = _named(self.spec, f"the listing of {prefix!r}", None)
            page = await self._try(lambda s3: s3.list_objects_v2(**request), what, None)
            for entry in page.get("Contents", ()):
                found[entry["Key"].removeprefix(self._prefix)] = int(entry["Size"])
            if not page.get("IsTruncated"):
                return found
            token = page.get("NextContinuationToken")
            if not token or token == request.get("ContinuationToken"):
                raise SourceError(f"{what}: it does not end. Check the endpoint url.")
            request["ContinuationToken"] = token

    async def _get(self, method: Callable[..., Awaitable[Any]], key: str, version_id: str | None, **extra: str) -> Any:
        """One head or get request, its answer of the version asked for: some servers send the newest all the same."""
        pinned = {} if version_id is None else {"VersionId": version_id}
        response = await method(Bucket=self._bucket, Key=self._prefix + key, **pinned, **extra)
        found = response.get("VersionId")
        if version_id is not None and found != version_id:
            if "Body" in response:
                response["Body"].close()
            raise SourceError(
                f"{_named(self.spec, key, version_id)}: the server sent {found or 'no version id'}. "
                "It does not keep versions as S3 does: read from the released bucket or from a local copy."
            )
        return response

    async def _head(self, key: str, version_id: str | None) -> Any:
        what = _named(self.spec, key, version_id)
        return await self._try(lambda s3: self._get(s3.head_object, key, version_id), what, version_id)

    async def _read(self, key: str, version_id: str | None) -> bytes:
        what = _named(self.spec, key, version_id)

        async def whole(s3: Any) -> bytes:
            response = await self._get(s3.get_object, key, version_id)
            async with response["Body"] as body:
                _check_small(response["ContentLength"], what)
                content: bytes = await body.read()
            _check_complete(len(content), response["ContentLength"], what)
            return content

        return await self._try(whole, what, version_id)

    async def _fetch(self, key: str, version_id: str | None, to: Path) -> int:
        what = _named(self.spec, key, version_id)
        head = await self._head(key, version_id)
        size = int(head["ContentLength"])
        # Without a version the object may be replaced between two parts.
        same = {} if version_id is not None else {"IfMatch": head["ETag"]}
        limit = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def part(file: int, start: int) -> None:
            stop = min(start + _PART, size)

            async def once(s3: Any) -> None:
                response = await self._get(s3.get_object, key, version_id, Range=f"bytes={start}-{stop - 1}", **same)
                at = start
                async with response["Body"] as body:
                    if response["ContentLength"] != stop - start:
                        raise SourceError(f"{what}: the server does not answer range requests. Read from a local copy.")
                    while chunk := await body.read(_CHUNK):
                        while chunk:  # a disk that fills up takes a piece of it first
                            written = os.pwrite(file, chunk, at)
                            chunk, at = chunk[written:], at + written
                _check_complete(at - start, stop - start, what)

            async with limit:
                await self._try(once, what, version_id)

        try:
            with to.open("wb") as file:
                async with asyncio.TaskGroup() as parts:  # all have ended when the file is closed, whatever happens
                    for start in range(0, size, _PART):
                        parts.create_task(part(file.fileno(), start))
        except (OSError, ExceptionGroup) as error:
            first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            raise (_unwritable(to, first) if isinstance(first, OSError) else first) from None
        return size


def _named(spec: SourceSpec, key: str, version_id: str | None) -> str:
    where = f"{spec.url} at {spec.endpoint_url}" if spec.endpoint_url else spec.url
    return f"{key} in {where}" if version_id is None else f"{key} (version {version_id}) in {where}"


def _check_small(size: int, what: str) -> None:
    if size > READ_LIMIT:
        raise SourceError(f"{what} has {size} bytes; expected a manifest or table, at most {READ_LIMIT}. Check the source.")


def _check_complete(received: int, expected: int, what: str) -> None:
    if received != expected:
        raise TransientSourceError(f"{what}: the transfer broke off after {received} of {expected} bytes. Try again.")


def _unwritable(path: Path, error: OSError) -> LakeError:
    return LakeError(f"{path} cannot be written ({error.strerror}). Free space, or give a folder that can be written.")
