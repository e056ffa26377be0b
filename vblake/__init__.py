"""Reads a Visual Behavior lake: SQL through DuckDB, Polars frames, traces and images as xarray.

    import vblake

    lake = vblake.open("lake")
    lake.sql("SELECT count(*) FROM trials WHERE hit").fetchall()
    lake.scan("licks", mouse_id=403014).collect()
    lake.session(851843550).trials
    lake.experiment(801108141).dff
    lake.around("dff", 801108141, times, before=1, after=2).mean()

The package stands alone: it knows a lake by its files and its catalog. SQL works on lakes of any
schema version, everything else on those of this one. It needs DuckDB, Polars, PyArrow and NumPy;
traces and images as xarray also need `pip install "vblake[sdk]"`, a lake in S3 `vblake[s3]`, one on
a web server `vblake[remote]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vblake.extras import pyarrow_problem

if TYPE_CHECKING:
    from vblake.around import Around, SignalAround
    from vblake.lake import Lake, open  # noqa: A004 - vblake.open reads like gzip.open
    from vblake.session import Experiment, Session
    from vblake.traces import Traces, TriggeredAverage, event_triggered_average, read_traces

__all__ = [
    "Around",
    "Experiment",
    "Lake",
    "Session",
    "SignalAround",
    "Traces",
    "TriggeredAverage",
    "event_triggered_average",
    "open",
    "read_traces",
]

_MODULES = {
    "Around": "around",
    "Experiment": "session",
    "Lake": "lake",
    "Session": "session",
    "SignalAround": "around",
    "Traces": "traces",
    "TriggeredAverage": "traces",
    "event_triggered_average": "traces",
    "open": "lake",
    "read_traces": "traces",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: `vblake sql` needs `vblake.connection` but no Polars or NumPy.
    if name == "__version__":
        return import_module("importlib.metadata").version("vblake")
    if name not in _MODULES:
        raise AttributeError(f"module 'vblake' has no attribute {name!r}")
    if problem := pyarrow_problem():
        raise ImportError(problem)
    return getattr(import_module(f"vblake.{_MODULES[name]}"), name)
