"""`vblake ui`: all that an engineer does there, asked for as the web interface asks for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from builders import command
from builders.command import COMMAND, vblake
from builders.lakes import behavior_file, query

from pipelines.check.lake import verify
from pipelines.lake.lock import writing
from pipelines.lake.store import LocalStore

SECONDS = 180
"""Longest wait for a server, a run or a backfill, on a machine that is busy with other things."""

REPOSITORY = {
    "repositoryLocationName": "assets.definitions",
    "repositoryName": "__repository__",
}
LAUNCH = """mutation($p: ExecutionParams!) { launched: launchPipelineExecution(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message } } }
"""
BACKFILL = """mutation($b: LaunchBackfillParams!) {
  launched: launchPartitionBackfill(backfillParams: $b) { ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) { found: partitionBackfillOrError(backfillId: $id)
  { ... on PartitionBackfill { status runs { runId } } } }"""
RELOAD = """mutation($name: String!) { launched: reloadRepositoryLocation(repositoryLocationName: $name) { __typename
  ... on WorkspaceLocationEntry { loadStatus locationOrLoadError { __typename } } } }"""
STATUS = "query($id: ID!) { found: runOrError(runId: $id) { ... on Run { status } } }"
REEXECUTE = """mutation($p: ReexecutionParams!) { launched: launchRunReexecution(reexecutionParams: $p)
  { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE = """mutation($id: String!) { launched: terminateRun(runId: $id) { __typename } }"""
BACKFILLS = "{ found: partitionBackfillsOrError(limit: 1) { ... on PartitionBackfills { results { id } } } }"
TABLES = "{ found: assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name } } } } }"
EVENTS = """query($id: ID!) { found: logsForRun(runId: $id) { ... on EventConnection { events
  { __typename ... on MessageEvent { message } ... on MaterializationEvent { assetKey { path } partition
    metadataEntries { label ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } } } } } } }"""
LATEST = """{ found: runsOrError(limit: 1) { ... on Runs { results
  { runId status runConfigYaml assetSelection { path } } } } }"""
CONFIG = "query($id: ID!) { found: runOrError(runId: $id) { ... on Run { runConfigYaml } } }"
PARTITIONS = """query($key: AssetKeyInput!) { found: assetNodeOrError(assetKey: $key)
  { ... on AssetNode { partitionKeys assetPartitionStatuses
    { ... on DefaultPartitionStatuses { materializedPartitions } } } } }"""
CHECKS = """query($id: ID!) { found: logsForRun(runId: $id) { ... on EventConnection { events
  { ... on AssetCheckEvaluationEvent { evaluation { checkName success assetKey { path } } } } } } }
"""


FORCE = {"resources": {"options": {"config": {"force": True}}}}


until = partial(command.until, seconds=SECONDS, every_s=0.2)


class Ui:
    """The running interface of a lake.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.page = f"http://127.0.0.1:{port}"
        self.url = f"{self.page}/graphql"

    def ask(self, text: str, **variables: object) -> Any:
        """The result that a query or mutation names `found` or `launched`."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = json.load(answer)["data"]
        return data.get("found") or data.get("launched")

    def is_up(self) -> bool:
        try:
            return bool(self.ask(LATEST))
        except OSError:
            return False

    def launch(
        self,
        assets: list[str],
        *,
        mouse: str | None = None,
        checks: list[tuple[str, str]] | None = None,
        job: str = "__ASSET_JOB",
        config: str = "{}",
    ) -> str:
        """Starts a run, with the checks of its assets unless others are given; returns its id."""
        if checks is None:
            checks = [(name, check) for name in assets for check in self.tables()[name]]
        selector = REPOSITORY | {
            "pipelineName": job,
            "assetSelection": [{"path": [name]} for name in assets],
            "assetCheckSelection": [
                {"assetKey": {"path": [name]}, "name": check} for name, check in checks
            ],
        }
        tags = [{"key": "dagster/partition", "value": mouse}] if mouse else []
        parameters = {
            "selector": selector,
            "mode": "default",
            "runConfigData": config,
            "executionMetadata": {"tags": tags},
        }
        return self.launched(LAUNCH, p=parameters)

    def launched(self, mutation: str, **variables: object) -> str:
        """The id of the run that a mutation starts."""
        launched = self.ask(mutation, **variables)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run: str = launched["run"]["runId"]
        return run

    def run(self, *args: Any, **options: Any) -> str:
        """Starts a run and waits until it has succeeded; returns its id."""
        return self.succeeds(self.launch(*args, **options))

    def succeeds(self, run: str) -> str:
        status = until(lambda: self.ends(STATUS, run, ("SUCCESS", "FAILURE", "CANCELED")))
        assert status == "SUCCESS", self.log(run)
        return run

    def reexecute(self, run: str, strategy: str) -> str:
        """Presses Re-execute on a run's page, and waits until the new one has succeeded."""
        wanted = {"parentRunId": run, "strategy": strategy}
        return self.succeeds(self.launched(REEXECUTE, p=wanted))

    def launch_backfill(self, tables: list[str], mice: list[str]) -> str:
        """Launches a backfill; returns its id once it has launched runs."""
        wanted = {"assetSelection": [{"path": [name]} for name in tables], "partitionNames": mice}
        backfill: str = self.ask(BACKFILL, b=wanted)["backfillId"]
        until(lambda: self.ask(BACKFILL_STATUS, id=backfill)["runs"])
        return backfill

    def newest(self, text: str, name: str) -> str | None:
        """The id of the newest run or backfill, if there is one."""
        results = self.ask(text)["results"]
        return results[0][name] if results else None

    def backfilled(self, backfill: str, table: str) -> list[list[str]]:
        """Waits until a backfill has succeeded; returns the mice of a table in each of its runs."""
        ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
        assert until(lambda: self.ends(BACKFILL_STATUS, backfill, ended)) == "COMPLETED_SUCCESS"
        runs = [run["runId"] for run in self.ask(BACKFILL_STATUS, id=backfill)["runs"]]
        mice = [[m for name, m in self.numbers(run) if name == table and m] for run in runs]
        return sorted(sorted(found) for found in mice if found)

    def tables(self) -> dict[str, list[str]]:
        """The names of the checks of each asset."""
        return {
            node["assetKey"]["path"][0]: [
                c["name"] for c in node["assetChecksOrError"].get("checks", [])
            ]
            for node in self.ask(TABLES)
        }

    def log(self, run: str) -> list[str]:
        """What a run has said."""
        return [e["message"] for e in self.ask(EVENTS, id=run)["events"] if e.get("message")]

    def numbers(self, run: str) -> dict[tuple[str, str | None], dict[str, float]]:
        """The numbers of each materialisation of a run, by table and mouse."""
        return {
            (e["assetKey"]["path"][0], e["partition"]): {
                m["label"]: m.get("intValue", m.get("floatValue"))
                for m in e["metadataEntries"]
                if "intValue" in m or "floatValue" in m
            }
            for e in self.ask(EVENTS, id=run)["events"]
            if e["__typename"] == "MaterializationEvent"
        }

    def ends(self, text: str, number: str, states: tuple[str, ...]) -> str | None:
        """The status of a run or backfill if it is one of these."""
        status: str = self.ask(text, id=number)["status"]
        return status if status in states else None

    def partitions(self, table: str) -> tuple[list[str], list[str]]:
        """All partitions of a table, and those that are materialised."""
        found = self.ask(PARTITIONS, key={"path": [table]})
        done = found["assetPartitionStatuses"]["materializedPartitions"]
        return sorted(found["partitionKeys"]), sorted(done)

    def checks(self, run: str) -> dict[tuple[str, str], bool]:
        """The checks that a run has evaluated, and whether they passed."""
        events = [e["evaluation"] for e in self.ask(CHECKS, id=run)["events"] if e]
        return {(e["assetKey"]["path"][0], e["checkName"]): e["success"] for e in events}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Dagster, the lake and the log of the interface."""
    return tmp_path_factory.mktemp("ui")


class Hook:
    """A server on loopback that keeps the JSON messages which are posted to it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                hook.messages.append(json.loads(self.rfile.read(size)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture(scope="module")
def environment(hook: Hook, home: Path) -> dict[str, str]:
    code = str(Path(__file__).parents[2])  # Dagster imports it from another working directory
    environment = os.environ | {"PYTHONPATH": code, "VBLAKE_WEBHOOK": hook.address}
    environment.pop("DAGSTER_HOME", None)
    settings = home / "vblake.toml"
    settings.touch()
    environment["VBLAKE_CONFIG"] = str(settings)
    return environment


@pytest.fixture(scope="module")
def ui(sample_bucket: Path, home: Path, environment: dict[str, str]) -> Iterator[Ui]:
    """The interface of a lake that does not exist yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ("--lake", home / "lake", "--source", sample_bucket)
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "ui", *place, "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            interface = Ui(port)
            until(interface.is_up)
            until(lambda: interface.partitions("trials")[0])  # the sensor has seen the release
            yield interface
        finally:
            process.send_signal(signal.SIGINT)  # Dagster stops its daemon and code server
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def test_one_table_of_one_mouse(ui: Ui, home: Path) -> None:
    mice, done = ui.partitions("trials")
    assert len(mice) == 2
    assert done == []
    run = ui.run(["trials"], mouse=mice[0])
    assert ui.partitions("trials") == (mice, mice[:1])
    assert query(home / "lake", "SELECT DISTINCT mouse_id::VARCHAR FROM trials") == [(mice[0],)]
    assert ui.checks(run) == {("trials", "complete"): True, ("trials", "verified"): True}
    numbers = ui.numbers(run)
    ((rows,),) = query(home / "lake", "SELECT count(*) FROM trials")
    found = numbers["trials", mice[0]]
    assert (found["dagster/row_count"], found["files_held_back"]) == (rows, 0)
    assert min(found[name] for name in ("files", "bytes_in", "bytes_out", "seconds")) > 0
    assert numbers["behavior_sessions", None]["dagster/row_count"] > 0
    assert ("catalog", None) in numbers
    files = [
        line for line in ui.log(run) if line.startswith(f"mouse {mice[0]} ") and ".nwb" in line
    ]
    assert len(files) == found["files"]
    assert (home / "lake/_dagster/history").is_dir()


def test_all_tables_of_one_mouse_then_of_all_mice_in_one_run_and_in_runs_of_one(
    ui: Ui, home: Path
) -> None:
    mice, _ = ui.partitions("trials")
    mouse, tables = mice[0], ui.tables()
    run = ui.run(list(tables), mouse=mouse)
    evaluated = ui.checks(run)
    assert set(evaluated) == {(t, check) for t, checks in tables.items() for check in checks}
    assert all(evaluated.values())
    of_mice = {table for table in tables if "complete" in tables[table]}
    assert {table for table, marked in ui.numbers(run) if marked == mouse} >= of_mice
    in_one = ui.launch_backfill(sorted(of_mice), mice)
    (home / "vblake.toml").write_text("[ui]\nmice_per_run = 1\n")
    reloaded = ui.ask(RELOAD, name=REPOSITORY["repositoryLocationName"])
    assert reloaded["locationOrLoadError"]["__typename"] == "RepositoryLocation", reloaded
    apart = ui.launch_backfill(["licks"], mice)
    assert ui.backfilled(in_one, "licks") == [mice]
    assert ui.backfilled(apart, "licks") == [[mouse] for mouse in mice]
    assert ui.partitions("licks") == (mice, mice)


def test_one_check_then_all(ui: Ui) -> None:
    one = ("trials", "verified")
    assert ui.checks(ui.run([], checks=[one])) == {one: True}
    every = [(table, check) for table, checks in ui.tables().items() for check in checks]
    assert ui.checks(ui.run([], checks=every, job="verify")) == dict.fromkeys(every, True)


def test_a_run_waits_for_a_command_and_can_be_terminated(ui: Ui, home: Path) -> None:
    (mouse, _), _ = ui.partitions("licks")
    with writing(LocalStore(home / "lake")):
        run = ui.launch(["licks"], mouse=mouse, config=json.dumps(FORCE))
        until(lambda: any("being written to by another" in line for line in ui.log(run)))
        said = next(line for line in ui.log(run) if "being written to" in line)
        assert f"(pid {os.getpid()} on {socket.gethostname()}, since " in said
        assert ui.ask(TERMINATE, id=run)["__typename"] == "TerminateRunSuccess"
        assert until(lambda: ui.ends(STATUS, run, ("CANCELED", "FAILURE", "SUCCESS"))) == "CANCELED"
        waits = ui.launch(["licks"], mouse=mouse)
        until(lambda: any("being written to by another" in line for line in ui.log(waits)))
    ui.succeeds(waits)
    assert verify(LocalStore(home / "lake")) == []


def test_a_failed_run_of_the_command_is_news_and_is_re_executed_from_its_failure(
    ui: Ui, sample_bucket: Path, home: Path, environment: dict[str, str], hook: Hook
) -> None:
    bucket = home / "bucket"
    shutil.copytree(sample_bucket, bucket)
    bad = behavior_file(bucket)
    content = bad.read_bytes()
    bad.write_bytes(b"")
    place = ("--lake", home / "lake", "--source", bucket)
    done = vblake("ingest", *place, "--tables", "rewards", "--force", env=environment)
    assert done.returncode == 3, done.stderr
    (run,) = ui.ask(LATEST)["results"]
    assert run["status"] == "FAILURE"
    news = until(lambda: [m for m in hook.messages if m["run"] == run["runId"]])[0]
    assert news["lake"] == str(home / "lake")
    assert news["error"] == "1 files of 1 mice are not in the lake; all others are."
    bad.write_bytes(content)
    again = ui.reexecute(run["runId"], "FROM_FAILURE")
    config = ui.ask(CONFIG, id=again)["runConfigYaml"]
    assert config == run["runConfigYaml"]
    assert f"source: {bucket}" in config
    assert sorted({mouse for _, mouse in ui.numbers(again) if mouse}) == ui.partitions("rewards")[1]


def test_clicks_do_the_same(ui: Ui) -> None:
    playwright = pytest.importorskip("playwright.sync_api")  # not a dependency; CONTRIBUTING.md
    browser = shutil.which("chromium") or pytest.skip("there is no Chromium")
    mice, _ = ui.partitions("licks")
    with playwright.sync_playwright() as started:
        page = started.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.set_default_timeout(60_000)

        def materialize(path: str, button: str, mouse: str | None) -> None:
            page.goto(ui.page + path)
            page.get_by_role("button", name=button).first.click()
            if mouse is None:
                page.get_by_role("button", name="All", exact=True).first.click()
            else:
                page.get_by_text("Select a partition or create one").click()
                # The page below may name the mouse, too.
                page.locator(".dagster-portal").get_by_text(mouse).first.click()
                page.keyboard.press("Escape")
            page.locator('button:has-text("Launch")').last.click()

        def runs(*launch: str) -> str:
            before = ui.newest(LATEST, "runId")
            materialize(*launch)
            until(lambda: ui.newest(LATEST, "runId") != before)
            return ui.succeeds(str(ui.newest(LATEST, "runId")))

        one = ui.numbers(runs("/assets/licks", "Materialize", mice[0]))
        assert ("licks", mice[0]) in one
        assert ("trials", mice[0]) not in one
        every = ui.numbers(runs("/asset-groups", "Materialize all", mice[1]))
        assert {"licks", "trials", "dff_traces"} <= {t for t, mouse in every if mouse == mice[1]}
        before = ui.newest(BACKFILLS, "id")
        materialize("/assets/licks", "Materialize", None)
        until(lambda: ui.newest(BACKFILLS, "id") != before)
        found = ui.backfilled(str(ui.newest(BACKFILLS, "id")), "licks")
        assert found == [[mouse] for mouse in mice]
