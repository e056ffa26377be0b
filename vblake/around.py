"""Traces around events: cell x event x time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vblake.extras import import_extra
from vblake.traces import Array, Traces, mean_of_windows, window_of_events

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """The windows of an experiment's traces around events; made by `Lake.around`.

    No window is copied before it is needed: 4,800 flashes of 400 cells are 1.4 GB, and their mean
    takes the memory of one cell's windows.

    Attributes:
        what: the kind of traces, e.g. `dff`.
        traces: the traces, shape (n_cells, n_frames).
        times: times of the events in seconds, shape (n_events,).
        frames: the first frame at or after each event, shape (n_events,).
        lags: frames of the window, counted from that of the event, shape (n_samples,).
        seconds: the same in seconds, shape (n_samples,).
    """

    what: str
    traces: Traces
    times: Array
    frames: Array
    lags: Array
    seconds: Array

    dims = ("cell", "event", "time")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of cells, events and samples."""
        return len(self.traces.values), len(self.frames), len(self.lags)

    def mean(self, dim: Literal["event"] = "event") -> xr.DataArray:
        """Mean over the events, cell x time, with the memory of one cell's windows.

        A NaN in a window makes the mean of that sample NaN.

        Raises:
            ValueError: `dim` is not `event`. Means over cells or time: `load().mean(dim)`.
            ModuleNotFoundError: xarray is not installed.

        Example:
            >>> lake.around("dff", 51, [10.1], before=0.1, after=0.1).mean().values.tolist()
            [[0.0, 0.5, 0.25], [1.0, 2.0, 3.0]]
        """
        if dim != "event":
            raise ValueError(f"This is the mean over events. For the mean over {dim}: load().mean.")
        means = mean_of_windows(self.traces, self.frames, self.lags)
        return self._array(means, ("cell", "time"))

    def load(self) -> xr.DataArray:
        """All windows, cell x event x time, in float64: 8 bytes times the product of `shape`.

        Raises:
            ModuleNotFoundError: xarray is not installed.

        Example:
            >>> lake.around("dff", 51, [10.1], before=0.1, after=0.1).load().sel(cell=901).values
            array([[0.  , 0.5 , 0.25]])
        """
        windows = self.traces.values[:, self.frames[:, np.newaxis] + self.lags]
        return self._array(windows, self.dims)

    def _array(self, values: Array, dims: tuple[str, ...]) -> xr.DataArray:
        xr: Any = import_extra("xarray")
        coordinates = {
            "cell": ("cell", self.traces.cell_roi_id),
            "cell_specimen_id": ("cell", self.traces.cell_specimen_id),
            "time": ("time", self.seconds, {"units": "s"}),
        }
        if "event" in dims:
            coordinates["event"] = ("event", self.times, {"units": "s"})
        attributes = {"units": self.traces.units, "events": len(self.frames)}
        return xr.DataArray(values, coordinates, dims, self.what, attributes)


def around(
    what: str,
    traces: Traces,
    times: Any,
    before: float,
    after: float,
    outside: Literal["raise", "drop"],
) -> Around:
    """The windows of traces around events; see `Lake.around`."""
    events = np.asarray(times, dtype=np.float64).reshape(-1)
    frames, lags, seconds = window_of_events(traces, events, before, after)
    inside = (frames + lags[0] >= 0) & (frames + lags[-1] < len(traces.timestamps))
    if outside == "raise" and not inside.all():
        clock = traces.timestamps
        recording = f"{clock[0]:.3f} s to {clock[-1]:.3f} s" if len(clock) else "it has no frames"
        raise ValueError(
            f"{np.sum(~inside)} of {len(events)} events do not have their window of {before} s "
            f"before to {after} s after within the recording ({recording}), the first is that at "
            f"{events[~inside][0]:.3f} s. Leave them out with outside='drop', or check that the "
            "times are seconds on the lake's clock."
        )
    if not inside.any():
        raise ValueError(
            f"None of {len(events)} events has its window of {before} s before to {after} s after "
            "it within the recording. Check that the times are seconds on the lake's clock."
        )
    return Around(what, traces, events[inside], frames[inside], lags, seconds)
