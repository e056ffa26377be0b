"""Finds a lake's files in a local folder, under an `s3://` prefix or on a web server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from vblake.extras import check_extra, import_extra

if TYPE_CHECKING:
    from vblake.bucket import BucketFiles

CATALOG = "catalog.duckdb"
MARKER = "_lake.json"
MANIFEST = "files.parquet"
"""The list of the files of a published lake."""

_PUBLISHED = re.compile(r"-[0-9a-f]{16}\.parquet$")
"""How the name of a file of a published lake ends, which is never replaced."""


@dataclass(frozen=True)
class Files:
    """The files of a lake.

    Attributes:
        root: absolute path or URL of the lake, without a slash at the end.
        remote: the fsspec file system of a lake that is not in a folder, else None.
    """

    root: str
    remote: Any = None

    @property
    def on_web_server(self) -> bool:
        """Whether only the catalog knows the files."""
        return self.root.startswith(("http://", "https://"))

    def paths(self, folder: str) -> list[str]:
        """Paths or URLs of all Parquet files in a folder of the lake, sorted."""
        place = f"{self.root}/{folder}"
        if self.remote is None:
            walk = os.walk(place)
            found = [f"{inner}/{name}" for inner, _, names in walk for name in names]
        else:
            found = [self.remote.unstrip_protocol(path) for path in self.remote.find(place)]
        parquet = sorted(path for path in found if path.endswith(".parquet"))
        if is_published(parquet) and not self.on_web_server:
            # There are also the files of earlier snapshots.
            return [path for path in parquet if path in self._current]
        return parquet

    @cached_property
    def _current(self) -> frozenset[str]:
        """The files of the last snapshot of a published lake."""
        import pyarrow.parquet as pq  # 0.16 s, which other lakes need not pay

        listed = pq.ParquetFile(self.open(f"{self.root}/{MANIFEST}")).read(["path"])
        return frozenset(f"{self.root}/{path}" for path in listed["path"].to_pylist())

    def read(self, path: str) -> bytes | None:
        """A small file's bytes by its path in the lake, None if there is none."""
        place = f"{self.root}/{path}"
        try:
            return Path(place).read_bytes() if self.remote is None else self.remote.cat_file(place)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_catalog(self) -> bytes | None:
        """The catalog's bytes, None if there is none."""
        try:
            return self.remote.catalog if self.on_web_server else self.read(CATALOG)
        except FileNotFoundError:
            return None

    def open(self, path: str) -> Any:
        """What PyArrow takes to read one of `paths`."""
        return path if self.remote is None else self.remote.open(path, "rb")

    def folders(self) -> list[str]:
        """Names of the lake's tables that have a folder, sorted."""
        if self.remote is None:
            names = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
        else:
            found = self.remote.ls(self.root, detail=True)
            names = [f["name"].rsplit("/", 1)[1] for f in found if f["type"] == "directory"]
        return sorted(name for name in names if not name.startswith(("_", ".")))


def is_published(paths: list[str]) -> bool:
    """Whether files of a lake belong to a published one.

    Example:
        >>> is_published(["trials/mouse_id=7/trials-0123456789abcdef.parquet"])
        True
        >>> is_published(["trials/mouse_id=7/trials.parquet"])
        False
    """
    return bool(paths) and _PUBLISHED.search(paths[0]) is not None


def find_files(lake: str | Path) -> Files:
    """The files of the lake at a path or URL. Nothing is read yet.

    Credentials, region and endpoint of S3 come from the usual AWS settings (environment, profile),
    those of a web server from the address (`https://user:password@host/lake`) or from `.netrc`.

    Raises:
        ModuleNotFoundError: the lake is not in a folder, and what reads it there is not installed.
        ValueError: the lake's address is of another kind, or names no bucket.

    Example:
        >>> find_files("/data/lake/").root
        '/data/lake'
    """
    text = str(lake)
    if text.startswith("s3://"):
        if not text.removeprefix("s3://").partition("/")[0]:
            raise ValueError(f"{text}: a bucket is missing. Give s3://bucket/lake.")
        return Files(text.rstrip("/"), s3_file_system())
    if text.startswith(("http://", "https://")):
        return _on_web_server(text)
    if "://" in text:
        raise ValueError(f"{text}: a lake is a folder, or an s3://, https:// or http:// address.")
    # DuckDB compares paths as text, so links and `..` are resolved here.
    folder = str(Path(text).expanduser().resolve())
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{ascii(folder)[1:-1]} is not UTF-8, which DuckDB needs.") from None
    return Files(folder)


def _on_web_server(address: str) -> Files:
    parts = urlsplit(address)
    if parts.query or parts.fragment:
        raise ValueError(
            f"{parts.scheme}://{parts.hostname}{parts.path}: the address of a lake has no query "
            "(?...) and no fragment (#...), since the paths of its files are appended to it."
        )
    for name in ("aiohttp", "fsspec"):
        import_extra(name, "remote")
    from vblake.web import WebServer

    host = parts.netloc.rpartition("@")[2]
    root = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    user = None if parts.username is None else unquote(parts.username)
    return Files(root, WebServer(root, CATALOG, user, unquote(parts.password or "")))


def s3_file_system(error: type[Exception] | None = None) -> BucketFiles:
    """A file system for DuckDB and PyArrow that reads buckets with few requests.

    Args:
        error: type of its errors; by default `vblake.bucket.S3Error`.

    Raises:
        ModuleNotFoundError: a package of the extra `s3` is not installed.
    """
    for package in ("obstore", "fsspec"):
        import_extra(package, "s3")
    check_extra("boto3", "s3")
    from vblake.bucket import BucketFiles, S3Error

    return BucketFiles(error or S3Error)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence for an error message that names what resembles an unknown name most.

    Example:
        >>> nearest("LICK", ["licks", "trials"])
        "Did you mean 'licks'?"
        >>> nearest("zebra", ["licks", "trials"])
        'There are licks, trials.'
        >>> nearest("zebra", [])
        'There are none.'
    """
    names = list(known)
    if close := get_close_matches(name.lower(), names, n=1):
        return f"Did you mean {close[0]!r}?"
    return f"There are {', '.join(names[:30]) or 'none'}{', ...' if len(names) > 30 else ''}."
