"""A bucket on S3, or on a server that speaks S3, read with obstore.

obstore repeats requests that fail for a moment, resumes bodies that break off, and shares
connections between files. What it does not check is checked here: that an answer is of the version
that was asked for, has the size and ETag that the object had at first, and is as long as it
should be.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import obstore
from obstore.exceptions import BaseError

from pipelines.os_errors import unwritable
from pipelines.source.base import (
    READ_LIMIT,
    ReplacedError,
    SourceSpec,
    Traffic,
    check_small,
    named,
)
from pipelines.source.object_store_errors import OTHER_COPY, ListingError, explained
from schemas.errors import SourceError, TransientSourceError, UsageError
from vblake import s3_client
from vblake.s3_client import (
    DEFAULT_REGION,
    NO_CREDENTIALS,
    NO_PROFILE,
    SettingsError,
    ask_region,
    connect,
    find_settings,
)

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import S3CredentialProvider, S3Store

    from pipelines.source.range_file import RangeFile

PUBLIC_BUCKET = "visual-behavior-ophys-data"
PUBLIC_REGION = "us-west-2"
STARTS = 3
"""How often an object is read from the start if it is replaced meanwhile."""
_CHUNK = 2**20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pinned:
    """An object as it was when reading it began. All that is read of it must be of that object.

    Attributes:
        key: its key.
        version_id: the version asked for; None for the newest.
        size: its bytes.
        etag: identifies its content; None if the server sends no ETag.
    """

    key: str
    version_id: str | None
    size: int
    etag: str | None


class ObjectStoreSource:
    """A bucket on S3 or on a server that speaks S3; keys have no leading `/`.

    Methods raise `SourceError` (the object does not exist or may not be read) or
    `TransientSourceError` (the bucket did not answer properly), naming key and version.
    """

    def __init__(self, spec: SourceSpec, traffic: Traffic | None = None) -> None:
        self.spec = spec
        self.traffic = traffic or Traffic()

    def sizes(self, folder: str) -> dict[str, int]:
        """Lists a folder, like `manifests/`: the size of each object by its key."""
        return {key: size for key, (size, _) in self._listed(folder).items()}

    def dates(self, folder: str) -> dict[str, datetime]:
        """When each object of a folder was last written, UTC, by its key."""
        return {key: written for key, (_, written) in self._listed(folder).items()}

    def _listed(self, folder: str) -> dict[str, tuple[int, datetime]]:
        what = named(self.spec, f"the listing of {folder!r}", None)

        def listing(store: S3Store) -> dict[str, tuple[int, datetime]]:
            pages = obstore.list(store, folder.strip("/") or None, chunk_size=1000)
            return {
                found["path"]: (found["size"], found["last_modified"])
                for page in pages
                for found in page
            }

        found = _from_start(lambda: self._request(what, None, listing), ListingError)
        if not found:  # a proxy's page looks like an empty listing to obstore
            raise SourceError(f"{what} is empty. Check --source and --endpoint-url.")
        return dict(sorted(found.items()))

    def read(self, key: str, version_id: str | None) -> bytes:
        """Returns a whole small object, of at most `READ_LIMIT` bytes."""
        if self.spec.ignore_versions:
            version_id = None
        what = named(self.spec, key, version_id)

        def whole(store: S3Store) -> bytes:
            # The answer to a range says how many bytes the object has.
            options: GetOptions = {**_options(version_id), "range": (0, READ_LIMIT)}
            answer = obstore.get(store, key, options=options)
            self._check_version(answer.meta, what, version_id)
            check_small(answer.meta["size"], what)
            return bytes(self._checked(answer.bytes(), what, answer.meta["size"]))

        return _from_start(lambda: self._request(what, version_id, whole))

    def open(self, key: str, version_id: str | None) -> RangeFile:
        """Opens an object as a file that fetches the byte ranges that are read.

        If the object is replaced meanwhile, reading raises `ReplacedError`.
        """
        from pipelines.source.range_file import RangeFile  # with asyncio 20 ms

        if self.spec.ignore_versions:
            version_id = None
        what = named(self.spec, key, version_id)

        def head(store: S3Store) -> Pinned:
            meta = obstore.get(store, key, options={**_options(version_id), "head": True}).meta
            self._check_version(meta, what, version_id)
            return Pinned(key, version_id, meta["size"], meta["e_tag"])

        pinned = self._request(what, version_id, head)
        return RangeFile(lambda start, stop: self._range(pinned, start, stop), pinned.size)

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        """Downloads a whole object into a file and returns its size.

        After an error the file may be incomplete.

        Raises:
            SourceError: the object cannot be read.
            LakeError: the file cannot be written.
        """

        def whole() -> int:
            with closing(self.open(key, version_id)) as remote, to.open("wb") as target:
                remote.prefetch([(0, remote.size)])
                shutil.copyfileobj(remote, target, _CHUNK)
                return remote.size

        try:
            return _from_start(whole)
        except OSError as error:
            raise unwritable(error, to) from None

    async def _range(self, obj: Pinned, start: int, stop: int) -> bytes:
        """Returns the bytes [start, stop) of an object."""
        what = named(self.spec, obj.key, obj.version_id)
        options = _options(obj.version_id)
        options["range"] = (start, stop)
        if obj.etag is not None and not obj.etag.startswith("W/"):  # weak ETags never match
            options["if_match"] = obj.etag
        store, region = _client(self.spec)
        try:
            answer = await obstore.get_async(store, obj.key, options=options)
            meta = answer.meta
            self._check_version(meta, what, obj.version_id)
            if (meta["size"], meta["e_tag"]) != (obj.size, obj.etag):
                raise ReplacedError(
                    f"{what}: the object was replaced while it was read. Run the command again."
                )
            return self._checked(await answer.bytes_async(), what, stop - start)
        except (BaseError, OSError, ValueError) as error:
            failure = explained(error, what, self.spec, region, obj.version_id)
        raise failure  # outside the handler, as in `_request`

    def _checked(self, body: obstore.Bytes, what: str, size: int) -> bytes:
        """Counts and returns the bytes of an answer, which must be `size`."""
        self.traffic.add(len(body))
        # obstore believes a Content-Length that is shorter than the range it comes with.
        if len(body) != size:
            raise ReplacedError(
                f"{what}: the server sent {len(body)} bytes instead of {size}. Try again later."
            )
        return cast("bytes", body)  # obstore's own buffer; a copy would cost a tenth

    def _check_version(self, meta: ObjectMeta, what: str, version_id: str | None) -> None:
        """Checks that an answer is of the version asked for, which some servers ignore."""
        if version_id is not None and meta["version"] != version_id:
            raise SourceError(
                f"{what}: the server sent another version; it does not keep versions as S3 does. "
                f"{OTHER_COPY}"
            )

    def _request(self, what: str, version_id: str | None, work: Callable[[S3Store], _T]) -> _T:
        """Returns the result of a request; puts obstore's errors into our own words."""
        store, region = _client(self.spec)
        try:
            return work(store)
        except (BaseError, OSError, ValueError) as error:
            failure = explained(error, what, self.spec, region, version_id)
        # Raised outside the handler, so that obstore's error is not its context either: that holds
        # URLs and what the server answered.
        raise failure


