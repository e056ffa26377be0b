"""The lock of a lake in a bucket: a lease in an object, which its holder renews.

The object `_lock` is created and replaced by conditional requests only (If-None-Match, If-Match),
so of two writers one gets it. A holder that dies does not renew it, and after `LEASE_S` seconds
another takes it over. All times are the server's: the clocks of writers need not agree. A holder
that was cut off or stood still for so long writes nothing any more, except what is on its way.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store as Client

from pipelines.lake.store import S3Store
from schemas.errors import LakeError
from vblake.s3_client import open_bucket

LEASE_S = 60.0
"""A holder that has not renewed its lease for so long is taken for dead."""
RENEW_S = 15.0
_LOCK = "_lock"
_RELEASED = "released"


@dataclass(frozen=True)
class Other:
    """Another process that holds a lease, or held it.

    Attributes:
        known: what it wrote about itself.
        left_s: seconds until it is taken for dead; 0 if it was, and its lease is now taken over.
    """

    known: str
    left_s: float


class Lease:
    """The lease of a lake for this process.

    Args:
        store: the lake.
        holder: who this process is, for others that wait.
    """

    def __init__(self, store: S3Store, holder: Mapping[str, Any]) -> None:
        bucket, _, prefix = store.root.removeprefix("s3://").partition("/")
        self._store = store
        self._bucket = bucket
        self._key = f"{prefix}/{_LOCK}" if prefix else _LOCK
        self._holder = holder
        self._etag = ""
        self._renewed = 0.0
        self._lost: str | None = None
        self._lock = threading.Lock()

    def take(self) -> Other | None:
        """Takes the lease, or returns the other process that holds it.

        Raises:
            LakeError: the bucket cannot be written to, or ignores conditions.
        """
        with self._store.bucket.problems(f"{self._bucket}/{self._key}"):
            client = open_bucket(self._bucket)
            now = self._server_time(client)
            try:
                return self._put(client, "create")
            except AlreadyExistsError:
                found = obstore.get(client, self._key)
            text, etag = bytes(found.bytes()).decode(errors="replace"), found.meta["e_tag"] or ""
            # A second more, as S3's times are in whole seconds.
            left_s = LEASE_S + 1 - (now - found.meta["last_modified"]).total_seconds()
            released = text == _RELEASED
            if left_s > 0 and not released:
                return Other(text, left_s)
            try:
                self._put(client, etag)
            except PreconditionError:  # it was renewed, or a third process was faster
                return Other(text, LEASE_S)
        return None if released else Other(text, 0.0)

    @contextmanager
    def kept(self) -> Generator[None]:
        """Renews the lease during a block, and gives it back at the end.

        In the block, the store writes only while the lease is not lost.
        """
        stop = threading.Event()

        def renew() -> None:
            while not stop.wait(RENEW_S):
                self._renew(self._content())

        thread = threading.Thread(target=renew, name="vblake-lease", daemon=True)
        thread.start()
        self._store.before_write = self.check
        try:
            yield
        finally:
            self._store.before_write = None
            stop.set()
            thread.join()
            self._renew(_RELEASED)

    def check(self) -> None:
        """Makes sure that the lease is still held; to be called before something is written.

        Raises:
            LakeError: it was lost: this process stood still, or could not reach the bucket.
        """
        if self._lost is None and abs(time.time() - self._renewed) > LEASE_S:
            self._renew(self._content())  # the machine slept
        if self._lost is not None:
            raise LakeError(
                f"{self._store.root}: this process has lost its lease ({self._lost}), so another "
                "may be writing to the lake. Run the command again: what is finished is kept."
            )

    # --- requests

    def _content(self) -> str:
        # Differs each time, or the ETag would not show that the lease was renewed.
        return json.dumps({**self._holder, "renewal": uuid.uuid4().hex})

    def _put(self, client: Client, condition: str, content: str | None = None) -> None:
        """Writes the lease if it does not exist (`create`), or has this ETag."""
        mode: Any = "create" if condition == "create" else {"e_tag": condition}
        sent, data = time.time(), (content or self._content()).encode()
        try:
            etag = obstore.put(client, self._key, data, mode=mode)["e_tag"]
        except (AlreadyExistsError, PreconditionError):
            # The first attempt may have been carried out, and its answer lost.
            found = obstore.get(client, self._key)
            if bytes(found.bytes()) != data:
                raise
            etag = found.meta["e_tag"]
        self._etag, self._renewed = etag or "", sent

    def _server_time(self, client: Client) -> datetime:
        """Returns the server's time, by an object that is written for it.

        Raises:
            LakeError: the server ignores conditions.
        """
        probe = f"{self._key}-{uuid.uuid4().hex}"
        try:
            obstore.put(client, probe, b"", mode="create")
            try:
                obstore.put(client, probe, b"", mode="create")
            except AlreadyExistsError:
                return obstore.head(client, probe)["last_modified"]
        finally:
            obstore.delete(client, probe)
        raise LakeError(
            f"{self._store.root}: the server ignores conditions of writes (If-None-Match), so "
            "nothing would keep a second writer out. Use AWS, or a server that has them, such as "
            "MinIO, Ceph or Cloudflare R2."
        )

    def _renew(self, content: str) -> None:
        with self._lock:
            try:
                self._put(open_bucket(self._bucket), self._etag, content)
            except (PreconditionError, FileNotFoundError):
                self._lost = "another process has taken it over"
            except (BaseError, OSError, ValueError):
                if abs(time.time() - self._renewed) > LEASE_S:
                    self._lost = f"it could not be renewed for {LEASE_S:g} s"
