"""A lake's storage: a local folder or an `s3://` prefix. Files are replaced whole, atomically.

Parquet is always written to a local file first and then published: in a local lake by a step of the
file system (`lake.swap`), in S3 by one upload.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.lake.swap import file_ids, link_all, put, replace_folder
from pipelines.os_errors import first_line
from schemas.errors import LakeError
from schemas.layout import GENERATIONS, STAGING
from vblake.files import s3_file_system

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from obstore.store import S3Store as Client

    from schemas import Table
    from vblake.bucket import BucketFiles


_COPIES = 16
"""Objects of S3 that are copied at a time."""
_PART = 16 << 20
"""Bytes of the parts in which larger files are uploaded to S3."""
_REMOVED = 1000
"""Objects of S3 that are removed with one request, which takes no more."""


@dataclass(frozen=True)
class LocalStore:
    """A lake in a local folder. Paths are relative to the lake, with forward slashes.

    Attributes:
        folder: the lake's folder, or that of one of its generations (`lake.generations`).
        lake: the lake's folder in the second case.
    """

    folder: Path
    lake: Path | None = None

    @property
    def root(self) -> str:
        """Absolute path of the lake; for `S3Store` its URL."""
        return str(self.folder)

    @property
    def staging(self) -> Path:
        """Local folder for files that are not published yet, on a local lake's file system."""
        return (self.lake or self.folder) / STAGING

    def read(self, path: str) -> bytes | None:
        """A small file's bytes, None if there is none."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        return (self.folder / path).is_file()

    def write(self, path: str, data: bytes) -> None:
        """Writes a small file atomically."""
        self.staging.mkdir(parents=True, exist_ok=True)
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        staged = self.staging / f"write-{uuid.uuid4().hex}"
        staged.write_bytes(data)
        self.publish(staged, path)

    def publish(self, staged: Path, path: str) -> None:
        """Moves a finished local file into the lake atomically and replaces what was there.

        The staged file may stay as another name of the published one. It may be removed, but must
        never be written to.
        """
        target = self.folder / path
        if target.suffix == ".parquet":
            put(staged, target, self.staging)
            return
        with staged.open("rb") as file:
            # Otherwise a power cut after the rename can leave an empty file under the final name.
            os.fsync(file.fileno())
        staged.replace(target)

    def remove(self, path: str) -> None:
        """Removes a file; no error if there is none."""
        (self.folder / path).unlink(missing_ok=True)

    def parquet(self, path: str, *, whole: bool = True) -> pq.ParquetFile | None:
        """Opens a Parquet file, None if there is none.

        Args:
            path: below the lake.
            whole: whether all of it will be read; then it is fetched from a bucket at once.
        """
        import pyarrow.parquet as pq

        file = self.open(path)
        # Half the time of a small file: no search for a file system, no threads that read ahead.
        return None if file is None else pq.ParquetFile(file, pre_buffer=False)

    def open(self, path: str) -> pa.NativeFile | None:
        """Opens a file of which all will be read, None if there is none."""
        import pyarrow as pa  # 0.16 s with Parquet, which `vblake sql` need not pay

        present = self.folder / path
        return pa.OSFile(str(present)) if present.is_file() else None

    @contextmanager
    def listed_once(self) -> Generator[None]:
        """In the block, a lake in a bucket is taken to be as it was at the start.

        So one listing is enough for all tables and queries.
        """
        yield

    def will_read(self, paths: Iterable[str], *, whole: bool) -> None:
        """Says which files `parquet` will be asked for, in `listed_once`.

        They are fetched ahead.
        """

    def files(self, table: str) -> dict[str, int]:
        """Path and bytes of every Parquet file of a table, sorted by path."""
        # Not glob, which skips folders without read permission; and with os.walk and Path, listing
        # a lake of 32,000 files takes 1.1 s instead of 0.5.
        sizes: dict[str, int] = {}
        folders = [f"{self.folder}/{table}"]
        start = len(f"{self.folder}/")
        while folders:
            try:
                found = os.scandir(folders.pop())
            except FileNotFoundError:
                continue
            with found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.endswith(".parquet"):
                        sizes[entry.path[start:]] = entry.stat().st_size
        return dict(sorted(sizes.items()))

    def table_files(self, table: Table) -> dict[str, int]:
        """As `files`, but only those that the table's view reads: `glob_pattern` in the layout."""
        # Asking for the one file of a folder takes a sixth of the system calls of listing it.
        folders = [f"{self.folder}/{table.name}"]
        start = len(f"{self.folder}/")
        for column in table.storage.partitions:
            parents, folders = folders, []
            for parent in parents:
                with suppress(FileNotFoundError), os.scandir(parent) as found:
                    folders += [
                        entry.path
                        for entry in found
                        if entry.name.startswith(f"{column}=")
                        and entry.is_dir(follow_symlinks=False)
                    ]
        sizes: dict[str, int] = {}
        for folder in folders:
            path = f"{folder}/{table.name}.parquet"
            with suppress(FileNotFoundError):
                sizes[path[start:]] = os.stat(path).st_size  # noqa: PTH116 - Path takes as long again
        return dict(sorted(sizes.items()))

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders in a folder, sorted; none if it does not exist."""
        place = self.folder / path
        return sorted(p.name for p in place.iterdir() if p.is_dir()) if place.is_dir() else []

    def within(self, path: str) -> LocalStore:
        """The storage of a generation of this lake."""
        return LocalStore(self.folder / path, self.folder)

    def copy_folder(self, path: str, other: str) -> None:
        """Makes a folder with the files of another: further names of the same files.

        Where the file system has no hard links, they are copied.
        """
        link_all(self.folder / path, self.folder / other)

    def replace_folder(self, path: str, other: str) -> None:
        """Puts the files of a folder in the place of another's, in one step.

        It removes the other folder if there is no such folder.
        """
        if file_ids(self.folder / path) == file_ids(self.folder / other):
            return  # the same files already
        fresh = self.staging / f"incoming-{uuid.uuid4().hex}"
        link_all(self.folder / path, fresh)
        replace_folder(fresh, self.folder / other, away=self.folder / GENERATIONS)

    def drop(self, path: str) -> None:
        """Removes a folder and all that is in it."""
        shutil.rmtree(self.folder / path, ignore_errors=True)


@dataclass
class S3Store:
    """A lake under an `s3://` prefix, with the attributes and methods of `LocalStore`.

    Credentials and endpoint come from the usual AWS settings (AWS_ENDPOINT_URL, profiles, ...).

    Attributes:
        url: the prefix.
        before_write: called before each write; raises an error if it must not be made.
    """

    url: str
    before_write: Callable[[], None] | None = field(default=None, compare=False)
    lake: str | None = None

    @property
    def root(self) -> str:
        return self.url.rstrip("/")

    @property
    def staging(self) -> Path:
        name = hashlib.blake2b((self.lake or self.root).encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"vblake-{os.getuid()}-{name}"

    @cached_property
    def bucket(self) -> BucketFiles:
        """What reads the lake's objects.

        Raises:
            LakeError: packages are missing.
        """
        try:
            return s3_file_system(LakeError)
        except ModuleNotFoundError as error:
            raise LakeError(f"{self.root}: {error}") from None

    @contextmanager
    def _writing(self, path: str) -> Generator[tuple[Client, str]]:
        """What writes objects, and the key of a path. Errors are in the user's words."""
        from vblake.s3_client import open_bucket

        if self.before_write is not None:
            self.before_write()
        bucket, _, key = self._url(path).removeprefix("s3://").partition("/")
        try:
            with self.bucket.problems(f"{bucket}/{key}"):
                yield open_bucket(bucket), key
        except FileNotFoundError as error:
            raise LakeError(f"{error}, though it was listed. Run the command again.") from None
        self.bucket.invalidate_cache()

    def _url(self, path: str) -> str:
        return f"{self.root}/{path}"

    def read(self, path: str) -> bytes | None:
        try:
            return self.bucket.cat_file(self._url(path))
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        return self.bucket.exists(self._url(path))

    def write(self, path: str, data: bytes) -> None:
        import obstore

        with self._writing(path) as (client, key):
            obstore.put(client, key, data)

    def publish(self, staged: Path, path: str) -> None:
        import obstore

        with self._writing(path) as (client, key):
            obstore.put(client, key, staged, chunk_size=_PART, max_concurrency=4)

    def remove(self, path: str) -> None:
        self._remove([path])

    def _remove(self, paths: Sequence[str]) -> None:
        """Removes objects, many with one request."""
        import obstore

        for start in range(0, len(paths), _REMOVED):
            with self._writing("") as (client, root):
                keys = [f"{root}{path}" for path in paths[start : start + _REMOVED]]
                obstore.delete(client, keys if len(keys) > 1 else keys[0])

    def parquet(self, path: str, *, whole: bool = True) -> pq.ParquetFile | None:
        import pyarrow.parquet as pq

        try:
            if whole:
                return pq.ParquetFile(self.bucket.whole(self._url(path)))
            return pq.ParquetFile(self.bucket.open(self._url(path)))
        except FileNotFoundError:
            return None

    def open(self, path: str) -> pa.NativeFile | None:
        try:
            return self.bucket.whole(self._url(path))
        except FileNotFoundError:
            return None

    @contextmanager
    def listed_once(self) -> Generator[None]:
        with self.bucket.listed_once(self.root):
            yield

    def will_read(self, paths: Iterable[str], *, whole: bool) -> None:
        self.bucket.will_read((self._url(path) for path in paths), whole=whole)

    def files(self, table: str) -> dict[str, int]:
        found: dict[str, dict[str, Any]] = self.bucket.find(self._url(table), detail=True)
        prefix = f"{self.root.removeprefix('s3://')}/"
        return {
            k.removeprefix(prefix): int(v["size"])
            for k, v in found.items()
            if k.endswith(".parquet")
        }

    def table_files(self, table: Table) -> dict[str, int]:
        depth, end = len(table.storage.partitions) + 1, f"/{table.name}.parquet"
        return {
            path: size
            for path, size in self.files(table.name).items()
            if path.endswith(end) and path.count("/") == depth
        }

    def folders(self, path: str = "") -> list[str]:
        names = (name.split("/") for name in self._tags(path))
        return sorted({name[0] for name in names if len(name) > 1})

    def within(self, path: str) -> S3Store:
        return S3Store(f"{self.root}/{path}", self.before_write, self.root)

    def copy_folder(self, path: str, other: str) -> None:
        self._copy(path, other, self._tags(path))

    def replace_folder(self, path: str, other: str) -> None:
        """As in `LocalStore`, but object by object, and only those that differ."""
        fresh, standing = self._tags(path), self._tags(other)
        self._copy(path, other, [n for n, tag in fresh.items() if standing.get(n) != tag])
        self._remove([f"{other}/{name}" for name in standing.keys() - fresh.keys()])

    def drop(self, path: str) -> None:
        self._remove([f"{path}/{name}" for name in self._tags(path)])

    def _copy(self, path: str, other: str, names: Iterable[str]) -> None:
        """Has S3 copy objects from one folder to another, several at a time."""
        import obstore

        def copy(name: str) -> None:
            with self._writing(f"{other}/{name}") as (client, key):
                obstore.copy(client, self._url(f"{path}/{name}").split("/", 3)[3], key)

        with ThreadPoolExecutor(_COPIES) as pool:
            for _ in pool.map(copy, names):
                pass

    def _tags(self, path: str) -> dict[str, tuple[int, str]]:
        """Size and entity tag of every object in a folder, by its name below it."""
        place = self._url(path).rstrip("/")
        prefix = f"{place.removeprefix('s3://')}/"
        found: dict[str, dict[str, Any]] = self.bucket.find(place, detail=True)
        return {
            name.removeprefix(prefix): (int(facts["size"]), str(facts["ETag"]))
            for name, facts in found.items()
        }


