"""A local folder with the bucket's keys."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from pipelines.os_errors import unwritable
from pipelines.source.base import Pinned, SourceSpec, Traffic, check_small, named
from schemas.errors import SourceError, UsageError

_CHUNK = 2**20


class LocalSource:
    """A folder with the bucket's keys. It holds one version of each object: version ids are ignored, hashes tell."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.traffic = Traffic()  # none, whatever is read
        self._root = Path(spec.url).expanduser().resolve()
        if not self._root.is_dir():
            raise UsageError(
                f"There is no source folder {spec.url}. Give the one that holds 'visual-behavior-ophys'."
            )

    def sizes(self, prefix: str) -> dict[str, int]:
        """See `Source.sizes`. Links that lead out of the folder are left out."""
        parent = prefix.rpartition("/")[0]
        base = self._inside(parent) if parent else self._root
        found: dict[str, int] = {}

        def unreadable(error: OSError) -> None:
            raise SourceError(
                f"{error.filename} cannot be listed ({error.strerror}). Check its permissions."
            )

        for folder, _, names in os.walk(base, onerror=unreadable) if base.is_dir() else ():
            for path in (Path(folder, name) for name in names):
                key = (
                    f"{parent}/{path.relative_to(base).as_posix()}"
                    if parent
                    else path.relative_to(base).as_posix()
                )
                # A dangling link, or one that goes round in circles, is no file: as in a bucket, it is not there.
                if not key.startswith(prefix) or not path.is_file():
                    continue
                if not path.is_symlink() or path.resolve().is_relative_to(self._root):
                    found[key] = path.stat().st_size
        return dict(sorted(found.items()))

    def pin(self, key: str, version_id: str | None) -> Pinned:
        """See `Source.pin`."""
        return Pinned(key, version_id, self.local_path(key).stat().st_size)

    def read(self, key: str, version_id: str | None) -> bytes:
        """See `Source.read`."""
        check_small(self.pin(key, version_id).size, named(self.spec, key, None))
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
            raise unwritable(error, to) from None

    def read_range(self, obj: Pinned, start: int, stop: int) -> bytes:
        """See `Source.read_range`."""
        path, key = self._inside(obj.key), obj.key
        try:
            with path.open("rb") as file:
                content = os.pread(file.fileno(), stop - start, start)
        except OSError as error:
            raise self._failed(key, error) from None
        if len(content) != stop - start:
            raise SourceError(
                f"{key} in {self.spec.url} ends after {start + len(content)} bytes; expected at least {stop}."
            )
        return content

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
            raise SourceError(
                f"{key} in {self.spec.url} is a folder or a device; expected a regular file."
            )
        return path

    def close(self) -> None:
        """Nothing is under way."""

    def _inside(self, key: str) -> Path:
        if "\0" in key or "\\" in key or any(part in ("", ".", "..") for part in key.split("/")):
            raise SourceError(
                f"The key {key!r} is not a plain relative path (no '..', no empty parts); it was not opened."
            )
        try:
            path = (self._root / key).resolve()
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # RuntimeError: links that go round in circles; ValueError: half a character
            raise SourceError(
                f"{key!r} in {self.spec.url} cannot be resolved ({type(error).__name__})."
            ) from None
        if not path.is_relative_to(self._root):
            raise SourceError(
                f"{key} in {self.spec.url} leads outside that folder through a link; it was not opened. "
                "Copy the files into the folder, or give the folder where they really are as the source."
            )
        return path

    def _failed(self, key: str, error: OSError) -> SourceError:
        reason = (
            "does not exist"
            if isinstance(error, FileNotFoundError)
            else f"cannot be read ({error.strerror})"
        )
        return SourceError(
            f"{key} in {self.spec.url} {reason}. Complete the folder, or read from the bucket."
        )
