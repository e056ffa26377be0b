"""The released SDK's objects of a session and of an experiment, read from a lake."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple, NoReturn, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
import polars as pl

import vblake.sdk.columns as columns
from vblake.files import Files, nearest
from vblake.lists import Array, open_parquet, read_lists, stack
from vblake.sdk.frames import objects, to_dictionary, to_pandas
from vblake.session import Experiment, Session, masks_of
from vblake.tables import Recording
from vblake.traces import experiment_file


class Coordinates(NamedTuple):
    """A position in millimetres or a rotation in degrees."""

    x: float
    y: float
    z: float


class Image(NamedTuple):
    """An image of the field of view.

    Attributes:
        data: gray levels, shape (height, width).
        spacing: width and height of a pixel.
        unit: unit of the spacing.
    """

    data: Array
    spacing: tuple[float, float]
    unit: str = "mm"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The gray levels, so that NumPy and Matplotlib take the image as an array."""
        return np.array(self.data, dtype=dtype)

    def __eq__(self, other: object) -> bool:
        """Whether gray levels, spacing and unit are the same."""
        if not isinstance(other, Image):
            return NotImplemented
        return np.array_equal(self.data, other.data) and self[1:] == other[1:]

    def __hash__(self) -> int:
        """The hash of what is not an array."""
        return hash(self[1:])


_NOT_LISTED = {
    "list_data_attributes_and_methods",
    *("performance_metrics", "reward_rate", "rolling_performance_df"),
}
"""What no list of the SDK has: the last three are its methods' results as attributes."""


