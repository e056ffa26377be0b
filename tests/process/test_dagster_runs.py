"""Dagster runs: which partitions they mark and when, bad files, stops, checks, schedule, sensor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from builders.command import until
from builders.lakes import behavior_file, contents, edit, file_key, query

from assets.definitions import definitions, defs
from assets.instance import dagster_home, has_unfinished_runs
from assets.jobs import run_config
from assets.partitions import MICE, register_mice
from assets.resources import IngestHooks, ingest_options
from assets.run import run_in_this_process
from assets.schedules import update
from assets.sensors import mice_in_release, record
from pipelines.check.lake import verify
from pipelines.cli import interrupt
from pipelines.cli.options import IngestOptions
from pipelines.ingest import MouseReport, begun, ignore
from pipelines.lake.marker import Marker, create_lake
from pipelines.lake.store import open_store
from pipelines.prepare import Prepared, prepare
from schemas import TABLES, Subject
from schemas.checks import Level
from schemas.errors import LakeError, TransientSourceError, VblakeError

FROM_NWB = {
    t.name for t in TABLES.values() if t.subject is not Subject.PROJECT and not t.by_name_only
}
RANGE = {"start": 0, "end": -1}
PROJECT = {t.name for t in TABLES.values() if t.subject is Subject.PROJECT}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for Dagster's settings and runs."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def mice_of(lake: Path) -> list[int]:
    return [m for (m,) in query(lake, "SELECT DISTINCT mouse_id FROM behavior_sessions ORDER BY 1")]


def run_job(
    instance: dg.DagsterInstance,
    options: IngestOptions,
    mice: list[int],
    tables: set[str] = FROM_NWB,
    hooks: IngestHooks | None = None,
) -> dg.ExecuteInProcessResult:
    """A run over a range of partitions, as the UI starts it, or over none."""
    tags = {}
    if mice:
        register_mice(instance, mice)
        tags = {f"dagster/asset_partition_range_{end}": str(mice[i]) for end, i in RANGE.items()}
    job = definitions(hooks or IngestHooks()).resolve_job_def("ingest")
    return job.execute_in_process(
        run_config=run_config(options),
        instance=instance,
        asset_selection=[dg.AssetKey(table) for table in tables],
        tags=tags,
        raise_on_error=False,
    )


def marked(instance: dg.DagsterInstance, table: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(table)))


wait_until = partial(until, seconds=60, every_s=0.01)


def failure(result: dg.ExecuteInProcessResult) -> str | None:
    """What a failed run says, in one line."""
    (event,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    data = event.step_failure_data
    return (
        data.user_failure_data.description if data.user_failure_data else data.error_display_string
    )


# --- what Dagster loads --------------------------------------------------------------------------


def test_there_is_an_asset_per_table_and_the_catalog_comes_after_all() -> None:
    graph = defs.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    assert {key.to_user_string() for key in keys} == {*TABLES, "catalog"}
    parents = graph.get(dg.AssetKey("catalog")).parent_keys
    assert {key.to_user_string() for key in parents} == set(TABLES)
    partitioned = {k.to_user_string() for k in keys if graph.get(k).partitions_def is not None}
    assert partitioned == set(TABLES) - PROJECT
    assert graph.get(dg.AssetKey("trials")).partitions_def == MICE


# --- runs from the UI ----------------------------------------------------------------------------


def test_a_run_over_all_mice_marks_each_as_soon_as_it_is_in_the_lake(
    instance: dg.DagsterInstance, sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    lake, mice = tmp_path / "lake", mice_of(sample_lake)
    seen: list[set[str]] = []

    def look(report: MouseReport) -> None:
        wait_until(lambda: str(report.mouse_id) in marked(instance, "source_files"))
        seen.append(marked(instance, "trials"))

    hooks = IngestHooks(on_mouse=look)
    options = IngestOptions(source=str(sample_bucket), lake=str(lake), workers=2)
    assert run_job(instance, options, mice, hooks=hooks).success
    assert contents(lake) == contents(sample_lake)
    assert [len(marks) for marks in seen] == list(range(1, len(mice) + 1))
    for table in FROM_NWB:
        assert marked(instance, table) == {str(m) for m in mice}
    assert instance.get_latest_materialization_event(dg.AssetKey("catalog")) is not None
    assert len(instance.get_runs()) == 1


def test_a_bad_file_leaves_only_its_mouse_unmarked_and_fails_the_run(
    instance: dg.DagsterInstance,
    bucket: Path,
    sample_lake: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VBLAKE_LOG_FILE", str(tmp_path / "log"))
    monkeypatch.setenv("VBLAKE_LOG_FORMAT", "json")
    lake, mice, bad = tmp_path / "lake", mice_of(sample_lake), behavior_file(bucket)
    bad.write_bytes(b"")
    ((bad_mouse,),) = query(
        sample_lake, f"SELECT mouse_id FROM source_files WHERE file_key = {file_key(bad)}"
    )
    options = IngestOptions(source=str(bucket), lake=str(lake), workers=2)
    result = run_job(instance, options, mice)
    assert not result.success
    assert failure(result) == "1 files of 1 mice are not in the lake; all others are."
    for table in FROM_NWB:
        assert marked(instance, table) == {str(m) for m in mice if m != bad_mouse}
    assert query(lake, "SELECT count(*) FROM source_files WHERE status = 'quarantined'") == [(1,)]
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    quarantined = [e["mouse_id"] for e in events if e.get("status") == "quarantined"]
    assert quarantined == [e["mouse_id"] for e in events if e.get("failed")] == [bad_mouse]
    assert events[0]["message"].startswith("step nwb_tables of Dagster run ")
    assert (events[-1]["event"], events[-1]["error"]) == ("end", failure(result))


def test_rows_that_are_held_back_fail_a_check_and_not_the_run(
    home: Path, bucket: Path, tmp_path: Path
) -> None:
    bad = behavior_file(bucket)
    with edit(bad) as h5:
        del h5["/intervals/trials/hit"]
    options = IngestOptions(source=str(bucket), lake=str(tmp_path / "lake"), workers=1)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("lake").execute_in_process(
            run_config=run_config(options), instance=instance
        )
    assert result.success
    found = {
        check.asset_key.to_user_string(): check.severity
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    tables = {"trials", *(n for n, t in TABLES.items() if "trials" in t.depends_on)}
    assert found == dict.fromkeys(tables, dg.AssetCheckSeverity.WARN)

    # The check alone reads the ledger and ingests nothing.
    shutil.rmtree(bucket)
    check = dg.AssetCheckKey(dg.AssetKey("trials"), "complete")
    job = dg.Definitions(
        assets=defs.assets,
        jobs=[dg.define_asset_job("check", selection=dg.AssetSelection.checks(check))],
        resources={"options": ingest_options, "hooks": IngestHooks()},
    ).resolve_job_def("check")
    with dg.DagsterInstance.ephemeral() as instance:
        alone = job.execute_in_process(run_config=run_config(options), instance=instance)
    assert [c.passed for c in alone.get_asset_check_evaluations()] == [False]


def test_options_leave_mice_of_the_range_out(
    instance: dg.DagsterInstance, sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    lake, mice = tmp_path / "lake", mice_of(sample_lake)
    options = IngestOptions(
        source=str(sample_bucket), lake=str(lake), workers=1, mouse=[mice[0], 999]
    )
    assert run_job(instance, options, mice, {"trials", "source_files"}).success
    assert marked(instance, "trials") == {str(mice[0])}
    assert query(lake, "SELECT DISTINCT mouse_id FROM trials") == [(mice[0],)]
    assert query(lake, "SELECT count(*) FROM licks") == [(0,)]
    result = run_job(instance, options, mice[1:], {"trials"})
    assert failure(result) == "None of the run's partitions is among the mice of its options."


def test_checks_report_the_selected_tables(instance: dg.DagsterInstance, lake: Path) -> None:
    def checked(*tables: str) -> dict[str, bool]:
        selection = dg.AssetSelection.checks(
            *(dg.AssetCheckKey(dg.AssetKey(table), "verified") for table in tables)
        )
        job = dg.Definitions(
            assets=defs.assets,
            jobs=[dg.define_asset_job("check", selection=selection)],
            resources={"options": ingest_options, "hooks": IngestHooks()},
        ).resolve_job_def("check")
        done = job.execute_in_process(
            run_config=run_config(IngestOptions(lake=str(lake))), instance=instance
        )
        return {e.asset_key.to_user_string(): e.passed for e in done.get_asset_check_evaluations()}

    assert checked("trials") == {"trials": True}
    next((lake / "licks").rglob("*.parquet")).write_bytes(b"")
    assert checked(*TABLES) == {name: name != "licks" for name in TABLES}


def test_a_run_of_the_schedule_marks_the_mice_that_had_something_to_do(
    instance: dg.DagsterInstance, sample_bucket: Path, lake: Path
) -> None:
    context = dg.build_schedule_context(instance=instance)
    assert update(context) == dg.RunRequest()
    mice = mice_of(lake)
    shutil.rmtree(lake / f"source_files/mouse_id={mice[0]}")
    options = IngestOptions(source=str(sample_bucket), lake=str(lake), workers=1)
    assert run_job(instance, options, [], FROM_NWB | PROJECT).success
    assert instance.get_dynamic_partitions("mouse") == [str(m) for m in mice]
    assert marked(instance, "trials") == {str(mice[0])}


def test_the_sensor_adds_new_mice(home: Path, sample_bucket: Path, sample_lake: Path) -> None:
    mice = [str(m) for m in mice_of(sample_lake)]
    resources = {"options": IngestOptions(source=str(sample_bucket))}
    dagster_home("lake")
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("mouse", mice[:1])
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            found = mice_in_release(context)
    assert isinstance(found, dg.SensorResult)
    (request,) = found.dynamic_partitions_requests or ()
    assert list(request.partition_keys) == mice[1:]


# --- the run of the command ----------------------------------------------------------------------


def command(
    bucket: Path, lake: Path, *, on_mouse: Callable[[MouseReport], None] = ignore
) -> list[MouseReport]:
    """The run of `vblake ingest --tables trials` in this process."""
    options = IngestOptions(source=str(bucket), lake=str(lake), workers=1, tables=["trials"])
    with begun(prepare(options.request())) as work:
        return run_in_this_process(options, work, on_file=ignore, on_mouse=on_mouse)


def test_the_run_of_a_command_is_recorded_as_it_goes(
    bucket: Path, tmp_path: Path, home: Path
) -> None:
    lake, broken = tmp_path / "lake", behavior_file(bucket)
    broken.write_bytes(broken.read_bytes()[:1000])
    live: list[set[str]] = []

    def look(report: MouseReport) -> None:
        with dg.DagsterInstance.get() as other:
            mouse = str(report.mouse_id)
            wait_until(lambda: report.quarantined != [] or mouse in marked(other, "source_files"))
            live.append(marked(other, "trials"))

    reports = command(bucket, lake, on_mouse=look)
    bad = {str(report.mouse_id) for report in reports if report.quarantined}
    good = {str(m) for m in mice_of(lake)} - bad
    assert len(bad) == 1
    assert live[-1] == good
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert (run.job_name, run.status) == ("ingest", dg.DagsterRunStatus.FAILURE)
        assert marked(instance, "trials") == good
        for table in PROJECT - {"ophys_cells"}:
            assert instance.get_latest_materialization_event(dg.AssetKey(table)) is not None
        of_catalog = instance.fetch_materializations(dg.AssetKey("catalog"), limit=5).records
        assert len(of_catalog) == 1
    assert home.is_dir()


def test_the_command_keeps_its_output_while_an_asset_runs(
    sample_bucket: Path, tmp_path: Path, home: Path
) -> None:
    """Dagster can redirect the output of a step, which would take the terminal from the command."""

    def outputs() -> list[int]:
        return [os.fstat(descriptor).st_ino for descriptor in (1, 2)]

    before, during = outputs(), list[list[int]]()
    command(sample_bucket, tmp_path / "lake", on_mouse=lambda _: during.append(outputs()))
    assert during
    assert all(found == before for found in during)


def test_a_run_that_is_stopped_is_recorded_as_failed(
    sample_bucket: Path, tmp_path: Path, home: Path
) -> None:
    def stop(_: MouseReport) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with interrupt.listening(), pytest.raises(KeyboardInterrupt):
        command(sample_bucket, tmp_path / "lake", on_mouse=stop)
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
        assert len(marked(instance, "trials")) == 1


_KILLED = """
import os, signal, sys
import assets.assets
from assets.run import run_in_this_process
from pipelines.cli.options import IngestOptions
from pipelines.ingest import begun, ignore
from pipelines.prepare import prepare

