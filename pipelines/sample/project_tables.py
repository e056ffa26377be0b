"""The project tables: four CSV files (three before 1.0.0) with the columns of their release."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.sample.design import Plane, Session, plane_groups
from pipelines.sample.physiology import Rois
from pipelines.sample.simulate import SessionData
from pipelines.sample.tables import lick_times, trial_columns

Row = dict[str, Any]

_MOUSE = "mouse_id indicator full_genotype driver_line cre_line reporter_line sex age_in_days"
_EXPOSURES = (
    "prior_exposures_to_session_type prior_exposures_to_image_set prior_exposures_to_omissions"
)
_CELLS = "cell_roi_id cell_specimen_id ophys_experiment_id"
_CURRENT = {
    "behavior_session_table": f"""
        behavior_session_id ophys_session_id ophys_container_id {_MOUSE} project_code
        session_type session_number image_set behavior_type experience_level {_EXPOSURES}
        date_of_acquisition equipment_name imaging_plane_group_count num_depths_per_area
        num_targeted_structures ophys_experiment_id trial_count go_trial_count catch_trial_count
        hit_trial_count miss_trial_count false_alarm_trial_count correct_reject_trial_count
        engaged_trial_count file_id""",
    "ophys_session_table": f"""
        ophys_session_id behavior_session_id ophys_container_id {_MOUSE} project_code
        session_type session_number image_set behavior_type experience_level {_EXPOSURES}
        date_of_acquisition equipment_name num_targeted_structures imaging_plane_group_count
        ophys_experiment_id num_depths_per_area""",
    "ophys_experiment_table": f"""
        ophys_experiment_id behavior_session_id ophys_session_id ophys_container_id {_MOUSE}
        imaging_depth targeted_structure targeted_imaging_depth imaging_plane_group project_code
        session_type session_number image_set behavior_type passive experience_level {_EXPOSURES}
        date_of_acquisition equipment_name published_at isi_experiment_id file_id""",
    "ophys_cells_table": _CELLS,
}
# Before 1.1.0: the columns in the dataset's first documentation; from 1.0.0 on, experiments have
# three more.
_LEGACY = {
    "behavior_session_table": f"""
        behavior_session_id equipment_name full_genotype mouse_id sex age_in_days session_number
        {_EXPOSURES} ophys_session_id ophys_experiment_id ophys_container_id project_code
        date_of_acquisition session_type file_id driver_line reporter_line indicator cre_line""",
    "ophys_session_table": f"""
        ophys_session_id equipment_name full_genotype mouse_id sex age_in_days project_code
        session_number {_EXPOSURES} behavior_session_id ophys_experiment_id ophys_container_id
        date_of_acquisition session_type driver_line reporter_line indicator cre_line""",
    "ophys_experiment_table": f"""
        ophys_experiment_id equipment_name full_genotype mouse_id sex age_in_days imaging_depth
        targeted_structure project_code session_number {_EXPOSURES} behavior_session_id
        ophys_session_id ophys_container_id date_of_acquisition session_type file_id driver_line
        reporter_line indicator cre_line experience_level passive image_set""",
    "ophys_cells_table": _CELLS,
}
# Per project: num_targeted_structures, num_depths_per_area.
_PROJECT_PLANES = {"VisualBehavior": (1, 1), "VisualBehaviorMultiscope": (2, 4)}
NOT_IMAGED_FILE_ID = -999
# Columns with nulls went through pandas as floats: 6.0, not 6.
_FLOATS = {
    "behavior_session_table": {
        "ophys_session_id",
        "session_number",
        "prior_exposures_to_image_set",
        "imaging_plane_group_count",
        "num_depths_per_area",
        "num_targeted_structures",
    },
    "ophys_session_table": {"imaging_plane_group_count"},
    "ophys_experiment_table": {"imaging_plane_group"},
    "ophys_cells_table": {"cell_specimen_id"},
}


@dataclass(frozen=True)
class Experiment:
    """A plane's contribution to the project tables.

    `cells` holds (cell_roi_id, cell_specimen_id or None) of its valid ROIs.
    """

    session: Session
    plane: Plane
    cells: list[tuple[int, int | None]]

    @classmethod
    def of(cls, session: Session, plane: Plane, rois: Rois) -> Experiment:
        """Keeps what the tables need of the ROIs, without their masks."""
        specimens = [None if np.isnan(i) or i < 0 else int(i) for i in rois.cell_specimen_id]
        return cls(
            session,
            plane,
            [(int(rois.cell_roi_id[i]), specimens[i]) for i in np.flatnonzero(rois.valid)],
        )


def targeted_depths(sessions: Iterable[Session]) -> dict[int, int]:
    """container_id -> `targeted_imaging_depth`: mean depth (um) of its experiments, truncated."""
    depths: dict[int, list[int]] = defaultdict(list)
    for session in sessions:
        for plane in session.planes:
            depths[plane.container.container_id].append(plane.imaging_depth)
    return {container: int(np.mean(values)) for container, values in depths.items()}


def trial_counts(data: SessionData) -> dict[str, int]:
    """The trial-count columns of the behaviour table, counted from the simulated trials."""
    trials = trial_columns(data.run, data.clock, list(data.image_set.images), legacy=False)
    counts = {
        f"{name}_trial_count": int(np.sum(trials[name]))
        for name in ("go", "catch", "hit", "miss", "false_alarm", "correct_reject")
    }
    return {
        "trial_count": len(trials["go"]),
        **counts,
        "engaged_trial_count": int((reward_rate(data) > 2.0).sum()),
    }


def reward_rate(data: SessionData) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Responses per minute in 25 trials on either side of each, (n_trials,); NaN for the first ten.

    A response is a first lick between 0.15 and 0.75 s after the change, in any kind of trial.
    """
    run, clock = data.run, data.clock
    licks = lick_times(run, clock)
    n = len(run.trials.start)
    quick = np.zeros(n, dtype=bool)
    for i in np.flatnonzero(run.trials.change >= 0):
        after = licks.flat[licks.starts[i] : licks.ends[i]] - clock.shown(
            run.trials.change[i : i + 1]
        )
        after = after[after > 0.15]
        quick[i] = bool(after.size and after[0] < 0.75)
    start = clock.times[run.trials.start]
    rate = np.full(n, np.nan)
    for t in range(10, n):
        low, high = max(0, t - 25), min(t + 25, n)
        span = start[high - 1] - start[low]
        if span > 0:
            rate[t] = quick[low:high].sum() / span * 60
    return rate


