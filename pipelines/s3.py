"""S3, and servers that speak it.

Requests go through the client of s3fs with retries of our own: the manifest pins every object by its version, which s3fs's
file functions do not all pass on, and their retries multiply with those of botocore.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from pipelines.sources import SourceSpec, check_small, named, unwritable
from schemas.errors import SourceError, TransientSourceError

_PART = 16 * 2**20
_PARTS_AT_ONCE = 6  # one connection to S3 gives about 40 MB/s
_CHUNK = 2**20
_TRANSIENT_CODES = frozenset(("RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "ThrottlingException"))

_T = TypeVar("_T")


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

    def read_range(self, key: str, version_id: str | None, start: int, stop: int) -> bytes:
        """See `Source.read_range`."""
        return self._run(self._read_range(key, version_id, start, stop))

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
            what = named(self.spec, f"the listing of {prefix!r}", None)
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
                f"{named(self.spec, key, version_id)}: the server sent {found or 'no version id'}. "
                "It does not keep versions as S3 does: read from the released bucket or from a local copy."
            )
        return response

    async def _head(self, key: str, version_id: str | None) -> Any:
        what = named(self.spec, key, version_id)
        return await self._try(lambda s3: self._get(s3.head_object, key, version_id), what, version_id)

    async def _read(self, key: str, version_id: str | None) -> bytes:
        what = named(self.spec, key, version_id)

        async def whole(s3: Any) -> bytes:
            response = await self._get(s3.get_object, key, version_id)
            async with response["Body"] as body:
                check_small(response["ContentLength"], what)
                content: bytes = await body.read()
            _check_complete(len(content), response["ContentLength"], what)
            return content

        return await self._try(whole, what, version_id)

    async def _read_range(self, key: str, version_id: str | None, start: int, stop: int) -> bytes:
        what = named(self.spec, key, version_id)

        async def once(s3: Any) -> bytes:
            response = await self._get(s3.get_object, key, version_id, Range=f"bytes={start}-{stop - 1}")
            async with response["Body"] as body:
                _check_range(response, stop - start, what)
                content: bytes = await body.read()
            _check_complete(len(content), stop - start, what)
            return content

        return await self._try(once, what, version_id)

    async def _fetch(self, key: str, version_id: str | None, to: Path) -> int:
        what = named(self.spec, key, version_id)
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
                    _check_range(response, stop - start, what)
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
            raise (unwritable(to, first) if isinstance(first, OSError) else first) from None
        return size


def _check_complete(received: int, expected: int, what: str) -> None:
    if received != expected:
        raise TransientSourceError(f"{what}: the transfer broke off after {received} of {expected} bytes. Try again.")


def _check_range(response: Any, expected: int, what: str) -> None:
    if response["ContentLength"] != expected:
        raise SourceError(f"{what}: the server does not answer range requests. Read from a local copy.")
