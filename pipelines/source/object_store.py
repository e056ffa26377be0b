"""S3, and servers that speak it.

Requests go through the client of s3fs with retries of our own: the manifest pins every object by its version, which s3fs's
file functions do not all pass on, and their retries multiply with those of botocore. Every answer is checked against what was
asked for (version, ETag, range, length) before its bytes are used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pipelines.log import quiet_libraries
from pipelines.os_errors import unwritable
from pipelines.source import object_store_errors as s3_errors
from pipelines.source.base import Pinned, ReplacedError, SourceSpec, Traffic, check_small, named
from pipelines.source.object_store_errors import Again, AnswerError, Trouble, explain
from schemas.errors import SourceError, TransientSourceError

_PART = 16 * 2**20
_PARTS_AT_ONCE = 6  # one connection to S3 gives about 40 MB/s
_CHUNK = 2**20
_SLOWEST = 1024
"""Bytes a second. Each piece of a slower answer may come within the time-out; all of it would hold a connection for ever."""

CONFIRMED = 5
"""A definite answer, e.g. 404, is believed when it was given so often."""
_STARTS = 3
"""How often reading an object is begun when it is replaced meanwhile."""
_LOUD = 3
"""From so many attempts in vain on, each is a warning: something lasts, and the user is waiting for it."""

_log = logging.getLogger("vblake.s3")

_T = TypeVar("_T")


@lru_cache(maxsize=1)
def _filesystem(spec: SourceSpec, _: int) -> Any:
    """A file system of s3fs with its client and connections, which one file after the other uses: a client takes 0.07 s to make and leaves
    30 MB that the garbage collector has to find, and every new connection shakes hands first.

    Args:
        spec: how to reach the bucket.
        _: id of this process; a client does not survive a fork: its sockets and event loop belong to the parent.
    """
    import s3fs

    quiet_libraries()
    return s3fs.S3FileSystem(
        anon=spec.anonymous,
        endpoint_url=spec.endpoint_url,
        client_kwargs={"region_name": spec.region},
        config_kwargs={
            "connect_timeout": spec.connect_timeout_s,
            "read_timeout": spec.read_timeout_s,
            # None of botocore's own, whatever AWS_MAX_ATTEMPTS and AWS_RETRY_MODE say.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            **({"s3": {"addressing_style": "path"}} if spec.endpoint_url else {}),
        },
        skip_instance_cache=True,
    )


class S3Source:
    """A bucket on S3 or on a server that speaks it."""

    def __init__(self, spec: SourceSpec, traffic: Traffic | None = None) -> None:
        self.spec = spec
        self.traffic = traffic or Traffic()
        self._bucket, _, prefix = spec.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/".removeprefix("/")
        self._filesystem: Any = None
        self._pid = 0
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._trouble = False
        self._closed = False

    def sizes(self, prefix: str) -> dict[str, int]:
        """See `Source.sizes`."""
        return self._run(self._sizes(prefix))

    def pin(self, key: str, version_id: str | None) -> Pinned:
        """See `Source.pin`."""
        return self._run(self._pin(key, version_id))

    def read(self, key: str, version_id: str | None) -> bytes:
        """See `Source.read`."""
        return self._run(self._read(key, version_id))

    def read_range(self, obj: Pinned, start: int, stop: int) -> bytes:
        """See `Source.read_range`."""
        return self._run(self._read_range(obj, start, stop))

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        """See `Source.fetch`. Parts of 16 MiB are fetched over six connections, each part retried on its own."""
        return self._run(self._fetch(key, version_id, to))

    def local_path(self, key: str) -> None:
        """None: nothing in a bucket can be opened in place."""

    def close(self) -> None:
        """See `Source.close`."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for future in running:
            self._trouble = True
            future.cancel()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        import fsspec.asyn

        with self._lock:
            if self._filesystem is None or self._pid != os.getpid():
                # Not in the loop's thread, which would have to wait for itself: the end of an earlier one is its work.
                self._pid = os.getpid()
                self._filesystem = _filesystem(self.spec, self._pid)
            if self._closed:
                work.close()
                raise SourceError(f"{self.spec.url} is closed.")
            future = asyncio.run_coroutine_threadsafe(work, cast("Any", fsspec.asyn).get_loop())
            self._running.add(future)
        try:
            return future.result()
        except CancelledError:
            raise SourceError(f"A request to {self.spec.url} was given up.") from None
        finally:
            future.cancel()  # also what an interrupt left under way
            self._running.discard(future)
            if self._trouble:
                _filesystem.cache_clear()  # what was broken off may have left a connection in no state for the next file

    async def _try(
        self,
        what: str,
        version_id: str | None,
        request: Callable[[Any], Awaitable[_T]],
        *,
        expected: int = 0,
    ) -> _T:
        """The result of a request on the client, asked again after errors that may pass; `expected` bytes are to come."""
        import aiohttp
        from botocore.exceptions import BotoCoreError, ClientError

        attempt = confirmed = 0
        while True:
            attempt += 1
            try:
                client = await self._filesystem.set_session()
                async with asyncio.timeout(
                    self.spec.connect_timeout_s + self.spec.read_timeout_s + expected / _SLOWEST
                ):
                    return await request(client)
            except (
                AnswerError,
                BotoCoreError,
                ClientError,
                aiohttp.ClientError,
                OSError,
                RecursionError,
            ) as caught:
                self._trouble, trouble = True, explain(caught, self.spec, version_id)
            confirmed += trouble.again is Again.CONFIRM
            if (
                trouble.again is Again.NEVER
                or attempt >= self.spec.attempts
                or confirmed >= CONFIRMED
            ):
                break
            # Jitter: clients that failed together must not come back together.
            longest = 0.3 if trouble.again is Again.CONFIRM else min(8.0, 0.25 * 2**attempt)
            wait = longest * random.uniform(0.5, 1.0)
            level = logging.WARNING if attempt >= _LOUD else logging.INFO
            _log.log(
                level,
                "%s: %s; attempt %d of %d in %.1f s",
                what,
                trouble.cause,
                attempt + 1,
                self.spec.attempts,
                wait,
            )
            await asyncio.sleep(wait)
        # Here, not in the handler: not even as its context may the library's error go along, whose text can hold URLs and keys.
        raise _error(what, trouble, attempt)

    async def _call(self, method: Callable[..., Awaitable[Any]], **parameters: object) -> Any:
        """An answer of the client, which raises what it likes for headers and XML that it cannot read."""
        try:
            return await method(**parameters)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise s3_errors.garbage(type(error).__name__) from None

    async def _sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        request: dict[str, object] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        what = named(self.spec, f"the listing of {prefix!r}", None)
        while True:

            async def page(s3: Any) -> tuple[dict[str, int], str | None]:
                return _page(await self._call(s3.list_objects_v2, **request), request)

            sizes, token = await self._try(what, None, page)
            fresh = {key.removeprefix(self._prefix): size for key, size in sizes.items()}
            if token is not None and fresh.keys() <= found.keys():
                raise SourceError(f"{what}: it does not end. Check the endpoint url.")
            found |= fresh
            if token is None:
                return found
            request["ContinuationToken"] = token

    async def _pin(self, key: str, version_id: str | None) -> Pinned:
        return await self._try(
            named(self.spec, key, version_id),
            version_id,
            lambda s3: self._head(s3, key, version_id),
        )

    async def _head(self, s3: Any, key: str, version_id: str | None) -> Pinned:
        answer = await self._call(s3.head_object, **self._object(key, version_id))
        _check_version(answer, version_id)
        if not isinstance(length := answer.get("ContentLength"), int):
            raise s3_errors.garbage("no length")
        return Pinned(key, version_id, length, answer.get("ETag"))

    def _object(self, key: str, version_id: str | None) -> dict[str, str]:
        return {
            "Bucket": self._bucket,
            "Key": self._prefix + key,
            **({} if version_id is None else {"VersionId": version_id}),
        }

    async def _receive(
        self, s3: Any, obj: Pinned, start: int, stop: int, take: Callable[[bytes], None]
    ) -> None:
        """One request for the bytes [start, stop); `take` gets them piece by piece."""
        asked = f"bytes={start}-{stop - 1}"
        answer = await self._call(
            s3.get_object, **self._object(obj.key, obj.version_id), Range=asked
        )
        left = stop - start
        async with answer["Body"] as body:
            _check_version(answer, obj.version_id)
            if (doubt := _difference(answer, obj)) is not None:
                # Which of the two answers is right?
                same = await self._head(s3, obj.key, obj.version_id) == obj
                raise s3_errors.replaced(doubt, again=Again.CONFIRM if same else Again.NEVER)
            _check_range(answer, obj, start, stop)
            while chunk := await body.read(_CHUNK):
                self.traffic.bytes_moved += len(chunk)
                left -= len(chunk)
                if left < 0:
                    raise s3_errors.garbage("more bytes than it said")
                take(chunk)
        if left:
            raise s3_errors.broken_off(stop - start - left, stop - start)

    async def _read_range(self, obj: Pinned, start: int, stop: int) -> bytes:
        async def once(s3: Any) -> bytes:
            pieces: list[bytes] = []
            await self._receive(s3, obj, start, stop, pieces.append)
            return b"".join(pieces)

        return await self._try(
            named(self.spec, obj.key, obj.version_id), obj.version_id, once, expected=stop - start
        )

    async def _from_start(
        self, key: str, version_id: str | None, work: Callable[[Pinned], Awaitable[_T]]
    ) -> _T:
        """Does work on an object, from the start again where it was replaced meanwhile."""
        for _ in range(_STARTS - 1):
            obj = await self._pin(key, version_id)
            try:
                return await work(obj)
            except ReplacedError:
                continue
        return await work(await self._pin(key, version_id))

    async def _read(self, key: str, version_id: str | None) -> bytes:
        async def whole(obj: Pinned) -> bytes:
            check_small(obj.size, named(self.spec, key, version_id))
            return await self._read_range(obj, 0, obj.size) if obj.size else b""

        return await self._from_start(key, version_id, whole)

    async def _fetch(self, key: str, version_id: str | None, to: Path) -> int:
        limit = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def part(obj: Pinned, file: int, start: int) -> None:
            stop = min(start + _PART, obj.size)

            async def once(s3: Any) -> None:
                at = start

                def write(chunk: bytes) -> None:
                    nonlocal at
                    while chunk:  # a disk that fills up takes a piece of it first
                        try:
                            written = os.pwrite(file, chunk, at)
                        except OSError as error:
                            raise unwritable(error, to) from None
                        chunk, at = chunk[written:], at + written

                await self._receive(s3, obj, start, stop, write)

            async with limit:
                await self._try(
                    named(self.spec, key, version_id), version_id, once, expected=stop - start
                )

        async def whole(obj: Pinned) -> int:
            try:
                with to.open("wb") as file:
                    async with (
                        asyncio.TaskGroup() as parts
                    ):  # all have ended when the file is closed, whatever happens
                        for start in range(0, obj.size, _PART):
                            parts.create_task(part(obj, file.fileno(), start))
            except OSError as error:
                raise unwritable(error, to) from None
            except ExceptionGroup as errors:
                first = errors.exceptions[0]
                raise first from None
            return obj.size

        return await self._from_start(key, version_id, whole)


