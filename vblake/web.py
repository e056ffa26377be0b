"""The files of a lake on a plain web server, which lists no folders but sends ranges of bytes.

The catalog says what files there are, in its table `_files`. This module is imported only for such
lakes, since it needs fsspec and aiohttp.
"""

from __future__ import annotations

import base64
import tempfile
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import duckdb
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)


class WebServer(AbstractFileSystem):
    """The files of a lake as a file system of fsspec: names and sizes by the lake's catalog.

    Paths are URLs, with the names that folders and files have in the lake. Nothing is kept or read
    ahead: DuckDB and PyArrow ask for the ranges that they need, and with the sizes known they need
    nothing else (a query on a column of 4 files took 8 requests and a tenth of the files' bytes).

    Attributes:
        root: address of the lake, without credentials.
        place: address of its catalog.
    """

    protocol = ("http", "https")
    cachable = False  # a lake that is opened again may have other files

    def __init__(
        self, root: str, catalog: str, user: str | None = None, password: str = ""
    ) -> None:
        super().__init__()
        client: dict[str, Any] = {"trust_env": True, "timeout": _TIMEOUT}
        if user is not None:
            # aiohttp leaves it out where the server redirects to another one.
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            client["headers"] = {"Authorization": f"Basic {login}"}
        self.root = root
        self.place = f"{root}/{catalog}"
        self._http = HTTPFileSystem(encoded=True, client_kwargs=client, skip_instance_cache=True)

    @cached_property
    def catalog(self) -> bytes:
        """The lake's catalog.

        Raises:
            FileNotFoundError: there is none.
            OSError: the server does not answer, refuses, or sends no ranges.
        """
        return self.cat_file(self.place)

    @cached_property
    def files(self) -> dict[str, int]:
        """Address and bytes of every Parquet file of the lake, by its catalog.

        Raises:
            OSError: the catalog lists no files.
        """
        with tempfile.TemporaryDirectory(prefix="vblake-") as folder:
            path = Path(folder) / "catalog.duckdb"
            path.write_bytes(self.catalog)
            with duckdb.connect(path, read_only=True) as connection:
                try:
                    listed = connection.execute("SELECT path, bytes FROM _files").fetchall()
                except duckdb.CatalogException:
                    raise OSError(
                        f"{self.place} does not list the lake's files, and a web server "
                        "does not either. Rebuild it with `vblake catalog` where the lake was "
                        "made, and publish it again."
                    ) from None
        return {f"{self.root}/{path}": size for path, size in listed}

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes of a file from `start` up to `end`.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: the server does not answer, refuses, or sends no ranges.
        """
        data: Any = sync(self._http.loop, self._fetch, path, start or 0, end)
        return data

    async def _fetch(self, path: str, start: int, end: int | None) -> bytes:
        session = await self._http.set_session()
        # A folder may be named `image_set=a%2Fb`.
        url = self._http.encode_url(self.root + quote(path.removeprefix(self.root), safe="/="))
        span = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        try:
            async with session.get(url, headers=span) as answer:
                if answer.status == 404:
                    raise FileNotFoundError(
                        f"{path} is not there (404). Check the lake's address; if its files were "
                        "replaced, open it again."
                    )
                answer.raise_for_status()
                if answer.status != 206:
                    raise OSError(
                        f"{path}: the web server does not send ranges of bytes, which reading a "
                        "lake needs. Use one that does (nginx, Apache, a bucket), or download the "
                        "lake."
                    )
                return await answer.read()
        except aiohttp.ClientResponseError as error:
            reason = f"{error.status} {error.message}"
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
        raise OSError(f"{path} cannot be read from the web server ({reason}).")

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> AbstractBufferedFile:
        return _File(self, path, mode, cache_type="none", size=self.info(path)["size"])

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of a file or folder."""
        if path in self.files:
            return {"name": path, "size": self.files[path], "type": "file"}
        if not self.find(path):
            raise FileNotFoundError(f"{path} is not in the lake's catalog.")
        return {"name": path, "size": 0, "type": "directory"}

    def modified(self, path: str) -> datetime:
        """A time for DuckDB, which asks for one; files do not change while a lake is open."""
        return datetime.fromtimestamp(0, UTC)

    def find(self, path: str, *_: Any, detail: bool = False, **__: Any) -> Any:
        """The files in a folder."""
        start = path.rstrip("/") + "/"
        found = [name for name in self.files if name.startswith(start)]
        return {name: self.info(name) for name in found} if detail else found

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        """The files and folders in a folder."""
        start = path.rstrip("/") + "/"
        inner = {start + name.removeprefix(start).split("/")[0] for name in self.find(path)}
        return [self.info(name) for name in sorted(inner)] if detail else sorted(inner)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path


class _File(AbstractBufferedFile):
    """A file that is read by ranges."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)