def _options(version_id: str | None) -> GetOptions:
    return {} if version_id is None else {"version": version_id}


def _from_start(work: Callable[[], _T], error: type[SourceError] = ReplacedError) -> _T:
    """Returns the result of work that is done again from the start, at most twice, after errors."""
    for _ in range(STARTS - 1):
        try:
            return work()
        except error:
            continue
    return work()


# --- the client


@lru_cache(maxsize=1)
def _client(spec: SourceSpec) -> tuple[S3Store, str]:
    """Returns the client of this process for a bucket, which all its files share, and its region.

    Processes that use it must not be forked: obstore's threads do not survive a fork.
    """
    bucket, _, prefix = spec.url.removeprefix("s3://").partition("/")
    try:
        credentials = None if spec.anonymous else _credentials(spec)
        region = _region(spec, bucket)
        store = connect(
            bucket,
            spec.endpoint_url,
            region,
            credentials,
            prefix=prefix.strip("/") or None,
            connect_timeout_s=spec.connect_timeout_s,
            read_timeout_s=spec.read_timeout_s,
            attempts=spec.attempts,
        )
    except SettingsError as error:
        problem = str(error)
    else:
        return store, region
    raise UsageError(f"{spec.url} cannot be opened: {problem}")


def _credentials(spec: SourceSpec) -> S3CredentialProvider:
    """Returns what signs the requests: credentials as boto3 and the AWS CLI find them."""
    try:
        found = find_settings(spec.profile).credentials
        problem = None if found else NO_CREDENTIALS
    except SettingsError as error:
        found, problem = None, str(error)
    if found is None:
        hint = (
            "Correct --profile or AWS_PROFILE."
            if problem == NO_PROFILE
            else "Set them in the usual AWS places (aws configure, aws sso login), "
            "or leave out --no-anon and --profile."
        )
        raise SourceError(f"{spec.url}: {problem}. {hint}")
    return found


def _region(spec: SourceSpec, bucket: str) -> str:
    """Returns the region of a bucket, and asks S3 for it if it is not known."""
    if spec.region is not None:
        return spec.region
    if spec.endpoint_url is None and bucket == PUBLIC_BUCKET:
        return PUBLIC_REGION  # AWS_REGION names where the user's own buckets are
    if own := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return own
    if spec.endpoint_url is not None and spec.anonymous:
        return DEFAULT_REGION  # neither address nor signature depends on it
    address = spec.endpoint_url or s3_client.AWS.format(region=DEFAULT_REGION)
    try:
        return ask_region(address, bucket, spec.connect_timeout_s)
    except ConnectionError:
        raise TransientSourceError(
            f"{spec.url}: S3 could not be asked for the bucket's region. "
            "Check the network and --endpoint-url, or give --region."
        ) from None
