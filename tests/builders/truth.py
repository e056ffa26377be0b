"""Compares a lake, through the catalog's views, with what the released reader returns.

A truth folder holds one file per attribute of the reader: tables as Parquet, arrays as NumPy,
dictionaries as JSON. Names are those of the newest release, which the views offer. Numbers must be
equal to the last bit, except those that the reader computes itself. The contract's rule on NULL is
applied to both sides.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

Rows = dict[str, list[Any]]

MINUS_99 = {"image_index", "movie_frame_index", "movie_repeat", "trials_id", "change_frame"}
WORDS = {"", "None", "null", "N/A", "NaN", "Infinity"}

DERIVED = {"filtered_events", "rolling_dprime", "total_reward_volume"}
"""Computed by the reader. The last bit depends on NumPy's build, as for means and maxima."""

# Tables that the truth has as Parquet: its file, and the columns both sides are ordered by.
BEHAVIOR = {
    "licks": ("licks", ("frame",)),
    "rewards": ("rewards", ("timestamps",)),
    "running_speed": ("running_speed", ("timestamps",)),
    "raw_running_speed": ("raw_running_speed", ("timestamps",)),
    "stimulus_presentations": ("stimulus_presentations", ("stimulus_presentations_id",)),
    "trials": ("trials", ("trials_id",)),
    "rolling_performance": ("rolling_performance_df", ("trials_id",)),
    "eye_tracking": ("eye_tracking", ("frame",)),
}
OPHYS = {
    "dff_traces": ("dff_traces", ("cell_roi_id",)),
    "corrected_fluorescence_traces": ("corrected_fluorescence_traces", ("cell_roi_id",)),
    "events": ("events", ("cell_roi_id",)),
    "demixed_traces": ("demixed_traces", ("cell_roi_id",)),
    "neuropil_traces": ("neuropil_traces", ("cell_roi_id",)),
}
ROIS = {
    "cell_specimens": "cell_specimen_table",
    "roi_masks": "cell_specimen_table_with_invalid",
}
IMAGES = ("average_projection", "max_projection", "segmentation_mask_image")
# Only experiments have these in their metadata dictionary.
OF_PLANES = (
    "indicator",
    "emission_lambda",
    "excitation_lambda",
    "ophys_container_id",
    "field_of_view_height",
    "field_of_view_width",
    "imaging_depth",
    "targeted_imaging_depth",
    "imaging_plane_group",
    "imaging_plane_group_count",
    "ophys_experiment_id",
    "ophys_frame_rate",
    "ophys_session_id",
    "targeted_structure",
)