def _error(what: str, trouble: Trouble, attempts: int) -> SourceError:
    times = (
        f" ({attempts} attempt{'s' if attempts > 1 else ''})"
        if trouble.again is Again.LATER
        else ""
    )
    kind = (
        ReplacedError
        if trouble.replaced
        else TransientSourceError
        if trouble.again is Again.LATER
        else SourceError
    )
    return kind(f"{what}: {trouble.text}{times}. {trouble.hint}")


def _page(answer: dict[str, Any], request: dict[str, object]) -> tuple[dict[str, int], str | None]:
    """Sizes by key of one page of a listing, and the token of the next page. botocore reads any XML as a listing of nothing."""
    entries = answer.get("Contents", ())
    if not isinstance(more := answer.get("IsTruncated"), bool):
        raise s3_errors.garbage("no listing")
    if (
        answer.get("KeyCount", len(entries)) != len(entries)
        or answer.get("Prefix", request["Prefix"]) != request["Prefix"]
    ):
        raise s3_errors.garbage("a listing of something else")
    sizes: dict[str, int] = {}
    for entry in entries:
        key, size = entry.get("Key"), entry.get("Size")
        if (
            not isinstance(key, str)
            or not key.startswith(str(request["Prefix"]))
            or not isinstance(size, int)
            or size < 0
        ):
            raise s3_errors.garbage("an entry without key or size")
        sizes[key] = size
    token = answer.get("NextContinuationToken")
    if more and not token:
        raise s3_errors.garbage("a listing that is cut off")
    return sizes, token if more else None


