"""Reads a Visual Behavior lake: SQL through DuckDB, Polars frames, traces and images as xarray.

    import vblake

    lake = vblake.open("lake")
    lake.sql("SELECT count(*) FROM trials WHERE hit").fetchall()
    lake.scan("licks", mouse_id=403014).collect()
    lake.session(851843550).trials
    lake.experiment(801108141).dff
    lake.around("dff", 801108141, times, before=1, after=2).mean()

The package stands alone. It knows a lake by its files and its catalog, so it reads lakes of any
schema version. It needs DuckDB, Polars, PyArrow and NumPy; traces and images as xarray also need
`pip install "vblake[sdk]"`, and a lake in S3 needs s3fs.
"""

from vblake.around import Around
from vblake.lake import Lake, open  # noqa: A004 - vblake.open reads like gzip.open
from vblake.session import Experiment, Session
from vblake.traces import Traces, TriggeredAverage, event_triggered_average, read_traces

__all__ = [
    "Around",
    "Experiment",
    "Lake",
    "Session",
    "Traces",
    "TriggeredAverage",
    "event_triggered_average",
    "open",
    "read_traces",
]