def killed(*_):  # a mouse is in the lake and not reported yet
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    assets.assets.materialization = killed
    options = IngestOptions(
        source=sys.argv[1], lake=sys.argv[2], workers=1, tables=["trials"]
    )
    with begun(prepare(options.request())) as work:
        run_in_this_process(options, work, on_file=ignore, on_mouse=ignore)
"""


def test_the_command_after_a_kill_marks_the_dead_run_and_what_it_published(
    sample_bucket: Path, tmp_path: Path, home: Path
) -> None:
    lake, script = tmp_path / "lake", tmp_path / "killed.py"
    script.write_text(_KILLED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, script, sample_bucket, lake], env=environment, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (published,) = mice_of_ledger(lake)
    with dg.DagsterInstance.get() as instance:
        (dead,) = instance.get_runs()
        assert dead.status is dg.DagsterRunStatus.STARTED
        assert marked(instance, "trials") == set()
    (report,) = command(sample_bucket, lake)
    with dg.DagsterInstance.get() as instance:
        assert marked(instance, "trials") == {str(published), str(report.mouse_id)}
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert statuses.pop(dead.run_id) is dg.DagsterRunStatus.FAILURE
        assert list(statuses.values()) == [dg.DagsterRunStatus.SUCCESS]
    assert not has_unfinished_runs(str(lake))


def test_the_sensor_marks_a_lake_that_was_made_elsewhere(
    instance: dg.DagsterInstance, sample_lake: Path
) -> None:
    mice, resources = {str(m) for m in mice_of(sample_lake)}, dict[str, Any]()
    resources["options"] = IngestOptions(lake=str(sample_lake))
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        record(context)
        assert context.cursor
        for table in FROM_NWB:
            assert marked(instance, table) == mice
        for table in (*PROJECT, "catalog"):
            assert instance.get_latest_materialization_event(dg.AssetKey(table)) is not None
        events = len(instance.fetch_materializations(dg.AssetKey("trials"), limit=100).records)
        assert record(context) == dg.SkipReason("The record is up to date.")
        found = instance.fetch_materializations(dg.AssetKey("trials"), limit=100).records
        assert len(found) == events == len(mice)


def mice_of_ledger(lake: Path) -> list[int]:
    return [int(f.name.partition("=")[2]) for f in (lake / "source_files").iterdir()]


def test_a_passing_fault_is_tried_again_and_others_are_not(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.faults.RETRY_AFTER_S", 0.0)
    tries: list[int] = []

    def fails(error: Exception) -> IngestHooks:
        def prepare(_: object) -> Prepared:
            tries.append(1)
            raise error

        return IngestHooks(prepare)

    options = IngestOptions(lake=str(tmp_path / "lake"))
    busy = TransientSourceError("HTTP 503.")
    assert not run_job(instance, options, [], {"trials"}, fails(busy)).success
    assert len(tries) == 4
    tries.clear()
    result = run_job(instance, options, [], {"trials"}, fails(LakeError("The disk is full.")))
    assert failure(result) == "The disk is full."
    assert len(tries) == 1


def test_a_record_that_cannot_be_written_is_one_line(
    sample_bucket: Path, tmp_path: Path, home: Path
) -> None:
    (home / "history").mkdir(parents=True)
    (home / "history" / "runs.db").write_bytes(b"not a database" * 100)
    with pytest.raises(VblakeError, match=rf"^Dagster cannot write its record in {home} \(.*"):
        command(sample_bucket, tmp_path / "lake")


def test_a_record_that_fails_in_the_midst_of_a_run_ends_it_and_the_lake_is_whole(
    sample_bucket: Path, tmp_path: Path, home: Path
) -> None:
    lake = tmp_path / "lake"

    def damage(_: MouseReport) -> None:
        with closing(sqlite3.connect(home / "history" / "runs" / "index.db")) as database:
            database.execute("DROP TABLE IF EXISTS asset_keys")

    with pytest.raises(
        VblakeError, match=rf"^Dagster cannot write its record in {home} \(.*asset_keys"
    ):
        command(sample_bucket, lake, on_mouse=damage)
    assert mice_of_ledger(lake)
    assert [f for f in verify(open_store(str(lake))) if f.level is Level.ERROR] == []
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert not has_unfinished_runs(str(lake))


def test_the_databases_of_a_run_stay_open_while_it_reports(
    sample_bucket: Path, tmp_path: Path, home: Path
) -> None:
    """SQLite removes the log of a database that nobody has open, which takes longer than events."""
    logs: list[set[str]] = []

    def look(report: MouseReport) -> None:
        with dg.DagsterInstance.get() as other:
            wait_until(lambda: str(report.mouse_id) in marked(other, "source_files"))
        logs.append({path.name for path in (home / "history" / "runs").glob("*.db-wal")})

    command(sample_bucket, tmp_path / "lake", on_mouse=look)
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
    assert logs
    assert all(names == {"index.db-wal", f"{run.run_id}.db-wal"} for names in logs)


# --- Dagster's folder ----------------------------------------------------------------------------

SETTINGS = Path(__file__).parents[2] / "dagster.yaml"


def test_the_settings_of_the_project_are_put_where_dagster_looks(
    tmp_path: Path, home: Path
) -> None:
    assert dagster_home(str(tmp_path / "lake")) == home
    assert (home / "dagster.yaml").read_text() == SETTINGS.read_text()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    dagster_home(str(tmp_path / "lake"))
    assert (home / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


def test_each_lake_has_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's state belongs to its lake; a new lake can be made around it."""
    monkeypatch.setenv("VBLAKE_STATE", str(tmp_path / "state"))
    homes: list[Path] = []
    for lake in (str(tmp_path / "one"), str(tmp_path / "two"), "s3://bucket/a", "s3://bucket/b"):
        monkeypatch.setenv("DAGSTER_HOME", "")
        homes.append(dagster_home(lake))
        assert os.environ["DAGSTER_HOME"] == str(homes[-1])
        assert (homes[-1] / "dagster.yaml").read_text() == SETTINGS.read_text()
    assert homes[:2] == [tmp_path / "one/_dagster", tmp_path / "two/_dagster"]
    assert homes[2] != homes[3]
    assert all(home.is_relative_to(tmp_path / "state") for home in homes[2:])
    (tmp_path / "one/_dagster/dagster.yaml").write_text("older settings")
    monkeypatch.setenv("DAGSTER_HOME", "")
    dagster_home(str(tmp_path / "one"))
    assert (homes[0] / "dagster.yaml").read_text() == SETTINGS.read_text()
    create_lake(open_store(str(tmp_path / "one")), Marker("1.1.0"))
