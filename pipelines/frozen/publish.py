"""Publishes a lake: copies what readers need, then writes catalogs that name every file.

The order makes each step safe to be killed: first the Parquet files, under names that no catalog
knows yet; last the DuckLake catalog, in one step. Files of a published lake are never replaced.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.catalog.about import ABOUT, write_about
from pipelines.catalog.build import write_catalog
from pipelines.catalog.declared import IDS, Declared, Listing, declarations, files, lake
from pipelines.frozen.files import Footer, FrozenFile, frozen_path, read_footer
from pipelines.frozen.ledger import private_names, without_names
from pipelines.frozen.snapshot import State, write_snapshot
from pipelines.lake.generations import changing
from pipelines.lake.ledger import LEDGER
from pipelines.lake.marker import Marker, require_lake
from pipelines.lake.store import LocalStore, Store, clear, reading
from pipelines.lake.writer import write_table
from pipelines.os_errors import within_limits
from pipelines.sql_text import listed_source, no_rows
from schemas import TABLES
from schemas.errors import LakeError
from schemas.layout import CATALOG, DUCKLAKE, MANIFEST, MARKER, STAGING, folder_values

_UPLOADS = 8
"""Files that are sent to a bucket at a time."""

OnFile: TypeAlias = Callable[[int, int], None]
"""Called with the number of files that are done, and of all."""


@dataclass
class Published:
    """What was published.

    Attributes:
        release: the release of the lake.
        snapshot: number of the snapshot; None if the last one already held the same.
        files: files of the snapshot.
        bytes: their size.
        copied: files that were not there before.
    """

    release: str
    snapshot: int | None = None
    files: int = 0
    bytes: int = 0
    copied: int = 0


def publish(
    source: Store, target: Store, url: str | None = None, on_file: OnFile | None = None
) -> Published:
    """Publishes a lake, or its new state as a further snapshot where it was published before.

    Args:
        source: the lake.
        target: where to publish it.
        url: address at which readers will find `target`; without it they have to give it.
        on_file: is called after each file.

    Raises:
        LakeError: there is no lake, something else is in the place, or it cannot be written.
    """
    _check_places(source, target)
    with changing(source), within_limits(target.staging):
        return _Publication(source, target, require_lake(source), url).run(on_file)


def _check_places(source: Store, target: Store) -> None:
    ours, theirs = f"{source.root}/", f"{target.root}/"
    if theirs.startswith(ours) or ours.startswith(theirs):
        raise LakeError(
            f"{target.root} and the lake {source.root} overlap. Give --to a place of its own: "
            "what is published stays as it is while the lake changes."
        )
    if target.exists(MARKER):
        raise LakeError(
            f"{target.root} is itself a lake, which an ingest made. Give --to another place."
        )


class _Publication:
    """A lake that is being published."""

    def __init__(self, source: Store, target: Store, marker: Marker, url: str | None) -> None:
        self._source, self._target, self._marker = source, target, marker
        self._url = url.rstrip("/") if url else None
        self._names = private_names(source.root, marker.source)
        self._footers: dict[str, Footer] = {}
        """Those of files that differ from the lake's, by their path."""

    def run(self, on_file: OnFile | None) -> Published:
        """Publishes it."""
        standing = self._target.read(DUCKLAKE)
        if standing is None:
            self._check_empty()
        staging = self._target.staging
        staging.mkdir(parents=True, exist_ok=True)
        found, copied = self._copy(on_file)
        staged = staging / f"catalog-{uuid.uuid4().hex}.ducklake"
        if standing is not None:
            staged.write_bytes(standing)
        number = write_snapshot(staged, self._state(found))
        if number is not None:
            self._write_manifest(found)
            self._write_catalog(found)
            write_about(
                self._target,
                self._marker.release,
                _listing(found),
                synthetic=self._marker.synthetic,
                published=True,
            )
            self._target.publish(staged, DUCKLAKE)
        clear(staging)
        size = sum(file.bytes for file in found)
        return Published(self._marker.release, number, len(found), size, copied)

    def _check_empty(self) -> None:
        """Only what a killed `publish` left may be in the place."""
        present = self._target.folders()
        if isinstance(self._target, LocalStore) and self._target.folder.is_dir():
            present = [path.name for path in self._target.folder.iterdir()]
        others = sorted({*present} - {*TABLES, STAGING, CATALOG, MANIFEST, *ABOUT})
        if others:
            raise LakeError(
                f"{self._target.root} holds {others[0]}, and no lake is published there (it has no "
                f"{DUCKLAKE}). Give an empty or new place as --to."
            )

    # --- files

    def _copy(self, on_file: OnFile | None) -> tuple[list[FrozenFile], int]:
        """Copies the files that are not there yet; returns all, and how many were copied."""
        paths = [(name, path) for name in TABLES for path in self._source.files(name)]
        present = {p: size for name in TABLES for p, size in self._target.files(name).items()}
        copied = 0

        def copy(given: tuple[str, str]) -> tuple[FrozenFile, bool]:
            with self._local_file(*given) as local:
                file = self._described(*given, local)
                fresh = present.get(file.path) != file.bytes
                if fresh:
                    self._target.publish(local, file.path)
                return file, fresh

        found: list[FrozenFile] = []
        with ThreadPoolExecutor(1 if isinstance(self._target, LocalStore) else _UPLOADS) as pool:
            for file, fresh in pool.map(copy, paths):
                found.append(file)
                copied += fresh
                if on_file is not None:
                    on_file(len(found), len(paths))
        return found, copied

    @contextmanager
    def _local_file(self, table: str, path: str) -> Generator[Path]:
        """A local file with what is to be published of a file of the lake."""
        staged = self._target.staging / f"{uuid.uuid4().hex}.parquet"
        try:
            if isinstance(self._source, LocalStore):
                local = self._source.folder / path
            else:
                data = self._source.read(path)
                if data is None:
                    raise LakeError(f"{self._source.root}/{path} is gone. Publish again.")
                staged.write_bytes(data)
                local = staged
            if table == LEDGER.name:
                with reading(self._source, path), pq.ParquetFile(local) as parquet:
                    rows = parquet.read()
                if (cleared := without_names(rows, self._names)) is not None:
                    staged.unlink(missing_ok=True)
                    write_table(LEDGER, staged, [cleared], release=self._marker.release)
                    local = staged
            yield local
        finally:
            staged.unlink(missing_ok=True)

    def _described(self, table: str, path: str, local: Path) -> FrozenFile:
        with local.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        with reading(self._source, path), pq.ParquetFile(local) as parquet:
            rows = parquet.metadata.num_rows
            if local.parent == self._target.staging:
                self._footers[frozen_path(path, digest)] = read_footer(parquet)
        target = frozen_path(path, digest)
        return FrozenFile(table, path, target, local.stat().st_size, rows, digest)

    def _footer(self, file: FrozenFile) -> Footer:
        if (known := self._footers.pop(file.path, None)) is not None:
            return known
        with reading(self._source, file.source):
            parquet = self._source.parquet(file.source, whole=False)
            if parquet is None:
                raise LakeError(f"{self._source.root}/{file.source} is gone. Publish again.")
            with parquet:
                return read_footer(parquet)

    # --- catalogs

    def _described_tables(self, found: Sequence[FrozenFile]) -> list[Declared]:
        return [*declarations(), files(_listing(found)), lake(self._marker.release)]

    def _state(self, found: Sequence[FrozenFile]) -> State:
        return State(
            message=f"release {self._marker.release}",
            origin=self._marker.origin,
            data_path=f"{self._url or '.'}/",
            files=found,
            declared=self._described_tables(found),
            footer=self._footer,
        )

    def _write_manifest(self, found: Sequence[FrozenFile]) -> None:
        """Writes the list of files, for readers without a catalog."""
        folders = [folder_values(file.path) for file in found]
        ids = {
            column: pa.array([int(f[column]) if column in f else None for f in folders], pa.int64())
            for column in IDS
        }
        table = pa.table(
            {
                "table_name": [file.table for file in found],
                "path": [file.path for file in found],
                "rows": pa.array([file.rows for file in found], pa.int64()),
                "bytes": pa.array([file.bytes for file in found], pa.int64()),
                "sha256": [file.sha256 for file in found],
                **ids,
                "image_set": pa.array([f.get("image_set") for f in folders], pa.string()),
            }
        )
        staged = self._target.staging / MANIFEST
        pq.write_table(table, staged, compression="zstd")
        self._target.write(MANIFEST, staged.read_bytes())

    def _write_catalog(self, found: Sequence[FrozenFile]) -> None:
        """Writes a catalog as a lake has it, whose views name every file."""
        paths: dict[str, list[str]] = {}
        for file in found:
            paths.setdefault(file.table, []).append(file.path)
        sources = {
            name: listed_source(table, paths[name], self._url) if name in paths else no_rows(table)
            for name, table in TABLES.items()
        }
        write_catalog(self._target, sources, self._described_tables(found))


def _listing(found: Sequence[FrozenFile]) -> Listing:
    listed: dict[str, dict[str, int]] = {}
    for file in found:
        listed.setdefault(file.table, {})[file.path] = file.bytes
    return listed
