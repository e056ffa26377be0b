"""Small tables: the rows of new sources are merged into the mouse's file.

The file stays sorted and is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

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
    key = table.unit_key
    assert key is not None
    assert table.order[0] == key, table.name
    rows = _present_rows(store, path, key, lost=sorted({*held} - {*sources}))
    staged = {unit: path for unit, path in sources.items() if path is not None}
    if rows is None and len(staged) == 1:
        (only,) = staged.values()
        if _in_full_groups(only):
            return only
    schema = arrow_schema(table)
    parts = {unit: pq.ParquetFile(path).read() for unit, path in staged.items()}
    if rows is not None:
        found = np.unique(rows.column(key).to_numpy(), return_index=True, return_counts=True)
        for unit, start, count in zip(*(values.tolist() for values in found), strict=True):
            if unit not in sources:
                parts[unit] = rows.slice(start, count)
    if not parts:
        return None
    merged = pa.concat_tables([_exactly(parts[unit], schema) for unit in sorted(parts)])
    write_table(table, target, [merged], release=release)
    return target


def _present_rows(store: Store, path: str, key: str, lost: list[int]) -> pa.Table | None:
    """Reads the mouse's present file; None if it is missing, or damaged with no row `lost`."""
    try:
        with reading(store, path):
            file = store.parquet(path)
            return file.read() if file else None
    except DamagedError as error:
        if not lost:
            return None
        mouse = path.split("mouse_id=")[1].split("/")[0]
        raise LakeError(
            f"{error}. It has rows of {key} {', '.join(map(str, lost))} too, "
            "which this run does not read. "
            f"Ingest all files of the mouse again: --mouse {mouse} --force."
        ) from error


def _exactly(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the declared schema. A cast would import pandas, so only where it is needed."""
    same = rows.schema.equals(schema)
    return rows.replace_schema_metadata(schema.metadata) if same else rows.cast(schema)


def _in_full_groups(path: Path) -> bool:
    """Whether the row groups of a file are those that a merge would make."""
    metadata = pq.read_metadata(path)
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return all(count == ROW_GROUP_ROWS for count in rows[:-1])
