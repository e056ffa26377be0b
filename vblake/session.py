"""A session and an experiment of a lake: tables as Polars frames, traces and images as xarray."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vblake.extras import import_extra
from vblake.files import nearest
from vblake.lists import open_parquet
from vblake.tables import Recording, Tables
from vblake.traces import SIGNALS, TRACES, Array, Traces, read_experiment_traces

if TYPE_CHECKING:
    import xarray as xr


class Session:
    """A behaviour session; made by `Lake.session`.

    Every table with a row or more per session is an attribute: `session.trials`, `session.licks`,
    `session.eye_tracking`, ... are Polars frames of the session's rows, read when asked for.
    """

    def __init__(self, lake: Tables, recordings: list[Recording]) -> None:
        self.lake = lake
        self.mouse_id = recordings[0].mouse_id
        self.behavior_session_id = recordings[0].behavior_session_id
        self._recordings = recordings

    def __repr__(self) -> str:
        return f"{self.lake!r}.session({self.behavior_session_id})"

    @cached_property
    def _keys(self) -> dict[str, dict[str, list[int]]]:
        """The tables that have rows of this session, and the ids that select them."""
        own = {"behavior_session_id": [self.behavior_session_id]}
        return dict.fromkeys(self.lake.tables_with("behavior_session_id"), own)

    @cached_property
    def _of_planes(self) -> list[str]:
        """The tables that only a session with imaging has."""
        return self.lake.tables_with("ophys_experiment_id")

    def __getattr__(self, name: str) -> pl.DataFrame:
        if name.startswith("_") or name not in self._keys:
            raise AttributeError(
                f"This {type(self).__name__.lower()} has no {name!r}. {nearest(name, dir(self))}"
            )
        return self.table(name)

    def __dir__(self) -> list[str]:
        own = {name for name in object.__dir__(self) if not name.startswith("_")}
        return sorted(own | set(self._keys))

    def table(self, name: str, leave_out: tuple[str, ...] = ()) -> pl.DataFrame:
        """The rows of a table that belong here, with the columns of `Lake.scan`.

        Args:
            name: the table.
            leave_out: columns that are not read.

        Raises:
            LookupError: the lake has no such table, it says nothing about sessions, or it was not
                ingested or held back for this one; the message says why.

        Example:
            >>> lake.session(70).table("licks")["timestamps"].to_list()
            [0.5, 1.25]
        """
        if name not in self._keys:
            self.lake.describe(name)
            raise LookupError(f"{name} says nothing about one session. Read it with Lake.scan.")
        rows = self._scan(name).drop(leave_out).collect()
        if rows.is_empty() and (why := self._why_missing(name)):
            raise LookupError(why)
        return rows

    def read_columns(self, name: str, columns: Iterable[str]) -> pl.DataFrame:
        """Some columns of what `table` returns, decoded by PyArrow in half the time.

        Args:
            name: a table with a file or more for each mouse.
            columns: names of columns; those that its files do not hold are left out.

        Raises:
            LookupError: as `table`.

        Example:
            >>> lake.session(70).read_columns("licks", ["timestamps"])["timestamps"].to_list()
            [0.5, 1.25]
        """
        ((key, (wanted,)),) = self._keys[name].items()
        found: list[pa.Table] = []
        for path in self.lake.paths(name, self._recordings):
            file = open_parquet(self.lake.files, path)
            names = file.schema_arrow.names
            held = [column for column in columns if column in names]
            if key in names:
                rows = file.read_row_groups(_groups_with(file, key, wanted), [*held, key])
                own = rows.column(key).to_numpy() == wanted
                found.append((rows if own.all() else rows.filter(pa.array(own))).select(held))
            else:  # The folder is that of the session or experiment.
                found.append(file.read(held))
        if not any(rows.num_rows for rows in found):
            return self.table(name)
        return pl.DataFrame(pa.concat_tables(found))

    def holds(self, table: str) -> bool:
        """Whether a table was ingested for this recording; its file may have no rows for it.

        Example:
            >>> lake.session(70).holds("licks")
            True
        """
        return self._why_missing(table) is None

    def _scan(self, name: str) -> pl.LazyFrame:
        return self.lake.scan_recordings(name, self._keys[name], self._recordings)

    @property
    def stimulus_timestamps(self) -> Array:
        """The stimulus clock in seconds, shape (n_frames,).

        Raises:
            LookupError: the lake does not have it.
        """
        return self._list("stimulus_timestamps", "timestamps")

    @property
    def metadata(self) -> dict[str, Any]:
        """The row of `behavior_metadata` as a dictionary.

        Raises:
            LookupError: the lake does not have it.
        """
        return self.row("behavior_metadata")

    def read_signal(self, what: str) -> tuple[Array, Array]:
        """Running or pupil by name: times in seconds, ascending, and values, shape (n_samples,).

        Values are NaN where the lake has NULL, e.g. the pupil during blinks.

        Args:
            what: `running_speed`, `pupil_area` or `pupil_width`.

        Raises:
            LookupError: there is no such signal, or the lake does not have it.

        Example:
            >>> lake.session(70).read_signal("running_speed")[0]
            array([0. , 0.1, 0.2, 0.3, 0.4, 0.5])
        """
        if what not in SIGNALS:
            raise LookupError(f"A session has no signal {what!r}. Use {', '.join(SIGNALS)}.")
        table, column = SIGNALS[what]
        rows = self._scan(table).select("timestamps", column).drop_nulls("timestamps")
        found = rows.sort("timestamps").collect()
        if found.is_empty():
            raise self._missing(table)
        return found["timestamps"].to_numpy(), found[column].cast(pl.Float64).to_numpy()

    def onsets(self, presentations: Iterable[int]) -> Array:
        """The times in seconds at which stimulus presentations start, shape (n_presentations,).

        Args:
            presentations: `stimulus_presentations_id` of each, in any order.

        Raises:
            LookupError: the session has no presentation with one of these ids.
        """
        wanted = [int(i) for i in presentations]
        rows = self._scan("stimulus_presentations")
        rows = rows.select("stimulus_presentations_id", "start_time").collect()
        if rows.is_empty():
            raise self._missing("stimulus_presentations")
        known = dict(rows.iter_rows())
        if unknown := [i for i in wanted if i not in known]:
            raise LookupError(
                f"Session {self.behavior_session_id} has no stimulus presentation {unknown[0]}. "
                f"It has {len(known)}, see .stimulus_presentations."
            )
        return np.array([known[i] for i in wanted], dtype=np.float64)

    def row(self, table: str) -> dict[str, Any]:
        """The one row of a table with a row per session or experiment, as a dictionary.

        Raises:
            LookupError: the lake does not have it.
        """
        rows = self.table(table)
        if rows.is_empty():
            raise self._missing(table)
        return rows.row(0, named=True)

    def _list(self, table: str, column: str) -> Array:
        rows = self.read_columns(table, [column])
        if rows.is_empty():
            raise self._missing(table)
        return rows[column].item().to_numpy(writable=True)

    def _missing(self, table: str) -> LookupError:
        """The error for what has no rows here."""
        none = f"{self.lake.root} has no {table} of {self._this}: its file has none."
        return LookupError(self._why_missing(table) or none)

    def _why_missing(self, table: str) -> str | None:
        """Why a table has no rows here; None if it was ingested without any."""
        imaged = self._recordings[0].ophys_session_id is not None
        if not imaged and table in self._of_planes:
            return f"{self.lake.root} has no {table} of {self._this}: it was not imaged."
        key = {"mouse_id": [self.mouse_id], **self._keys.get(table, {})}
        return self.lake.why_missing(table, key, f" of {self._this}", f"{self._option} ")

    @property
    def _this(self) -> str:
        return f"behaviour session {self.behavior_session_id}"

    @property
    def _option(self) -> str:
        return f"--behavior-session {self.behavior_session_id}"


class Experiment(Session):
    """An experiment, i.e. an imaging plane in one session; made by `Lake.experiment`.

    Its attributes are the traces and images below, and the tables of the experiment and of its
    session, as Polars frames: `experiment.cell_specimens`, `experiment.trials`, ...
    """

    def __init__(self, lake: Tables, recordings: list[Recording]) -> None:
        super().__init__(lake, recordings)
        (self.ophys_experiment_id,) = [r.ophys_experiment_id or 0 for r in recordings]

    def __repr__(self) -> str:
        return f"{self.lake!r}.experiment({self.ophys_experiment_id})"

    @cached_property
    def _keys(self) -> dict[str, dict[str, list[int]]]:
        own = {"ophys_experiment_id": [self.ophys_experiment_id]}
        return super()._keys | dict.fromkeys(self._of_planes, own)

    @property
    def dff(self) -> xr.DataArray:
        """Fluorescence relative to its baseline, cell x time.

        The coordinates are `cell` (cell_roi_id), `cell_specimen_id` (NaN if unmatched) and `time`
        in seconds.

        Raises:
            LookupError: the lake does not have it.

        Example:
            >>> lake.experiment(51).dff.sel(cell=902).mean("time").item()
            2.0
        """
        return self.trace("dff")

    @property
    def corrected_fluorescence(self) -> xr.DataArray:
        """Fluorescence after demixing and neuropil subtraction, cell x time, as `dff`."""
        return self.trace("corrected_fluorescence")

    @property
    def events(self) -> xr.DataArray:
        """Magnitude of the calcium events, cell x time, as `dff`."""
        return self.trace("events")

    @property
    def filtered_events(self) -> xr.DataArray:
        """Events smoothed with a causal half-Gaussian, cell x time, as `dff`."""
        return self.trace("filtered_events")

    @property
    def demixed(self) -> xr.DataArray:
        """Fluorescence after demixing, cell x time, as `dff`; ingested by name only."""
        return self.trace("demixed")

    @property
    def neuropil(self) -> xr.DataArray:
        """Fluorescence around each cell, cell x time, as `dff`; ingested by name only."""
        return self.trace("neuropil")

    def trace(self, what: str) -> xr.DataArray:
        """One kind of traces by name, cell x time, as `dff`.

        Args:
            what: `dff`, `corrected_fluorescence`, `events`, `filtered_events`, `demixed` or
                `neuropil`.

        Raises:
            LookupError: there are no such traces, or the lake does not have them.
            ModuleNotFoundError: xarray is not installed.
        """
        xr: Any = import_extra("xarray")
        traces = self.read_traces(what)
        return xr.DataArray(
            traces.values,
            {
                "cell": ("cell", traces.cell_roi_id),
                "cell_specimen_id": ("cell", traces.cell_specimen_id),
                "time": ("time", traces.timestamps, {"units": "s"}),
            },
            ("cell", "time"),
            what,
            {"units": traces.units},
        )

    def read_traces(self, what: str) -> Traces:
        """One kind of traces by name as NumPy arrays; see `trace`.

        Raises:
            LookupError: there are no such traces, or the lake does not have them.
        """
        if what not in TRACES:
            raise LookupError(f"There are no traces {what!r}. Use {', '.join(TRACES)}.")
        table, column = TRACES[what]
        if why := self._why_missing(table):
            raise LookupError(why)
        return read_experiment_traces(
            self.lake.files, self.ophys_experiment_id, table, column, self.mouse_id
        )

    @property
    def ophys_timestamps(self) -> Array:
        """The imaging clock in seconds, shape (n_frames,)."""
        return self._list("ophys_timestamps", "timestamps")

    @property
    def metadata(self) -> dict[str, Any]:
        """The row of `experiment_metadata` as a dictionary."""
        return self.row("experiment_metadata")

    @property
    def max_projection(self) -> xr.DataArray:
        """Maximum of the movie over time, y x x; the coordinates are in millimetres."""
        return self._image("max_projection")

    @property
    def average_projection(self) -> xr.DataArray:
        """Mean of the movie over time, y x x; the coordinates are in millimetres."""
        return self._image("average_projection")

    @property
    def segmentation_mask_image(self) -> xr.DataArray:
        """1 inside any valid ROI and 0 elsewhere, y x x; the coordinates are in millimetres."""
        return self._image("segmentation_mask_image")

    def read_image(self, name: str) -> tuple[Array, tuple[float, float]]:
        """An image by name as NumPy array, shape (height, width), and a pixel's size in mm, (x, y).

        Raises:
            LookupError: the lake does not have it.
        """
        found = self._projections.filter(image_name=name)
        if found.is_empty():
            raise self._missing("projections")
        row = found.drop("pixels").row(0, named=True)
        pixels = found["pixels"].item().to_numpy().reshape(row["height"], row["width"])
        return pixels, (row["spacing_x"], row["spacing_y"])

    @cached_property
    def _projections(self) -> pl.DataFrame:
        """All images, which are decoded together."""
        columns = ("image_name", "height", "width", "spacing_x", "spacing_y", "pixels")
        return self.read_columns("projections", columns)

    def _image(self, name: str) -> xr.DataArray:
        xr: Any = import_extra("xarray")
        pixels, (x, y) = self.read_image(name)
        height, width = pixels.shape
        axes = {
            "y": ("y", np.arange(height) * y, {"units": "mm"}),
            "x": ("x", np.arange(width) * x, {"units": "mm"}),
        }
        return xr.DataArray(pixels, axes, ("y", "x"), name)

    @property
    def roi_masks(self) -> xr.DataArray:
        """Whether a pixel belongs to a cell, cell x y x x, bool, with the ids that `dff` has."""
        xr: Any = import_extra("xarray")
        cells = self.table("cell_specimens")
        masks = masks_of(cells)
        ids = {"cell": ("cell", cells["cell_roi_id"].to_numpy())}
        ids |= {"cell_specimen_id": ("cell", cells["cell_specimen_id"].to_numpy())}
        return xr.DataArray(masks, ids, ("cell", "y", "x"), "roi_masks")

    @property
    def _this(self) -> str:
        return f"experiment {self.ophys_experiment_id}"

    @property
    def _option(self) -> str:
        return f"--experiment {self.ophys_experiment_id}"


def _groups_with(file: pq.ParquetFile, key: str, wanted: int) -> list[int]:
    """The row groups of a file that can hold an id, by the statistics of its column."""
    column = file.schema_arrow.names.index(key)
    found: list[int] = []
    for group in range(file.num_row_groups):
        known = file.metadata.row_group(group).column(column).statistics
        if known is None or not known.has_min_max or known.min <= wanted <= known.max:
            found.append(group)
    return found


def masks_of(cells: pl.DataFrame) -> Array:
    """Masks of cells from their lists of pixels.

    Args:
        cells: rows with `roi_mask`, `field_of_view_height` and `field_of_view_width`.

    Returns:
        bool, shape (n_cells, height, width); (0, 0, 0) without cells.
    """
    if cells.is_empty():
        return np.zeros((0, 0, 0), dtype=np.bool_)
    height, width = cells["field_of_view_height"][0], cells["field_of_view_width"][0]
    masks = np.zeros((len(cells), height * width), dtype=np.bool_)
    for mask, pixels in zip(masks, cells["roi_mask"], strict=True):
        mask[pixels.to_numpy()] = True
    return masks.reshape(len(cells), height, width)
