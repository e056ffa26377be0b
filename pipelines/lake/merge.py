"""Small tables: the rows of new sources are merged into the mouse's file.

The file stays sorted and is replaced as a whole. Row groups without new or replaced rows are copied
as they are, so that adding a session to a hundred costs no more than adding it to ten.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.row_groups import Source, put_together
from pipelines.lake.store import DamagedError, Store, reading
from pipelines.lake.writer import write_table
from schemas import Table
from schemas.arrow import arrow_schema, file_schema
from schemas.casts import NDArray
from schemas.errors import LakeError
from schemas.layout import ROW_GROUP_ROWS

_WRITER = f"parquet-cpp-arrow version {pa.cpp_version}"
"""Who writes Parquet files, as their footers say."""
_AFTER_ALL = sys.maxsize


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
        return _written(table, present, sources, target, release)
    except DamagedError as error:
        if not lost:  # nothing of the file is needed
            return _written(table, None, sources, target, release)
        mouse = path.split("mouse_id=")[1].split("/")[0]
        raise LakeError(
            f"{error}. It has rows of {table.unit_key} {', '.join(map(str, lost))} too, "
            "which this run does not read. "
            f"Ingest all files of the mouse again: --mouse {mouse} --force."
        ) from error


def _written(
    table: Table,
    present: _Present | None,
    sources: Mapping[int, Path | None],
    target: Path,
    release: str,
) -> Path | None:
    """Writes the rows of all sources, ascending; returns None if there are none."""
    groups = _joined(_pieces(present, sources))
    if not groups:
        return None
    if all(group.kept for group in groups):  # a footer comes from what is written
        groups[-1] = groups[-1]._replace(kept=False)
    schema = arrow_schema(table)

    def rows_of(piece: _Piece) -> pa.Table:
        if piece.staged is not None:
            return _exactly(pq.ParquetFile(piece.staged).read(), schema)
        assert present is not None
        return _exactly(present.read(piece.group), schema).slice(piece.start, piece.rows)

    written = (pa.concat_tables(map(rows_of, g.pieces)) for g in groups if not g.kept)
    if present is None or not any(group.kept for group in groups):
        write_table(table, target, written, release=release)
        return target
    path = target.with_suffix(".part")
    write_table(table, path, written, release=release)
    fresh = Source(pa.OSFile(str(path)))
    added = ((fresh, number) for number in range(fresh.parquet.num_row_groups))
    order: list[tuple[Source, int]] = []
    for group in groups:
        if group.kept:
            order.append((present.source, group.pieces[0].group))
        else:
            order += islice(added, -(-group.rows // ROW_GROUP_ROWS))
    put_together(target, order, like=fresh)
    path.unlink()
    return target


class _Piece(NamedTuple):
    """Rows that follow each other.

    Attributes:
        rows: their number.
        staged: the staged file whose rows they are.
        group: number of a row group of the present file, if they are from there.
        start: the first of them in that row group.
    """

    rows: int
    staged: Path | None = None
    group: int = 0
    start: int = 0


class _Group(NamedTuple):
    """A row group to be.

    Attributes:
        rows: number of its rows; more than `ROW_GROUP_ROWS` of one source become several groups.
        pieces: its rows.
        kept: whether it is a row group of the present file, to be copied.
    """

    rows: int
    pieces: tuple[_Piece, ...]
    kept: bool = False


def _pieces(present: _Present | None, sources: Mapping[int, Path | None]) -> Iterator[_Group]:
    """The rows of the file to be: row groups that stay as they are, and others source by source."""
    new = {
        unit: _Piece(pq.read_metadata(staged).num_rows, staged)
        for unit, staged in sorted(sources.items())
        if staged is not None
    }

    def before(unit: int) -> Iterator[_Group]:
        for other in [other for other in new if other < unit]:
            piece = new.pop(other)
            yield _Group(piece.rows, (piece,))

    keeps, present_units = (present.keeps, present.units) if present else (False, [])
    for number, units in enumerate(present_units):
        (first, *_), (last, *_) = units[0], units[-1]
        yield from before(first)
        if keeps and not any(first <= unit <= last for unit in sources):
            rows = sum(count for _, _, count in units)
            yield _Group(rows, (_Piece(rows, group=number),), kept=True)
            continue
        for unit, start, count in units:
            yield from before(unit)
            if unit not in sources:
                yield _Group(count, (_Piece(count, None, number, start),))
    yield from before(_AFTER_ALL)


def _joined(groups: Iterable[_Group]) -> list[_Group]:
    """Joins neighbours that fit into one row group, unless both are in the file already."""
    joined: list[_Group] = []
    for group in groups:
        before = joined[-1] if joined else group
        rows = before.rows + group.rows
        if joined and rows <= ROW_GROUP_ROWS and not (before.kept and group.kept):
            joined[-1] = _Group(rows, (*before.pieces, *group.pieces))
        else:
            joined.append(group)
    return joined


class _Present:
    """The mouse's present file.

    Attributes:
        source: the file, of which row groups can be copied.
        units: by row group: its sessions or experiments, each with first row and number of rows.
        keeps: whether row groups can stay as they are. They cannot if another version of Parquet's
            library wrote them, or with other columns.
    """

    def __init__(self, table: Table, source: Source) -> None:
        assert table.unit_key is not None
        self.source = source
        self._rows: tuple[int, pa.Table] | None = None
        metadata, schema = source.parquet.metadata, source.parquet.schema_arrow
        self.keeps = metadata.created_by == _WRITER and schema.equals(file_schema(table))
        self.units = [
            _runs(source.read(number, [table.unit_key]).column(0).to_numpy())
            for number in range(metadata.num_row_groups)
        ]

    @classmethod
    def open(cls, table: Table, store: Store, path: str) -> Self | None:
        """Opens the file, None if there is none.

        Raises:
            DamagedError: it cannot be read; `read` and `source` raise it, too.
        """
        damaged = partial(reading, store, path)
        with damaged():
            file = store.open(path)
        return None if file is None else cls(table, Source(file, damaged))

    def read(self, group: int) -> pa.Table:
        """The rows of a row group. The last one is remembered: its rows are asked for in pieces."""
        if self._rows is None or self._rows[0] != group:
            self._rows = None
            self._rows = group, self.source.read(group)
        return self._rows[1]


def _runs(ids: NDArray) -> list[tuple[int, int, int]]:
    """Id, first row and number of rows of each run of equal ids."""
    ends = np.append(np.flatnonzero(np.diff(ids)) + 1, len(ids)).tolist()
    starts = [0, *ends[:-1]]
    return [(int(ids[i]), i, j - i) for i, j in zip(starts, ends, strict=True)]


def _exactly(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the declared schema. A cast would import pandas, so only where it is needed."""
    same = rows.schema.equals(schema)
    return rows.replace_schema_metadata(schema.metadata) if same else rows.cast(schema)


def _in_full_groups(path: Path) -> bool:
    """Whether the row groups of a file are those that a merge would make."""
    metadata = pq.read_metadata(path)
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return all(count == ROW_GROUP_ROWS for count in rows[:-1])
