"""Finds a lake's files in a local folder or under an `s3://` prefix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pyarrow import fs

from vblake.extras import import_extra


@dataclass(frozen=True)
class Files:
    """The files of a lake.

    Attributes:
        root: absolute path or `s3://` URL of the lake, without a slash at the end.
        system: the file system that `base` belongs to.
        base: path of the lake in `system`.
        s3: the s3fs file system of a lake in S3, else None.
    """

    root: str
    system: fs.FileSystem
    base: str
    s3: Any = None

    def paths(self, folder: str) -> list[str]:
        """Paths in `system` of all Parquet files in a folder of the lake, sorted."""
        selector = fs.FileSelector(f"{self.base}/{folder}", allow_not_found=True, recursive=True)
        found = self.system.get_file_info(selector)
        return sorted(info.path for info in found if info.path.endswith(".parquet"))

    def url(self, path: str) -> str:
        """A path in `system` as DuckDB and Polars open it."""
        return path if self.s3 is None else f"s3://{path}"

    def folders(self) -> list[str]:
        """Names of the lake's tables that have a folder, sorted."""
        found = self.system.get_file_info(fs.FileSelector(self.base, allow_not_found=True))
        names = (info.base_name for info in found if info.type == fs.FileType.Directory)
        return sorted(name for name in names if not name.startswith(("_", ".")))


def find_files(lake: str | Path) -> Files:
    """The files of the lake at a path or an `s3://` URL. Nothing is read yet.

    Credentials, region and endpoint of S3 come from the usual AWS settings (environment, profile).

    Raises:
        ModuleNotFoundError: the lake is in S3 and s3fs is not installed.
        ValueError: the lake's address is of another kind.

    Example:
        >>> find_files("/data/lake/").base
        '/data/lake'
    """
    text = str(lake)
    if text.startswith(("http://", "https://")):
        raise ValueError(
            f"{text} is not a folder and not an s3:// prefix. Web servers do not list files, which "
            "reading a lake needs: download the lake's folder, or open its bucket as s3://..."
        )
    if text.startswith("s3://"):
        system: Any = import_extra("s3fs", "s3").S3FileSystem()
        root = text.rstrip("/")
        return Files(
            root, fs.PyFileSystem(fs.FSSpecHandler(system)), root.removeprefix("s3://"), system
        )
    # DuckDB compares paths as text, so links and `..` are resolved here.
    root = str(Path(text).expanduser().resolve())
    return Files(root, fs.LocalFileSystem(), root)


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
