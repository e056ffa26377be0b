"""Manifest and project tables of the synthetic bucket agree with its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from builders.bucket import PROJECT
from builders.sampled import OUTCOMES, behavior, experiment, reading, rows, values

BEHAVIOR_COLUMNS = (
    "behavior_session_id ophys_session_id ophys_container_id mouse_id indicator full_genotype driver_line cre_line "
    "reporter_line sex age_in_days imaging_plane_group_count project_code session_type session_number image_set "
    "behavior_type experience_level prior_exposures_to_session_type prior_exposures_to_image_set "
    "prior_exposures_to_omissions date_of_acquisition equipment_name num_depths_per_area ophys_experiment_id "
    "num_targeted_structures file_id trial_count go_trial_count catch_trial_count hit_trial_count miss_trial_count "
    "false_alarm_trial_count correct_reject_trial_count engaged_trial_count"
)
BEHAVIOR_CSV = set(BEHAVIOR_COLUMNS.split())
SESSION_CSV = (
    BEHAVIOR_CSV - {name for name in BEHAVIOR_CSV if name.endswith("trial_count")} - {"file_id"}
)
PLANE_COLUMNS = "imaging_depth targeted_structure targeted_imaging_depth imaging_plane_group passive published_at isi_experiment_id file_id"
SESSION_ONLY = {"imaging_plane_group_count", "num_depths_per_area", "num_targeted_structures"}
EXPERIMENT_CSV = SESSION_CSV - SESSION_ONLY | set(PLANE_COLUMNS.split())


def test_manifest_matches_the_objects(bucket: Path) -> None:
    manifest = json.loads(
        (bucket / PROJECT / "manifests" / f"{PROJECT}_project_manifest_v1.1.0.json").read_text()
    )
    entries = [*manifest["metadata_files"].values(), *manifest["data_files"].values()]
    host = "https://visual-behavior-ophys-data.s3.us-west-2.amazonaws.com/"
    for entry in entries:
        path = bucket / entry["url"].removeprefix(host)
        assert entry["file_hash"] == hashlib.blake2b(path.read_bytes()).hexdigest()
        assert len(bytes.fromhex(entry["version_id"])) == 16
    assert len({entry["version_id"] for entry in entries}) == len(entries) == 13


def test_project_tables(bucket: Path) -> None:
    sessions, experiments = (
        rows(bucket, "behavior_session_table"),
        rows(bucket, "ophys_experiment_table"),
    )
    assert set(sessions[0]) == BEHAVIOR_CSV
    assert set(rows(bucket, "ophys_session_table")[0]) == SESSION_CSV
    assert set(experiments[0]) == EXPERIMENT_CSV
    imaged = [row for row in sessions if row["ophys_experiment_id"]]
    assert {row["file_id"] for row in imaged} == {"-999"}
    for row in imaged:
        ids = [
            e["ophys_experiment_id"]
            for e in experiments
            if e["behavior_session_id"] == row["behavior_session_id"]
        ]
        assert row["ophys_experiment_id"] == f"[{', '.join(ids)}]"
    assert sessions[0]["date_of_acquisition"].endswith("+00:00")
    assert "+" not in experiments[0]["date_of_acquisition"]


def test_cells_table_lists_the_valid_rois(bucket: Path) -> None:
    listed = rows(bucket, "ophys_cells_table")
    for row in rows(bucket, "ophys_experiment_table"):
        experiment_id = row["ophys_experiment_id"]
        with reading(experiment(bucket, ophys_experiment_id=experiment_id)) as file:
            table = file["processing/ophys/image_segmentation/cell_specimen_table"]
            valid = table["id"][()][table["valid_roi"][()]].tolist()
        own = [c["cell_roi_id"] for c in listed if c["ophys_experiment_id"] == experiment_id]
        assert list(map(int, own)) == valid


def test_trial_counts_equal_the_files(bucket: Path) -> None:
    for row in rows(bucket, "behavior_session_table"):
        if row["ophys_experiment_id"]:
            path = experiment(bucket, behavior_session_id=row["behavior_session_id"])
        else:
            path = behavior(bucket, row["session_type"])
        with reading(path) as file:
            trials = values(file["intervals/trials"])
        counted = {
            f"{name}_trial_count": str(int(trials[name].sum()))
            for name in ("go", "catch", *OUTCOMES[:4])
        }
        assert {name: row[name] for name in counted} == counted
        assert row["trial_count"] == str(len(trials["id"]))