def _check_version(answer: dict[str, Any], version_id: str | None) -> None:
    """The answer must be of the version asked for, which some servers do not care about."""
    found = answer.get("VersionId")
    if version_id is not None and found != version_id:
        raise s3_errors.another_version(found)


def _difference(answer: dict[str, Any], obj: Pinned) -> str | None:
    """What shows that an answer is of another object than the one whose reading was begun."""
    etag, size = answer.get("ETag"), str(answer.get("ContentRange", "")).rpartition("/")[2]
    if obj.etag is not None and etag != obj.etag:
        return f"ETag {s3_errors.plain(obj.etag)}, then {s3_errors.plain(str(etag))}"
    if size.isdecimal() and int(size) != obj.size:
        return f"{obj.size} bytes, then {int(size)}"
    return None


def _check_range(answer: dict[str, Any], obj: Pinned, start: int, stop: int) -> None:
    """The answer must be of exactly the bytes asked for."""
    found = answer.get("ContentRange")
    whole = found is None and (start, stop) == (0, obj.size)
    if not whole and found != f"bytes {start}-{stop - 1}/{obj.size}":
        raise s3_errors.not_a_range()
    if answer.get("ContentLength", stop - start) != stop - start:
        raise s3_errors.broken_off(int(answer["ContentLength"]), stop - start)