def _shared(session: Session) -> Row:
    mouse = session.mouse
    structures, depths = _PROJECT_PLANES[mouse.project_code]
    return {
        "behavior_session_id": session.behavior_session_id,
        "ophys_session_id": session.ophys_session_id,
        "ophys_container_id": [plane.container.container_id for plane in session.planes] or None,
        "ophys_experiment_id": [plane.experiment_id for plane in session.planes] or None,
        "mouse_id": mouse.mouse_id,
        "indicator": "GCaMP6f",
        "full_genotype": mouse.genotype,
        "driver_line": list(mouse.driver_lines),
        "cre_line": mouse.cre_line,
        "reporter_line": mouse.reporter_line,
        "sex": mouse.sex,
        "age_in_days": session.age_in_days,
        "project_code": mouse.project_code,
        "session_type": session.session_type,
        "session_number": session.session_number,
        "image_set": session.image_set,
        "behavior_type": "passive_viewing" if session.passive else "active_behavior",
        "passive": session.passive,
        "experience_level": session.experience_level,
        "prior_exposures_to_session_type": session.prior_session_type,
        "prior_exposures_to_image_set": session.prior_image_set,
        "prior_exposures_to_omissions": session.prior_omissions,
        "equipment_name": session.equipment,
        "imaging_plane_group_count": plane_groups(session) or None,
        "num_targeted_structures": structures if session.planes else None,
        "num_depths_per_area": depths if session.planes else None,
    }


