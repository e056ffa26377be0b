"""Small tables: the rows of new sources are merged into the mouse's file, which stays sorted and is
replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.damage import DamagedError, reading
from pipelines.lake.store import Store
from pipelines.lake.writer import write_table
from schemas import Table
from schemas.arrow import arrow_schema
from schemas.errors import LakeError
from schemas.layout import ROW_GROUP_ROWS


def _runs(ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[tuple[int, int, int]]:
    """Id, start and length of each run of equal ids."""
    if not len(ids):
        return
    starts = np.concatenate(([0], np.flatnonzero(np.diff(ids)) + 1))
    for start, end in zip(starts, np.append(starts[1:], len(ids)), strict=True):
        yield int(ids[start]), int(start), int(end - start)


class _Rows:
    """The rows of one Parquet file, taken in ascending order without holding the file."""

    def __init__(self, file: pq.ParquetFile, schema: pa.Schema) -> None:
        self._batches = file.iter_batches(batch_size=ROW_GROUP_ROWS)
        self._schema = schema
        self._batch: pa.Table = schema.empty_table()
        self._start = 0

    def take(self, start: int, length: int) -> Iterator[pa.Table]:
        """Rows `start` to `start + length`; `start` must not be below that of the call before."""
        while length:
            if start >= self._start + self._batch.num_rows:
                self._start += self._batch.num_rows
                self._batch = _exactly(pa.Table.from_batches([next(self._batches)]), self._schema)
                continue
            part = self._batch.slice(start - self._start, length)
            yield part
            start += part.num_rows
            length -= part.num_rows


def _regroup(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Parts put together to full row groups."""
    held: list[pa.Table] = []
    rows = 0
    for part in parts:
        while rows + part.num_rows >= ROW_GROUP_ROWS:
            room = ROW_GROUP_ROWS - rows
            yield pa.concat_tables([*held, part.slice(0, room)])
            part = part.slice(room)
            held, rows = [], 0
        if part.num_rows:
            held.append(part)
            rows += part.num_rows
    if held:
        yield pa.concat_tables(held)


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
    """Makes the mouse's file with the rows of some sources added or replaced.

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
        LakeError: the present file is damaged, and not all of its rows come anew.
    """
    key = table.unit_key
    assert key is not None
    assert table.order[0] == key, table.name
    try:
        with reading(store, path):
            present = store.parquet(path)
            ids = _ids(present, key) if present else None
    except DamagedError as error:
        if lost := sorted({*held} - {*sources}):
            mouse = path.split("mouse_id=")[1].split("/")[0]
            raise LakeError(
                f"{error}. It has rows of {key} {', '.join(map(str, lost))} too, "
                "which this run does not read. "
                f"Ingest all files of the mouse again: --mouse {mouse} --force."
            ) from error
        present = ids = None
    having = [path for path in sources.values() if path is not None]
    if ids is None and len(having) == 1 and _in_full_groups(having[0]):
        return having[0]
    schema = arrow_schema(table)
    old = _Rows(present, schema) if present else None
    runs = (
        {unit: (start, length) for unit, start, length in _runs(ids) if unit not in sources}
        if ids is not None
        else {}
    )

    def parts() -> Iterator[pa.Table]:
        for unit in sorted({*runs, *(u for u, p in sources.items() if p is not None)}):
            if unit in runs and old is not None:
                yield from old.take(*runs[unit])
            else:
                staged = sources[unit]
                assert staged is not None
                yield _exactly(pq.ParquetFile(staged).read(), schema)

    return target if write_table(table, target, _regroup(parts()), release=release) else None


def _in_full_groups(path: Path) -> bool:
    """Whether the row groups of a file are those that a merge would make."""
    metadata = pq.read_metadata(path)
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return all(count == ROW_GROUP_ROWS for count in rows[:-1])


def _exactly(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the declared schema; a cast, which would import pandas, only where they have
    another one.
    """
    return (
        rows.replace_schema_metadata(schema.metadata)
        if rows.schema.equals(schema)
        else rows.cast(schema)
    )


def _ids(file: pq.ParquetFile, key: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return file.read([key]).column(key).to_numpy()
