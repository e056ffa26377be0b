"""The synthetic bucket in the layouts of older releases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
from builders.bucket import PROJECT
from builders.sampled import B, all_files, behavior, experiment, reading, rows, values

from pipelines.sample.bucket import write_sample
from pipelines.sample.design import TINY, plan_sessions


@contextmanager
def both_layouts(bucket: Path, legacy: Path) -> Iterator[tuple[h5py.File, h5py.File]]:
    """The same experiment in the older and in the present layout."""
    old_path, new_path = (
        experiment(root, session_type="OPHYS_4_images_B") for root in (legacy, bucket)
    )
    with reading(old_path) as old, reading(new_path) as new:
        yield old, new


def test_legacy_release_has_its_manifest_and_tables(bucket: Path, legacy: Path) -> None:
    manifest = json.loads(
        (legacy / PROJECT / "manifests" / f"{PROJECT}_project_manifest_v1.0.1.json").read_text()
    )
    assert manifest["manifest_version"] == "1.0.1"
    assert len(all_files(legacy)) == 3
    assert {path.name for path in all_files(legacy)} < {path.name for path in all_files(bucket)}
    imaged = [row for row in rows(legacy, "behavior_session_table") if row["ophys_experiment_id"]]
    assert {row["file_id"] for row in imaged} == {""}
    assert "trial_count" not in imaged[0]


def test_legacy_presentations_hold_the_same_data(bucket: Path, legacy: Path) -> None:
    with both_layouts(bucket, legacy) as (old, new):
        names = [name for name in old["intervals"] if name.endswith("_presentations")]
        assert names == [f"im{i:03}_presentations" for i in (0, 31, 35, 45, 54, 73, 75, 106)] + [
            "omitted_presentations"
        ]
        groups = {name: values(old[f"intervals/{name}"]) for name in names}
        task = values(new[f"intervals/{B}_presentations"])
        absent = {
            "stimulus_block",
            "stimulus_block_name",
            "is_change",
            "trials_id",
            "active",
            "is_sham_change",
        }
        assert all(
            not absent & set(group) and group["omitted"].dtype == bool for group in groups.values()
        )
        assert "end_frame" not in groups["omitted_presentations"]
        assert groups["im000_presentations"]["end_frame"].dtype == np.float64
        order = np.argsort(np.concatenate([group["start_time"] for group in groups.values()]))
        for name in (
            "start_time",
            "stop_time",
            "duration",
            "image_name",
            "image_set",
            "image_index",
            "start_frame",
        ):
            merged = np.concatenate([group[name] for group in groups.values()])[order]
            np.testing.assert_array_equal(merged, task[name])
        index = np.concatenate([group["index"] for group in groups.values()])[order]
        np.testing.assert_array_equal(index, np.arange(len(order)))


def test_legacy_trials_hold_the_same_data(bucket: Path, legacy: Path) -> None:
    with both_layouts(bucket, legacy) as (old, new):
        old_trials, new_trials = values(old["intervals/trials"]), values(new["intervals/trials"])
        np.testing.assert_array_equal(
            old_trials.pop("stimulus_change"), new_trials.pop("is_change")
        )
        frames = old_trials.pop("change_frame")
        assert frames.dtype == np.float64
        np.testing.assert_array_equal(
            np.nan_to_num(frames, nan=-99), new_trials.pop("change_frame")
        )
        for name, column in new_trials.items():
            np.testing.assert_array_equal(old_trials[name], column)


def test_legacy_metadata_and_physiology_hold_the_same_data(bucket: Path, legacy: Path) -> None:
    with both_layouts(bucket, legacy) as (old, new):
        metadata = set(old["general/metadata"].attrs)
        assert "experiment_container_id" in metadata
        assert not {"ophys_container_id", "targeted_imaging_depth", "project_code"} & metadata
        assert "stimulus_name" not in old["general/task_parameters"].attrs
        ophys = old["processing/ophys"]
        assert list(ophys["corrected_fluorescence"]) == ["traces"]
        assert not {"demixed_trace", "neuropil_trace"} & set(ophys)
        np.testing.assert_array_equal(
            ophys["dff/traces/data"][()], new["processing/ophys/dff/traces/data"][()]
        )
        assert ophys["image_segmentation/cell_specimen_table/x"].dtype == np.float64
        blink = old["acquisition/EyeTracking/likely_blink/data"][()]
        raw, area = (
            old[f"acquisition/EyeTracking/eye_tracking/{name}"][()]
            for name in ("area_raw", "width")
        )
        np.testing.assert_array_equal(np.isnan(area), np.isnan(raw))
        assert np.isnan(area).sum() < blink.sum()
    with reading(behavior(legacy, "TRAINING_0_gratings_autorewards_15min")) as file:
        assert not list(file["stimulus/templates"])
        assert "gratings_90.0_presentations" in file["intervals"]


def test_releases_before_1_0_have_three_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = [session for session in plan_sessions(1, 0, TINY) if not session.planes][:1]
    monkeypatch.setattr("pipelines.sample.bucket.plan_sessions", Mock(return_value=training))
    progress = Mock()
    write_sample(tmp_path, mice=1, release="0.3.0", progress=progress)
    tables = {path.name for path in (tmp_path / PROJECT / "project_metadata").iterdir()}
    assert tables == {
        "behavior_session_table.csv",
        "ophys_session_table.csv",
        "ophys_experiment_table.csv",
    }
    key = f"{PROJECT}/behavior_sessions/behavior_session_{training[0].behavior_session_id}.nwb"
    progress.assert_called_once_with(key, 1, 1)
