"""Invariants of the staged tables of any file that was converted without an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.convert.staged import FileResult
from schemas import TABLES
from schemas.arrow import arrow_schema

CLOCKS = {"stimulus_timestamps": "stimulus clock", "ophys_timestamps": "imaging clock"}
TIMED = ("licks", "rewards", "running_speed", "raw_running_speed", "eye_tracking")
TRACES = {
    "dff_traces": "dff",
    "corrected_fluorescence_traces": "corrected_fluorescence",
    "events": "events",
    "demixed_traces": "demixed_trace",
    "neuropil_traces": "neuropil_trace",
}


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
    return found + _traces(rows)


def _table(name: str, rows: pa.Table, count: int) -> list[str]:
    table = TABLES[name]
    found: list[str] = []
    if not rows.schema.equals(arrow_schema(table)):
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


def _traces(rows: dict[str, pa.Table]) -> list[str]:
    found: list[str] = []
    cells = (
        set(rows["cell_specimens"].column("cell_roi_id").to_pylist())
        if "cell_specimens" in rows
        else None
    )
    lengths: set[int] = set()
    for name in TRACES.keys() & rows.keys():
        lengths |= set(pc.list_value_length(rows[name].column(TRACES[name])).to_pylist())
        if cells is not None and not set(rows[name].column("cell_roi_id").to_pylist()) <= cells:
            found.append(f"{name}: cells that are not in cell_specimens")
    if len(lengths) > 1:
        found.append(f"traces of {sorted(lengths)} frames")
    if (
        lengths
        and "ophys_timestamps" in rows
        and max(lengths) > len(rows["ophys_timestamps"].column("timestamps")[0])
    ):
        found.append("traces longer than their clock")
    return found