def scalar(name: str, value: Any) -> Any:
    """One value after the null rule."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and value in WORDS:
        return None
    if name in MINUS_99 and value == -99:
        return None
    if name == "cell_specimen_id" and value is not None:
        return None if value == -1 else int(value)
    if name == "mouse_id":
        return int(value)
    if name == "date_of_acquisition":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)
    return value


def key(name: str, value: Any) -> Any:
    """A form of a value in which equal means the same: lists of numbers by their bits."""
    if isinstance(value, (list, tuple, np.ndarray)):
        items = value.tolist() if isinstance(value, np.ndarray) else list(value)
        if any(isinstance(item, str) for item in items):
            return items
        # Any NaN is as good as another.
        return b"".join(
            struct.pack("<d", math.nan if math.isnan(item) else item) for item in map(float, items)
        )
    value = scalar(name, value)
    return float(value) if isinstance(value, (int, float)) else value


def same(name: str, have: Any, want: Any) -> bool:
    """Whether a value of the lake is that of the truth."""
    if key(name, have) == key(name, want):
        return True
    if name not in DERIVED and not name.startswith(("mean_", "max_dprime", "maximum_")):
        return False
    a, b = ([v] if isinstance(v, (int, float)) else v for v in (have, want))
    return (
        a is not None
        and b is not None
        and len(a) == len(b)
        and all(math.isclose(x, y, rel_tol=1e-12) for x, y in zip(a, b, strict=True))
    )


def _parquet(path: Path, order: Sequence[str]) -> Rows:
    table = pq.read_table(path)
    rows = sorted(range(table.num_rows), key=lambda i: [table.column(c)[i].as_py() for c in order])
    return {name: [values[i] for i in rows] for name, values in table.to_pydict().items()}


class Comparison:
    """One truth folder against a lake.

    Attributes:
        differences: what differs, a line each.
        compared: number of values by table.
    """

    def __init__(self, lake: Path, truth: Path) -> None:
        self.differences: list[str] = []
        self.compared: dict[str, int] = {}
        self._truth = truth
        self._con = duckdb.connect(str(lake / "catalog.duckdb"), read_only=True)
        self._con.execute("SET VARIABLE lake_root = ?", [str(lake)])
        self._con.execute("SET TimeZone = 'UTC'")
        with self._con:
            self._behavior()
            if (truth / "ophys_experiment_id.json").exists():
                self._ophys()

    def _json(self, name: str) -> Any:
        return json.loads((self._truth / f"{name}.json").read_text())

    def _array(self, name: str) -> np.ndarray[Any, Any]:
        return np.load(self._truth / f"{name}.npy")

    def _lake(self, table: str, where: str, order: Sequence[str] = ()) -> Rows:
        by = f" ORDER BY {', '.join(order)}" if order else ""
        rows = self._con.sql(f"SELECT * FROM {table} WHERE {where}{by}")
        return rows.to_arrow_table().to_pydict()

    def _compare(self, table: str, got: Rows, expected: Rows) -> None:
        for name, values in expected.items():
            if name not in got:
                self.differences.append(f"{table}: no column {name}")
                continue
            if len(got[name]) != len(values):
                counts = f"{len(got[name])} rows, expected {len(values)}"
                self.differences.append(f"{table}.{name}: {counts}")
                continue
            self.compared[table] = self.compared.get(table, 0) + len(values)
            for row, (have, want) in enumerate(zip(got[name], values, strict=True)):
                if not same(name, have, want):
                    shown = f"{have!r}, expected {want!r}"
                    self.differences.append(f"{table}.{name}, row {row}: {shown}")

    def _tables(self, where: str, tables: dict[str, tuple[str, tuple[str, ...]]]) -> None:
        for table, (file, order) in tables.items():
            expected = _parquet(self._truth / f"{file}.parquet", order)
            self._compare(table, self._lake(table, where, order), expected)

    def _values(self, table: str, where: str, values: dict[str, Any]) -> None:
        expected = {name: [value] for name, value in values.items()}
        self._compare(table, self._lake(table, where), expected)

    def _behavior(self) -> None:
        where = f"behavior_session_id = {self._json('behavior_session_id')}"
        self._tables(where, BEHAVIOR)
        clock = {"timestamps": self._array("stimulus_timestamps")}
        self._values("stimulus_timestamps", where, clock)
        rates = {"reward_rate": self._array("reward_rate").tolist()}
        performance = self._lake("rolling_performance", where, ("trials_id",))
        self._compare("rolling_performance", performance, rates)
        for table in ("performance_metrics", "task_parameters"):
            self._values(table, where, self._json(table))
        geometry = {
            name: [place] for name, place in self._json("eye_tracking_rig_geometry").items()
        }
        rig = self._lake("eye_tracking_rig_geometry", where)
        # The reader's dictionary is empty where the file has no geometry.
        self._compare("eye_tracking_rig_geometry", rig, geometry or {"equipment": []})
        metadata = {n: v for n, v in self._json("metadata").items() if n not in OF_PLANES}
        self._values("behavior_metadata", where, metadata)
        self._templates()

    def _templates(self) -> None:
        names = pq.read_table(self._truth / "stimulus_templates.parquet")["image_name"].to_pylist()
        unwarped = self._array("stimulus_templates.unwarped")
        warped = self._array("stimulus_templates.warped")
        order = np.argsort(names)
        expected: Rows = {
            "image_name": [names[i] for i in order],
            "height": [warped.shape[1]] * len(names),
            "width": [warped.shape[2]] * len(names),
            "warped": [warped[i].ravel() for i in order],
            "unwarped": [unwarped[i].ravel() for i in order],
        }
        listed = ", ".join(f"'{name}'" for name in names)
        found = self._lake("stimulus_templates", f"image_name IN ({listed})", ("image_name",))
        self._compare("stimulus_templates", found, expected)

    def _ophys(self) -> None:
        where = f"ophys_experiment_id = {self._json('ophys_experiment_id')}"
        self._tables(where, OPHYS)
        for table, file in ROIS.items():
            ids = pq.read_table(self._truth / f"{file}.parquet")["cell_roi_id"].to_pylist()
            masks = self._array(f"{file}.roi_mask")
            cells = _parquet(self._truth / f"{file}.parquet", ("cell_roi_id",))
            cells |= {
                "roi_mask": [np.flatnonzero(masks[i]) for i in np.argsort(ids)],
                "field_of_view_height": [masks.shape[1]] * len(ids),
            }
            self._compare(table, self._lake(table, where, ("cell_roi_id",)), cells)
        clock = {"timestamps": self._array("ophys_timestamps")}
        self._values("ophys_timestamps", where, clock)
        motion = _parquet(self._truth / "motion_correction.parquet", ())
        self._compare(
            "motion_correction", self._lake("motion_correction", where, ("frame",)), motion
        )
        self._values("experiment_metadata", where, self._json("metadata"))
        images = [self._array(name) for name in IMAGES]
        spacing = [self._json(name)["spacing"] for name in IMAGES]
        pictures: Rows = {
            "image_name": list(IMAGES),
            "height": [image.shape[0] for image in images],
            "width": [image.shape[1] for image in images],
            "pixels": [image.ravel() for image in images],
            "spacing_x": [x for x, _ in spacing],
            "spacing_y": [y for _, y in spacing],
        }
        self._compare("projections", self._lake("projections", where, ("image_name",)), pictures)