class BehaviorSession:
    """A behaviour session with the attributes of the SDK's `BehaviorSession`.

    Each attribute is read when it is first asked for. Attributes raise LookupError where the lake
    does not have the table.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._session!r})"

    def __getattr__(self, name: str) -> NoReturn:
        known = self.list_data_attributes_and_methods()
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}. {nearest(name, known)} docs/sdk.md lists what "
            "the SDK has and a lake cannot give."
        )

    def list_data_attributes_and_methods(self) -> list[str]:
        """Names of all attributes and methods that give data, as the SDK lists them.

        Example:
            >>> from vblake.sdk import VisualBehaviorOphysProjectCache
            >>> cache = VisualBehaviorOphysProjectCache.from_lake(folder)
            >>> cache.get_behavior_session(70).list_data_attributes_and_methods()[:2]
            ['behavior_session_id', 'eye_tracking']
        """
        return [n for n in dir(type(self)) if not n.startswith("_") and n not in _NOT_LISTED]

    def _frame(self, frame: columns.Frame) -> pd.DataFrame:
        return to_pandas(self._session.read_columns(frame.table, frame.sources), frame)

    @property
    def behavior_session_id(self) -> np.int64:
        """The session's id."""
        return np.int64(self._session.behavior_session_id)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Animal and recording."""
        return to_dictionary(self._session.metadata, columns.BEHAVIOR_METADATA)

    @cached_property
    def task_parameters(self) -> dict[str, Any]:
        """Settings of the task."""
        return to_dictionary(self._session.row("task_parameters"), columns.TASK_PARAMETERS)

    @cached_property
    def licks(self) -> pd.DataFrame:
        """`timestamps` in seconds and stimulus `frame` of each lick."""
        return self._frame(columns.LICKS)

    @cached_property
    def rewards(self) -> pd.DataFrame:
        """`volume` in mL, `timestamps` in seconds, and whether it was `auto_rewarded`."""
        return self._frame(columns.REWARDS)

    @cached_property
    def running_speed(self) -> pd.DataFrame:
        """`timestamps` in seconds and filtered `speed` in cm/s."""
        return self._frame(columns.RUNNING_SPEED)

    @cached_property
    def raw_running_speed(self) -> pd.DataFrame:
        """`timestamps` in seconds and unfiltered `speed` in cm/s."""
        return self._frame(columns.RAW_RUNNING_SPEED)

    @cached_property
    def stimulus_timestamps(self) -> Array:
        """Time of each stimulus frame in seconds, shape (n_frames,)."""
        return self._session.stimulus_timestamps

    @cached_property
    def stimulus_presentations(self) -> pd.DataFrame:
        """Flashes, omissions, gray screens and movie frames, by `stimulus_presentations_id`."""
        return self._frame(columns.STIMULUS_PRESENTATIONS)

    @cached_property
    def stimulus_templates(self) -> pd.DataFrame:
        """The images that the session's file holds, `unwarped` and `warped`, by `image_name`.

        Raises:
            LookupError: the lake does not have them.
        """
        session, lake = self._session, self._session.lake
        ids = {"behavior_session_id": [session.behavior_session_id]}
        own = [Recording(session.mouse_id, session.behavior_session_id, None, None)]
        ledger = lake.scan_recordings("source_files", ids, own).filter("gives_behavior")
        files = ledger.select("image_set", "images").collect()
        image_set, images = files.row(0) if len(files) else ("", [])
        paths = lake.files.paths(f"stimulus_templates/image_set={quote(image_set, safe='')}")
        if not images or not paths:
            raise LookupError(
                f"{lake.root} has no templates of behaviour session {session.behavior_session_id}. "
                "Ingest them with `vblake ingest --behavior-session "
                f"{session.behavior_session_id} --tables stimulus_templates`."
            )
        return _templates(lake.files, paths[0], sorted(images), image_set)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The trials with images, times, licks and outcome, by `trials_id`."""
        trials = self._frame(columns.TRIALS)
        # In the files these two depend on the whole session: without any lick the lists of licks
        # have no type, and without any reward the volumes are sums of nothing.
        if not any(len(times) for times in trials["lick_times"]):
            trials["lick_times"] = objects([np.empty(0, dtype=object) for _ in trials.index])
        if not trials["reward_volume"].to_numpy().any():
            trials["reward_volume"] = trials["reward_volume"].astype(np.int64)
        return trials

    @cached_property
    def eye_tracking(self) -> pd.DataFrame:
        """Ellipses of eye, pupil and corneal reflection, by video `frame`; empty if not filmed."""
        return self._frame(columns.EYE_TRACKING)

    @cached_property
    def eye_tracking_rig_geometry(self) -> dict[str, Any]:
        """Where monitor, eye camera and its light stood; empty if the file does not say so."""
        rows = self._session.table("eye_tracking_rig_geometry")
        if rows.is_empty():
            return {}
        row = rows.row(0, named=True)
        values = {name: row[name] for name in columns.RIG_GEOMETRY}
        return {k: Coordinates(*v) if isinstance(v, list) else v for k, v in values.items()}

    def get_rolling_performance_df(self) -> pd.DataFrame:
        """Rates and d' of each trial from the trials before it, by `trials_id`."""
        return self.rolling_performance_df.copy()

    @cached_property
    def rolling_performance_df(self) -> pd.DataFrame:
        """What `get_rolling_performance_df` returns."""
        return self._frame(columns.ROLLING_PERFORMANCE)

    def get_reward_rate(self) -> Array:
        """Rewards per minute around each trial, shape (n_trials,)."""
        return self.rolling_performance_df["reward_rate"].to_numpy(copy=True)

    @property
    def reward_rate(self) -> Array:
        """What `get_reward_rate` returns."""
        return self.get_reward_rate()

    def get_performance_metrics(
        self, engaged_trial_reward_rate_threshold: float = 2.0
    ) -> dict[str, Any]:
        """Counts of trials, rewards, mean rates and d' of the session.

        Args:
            engaged_trial_reward_rate_threshold: rewards per minute above which the mouse counts as
                engaged.
        """
        row = self._session.row("performance_metrics")
        metrics = to_dictionary(row, columns.PERFORMANCE_METRICS)
        if engaged_trial_reward_rate_threshold == 2.0:
            return metrics
        performance = self.rolling_performance_df
        engaged = performance[performance["reward_rate"] > engaged_trial_reward_rate_threshold]
        return metrics | {
            "engaged_trial_count": np.int64(len(engaged)),
            "mean_hit_rate_engaged": engaged["hit_rate"].mean(),
            "mean_false_alarm_rate_engaged": engaged["false_alarm_rate"].mean(),
            "mean_dprime_engaged": engaged["rolling_dprime"].mean(),
            "max_dprime_engaged": engaged["rolling_dprime"].max(),
        }

    @property
    def performance_metrics(self) -> dict[str, Any]:
        """What `get_performance_metrics` returns."""
        return self.get_performance_metrics()


