"""A bucket of the two files in tests/data/mini: a training session with gratings, and an experiment with everything.

The NWB files were written by the release's own writer for this project (they are synthetic); the rows of the project tables are invented
here, but for the ids, which are the files'.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py

from builders.bucket import PROJECT, Bucket, Row

MINI = Path(__file__).parents[1] / "data" / "mini"
TRUTH = MINI / "truth"

SESSION, EXPERIMENT_SESSION, EXPERIMENT = 858098100, 1109864540, 1109986156

BEHAVIOR_FILE = f"{PROJECT}/behavior_sessions/behavior_session_{SESSION}.nwb"
EXPERIMENT_FILE = f"{PROJECT}/behavior_ophys_experiments/behavior_ophys_experiment_{EXPERIMENT}.nwb"


@dataclass
class MiniBucket(Bucket):
    """A bucket whose NWB files are real."""

    def objects(self) -> dict[str, bytes]:
        return {
            **super().objects(),
            **{key: (MINI / "bucket" / key).read_bytes() for key in self.files.values()},
        }


def mini_bucket() -> MiniBucket:
    """The bucket, not written yet."""
    tables = Bucket().tables
    imaged: Row = {
        "behavior_session_id": str(EXPERIMENT_SESSION),
        "mouse_id": "570949",
        "ophys_session_id": "1109840611",
        "ophys_experiment_id": f"[{EXPERIMENT}]",
        "ophys_container_id": "[1107904115]",
    }
    first = {table: rows[0] for table, rows in tables.items()}
    behavior = first["behavior_session_table"]
    own: Row = {
        "ophys_experiment_id": str(EXPERIMENT),
        "ophys_container_id": "1107904115",
        "file_id": "0",
    }
    tables["behavior_session_table"] = [
        {**behavior, "behavior_session_id": str(SESSION), "mouse_id": "453913", "file_id": "7"},
        {**behavior, **imaged, "file_id": "-999"},
    ]
    tables["ophys_session_table"] = [{**first["ophys_session_table"], **imaged}]
    tables["ophys_experiment_table"] = [{**first["ophys_experiment_table"], **imaged, **own}]
    with h5py.File(MINI / "bucket" / EXPERIMENT_FILE) as h5:
        rois = h5["/processing/ophys/image_segmentation/cell_specimen_table/id"][()].tolist()
    tables["ophys_cells_table"] = [
        {"cell_roi_id": str(roi), "cell_specimen_id": "1", "ophys_experiment_id": str(EXPERIMENT)}
        for roi in rois
    ]
    return MiniBucket(tables=tables, files={0: EXPERIMENT_FILE, 7: BEHAVIOR_FILE})
