"""The objects of buckets as files, with few requests. DuckDB and PyArrow read a lake in S3 with it.

DuckDB asks for a file's size and time a dozen times in a query, and opens it twice. So what a
listing says of an object is remembered until the next listing. How the bytes of an object are
fetched is in `vblake.bucket_file`.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import obstore
from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate
from obstore.exceptions import BaseError, PreconditionError

from vblake.bucket_file import TAIL, BucketFile, Ranges
from vblake.s3_client import SettingsError, explain, open_bucket

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY = 32 << 20
"""Larger objects that are read whole are put into a temporary file."""
AHEAD = 4
"""Objects that are fetched at once when it is known what will be read."""
KEPT = 1024
"""Objects of which the end is kept, 64 MB in all."""
_CHUNK = 8 << 20
_WILD = re.compile(r"\[(.)\]|[*?\[]")


class S3Error(OSError):
    """A bucket did not give what was asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object as it was when it was listed or first asked for."""

    key: str
    size: int
    modified: datetime
    etag: str | None


class BucketFiles(AbstractFileSystem):
    """All buckets that the user's AWS settings give access to, to read.

    Errors are `FileNotFoundError`, or of the given type with a line for the user. A file that is
    replaced while it is read is an error; the next query finds the new one.

    Args:
        error: type of the errors.
    """

    protocol = "s3"
    cachable = False  # an instance remembers objects, and belongs to one connection

    def __init__(self, error: type[Exception] = S3Error) -> None:
        super().__init__()
        self._error = error
        self._known: dict[str, Found] = {}
        self._complete: str | None = None
        self._ends: dict[tuple[str, Found], tuple[int, memoryview]] = {}
        self._to_read: deque[str] = deque()
        self._ahead: dict[str, Future[pa.NativeFile | None]] = {}
        self._fetch_ahead: Callable[[str], pa.NativeFile | None] = self._whole
        self._threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="vblake-bucket")
        self._opened: WeakValueDictionary[tuple[str, Found], Ranges] = WeakValueDictionary()
        self._lock = threading.Lock()

    # --- what there is

    def find(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, path: str, maxdepth: None = None, withdirs: Literal[False] = False, **kwargs: Any
    ) -> Any:
        """Lists all objects below a folder: names, or with `detail` what is known by name."""
        name = _name(path)
        names = {n: obj for n, obj in self._known.items() if n.startswith(f"{name}/")}
        if self._complete is None or not f"{name}/".startswith(f"{self._complete}/"):
            names = self._list(name)
        details = {name: _info(name, names[name]) for name in sorted(names)}
        return details if kwargs.get("detail") else [*details]

    def _list(self, name: str) -> dict[str, Found]:
        bucket, key = _split(name)
        with self.problems(name):
            pages = obstore.list(open_bucket(bucket), key or None, chunk_size=1000)
            found = [
                Found(m["path"], m["size"], m["last_modified"], m["e_tag"])
                for page in pages
                for m in page
            ]
        names = {f"{bucket}/{obj.key}": obj for obj in found}
        self._known |= names
        return names

    @contextmanager
    def listed_once(self, path: str) -> Generator[None]:
        """Lists a folder; in the block, what was found is all that is below it."""
        name = _name(path)
        self._list(name)
        self._complete = name
        try:
            yield
        finally:
            self._complete = None
            self._to_read.clear()
            self._ahead.clear()

    def will_read(self, paths: Iterable[str], *, whole: bool) -> None:
        """Says which objects will be read, in this order: they are fetched ahead.

        Args:
            paths: the objects.
            whole: whether all of each will be read, or only the end.
        """
        self._fetch_ahead = self._whole if whole else self._fetch_end
        self._to_read = deque(_name(path) for path in paths)
        for _ in range(AHEAD):
            self._fetch_next()

    def _fetch_next(self) -> None:
        if self._to_read:
            name = self._to_read.popleft()
            self._ahead[name] = self._threads.submit(self._fetch_ahead, name)

    def glob(self, path: str, maxdepth: None = None, **kwargs: Any) -> Any:
        """Lists the objects whose names match a pattern, with one listing."""
        pattern = _name(path)
        plain, wild = _before_wildcard(pattern)
        if not wild:
            return [plain] if self.exists(plain) else []
        matches = re.compile(glob_translate(pattern)).match
        return [name for name in self.find(plain.rpartition("/")[0]) if matches(name)]

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Lists the objects and folders in a folder."""
        name = _name(path)
        bucket, key = _split(name)
        with self.problems(name):
            found = obstore.list_with_delimiter(open_bucket(bucket), key or None)
        infos = [
            {"name": f"{bucket}/{prefix}", "size": 0, "type": "directory"}
            for prefix in found["common_prefixes"]
        ]
        for m in found["objects"]:
            obj = Found(m["path"], m["size"], m["last_modified"], m["e_tag"])
            infos.append(_info(f"{bucket}/{obj.key}", obj))
        return infos if detail else [info["name"] for info in infos]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Size, time and the like of an object."""
        name = _name(path)
        return _info(name, self.found(name))

    def modified(self, path: str) -> datetime:
        """When an object was written."""
        return self.found(_name(path)).modified

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is an object. Folders do not exist in buckets."""
        try:
            self.found(_name(path))
        except FileNotFoundError:
            return False
        return True

    isfile = exists

    def found(self, name: str) -> Found:
        """What is known of an object; asks for it if nothing is.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if name not in self._known:
            if self._complete is not None and name.startswith(f"{self._complete}/"):
                raise FileNotFoundError(f"s3://{name} does not exist")
            bucket, key = _split(name)
            with self.problems(name):
                m = obstore.head(open_bucket(bucket), key)
            self._known[name] = Found(key, m["size"], m["last_modified"], m["e_tag"])
        return self._known[name]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forgets what listings said."""
        self._known.clear()

    # --- what is in it

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Returns an object, or a part of it, with one request."""
        name = _name(path)
        bucket, key = _split(name)
        with self.problems(name):
            if start is not None and end is not None:
                return bytes(obstore.get_range(open_bucket(bucket), key, start=start, end=end))
            return bytes(obstore.get(open_bucket(bucket), key).bytes())[start:end]

    def whole(self, path: str) -> pa.NativeFile:
        """Fetches an object with one request. What it returns needs no more.

        Large objects are put into a temporary file, whose name is gone already.
        """
        name = _name(path)
        ahead = self._fetched(name)
        return self._whole(name) if ahead is None else ahead

    def _fetched(self, name: str) -> pa.NativeFile | None:
        """What was fetched ahead of an object."""
        if (ahead := self._ahead.pop(name, None)) is None:
            return None
        self._fetch_next()
        return ahead.result()

    def _fetch_end(self, name: str) -> None:
        found = self.found(name)
        self._ranges(name, found).read(max(0, found.size - 1), found.size)

    def _whole(self, name: str) -> pa.NativeFile:
        import pyarrow as pa  # 0.1 s, which a query need not pay

        bucket, key = _split(name)
        with self.problems(name):
            answer = obstore.get(open_bucket(bucket), key)
            data = answer.bytes() if answer.meta["size"] <= IN_MEMORY else None
        if data is not None:
            file = pa.BufferReader(data)
        else:
            with tempfile.NamedTemporaryFile(prefix="vblake-") as copy:
                for chunk in self._chunks(name, answer):
                    copy.write(chunk)
                copy.flush()
                file = pa.OSFile(copy.name)
        size = answer.meta["size"]
        if file.size() != size:
            raise self._error(f"s3://{name}: the server sent {file.size()} of {size} bytes.")
        known = self._known.get(name)
        if known is not None and (known.size, known.etag) == (size, answer.meta["e_tag"]):
            start = max(0, size - TAIL)
            self._keep_end(name, known, start, memoryview(file.read_at(size - start, start)))
        return file

    def _chunks(self, name: str, answer: obstore.GetResult) -> Generator[memoryview]:
        with self.problems(name):
            for chunk in answer.stream(min_chunk_size=_CHUNK):
                yield memoryview(chunk)

    def _keep_end(self, name: str, found: Found, start: int, data: memoryview) -> None:
        """Keeps the end of an object: DuckDB reads it when it plans a query, and once more."""
        with self._lock:
            self._ends[name, found] = start, data
            if len(self._ends) > KEPT:
                del self._ends[next(iter(self._ends))]

    def _ranges(self, name: str, found: Found) -> Ranges:
        """What is shared by all readers of an object."""
        with self._lock:
            shared = self._opened.get((name, found))
            if shared is None:
                shared = self._opened[name, found] = Ranges(
                    found.size, lambda start, stop: self._fetch(name, found, start, stop)
                )
                if (name, found) in self._ends:
                    shared.add(*self._ends[name, found])
        return shared

    def _open(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, path: str, mode: str = "rb", **kwargs: Any
    ) -> BucketFile:
        if mode != "rb":
            raise NotImplementedError(f"mode {mode!r}: files of a lake are read only")
        name = _name(path)
        self._fetched(name)
        return BucketFile(self._ranges(name, self.found(name)))

    def _fetch(self, name: str, found: Found, start: int, stop: int) -> memoryview:
        options: Any = {"range": (start, stop)}
        if found.etag is not None and not found.etag.startswith("W/"):  # weak ones never match
            options["if_match"] = found.etag
        bucket, key = _split(name)
        try:
            with self.problems(name):
                data = memoryview(obstore.get(open_bucket(bucket), key, options=options).bytes())
        except (FileNotFoundError, self._error):
            self._known.pop(name, None)
            raise
        if len(data) != stop - start:
            raise self._error(
                f"s3://{name}: the server sent {len(data)} bytes, not {stop - start}. Try again."
            )
        if stop == found.size and len(data) <= 2 * TAIL:
            self._keep_end(name, found, start, data)
        return data

    @contextmanager
    def problems(self, name: str) -> Generator[None]:
        """Turns errors of obstore in a block of requests for an object.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: or what `s3_file_system` was given instead: any other problem.
        """
        try:
            yield
            return
        except PreconditionError:
            problem = "it was replaced while it was read. Ask again."
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise FileNotFoundError(f"s3://{name} does not exist") from None
            problem = f"{explain(error)}. Check the address and AWS_ENDPOINT_URL."
        except SettingsError as error:
            problem = f"{error}. Check the AWS settings (environment, profile)."
        except ConnectionError as error:
            problem = f"{error}. Check the network and AWS_ENDPOINT_URL."
        except (BaseError, OSError, ValueError) as error:
            problem = (
                f"{explain(error)}. "
                "Check the AWS settings (credentials, region, AWS_ENDPOINT_URL) and the network."
            )
        # Without obstore's error, which holds URLs and what the server answered.
        raise self._error(f"s3://{name}: {problem}") from None


def _name(path: str) -> str:
    name = path.removeprefix("s3://").rstrip("/")
    if ".." in name.split("/"):  # DuckDB takes such a path for one inside the lake
        raise FileNotFoundError(f"s3://{name} does not exist: names do not go up with '..'")
    return name


def _split(name: str) -> tuple[str, str]:
    bucket, _, key = name.partition("/")
    return bucket, key


def _info(name: str, found: Found) -> dict[str, Any]:
    facts = {"size": found.size, "mtime": found.modified, "ETag": found.etag}
    return {"name": name, "type": "file", **facts}


def _before_wildcard(pattern: str) -> tuple[str, bool]:
    """The name that a pattern begins with, and whether a wildcard follows.

    >>> _before_wildcard("bucket/run[[]1]/trials/**/*.parquet")
    ('bucket/run[1]/trials/', True)
    """
    text, at = "", 0
    for wild in _WILD.finditer(pattern):
        text += pattern[at : wild.start()]
        if wild[1] is None:
            return text, True
        text, at = text + wild[1], wild.end()
    return text + pattern[at:], False
