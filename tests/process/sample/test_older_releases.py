"""The synthetic bucket in the layouts of older releases."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from builders.bucket import PROJECT
from builders.sampled import B, all_files, behavior, experiment, reading, values

from pipelines.sample.bucket import write_sample
from pipelines.sample.design import TINY, plan_sessions


def test_legacy_layout_holds_the_same_data(bucket: Path, legacy: Path) -> None:
    assert {path.name for path in all_files(legacy)} < {path.name for path in all_files(bucket)}
    old_path, new_path = (
        experiment(root, session_type="OPHYS_4_images_B") for root in (legacy, bucket)
    )
    with reading(old_path) as old, reading(new_path) as new:
        names = [name for name in old["intervals"] if name.endswith("_presentations")]
        images = [f"im{i:03}" for i in (0, 31, 35, 45, 54, 73, 75, 106)]
        assert names == [f"{name}_presentations" for name in (*images, "omitted")]
        groups = {name: values(old[f"intervals/{name}"]) for name in names}
        task = values(new[f"intervals/{B}_presentations"])
        assert "end_frame" not in groups["omitted_presentations"]
        order = np.argsort(np.concatenate([group["start_time"] for group in groups.values()]))
        for name in ("start_time", "duration", "image_name", "image_index", "start_frame"):
            merged = np.concatenate([group[name] for group in groups.values()])[order]
            np.testing.assert_array_equal(merged, task[name])

        old_trials, new_trials = values(old["intervals/trials"]), values(new["intervals/trials"])
        old_trials["is_change"] = old_trials.pop("stimulus_change")
        old_trials["change_frame"] = np.nan_to_num(old_trials["change_frame"], nan=-99)
        for name, column in new_trials.items():
            np.testing.assert_array_equal(old_trials[name], column)

        metadata = set(old["general/metadata"].attrs)
        assert "experiment_container_id" in metadata
        assert not {"ophys_container_id", "targeted_imaging_depth", "project_code"} & metadata
        ophys = old["processing/ophys"]
        assert not {"demixed_trace", "neuropil_trace"} & set(ophys)
        traces = "dff/traces/data"
        np.testing.assert_array_equal(ophys[traces][()], new[f"processing/ophys/{traces}"][()])
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
