"""The main job as Dagster runs it: which partitions it marks, what a bad file does to them, subsets, the UI's view of it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from builders.lakes import behavior_file, contents, file_key, query

from assets.automation import range_tags
from assets.checks import lake_verified
from assets.definitions import defs
from assets.lake import MICE, catalog, nwb_tables, project_tables, register_mice
from assets.recording import recorded
from assets.resources import SharedRun, ingest_options
from assets.run import open_instance
from assets.storage import EventLog
from pipelines.cli.options import IngestOptions
from pipelines.ingest import ingest, prepare
from schemas import TABLES, Subject

FROM_NWB = {
    t.name for t in TABLES.values() if t.subject is not Subject.PROJECT and not t.by_name_only
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def _mice(lake: Path) -> list[int]:
    return [m for (m,) in query(lake, "SELECT DISTINCT mouse_id FROM behavior_sessions ORDER BY 1")]


def _run(
    instance: dg.DagsterInstance,
    bucket: Path,
    lake: Path,
    asked: list[int],
    selection: set[str],
    **options: object,
) -> dg.ExecuteInProcessResult:
    register_mice(instance, asked)
    return dg.materialize(
        [project_tables, nwb_tables, catalog],
        selection=dg.AssetSelection.assets(*selection),
        instance=instance,
        resources={"options": ingest_options, "shared": SharedRun().resource()},
        run_config={
            "resources": {
                "options": {
                    "config": {"source": str(bucket), "lake": str(lake), "workers": 2, **options}
                }
            },
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags=range_tags(instance, {str(m) for m in asked}),
        raise_on_error=False,
    )


def _marked(instance: dg.DagsterInstance, table: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(table)))


def test_the_graph_has_an_asset_per_table_and_the_catalog_after_all() -> None:
    graph = defs.resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert names == {*TABLES, "catalog"}
    assert {key.to_user_string() for key in graph.get(dg.AssetKey("catalog")).parent_keys} == set(
        TABLES
    )
    partitioned = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).partitions_def is not None
    }
    assert partitioned == {t.name for t in TABLES.values() if t.subject is not Subject.PROJECT}
    assert graph.get(dg.AssetKey("trials")).partitions_def == MICE


def test_everything_that_the_ui_loads_resolves() -> None:
    repository = defs.get_repository_def()
    assert "lake" in {job.name for job in repository.get_all_jobs()}
    assert [s.name for s in repository.schedule_defs] == ["weekly"]
    assert [s.name for s in repository.sensor_defs] == ["mice_in_release"]
    selected = {
        key.to_user_string() for key in repository.get_job("lake").asset_layer.executable_asset_keys
    }
    assert selected == {
        *FROM_NWB,
        *(t.name for t in TABLES.values() if t.subject is Subject.PROJECT),
        "catalog",
    }


def test_one_run_over_all_mice_marks_every_partition(
    instance: dg.DagsterInstance, sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    mice = _mice(sample_lake)
    result = _run(instance, sample_bucket, lake, mice, {*FROM_NWB, "catalog"})
    assert result.success
    assert contents(lake) == contents(sample_lake)
    for table in FROM_NWB:
        assert _marked(instance, table) == {str(m) for m in mice}
    assert instance.get_latest_materialization_event(dg.AssetKey("catalog")) is not None
    assert len(instance.get_runs()) == 1


def test_a_bad_file_marks_all_but_its_mouse_and_fails_the_run(
    instance: dg.DagsterInstance, bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    mice = _mice(sample_lake)
    bad = behavior_file(bucket)
    bad.write_bytes(b"")
    ((bad_mouse,),) = query(
        sample_lake, f"SELECT mouse_id FROM source_files WHERE file_key = {file_key(bad)}"
    )
    result = _run(instance, bucket, lake, mice, {*FROM_NWB, "catalog"})
    assert not result.success
    for table in FROM_NWB:
        assert _marked(instance, table) == {str(m) for m in mice if m != bad_mouse}
    assert query(lake, "SELECT status, count(*) FROM source_files GROUP BY 1 ORDER BY 1")[1] == (
        "quarantined",
        1,
    )
    (failure,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert failure.step_failure_data.user_failure_data is not None
    assert (
        failure.step_failure_data.user_failure_data.description
        == "1 files of 1 mice were quarantined; all others are in the lake"
    )


def test_a_selection_of_mice_marks_only_those_of_its_range(
    instance: dg.DagsterInstance, sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    mice = _mice(sample_lake)
    result = _run(
        instance,
        sample_bucket,
        tmp_path / "lake",
        mice,
        {"trials", "source_files", "catalog"},
        mouse=mice[:1],
    )
    assert result.success
    assert _marked(instance, "trials") == {str(mice[0])}
    assert query(tmp_path / "lake", "SELECT DISTINCT mouse_id FROM trials") == [(mice[0],)]
    assert query(tmp_path / "lake", "SELECT count(*) FROM licks") == [(0,)]


def _at_home_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own settings, with runs kept in a folder of the test."""
    shutil.copy(Path(__file__).resolve().parents[2] / "dagster.yaml", folder)
    monkeypatch.setattr("assets.run.dagster_home", lambda: folder)


