"""`vblake.sdk` on the sample: what does not need the reference."""

from __future__ import annotations

import doctest
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from polars.testing import assert_frame_equal

import vblake
from vblake.sdk import BehaviorSession, VisualBehaviorOphysProjectCache


@pytest.fixture
def opened(sample_lake: Path) -> Iterator[vblake.Lake]:
    with vblake.open(sample_lake) as lake:
        yield lake


def _sessions(lake: vblake.Lake) -> Iterator[BehaviorSession]:
    cache = VisualBehaviorOphysProjectCache.from_lake(lake)
    for session in cache.get_behavior_session_table().index:
        yield cache.get_behavior_session(session)


def test_templates_are_those_of_the_sessions_file(opened: vblake.Lake) -> None:
    for session in _sessions(opened):
        shown = set(session.stimulus_presentations["image_name"].dropna()) - {"omitted"}
        templates = session.stimulus_templates
        assert shown <= set(templates.index)
        ledger = opened.scan("source_files", behavior_session_id=session.behavior_session_id)
        images = ledger.filter("gives_behavior").collect()["images"].item().to_list()
        assert list(templates.index) == sorted(images)


def test_columns_are_those_of_the_table(opened: vblake.Lake) -> None:
    experiments = opened.scan("ophys_experiments").collect()["ophys_experiment_id"]
    for plane in map(opened.experiment, experiments):
        for name in ("licks", "trials", "eye_tracking", "cell_specimens", "projections", "events"):
            whole = plane.table(name)
            found = plane.read_columns(name, [*whole.columns, "none"])
            assert_frame_equal(found, whole.select(found.columns))
            assert len(found.columns) > 1


def test_arrays_can_be_written_to(opened: vblake.Lake) -> None:
    session = next(_sessions(opened))
    session.stimulus_timestamps[0] = 0
    session.running_speed.loc[0, "speed"] = 0.0
    for image in session.stimulus_templates["unwarped"]:
        image[0, 0] = 0
    for times in session.trials["lick_times"]:
        times[:] = 0


def test_tables_of_the_project(opened: vblake.Lake) -> None:
    cache = VisualBehaviorOphysProjectCache.from_lake(opened)
    sessions = cache.get_behavior_session_table()
    experiments = cache.get_ophys_experiment_table()
    cells = cache.get_ophys_cells_table()
    assert sessions.index.name == "behavior_session_id"
    assert sessions.loc[sessions["ophys_session_id"].notna(), "file_id"].eq(-999).all()
    assert set(experiments["mouse_id"]) <= set(sessions["mouse_id"])
    assert set(map(type, experiments["mouse_id"])) == {str}
    assert set(cells["ophys_experiment_id"]) == set(experiments.index)
    assert cache.get_ophys_session_table().index.dtype == "Int64"
    assert cache.current_manifest() == "visual-behavior-ophys_project_manifest_v1.1.0.json"


@pytest.mark.parametrize("name", ["sdk.md", "python.md"])
def test_the_examples_of_the_page(sample_lake: Path, name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    examples = examples.replace("demo/lake", str(sample_lake))
    test = doctest.DocTestParser().get_doctest(examples, {}, name, f"docs/{name}", 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)
    assert runner.tries > 20


def test_another_cache_of_the_sdk_says_what_to_write() -> None:
    with pytest.raises(NotImplementedError, match=r"Write .*\.from_lake\("):
        VisualBehaviorOphysProjectCache.from_s3_cache(cache_dir="cache")


def test_an_attribute_that_the_objects_do_not_have(opened: vblake.Lake) -> None:
    session = next(_sessions(opened))
    with pytest.raises(AttributeError, match=r"has no 'lick'\. Did you mean 'licks'\? docs/sdk"):
        _ = session.lick


def test_manifests(opened: vblake.Lake) -> None:
    cache = VisualBehaviorOphysProjectCache.from_lake(opened)
    cache.load_manifest(cache.latest_manifest_file())
    with pytest.raises(LookupError, match=r"v1\.1\.0\.json, not of other\.json"):
        cache.load_manifest("other.json")


def test_cells_by_id(opened: vblake.Lake) -> None:
    cache = VisualBehaviorOphysProjectCache.from_lake(opened)
    for number in cache.get_ophys_experiment_table().index:
        experiment = cache.get_behavior_ophys_experiment(number)
        ids = experiment.get_cell_specimen_ids()
        matched = ids[~np.isnan(ids)]
        rows = experiment.get_cell_specimen_indices(matched)
        assert list(experiment.cell_specimen_table.index[rows]) == list(matched)
        _, all_rows = experiment.get_dff_traces()
        _, some = experiment.get_dff_traces(matched[::-1])
        np.testing.assert_array_equal(some, all_rows[rows])
        with pytest.raises(KeyError):
            experiment.get_dff_traces([-1])


def test_a_lake_of_another_schema(lake: Path) -> None:
    with duckdb.connect(lake / "catalog.duckdb") as catalog:
        catalog.execute("UPDATE _lake SET schema_version = '1'")
    with pytest.raises(
        LookupError, match=r"^vblake\.sdk cannot read .* The lake has schema version 1"
    ):
        VisualBehaviorOphysProjectCache.from_lake(lake)


def test_a_lake_without_templates(lake: Path) -> None:
    shutil.rmtree(lake / "stimulus_templates")
    with vblake.open(lake) as opened:
        session = next(_sessions(opened))
        with pytest.raises(LookupError, match="--tables stimulus_templates"):
            _ = session.stimulus_templates


def test_performance_with_another_threshold(opened: vblake.Lake) -> None:
    for session in _sessions(opened):
        usual = session.get_performance_metrics()
        near = session.get_performance_metrics(engaged_trial_reward_rate_threshold=2.0000001)
        assert list(near) == list(usual)
        assert near == pytest.approx(usual, rel=1e-12, nan_ok=True)
        none = session.get_performance_metrics(engaged_trial_reward_rate_threshold=1e9)
        assert none["engaged_trial_count"] == 0
