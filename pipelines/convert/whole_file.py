"""Whole objects on the local disk, checked against the manifest and bounded in size.

Several processes may share the folder. Locks are `flock`s on the files themselves, so a killed process leaves nothing
locked: whoever uses a file holds it shared, whoever fetches a file holds its part file exclusively, and only files that
nobody holds are evicted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pipelines.release.manifest import ReleaseObject
from pipelines.source.base import Source
from schemas.errors import IntegrityError, LakeError


@dataclass(slots=True)
class CachedFile:
    """A fetched file that stays in place until it is closed; use it in a `with` statement.

    Attributes:
        path: the whole object, its hash checked.
        bytes_fetched: bytes moved to get it; 0 where it was there already.
    """

    path: Path
    bytes_fetched: int
    _held: BinaryIO

    def close(self) -> None:
        """Lets the file be evicted."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class FileCache:
    """A folder of fetched objects, named by their hash.

    Args:
        folder: made where it does not exist. It belongs to the cache alone.
        max_bytes: bound for the folder; files that were not used for longest go first. Files in use are never removed,
            so what is in use at one time may exceed the bound.

    Raises:
        LakeError: the folder cannot be made.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(
                f"The cache folder {folder} cannot be made ({error.strerror}). Give a folder that can be written."
            ) from None

    def get(self, source: Source, obj: ReleaseObject) -> CachedFile:
        """The object as a local file, fetched where it is not there yet.

        Objects without a hash in the manifest are fetched every time: nothing tells whether a copy is still right.

        Raises:
            IntegrityError: after fetching twice, the content still is not what the manifest pins; nothing is kept.
            SourceError: the object could not be read.
            LakeError: the folder cannot be written.
        """
        name = obj.file_hash or f"{uuid.uuid4().hex}.unchecked"
        path, part_path = self._folder / name, self._folder / f"{name}.part"
        while True:
            if (held := _hold(path, fcntl.LOCK_SH)) is not None:
                os.utime(held.fileno())  # what eviction goes by
                return CachedFile(path, 0, held)
            part = _hold(part_path, fcntl.LOCK_EX, create=True)
            if part is None:
                continue  # another process finished with, or gave up on, this part file while we waited for it
            if path.exists():
                part_path.unlink(missing_ok=True)
                part.close()
                continue
            fetched = self._fetch(source, obj, part, part_path, path)
            if fetched is not None:
                self._evict()
                return fetched

    def _fetch(
        self, source: Source, obj: ReleaseObject, part: BinaryIO, part_path: Path, path: Path
    ) -> CachedFile | None:
        """Fetches into the locked part file and puts it in place; None where it was evicted before it could be held."""
        try:
            moved = source.fetch(obj.key, obj.version_id, part_path)
            try:
                obj.check(digest(part_path))
            except IntegrityError:
                # Once more: a transfer can be damaged. A second time it is the object.
                moved += source.fetch(obj.key, obj.version_id, part_path)
                obj.check(digest(part_path))
            part_path.replace(path)
        except BaseException:
            part_path.unlink(missing_ok=True)
            part.close()
            raise
        # The lock goes with the file under its new name. Changing its kind is not atomic: an eviction may come between.
        fcntl.flock(part, fcntl.LOCK_SH)
        if not _is_at(part, path):
            part.close()
            return None
        return CachedFile(path, moved, part)

    def _evict(self) -> None:
        """Removes what was not used for longest until the folder is within its bound, and part files nobody writes."""
        files: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            try:
                info = path.stat()
            except FileNotFoundError:
                continue  # another process evicts as well
            files.append((0.0 if path.suffix == ".part" else info.st_mtime, info.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_bytes and path.suffix != ".part":
                continue
            held = _hold(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if held is not None:
                path.unlink(missing_ok=True)
                held.close()
                total -= size


def _hold(path: Path, lock: int, *, create: bool = False) -> BinaryIO | None:
    """The open, locked file; None where it is not there (any more) or, with LOCK_NB, where others hold it."""
    try:
        file: BinaryIO = path.open("ab" if create else "rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LakeError(
            f"{path} in the cache folder cannot be opened ({error.strerror}). Give a folder that can be written."
        ) from None
    try:
        fcntl.flock(file, lock)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    if not _is_at(file, path):
        file.close()
        return None
    return file


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def digest(path: Path) -> str:
    """BLAKE2b-512 of a whole file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