def test_the_event_log_keeps_what_several_instances_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_home_in(tmp_path, monkeypatch)
    with open_instance() as first, open_instance() as second:
        assert isinstance(first.event_log_storage, EventLog)
        for number in range(6):
            for each in (first, second):
                each.report_runless_asset_event(
                    dg.AssetMaterialization("trials", partition=str(number))
                )
        assert _marked(first, "trials") == _marked(second, "trials") == {str(n) for n in range(6)}
        assert len(second.fetch_materializations(dg.AssetKey("trials"), limit=100).records) == 12


def test_an_ingest_is_recorded_as_it_went(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_home_in(tmp_path, monkeypatch)
    lake, broken = tmp_path / "lake", behavior_file(bucket)
    broken.write_bytes(broken.read_bytes()[:1000])
    options = IngestOptions(source=str(bucket), lake=str(lake), workers=2)
    prepared = prepare(options.request())
    with recorded(prepared, options) as outcome:
        outcome.set_result(ingest(prepared))
    with open_instance() as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        bad = {str(e.mouse_id) for r in outcome.result() for e in r.quarantined}
        assert len(bad) == 1
        assert _marked(instance, "trials") == {str(m) for m in _mice(lake)} - bad


def test_a_command_keeps_its_output_while_dagster_records(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster captures what a step prints by taking stdout and stderr away from the process; what a stopped command said last was lost."""
    _at_home_in(tmp_path, monkeypatch)
    options = IngestOptions(source=str(sample_bucket), lake=str(tmp_path / "lake"), workers=2)
    prepared = prepare(options.request())

    def outputs() -> list[int]:
        return [os.fstat(descriptor).st_ino for descriptor in (1, 2)]

    def is_in_a_step() -> bool:
        with open_instance() as instance:
            events = [e for run in instance.get_runs() for e in instance.all_logs(run.run_id)]
        return any(
            e.is_dagster_event
            and e.get_dagster_event().event_type is dg.DagsterEventType.STEP_START
            for e in events
        )

    with open_instance():
        pass  # makes the databases; two that make them at a time get into each other's way
    before, latest = outputs(), time.monotonic() + 60
    with recorded(prepared, options) as outcome:
        while not is_in_a_step():
            assert time.monotonic() < latest
            time.sleep(0.05)
        assert outputs() == before
        outcome.set_result(ingest(prepared))


def test_an_ingest_that_is_stopped_is_recorded_as_failed(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_home_in(tmp_path, monkeypatch)
    monkeypatch.setattr("assets.recording._A_MOMENT", 60.0)
    options = IngestOptions(source=str(sample_bucket), lake=str(tmp_path / "lake"), workers=2)
    prepared = prepare(options.request())

    def stop() -> None:
        (recorder,) = [thread for thread in threading.enumerate() if thread.name == "dagster"]
        while not getattr(recorder, "begun", True):  # before, there is no run to record
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), recorded(prepared, options):
        stop()
    with open_instance() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
        assert _marked(instance, "trials") == set()


def test_project_tables_make_the_partitions(
    instance: dg.DagsterInstance, sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    result = dg.materialize(
        [project_tables],
        instance=instance,
        resources={
            "options": IngestOptions(source=str(sample_bucket), lake=str(tmp_path / "lake")),
            "shared": SharedRun().resource(),
        },
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert result.success
    assert instance.get_dynamic_partitions("mouse") == [str(m) for m in _mice(sample_lake)]


def test_checks_report_per_table(sample_lake: Path) -> None:
    checks = {
        r.asset_key.to_user_string(): r.passed
        for r in lake_verified(options=IngestOptions(lake=str(sample_lake)))
    }
    assert checks == dict.fromkeys(TABLES, True)
