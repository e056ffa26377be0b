"""Small tables: the rows of new sources are merged into the mouse's file.

The file stays sorted and is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.store import DamagedError, Store, reading
from pipelines.lake.writer import write_table
from schemas import Table
from schemas.arrow import arrow_schema
from schemas.errors import LakeError
from schemas.layout import ROW_GROUP_ROWS


def merge_mouse(
    table: Table,
    store: Store,
    path: str,
    sources: dict[int, Path | None],
    target: Path,
    *,
    release: str,
    held: Collection[int] = (),
) -> Path | None:
    """Writes the mouse's file with the rows of some sources added or replaced.

    Args:
        table: declaration; its `order` starts with its `unit_key`.
        store: the lake.
        path: the mouse's present file in the lake, which may be missing.
        sources: by session or experiment id, the staged file with all its rows, or None if it has
            no rows any more.
        target: local file to write; not needed where one staged file holds all rows already.
        release: kept in the file's metadata.
        held: the session or experiment ids that the ledger says the present file has rows of.

    Returns:
        The local file to publish; None means that no row is left.

    Raises:
        LakeError: the present file is damaged and has rows that `sources` do not replace.
    """
    assert table.order[0] == table.unit_key, table.name
    staged = {unit: path for unit, path in sources.items() if path is not None}
    lost = sorted({*held} - {*sources})
    try:
        present = _Present.open(table, store, path)
        if present is None and len(staged) == 1:
            (only,) = staged.values()
            if _in_full_groups(only):
                return only
        return _written(table, present, {*sources}, staged, target, release)
    except DamagedError as error:
        if not lost:  # nothing of the file is needed
            return _written(table, None, set(), staged, target, release)
        mouse = path.split("mouse_id=")[1].split("/")[0]
        raise LakeError(
            f"{error}. It has rows of {table.unit_key} {', '.join(map(str, lost))} too, "
            "which this run does not read. "
            f"Ingest all files of the mouse again: --mouse {mouse} --force."
        ) from error


def _written(
    table: Table,
    present: _Present | None,
    replaced: set[int],
    staged: Mapping[int, Path],
    target: Path,
    release: str,
) -> Path | None:
    """Writes the rows of all sources, ascending; returns None if there are none."""
    kept = present.units - replaced if present else set[int]()
    schema = arrow_schema(table)

    def parts() -> Iterator[pa.Table]:
        for unit in sorted({*kept, *staged}):
            if unit in staged:
                yield _exactly(pq.ParquetFile(staged[unit]).read(), schema)
            elif present is not None:
                yield from present.rows(unit)

    if not kept and not staged:
        return None
    write_table(table, target, _in_groups(parts()), release=release)
    return target


def _in_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, in tables of a row group each."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(waiting)
            yield rows.slice(0, ROW_GROUP_ROWS)
            waiting = [rows.slice(ROW_GROUP_ROWS)]
    if waiting:
        yield pa.concat_tables(waiting)


class _Present:
    """The mouse's present file, of which a row group at a time is in memory.

    To read all of a file with a million presentations takes 300 MB, and three times as long: most
    of it is the kernel's, which clears new memory.

    Attributes:
        units: the sessions or experiments that it has rows of.
    """

    def __init__(self, table: Table, store: Store, path: str, file: pq.ParquetFile) -> None:
        self._schema, self._store, self._path, self._file = arrow_schema(table), store, path, file
        groups = range(file.metadata.num_row_groups)
        sizes = [file.metadata.row_group(group).num_rows for group in groups]
        self._starts = np.cumsum([0, *sizes]).tolist()
        ids = file.read([table.unit_key]).column(0).to_numpy()
        found = np.unique(ids, return_index=True, return_counts=True)
        self._extents = {
            unit: (start, start + count)
            for unit, start, count in zip(*(values.tolist() for values in found), strict=True)
        }
        self.units = {*self._extents}
        self._read: tuple[int, pa.Table] | None = None

    @classmethod
    def open(cls, table: Table, store: Store, path: str) -> Self | None:
        """Opens the file, None if there is none.

        Raises:
            DamagedError: it cannot be read; `rows` raises it, too.
        """
        with reading(store, path):
            file = store.parquet(path)
            return None if file is None else cls(table, store, path, file)

    def rows(self, unit: int) -> Iterator[pa.Table]:
        """The rows of a session or experiment."""
        start, stop = self._extents[unit]
        for group, (first, last) in enumerate(pairwise(self._starts)):
            if start < last and first < stop:
                rows = self._group(group)
                yield rows.slice(max(start - first, 0), min(stop, last) - max(start, first))

    def _group(self, group: int) -> pa.Table:
        if self._read is None or self._read[0] != group:
            self._read = None
            with reading(self._store, self._path):
                self._read = group, _exactly(self._file.read_row_group(group), self._schema)
        return self._read[1]


def _exactly(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the declared schema. A cast would import pandas, so only where it is needed."""
    same = rows.schema.equals(schema)
    return rows.replace_schema_metadata(schema.metadata) if same else rows.cast(schema)


def _in_full_groups(path: Path) -> bool:
    """Whether the row groups of a file are those that a merge would make."""
    metadata = pq.read_metadata(path)
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return all(count == ROW_GROUP_ROWS for count in rows[:-1])
