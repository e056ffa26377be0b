"""Reads a Visual Behavior lake: SQL through DuckDB, Polars frames, traces as NumPy arrays.

    import vblake

    lake = vblake.open("lake")
    lake.sql("SELECT count(*) FROM trials WHERE hit").fetchall()
    lake.scan("licks").filter(mouse_id=403014).collect()
    traces = vblake.read_traces("lake", 801108141)

The package stands alone. It knows a lake by its files and its catalog, so it reads lakes of any
schema version, and it needs only DuckDB, Polars, PyArrow and NumPy (s3fs for a lake in S3).
"""

from vblake.lake import Lake, open  # noqa: A004 - vblake.open reads like gzip.open
from vblake.traces import Traces, TriggeredAverage, event_triggered_average, read_traces

__all__ = [
    "Lake",
    "Traces",
    "TriggeredAverage",
    "event_triggered_average",
    "open",
    "read_traces",
]
