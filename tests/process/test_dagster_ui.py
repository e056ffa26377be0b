"""`vblake ui`: runs, checks, a backfill and a re-execution, asked for as the web interface does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.command import COMMAND, vblake
from builders.lakes import query

SECONDS = 180
"""Longest wait for a server, a run or a backfill, on a machine that is busy with other things."""

REPOSITORY = {
    "repositoryLocationName": "assets.definitions",
    "repositoryName": "__repository__",
}
LAUNCH = """mutation($p: ExecutionParams!) { launched: %s(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message } } }
"""
BACKFILL = """mutation($b: LaunchBackfillParams!) {
  launched: launchPartitionBackfill(backfillParams: $b) { ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) { found: partitionBackfillOrError(backfillId: $id)
  { ... on PartitionBackfill { status } } }"""
STATUS = "query($id: ID!) { found: runOrError(runId: $id) { ... on Run { status } } }"
LATEST = """{ found: runsOrError(limit: 1) { ... on Runs { results
  { runId status runConfigYaml assetSelection { path } } } } }"""
CONFIG = "query($id: ID!) { found: runOrError(runId: $id) { ... on Run { runConfigYaml } } }"
PARTITIONS = """query($key: AssetKeyInput!) { found: assetNodeOrError(assetKey: $key)
  { ... on AssetNode { partitionKeys assetPartitionStatuses
    { ... on DefaultPartitionStatuses { materializedPartitions } } } } }"""
CHECKS = """query($id: ID!) { found: logsForRun(runId: $id) { ... on EventConnection { events
  { ... on AssetCheckEvaluationEvent { evaluation { checkName success assetKey { path } } } } } } }
"""


def until(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition."""
    latest = time.monotonic() + SECONDS
    while time.monotonic() < latest:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {SECONDS} s")


class Ui:
    """The running interface of a lake.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/graphql"

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
        checks: list[str] | None = None,
        mutation: str = "launchPipelineExecution",
        **more: Any,
    ) -> str:
        """Starts a run and waits until it has succeeded; returns its id."""
        selector = REPOSITORY | {
            "jobName": more.pop("job", "__ASSET_JOB"),
            "assetSelection": [{"path": [name]} for name in assets],
            "assetCheckSelection": None
            if checks is None
            else [{"assetKey": {"path": [name]}, "name": "verified"} for name in checks],
        }
        tags = [{"key": "dagster/partition", "value": mouse}] if mouse else []
        parameters = {
            "selector": selector,
            "mode": "default",
            "runConfigData": more.pop("config", "{}"),
            "executionMetadata": {"tags": tags, **more},
        }
        launched = self.ask(LAUNCH % mutation, p=parameters)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run: str = launched["run"]["runId"]
        ended = ("SUCCESS", "FAILURE", "CANCELED")
        assert until(lambda: self.ends(STATUS, run, ended)) == "SUCCESS"
        return run

    def ends(self, text: str, number: str, states: tuple[str, ...]) -> str | None:
        """The status of a run or backfill if it is one of these."""
        status: str = self.ask(text, id=number)["status"]
        return status if status in states else None

    def partitions(self, table: str) -> tuple[list[str], list[str]]:
        """All partitions of a table, and those that are materialised."""
        found = self.ask(PARTITIONS, key={"path": [table]})
        done = found["assetPartitionStatuses"]["materializedPartitions"]
        return sorted(found["partitionKeys"]), sorted(done)

    def checks(self, run: str) -> dict[str, bool]:
        """The tables that a run has checked, and whether they passed."""
        events = [e["evaluation"] for e in self.ask(CHECKS, id=run)["events"] if e]
        return {e["assetKey"]["path"][0]: e["success"] for e in events}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Dagster, the lake and the log of the interface."""
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    code = str(Path(__file__).parents[2])  # Dagster imports it from another working directory
    return os.environ | {"DAGSTER_HOME": str(home / "dagster"), "PYTHONPATH": code}


@pytest.fixture(scope="module")
def ui(sample_bucket: Path, home: Path, environment: dict[str, str]) -> Iterator[Ui]:
    """The interface, with the project tables materialised through it."""
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
            interface.launch(["behavior_sessions", "ophys_sessions", "ophys_experiments"])
            yield interface
        finally:
            process.send_signal(signal.SIGINT)  # Dagster stops its daemon and code server
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def test_one_table_of_one_mouse_then_of_all_mice(ui: Ui, home: Path) -> None:
    mice, done = ui.partitions("trials")
    assert len(mice) == 2
    assert done == []
    ui.launch(["trials"], mouse=mice[0])
    assert ui.partitions("trials") == (mice, mice[:1])
    found = query(home / "lake", "SELECT DISTINCT mouse_id::VARCHAR FROM trials")
    assert found == [(mice[0],)]
    wanted = {"assetSelection": [{"path": ["trials"]}], "partitionNames": mice}
    backfill = ui.ask(BACKFILL, b=wanted)["backfillId"]
    ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
    status = until(lambda: ui.ends(BACKFILL_STATUS, backfill, ended))
    assert status == "COMPLETED_SUCCESS"
    assert ui.partitions("trials") == (mice, mice)


def test_one_check_then_several(ui: Ui) -> None:
    assert ui.checks(ui.launch([], checks=["trials"])) == {"trials": True}
    several = {"behavior_sessions": True, "licks": True, "trials": True}
    assert ui.checks(ui.launch([], checks=list(several))) == several


def test_a_run_of_the_command_is_shown_and_can_be_started_again(
    ui: Ui, sample_bucket: Path, home: Path, environment: dict[str, str]
) -> None:
    place = ("--lake", home / "lake", "--source", sample_bucket)
    done = vblake("ingest", *place, "--tables", "licks", "--verify-hash", env=environment)
    assert done.returncode == 0, done.stderr
    (run,) = ui.ask(LATEST)["results"]
    assert run["status"] == "SUCCESS"
    mice, marked = ui.partitions("licks")
    assert marked == mice
    again = ui.launch(
        [key["path"][0] for key in run["assetSelection"]],
        mutation="launchRunReexecution",
        job="ingest",
        config=run["runConfigYaml"],
        parentRunId=run["runId"],
        rootRunId=run["runId"],
    )
    config = ui.ask(CONFIG, id=again)["runConfigYaml"]
    assert config == run["runConfigYaml"]
    assert "verify_hash: true" in config
