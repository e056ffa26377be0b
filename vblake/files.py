"""Finds a lake's files in a local folder or under an `s3://` prefix."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vblake.extras import import_extra

if TYPE_CHECKING:
    from vblake.bucket import BucketFiles


@dataclass(frozen=True)
class Files:
    """The files of a lake.

    Attributes:
        root: absolute path or URL of the lake, without a slash at the end.
        remote: the fsspec file system of a lake that is not in a folder, else None.
    """

    root: str
    remote: Any = None

    def paths(self, folder: str) -> list[str]:
        """Paths or URLs of all Parquet files in a folder of the lake, sorted."""
        place = f"{self.root}/{folder}"
        if self.remote is None:
            walk = os.walk(place)
            found = [f"{inner}/{name}" for inner, _, names in walk for name in names]
        else:
            found = [self.remote.unstrip_protocol(path) for path in self.remote.find(place)]
        return sorted(path for path in found if path.endswith(".parquet"))

    def read(self, path: str) -> bytes | None:
        """A small file's bytes by its path in the lake, None if there is none."""
        place = f"{self.root}/{path}"
        try:
            return Path(place).read_bytes() if self.remote is None else self.remote.cat_file(place)
        except (FileNotFoundError, NotADirectoryError):
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


def find_files(lake: str | Path) -> Files:
    """The files of the lake at a path or an `s3://` URL. Nothing is read yet.

    Credentials, region and endpoint of S3 come from the usual AWS settings (environment, profile).

    Raises:
        ModuleNotFoundError: the lake is in S3 and a package of the extra `s3` is not installed.
        ValueError: the lake's address is of another kind.

    Example:
        >>> find_files("/data/lake/").root
        '/data/lake'
    """
    text = str(lake)
    if text.startswith("s3://"):
        return Files(text.rstrip("/"), s3_file_system())
    if text.startswith(("http://", "https://")):
        raise ValueError(
            f"{text} is not a folder and not an s3:// prefix. Web servers do not list files, which "
            "reading a lake needs: download the lake's folder, or open its bucket as s3://..."
        )
    # DuckDB compares paths as text, so links and `..` are resolved here.
    return Files(str(Path(text).expanduser().resolve()))


def s3_file_system(error: type[Exception] | None = None) -> BucketFiles:
    """A file system for DuckDB and PyArrow that reads buckets with few requests.

    Args:
        error: type of its errors; by default `vblake.bucket.S3Error`.

    Raises:
        ModuleNotFoundError: a package of the extra `s3` is not installed.
    """
    for package in ("obstore", "boto3", "fsspec"):
        import_extra(package, "s3")
    from vblake.bucket import BucketFiles, S3Error

    return BucketFiles(error or S3Error)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence for an error message that names what resembles an unknown name most.

    Example:
        >>> nearest("lick", ["licks", "trials"])
        "Did you mean 'licks'?"
        >>> nearest("zebra", ["licks", "trials"])
        'There are licks, trials.'
        >>> nearest("zebra", [])
        'There are none.'
    """
    names = list(known)
    if close := get_close_matches(name, names, n=1):
        return f"Did you mean {close[0]!r}?"
    return f"There are {', '.join(names[:30]) or 'none'}{', ...' if len(names) > 30 else ''}."
