"""Invariants of the staged tables of any file that was converted without an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.convert.staged import FileResult
from schemas import TABLES
from schemas.arrow import file_schema

CLOCKS = {"stimulus_timestamps": "stimulus clock", "ophys_timestamps": "imaging clock"}
TIMED = ("licks", "rewards", "running_speed", "raw_running_speed", "eye_tracking")


def _ascending(times: Any) -> bool:
    values = np.asarray(times)
    return bool(np.isfinite(values).all() and (np.diff(values) >= 0).all())


def broken(result: FileResult) -> list[str]:
    """What does not hold, a line each."""
    found: list[str] = []
    rows: dict[str, pa.Table] = {}
    for name, count in result.row_counts.items():
        path = result.staged(name)
        if path is None:
            continue  # which tables may be empty is declared, and checked before publication
        rows[name] = pq.read_table(path)
        found += _table(name, rows[name], count)
    for name in CLOCKS.keys() & rows.keys():
        if not _ascending(rows[name].column("timestamps").combine_chunks().flatten()):
            found.append(f"{name}: no clock")
    for name in rows.keys() & set(TIMED):
        if not _ascending(rows[name].column("timestamps")):
            found.append(f"{name}: times go back")
    return found


def _table(name: str, rows: pa.Table, count: int) -> list[str]:
    table = TABLES[name]
    found: list[str] = []
    if not rows.schema.equals(file_schema(table)):
        found.append(f"{name}: another schema")
    if rows.num_rows != count:
        found.append(f"{name}: {rows.num_rows} rows, {count} counted")
    found += [
        f"{name}.{c.name}: NULL"
        for c in table.stored
        if c.required and rows.column(c.name).null_count
    ]
    own = [n for n in table.primary_key if n in rows.column_names]
    if own and rows.group_by(own).aggregate([]).num_rows != rows.num_rows:
        found.append(f"{name}: keys repeat")
    rows.validate(full=True)
    return found
