"""What was recorded around events: traces, cell x event x time; running and pupil, event x time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vblake.extras import import_extra
from vblake.traces import Array, Traces, mean_of_windows, median_period, window, window_of_events

if TYPE_CHECKING:
    import xarray as xr

_GAP = 1.5
"""Samples that are further apart than this many median periods have a gap between them."""


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
        _check_dim(dim)
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
        cells = {
            "cell": ("cell", self.traces.cell_roi_id),
            "cell_specimen_id": ("cell", self.traces.cell_specimen_id),
        }
        return _labelled(
            values, dims, self.what, self.traces.units, self.times, self.seconds, cells
        )


@dataclass(frozen=True, slots=True, eq=False)
class SignalAround:
    """A session's running or pupil around events; made by `Lake.around`.

    Every window has the same time base, from the event in steps of the recording's median period;
    values between two samples are interpolated linearly. They are NaN where one of the two has no
    value (a blink), and where the two are more than 1.5 periods apart (a gap).

    Attributes:
        what: `running_speed`, `pupil_area` or `pupil_width`.
        units: unit of the values, None if it is not known.
        times: times of the events in seconds, shape (n_events,).
        seconds: seconds after the event, shape (n_samples,).
        values: shape (n_events, n_samples).
    """

    what: str
    units: str | None
    times: Array
    seconds: Array
    values: Array

    dims = ("event", "time")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of events and samples."""
        return len(self.times), len(self.seconds)

    def mean(self, dim: Literal["event"] = "event") -> xr.DataArray:
        """Mean over the events that have a value at a time; NaN where none has one.

        Raises:
            ValueError: `dim` is not `event`. Means over time: `load().mean("time")`.
            ModuleNotFoundError: xarray is not installed.

        Example:
            >>> lake.around("running_speed", 70, [0.2, 0.3], 0.1, 0.1).mean().values.tolist()
            [1.5, 2.5, 3.5]
        """
        _check_dim(dim)
        return self.load().mean("event", keep_attrs=True)

    def load(self) -> xr.DataArray:
        """All windows, event x time.

        Raises:
            ModuleNotFoundError: xarray is not installed.

        Example:
            >>> lake.around("running_speed", 70, [0.25], before=0.1, after=0.1).load().values
            array([[1.5, 2.5, 3.5]])
        """
        return _labelled(
            self.values, self.dims, self.what, self.units, self.times, self.seconds, {}
        )


def around_traces(
    what: str,
    traces: Traces,
    times: Array,
    before: float,
    after: float,
    outside: Literal["raise", "drop"],
) -> Around:
    """The windows of traces around events; see `Lake.around`."""
    frames, lags, seconds = window_of_events(traces, times, before, after)
    inside = (frames + lags[0] >= 0) & (frames + lags[-1] < len(traces.timestamps))
    kept = _kept(times, inside, traces.timestamps, before, after, outside)
    return Around(what, traces, times[kept], frames[kept], lags, seconds)


def around_signal(
    what: str,
    units: str | None,
    clock: Array,
    values: Array,
    times: Array,
    before: float,
    after: float,
    outside: Literal["raise", "drop"],
) -> SignalAround:
    """The windows of a signal around events; see `Lake.around`.

    Args:
        what: its name.
        units: unit of the values.
        clock: times of the samples in seconds, ascending, shape (n_samples,).
        values: shape (n_samples,).
        times: times of the events in seconds, shape (n_events,).
        before: start of the window in seconds before the event.
        after: end of the window in seconds after the event.
        outside: what to do with events whose window is not wholly in the recording.
    """
    period = median_period(clock)
    seconds = window(period, before, after) * period
    inside = np.zeros(len(times), dtype=np.bool_)
    if len(clock):
        inside = (times + seconds[0] >= clock[0]) & (times + seconds[-1] <= clock[-1])
    kept = times[_kept(times, inside, clock, before, after, outside)]
    wanted = kept[:, np.newaxis] + seconds
    resampled = np.interp(wanted, clock, values)
    later = np.searchsorted(clock, wanted, side="left")
    apart = np.diff(clock, prepend=clock[0])[later]
    resampled[(apart > _GAP * period) & (clock[later] != wanted)] = np.nan
    return SignalAround(what, units, kept, seconds, resampled)


def _kept(
    times: Array,
    inside: Array,
    clock: Array,
    before: float,
    after: float,
    outside: Literal["raise", "drop"],
) -> Array:
    """Which events have their window within the recording.

    Raises:
        ValueError: none has, or not all have and `outside` is `raise`.
    """
    window_text = f"of {before} s before to {after} s after"
    recording = f"{clock[0]:.3f} s to {clock[-1]:.3f} s" if len(clock) else "it has no samples"
    if outside == "raise" and not inside.all():
        raise ValueError(
            f"{np.sum(~inside)} of {len(times)} events do not have their window {window_text} "
            f"within the recording ({recording}), the first is that at {times[~inside][0]:.3f} s. "
            "Leave them out with outside='drop', or check that the times are seconds on the lake's "
            "clock."
        )
    if not inside.any():
        raise ValueError(
            f"None of {len(times)} events has its window {window_text} it within the recording "
            f"({recording}). Check that the times are seconds on the lake's clock."
        )
    return inside


def _check_dim(dim: str) -> None:
    if dim != "event":
        raise ValueError(f"This is the mean over events. For the mean over {dim}: load().mean.")


def _labelled(
    values: Array,
    dims: tuple[str, ...],
    name: str,
    units: str | None,
    times: Array,
    seconds: Array,
    more: dict[str, Any],
) -> xr.DataArray:
    xr: Any = import_extra("xarray")
    time = {"units": "s", "long_name": "time from event"}
    coordinates = {**more, "time": ("time", seconds, time)}
    if "event" in dims:
        coordinates["event"] = ("event", times, {"units": "s", "long_name": "time of event"})
    attributes = {"units": units, "events": len(times)}
    return xr.DataArray(values, coordinates, dims, name, attributes)