def write_tables(
    folder: Path,
    sessions: list[Session],
    experiments: dict[int, Experiment],
    counts: dict[int, dict[str, int]],
    depths: dict[int, int],
    file_ids: dict[str, int],
    release: str,
) -> list[Path]:
    """Writes the project tables.

    Args:
        folder: folder for the files; made if missing.
        sessions: all sessions of the release.
        experiments: ophys_experiment_id -> its plane.
        counts: behavior_session_id -> trial counts.
        depths: container_id -> targeted depth.
        file_ids: key below the project folder -> file_id.
        release: X.Y.Z, which determines the columns.

    Returns:
        The files written, in the order the manifest lists them.
    """
    version = tuple(map(int, release.split(".")))
    legacy = version < (1, 1, 0)
    imaged = [session for session in sessions if session.planes]
    tables: dict[str, list[Row]] = {
        "behavior_session_table": [
            _behavior_row(session, counts, file_ids, legacy) for session in sessions
        ],
        "ophys_session_table": [
            _shared(session) | {"date_of_acquisition": _date(session, False)} for session in imaged
        ],
        "ophys_experiment_table": [
            _experiment_row(experiment, depths, file_ids) for experiment in experiments.values()
        ],
        "ophys_cells_table": [row for e in experiments.values() for row in _cell_rows(e)],
    }
    if version < (1, 0, 0):
        del tables["ophys_cells_table"]
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_table(folder, name, rows, version) for name, rows in tables.items()]


def _write_table(folder: Path, name: str, rows: list[Row], version: tuple[int, ...]) -> Path:
    legacy = version < (1, 1, 0)
    header = (_LEGACY if legacy else _CURRENT)[name].split()
    if name == "ophys_experiment_table" and version < (1, 0, 0):
        header = [c for c in header if c not in ("experience_level", "passive", "image_set")]
    floats = _FLOATS[name]
    if legacy and name == "behavior_session_table":
        floats |= {"file_id"}
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(row[c], c in floats) for c in header] for row in rows)
    return path


def _behavior_row(
    session: Session, counts: dict[int, dict[str, int]], file_ids: dict[str, int], legacy: bool
) -> Row:
    number = file_ids.get(f"behavior_sessions/behavior_session_{session.behavior_session_id}.nwb")
    if number is None and not legacy:
        number = NOT_IMAGED_FILE_ID
    row = _shared(session) | counts[session.behavior_session_id]
    return row | {"date_of_acquisition": _date(session, True), "file_id": number}


def _experiment_row(
    experiment: Experiment, depths: dict[int, int], file_ids: dict[str, int]
) -> Row:
    session, plane = experiment.session, experiment.plane
    key = f"behavior_ophys_experiments/behavior_ophys_experiment_{plane.experiment_id}.nwb"
    return _shared(session) | {
        "ophys_experiment_id": plane.experiment_id,
        "ophys_container_id": plane.container.container_id,
        "imaging_depth": plane.imaging_depth,
        "targeted_structure": plane.container.structure,
        "targeted_imaging_depth": depths[plane.container.container_id],
        "imaging_plane_group": plane.container.plane_group,
        # The session tables have images_A, this one A.
        "image_set": session.image_set.removeprefix("images_"),
        "date_of_acquisition": _date(session, False),
        "published_at": "2021-03-25" if plane.experiment_id % 3 else "2021-08-12",
        "isi_experiment_id": 500_000_000
        + 1_000_000 * session.mouse.number
        + session.mouse.mouse_id % 1_000,
        "file_id": file_ids[key],
    }


def _cell_rows(experiment: Experiment) -> list[Row]:
    return [
        {
            "cell_roi_id": roi,
            "cell_specimen_id": specimen,
            "ophys_experiment_id": experiment.plane.experiment_id,
        }
        for roi, specimen in experiment.cells
    ]


def _date(session: Session, with_offset: bool) -> str:
    """The date as the CSV has it: only the behaviour table has the offset; whole seconds no
    fraction.
    """
    text = str(session.acquired)
    return text if with_offset else text.removesuffix("+00:00")


def _cell(value: Any, as_float: bool) -> str:
    if value is None:
        return ""
    return str(float(value)) if as_float else str(value)