class BehaviorOphysExperiment(BehaviorSession):
    """An imaging plane with the attributes of the SDK's `BehaviorOphysExperiment`."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self._experiment = experiment

    @property
    def ophys_experiment_id(self) -> int:
        """The experiment's id."""
        return self._experiment.ophys_experiment_id

    @property
    def ophys_session_id(self) -> int:
        """The id of the imaging session."""
        return self.metadata["ophys_session_id"]

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Animal, recording and imaging plane."""
        return to_dictionary(self._row, columns.EXPERIMENT_METADATA)

    @cached_property
    def ophys_timestamps(self) -> Array:
        """Time of each imaging frame in seconds, shape (n_frames,)."""
        return self._experiment.ophys_timestamps

    @cached_property
    def motion_correction(self) -> pd.DataFrame:
        """Shift `x`, `y` of each imaging frame in pixels."""
        return self._frame(columns.MOTION_CORRECTION)

    @cached_property
    def cell_specimen_table(self) -> pd.DataFrame:
        """The valid ROIs with position, shape and mask, by `cell_specimen_id`."""
        masks = ("roi_mask", "field_of_view_height", "field_of_view_width")
        wanted = [*columns.CELL_SPECIMENS.sources, *masks]
        cells = self._experiment.read_columns(columns.CELL_SPECIMENS.table, wanted)
        frame = to_pandas(cells, columns.CELL_SPECIMENS)
        return self._of_cells(frame, roi_mask=list(masks_of(cells)))

    @property
    def roi_masks(self) -> pd.DataFrame:
        """`cell_roi_id` and `roi_mask` of the valid ROIs, by `cell_specimen_id`."""
        return self.cell_specimen_table.loc[:, ["cell_roi_id", "roi_mask"]]

    @cached_property
    def dff_traces(self) -> pd.DataFrame:
        """`dff` of each cell, shape (n_frames,), by `cell_specimen_id`."""
        return self._traces(columns.DFF, "dff")

    @cached_property
    def corrected_fluorescence_traces(self) -> pd.DataFrame:
        """`corrected_fluorescence` of each cell and how it was corrected, by `cell_specimen_id`."""
        return self._traces(columns.CORRECTED_FLUORESCENCE, "corrected_fluorescence")

    @cached_property
    def events(self) -> pd.DataFrame:
        """`events` and `filtered_events` of each cell, by `cell_specimen_id`."""
        return self._traces(columns.EVENTS, "events", "filtered_events")

    @cached_property
    def demixed_traces(self) -> pd.DataFrame:
        """`demixed_trace` of each cell, by `cell_specimen_id`; ingested by name only."""
        return self._traces(columns.DEMIXED, "demixed_trace")

    @cached_property
    def neuropil_traces(self) -> pd.DataFrame:
        """`neuropil_trace` of each cell, by `cell_specimen_id`; ingested by name only.

        The SDK returns the demixed traces here by mistake.
        """
        return self._traces(columns.NEUROPIL, "neuropil_trace")

    @cached_property
    def max_projection(self) -> Image:
        """Maximum of the movie over time."""
        return self._image("max_projection")

    @cached_property
    def average_projection(self) -> Image:
        """Mean of the movie over time."""
        return self._image("average_projection")

    @cached_property
    def segmentation_mask_image(self) -> Image:
        """1 inside any valid ROI and 0 elsewhere."""
        image = self._image("segmentation_mask_image")
        return image._replace(data=image.data.astype(np.int64))

    def get_segmentation_mask_image(self) -> Image:
        """What `segmentation_mask_image` is."""
        return self.segmentation_mask_image

    def get_cell_specimen_ids(self) -> Array:
        """The ids of the cells in the order of `cell_specimen_table`, shape (n_cells,).

        Raises:
            ValueError: no ROI is matched to a cell.
        """
        ids = self.cell_specimen_table.index.to_numpy(copy=True)
        if np.isnan(ids.astype(np.float64)).all():
            raise ValueError(
                f"No ROI of experiment {self.ophys_experiment_id} has a cell_specimen_id. "
                "Use cell_roi_id."
            )
        return ids

    def get_cell_specimen_indices(self, cell_specimen_ids: Iterable[float]) -> list[int]:
        """Row numbers of cells in `cell_specimen_table`.

        Args:
            cell_specimen_ids: ids of matched cells.

        Raises:
            KeyError: the experiment does not have one of the cells.
        """
        ids = self.cell_specimen_table.index
        return [cast(int, ids.get_loc(cell)) for cell in cell_specimen_ids]

    def get_dff_traces(
        self, cell_specimen_ids: Iterable[float] | None = None
    ) -> tuple[Array, Array]:
        """The imaging clock and traces of cells, as `ophys_timestamps` and `dff_traces` have them.

        Args:
            cell_specimen_ids: ids of matched cells; by default all rows, unmatched ones too.

        Returns:
            Seconds, shape (n_frames,), and dF/F, shape (n_cells, n_frames), in the order of
            `dff_traces`, whatever the order of the ids.

        Raises:
            KeyError: the experiment does not have one of the cells.
        """
        traces = self.dff_traces
        if cell_specimen_ids is not None:
            wanted = list(cell_specimen_ids)
            self.get_cell_specimen_indices(wanted)
            traces = traces.loc[traces.index.isin(wanted)]
        rows = list(traces["dff"])
        length = len(rows[0] if rows else self.ophys_timestamps)
        return self.ophys_timestamps, stack(rows, length)

    @cached_property
    def _row(self) -> dict[str, Any]:
        return self._experiment.metadata

    def _of_cells(self, frame: pd.DataFrame, **lists: list[Array]) -> pd.DataFrame:
        # An ROI of the file, valid or not, that is not matched to a cell makes all ids floats.
        if self._row["unmatched_roi_count"]:
            frame.index = frame.index.astype(np.float64)
        for name, values in lists.items():
            frame[name] = objects(values)
        return frame

    def _traces(self, frame: columns.Frame, *traces: str) -> pd.DataFrame:
        """A table of traces: the arrays follow the id of the ROI."""
        files, plane = self._session.lake.files, self._experiment
        path = experiment_file(files, frame.table, plane.ophys_experiment_id, plane.mouse_id)
        file = open_parquet(files, path)
        small = [name for name in file.schema_arrow.names if name not in traces]
        table = self._of_cells(to_pandas(pl.DataFrame(file.read(small)), frame))
        values = read_lists(files, path, *traces)
        for place, (name, arrays) in enumerate(zip(traces, values, strict=True), start=1):
            table.insert(place, name, objects(arrays))
        return table

    def _image(self, name: str) -> Image:
        pixels, spacing = self._experiment.read_image(name)
        whole = pixels.astype(np.uint8)
        return Image(whole if np.array_equal(pixels, whole) else pixels, spacing)


def _templates(files: Files, path: str, images: list[str], image_set: str) -> pd.DataFrame:
    """Templates of some images of a set as the SDK has them: 2-D arrays by the image's name."""
    known = open_parquet(files, path).read(["image_name", "height", "width"])
    names = known.column("image_name").to_pylist()
    shapes = list(zip(known["height"].to_pylist(), known["width"].to_pylist(), strict=True))
    frame = pd.DataFrame(index=pd.Index(images, dtype=object, name="image_name"))
    for column in ("unwarped", "warped"):
        # One at a time: decoding takes four times the memory of an image.
        (lists,) = read_lists(files, path, column)
        values = dict(zip(names, lists, strict=True))
        arrays = [values[name].reshape(shapes[names.index(name)]) for name in images]
        if column == "unwarped" and image_set == "grating":
            # Gratings are computed, and stored in single precision.
            arrays = [array.astype(np.float32) for array in arrays]
        frame[column] = objects(arrays)
    return frame