Store = LocalStore | S3Store


def open_store(lake: str) -> Store:
    """Returns the storage of a lake at a local path or `s3://` URL. Creates and reads nothing.

    Raises:
        LakeError: the place is another URL, names no bucket, or is not UTF-8.
    """
    if lake.startswith("s3://"):
        if not lake.removeprefix("s3://").partition("/")[0]:
            raise LakeError(f"{lake}: a bucket is missing. Give s3://bucket/lake.")
        return S3Store(lake)
    if "://" in lake:
        raise LakeError(f"{lake}: a lake is a local folder or an s3:// prefix")
    folder = Path(lake).expanduser().absolute()
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise LakeError(
            f"{ascii(str(folder))[1:-1]} is not UTF-8, which DuckDB needs. Give another --lake."
        ) from None
    return LocalStore(folder)


def private(folder: Path) -> None:
    """Creates a folder for staged files in a place where everybody may write.

    Raises:
        LakeError: it belongs to somebody else, who could replace what is staged there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise LakeError(
            f"{folder} is not a folder that only you can write to. "
            "Remove it, or set TMPDIR to a folder of your own."
        )


def clear(folder: Path) -> None:
    """Removes a staging folder and its content."""
    shutil.rmtree(folder, ignore_errors=True)


class DamagedError(LakeError):
    """A Parquet file of the lake is damaged."""


@contextmanager
def reading(store: Store, path: str) -> Generator[None]:
    """Turns errors of Arrow in a block that reads a Parquet file of the lake.

    Raises:
        DamagedError: the file cannot be read.
    """
    import pyarrow as pa

    try:
        yield
    except PermissionError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{store.root}/{path} is damaged ({first_line(error)})") from error
