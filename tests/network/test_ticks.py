"""A lake that keeps itself current: ticks of the schedule over what happens to a source in a year."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from builders.lakes import query
from builders.mini import BEHAVIOR_FILE, EXPERIMENT, EXPERIMENT_FILE, SESSION, mini_bucket
from builders.releases import revise, write_release
from servers.s3 import BUCKET, Fault, Faults, RequestInfo, S3Server

from assets.definitions import defs
from assets.schedules import update
from pipelines.check.lake import verify
from pipelines.cli.options import IngestOptions
from pipelines.ingest import ingest, prepare
from pipelines.lake.lock import writing
from pipelines.lake.marker import read_marker
from pipelines.lake.store import LocalStore
from pipelines.log import ROOT as LOG
from pipelines.next_generation import roll_back
from schemas.checks import Level

TRAINED, IMAGED = 453913, 570949
"""The mice: of the one there is a behaviour session, of the other an experiment."""
FAILED, DONE = False, True


@dataclass
class Lab:
    """A source, a lake, and Dagster's record of it.

    Attributes:
        releases: those that the source has; each was made from the first one.
        faults: those of the source.
        busy: what another writer does to the lake while a tick waits for it; None if there is none.
        waits: what ticks have said about other writers.
        reported: how many events `news` has seen.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    instance: dg.DagsterInstance
    faults: Faults | None = None
    busy: Callable[[], object] | None = None
    waits: list[str] = field(default_factory=list[str])
    reported: int = 0

    @property
    def bucket(self) -> Path:
        return self.folder / "bucket"

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "lake")

    def release(self, version: str, *mice: int) -> None:
        """A release appears, with the files of these mice as they are now."""
        write_release(self.bucket, version, mice=mice, base="1.0.0")

    def tick(self) -> tuple[bool, str | None, set[int]]:
        """Whether the run of a tick succeeds, the release of the lake, and the files it read."""
        before = self.ledger()
        context = dg.build_schedule_context(self.instance, repository_def=REPOSITORY)
        (request,) = update.evaluate_tick(context).run_requests or ()
        assert (request.run_config, request.asset_selection) == ({}, None)
        done = self.run(update.job_name)
        read = {key for key, at in self.ledger().items() if before.get(key) != at}
        marker = read_marker(self.store)
        assert [p for p in verify(self.store) if p.level is Level.ERROR] == []
        return done.success, marker and marker.release, read

    def run(self, job: str, *tables: str) -> dg.ExecuteInProcessResult:
        """A run as the schedule or, of some tables, the web interface starts it."""
        with S3Server(self.bucket, faults=self.faults) as server, self._another_writer():
            self.patch.setenv("VBLAKE_ENDPOINT_URL", server.url)
            return defs.resolve_job_def(job).execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                asset_selection=[dg.AssetKey(table) for table in tables] or None,
                instance=self.instance,
                raise_on_error=False,
            )

    @contextmanager
    def _another_writer(self) -> Iterator[None]:
        """Holds the lake's lock until a run says that it waits for it, if the lake is busy."""
        if self.busy is None:
            yield
            return
        work, self.busy = self.busy, None
        with ExitStack() as held:
            held.enter_context(writing(self.store))

            def waiting(record: logging.LogRecord) -> None:
                if "waiting up to" in record.getMessage():
                    self.waits.append(record.getMessage())
                    held.close()
                    work()

            handler = logging.Handler()
            handler.emit = waiting
            logging.getLogger(LOG).addHandler(handler)
            held.callback(logging.getLogger(LOG).removeHandler, handler)
            yield

    def ledger(self) -> dict[int, object]:
        """When each file was ingested or failed, by its key."""
        if not (self.store.folder / "catalog.duckdb").exists():
            return {}
        return dict(query(self.store.folder, "SELECT file_key, ingested_at FROM source_files"))

    def statuses(self) -> dict[int, str]:
        """The status of each file in the ledger, by its key."""
        return dict(query(self.store.folder, "SELECT file_key, status FROM source_files"))

    def news(self) -> list[int]:
        """The mice of which a table was reported since the last call."""
        events = self.instance.fetch_materializations(dg.AssetKey("running_speed"), limit=1000)
        mice = [int(record.partition_key or 0) for record in events.records]
        new, self.reported = mice[: len(mice) - self.reported], len(mice)
        return sorted(new)

    def upgrade_by_hand(self) -> None:
        """What `vblake ingest` of somebody does."""
        ingest(prepare(IngestOptions.from_settings({}).request()))


def down(request: RequestInfo, _: int) -> Fault:
    """A source that answers nothing."""
    return Fault(status=503, code="SlowDown")


class Flaky:
    """A source that answers no request for an object, the first two times."""

    def __init__(self, key: str) -> None:
        self._key, self._left = key, 2

    def __call__(self, request: RequestInfo, _: int) -> Fault | None:
        if request.key != self._key or not self._left:
            return None
        self._left -= 1
        return Fault(status=503, code="SlowDown")


def no_work() -> None:
    """What a writer does that only keeps the lake busy."""


REPOSITORY = defs.get_repository_def()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    variables = {"LAKE": tmp_path / "lake", "SOURCE": f"s3://{BUCKET}", "WORKERS": 1, "RETRIES": 0}
    for name, value in variables.items():
        monkeypatch.setenv(f"VBLAKE_{name}", str(value))
    monkeypatch.setattr("assets.faults.RETRY_AFTER_S", 0.0)
    bucket = mini_bucket()
    bucket.version = "1.0.0"
    bucket.write(tmp_path / "bucket")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Lab(tmp_path, monkeypatch, instance)


def test_a_lake_is_kept_current_through_releases_faults_and_busy_times(lab: Lab) -> None:
    training, imaging = (lab.bucket / key for key in (BEHAVIOR_FILE, EXPERIMENT_FILE))
    lab.release("1.1.0", IMAGED)
    assert lab.tick() == (DONE, "1.1.0", {EXPERIMENT})
    assert lab.tick() == (DONE, "1.1.0", set()), "nothing is new"
    assert lab.news() == [IMAGED]

    lab.release("1.2.0", IMAGED, TRAINED)
    alone = lab.run("ingest", "behavior_sessions", "ophys_sessions")
    assert not alone.success, "project tables change together with all others"
    assert alone.asset_materializations_for_node("project_tables") == []
    lab.faults = down
    assert lab.tick() == (FAILED, "1.1.0", set())
    lab.faults = Flaky(BEHAVIOR_FILE)
    assert lab.tick() == (DONE, "1.2.0", {SESSION}), "the run tries again by itself"
    lab.news()

    for file in (training, imaging):
        revise(file)
    lab.release("1.3.0", IMAGED, TRAINED)
    lab.faults = lambda request, n: down(request, n) if request.key == BEHAVIOR_FILE else None
    assert lab.tick() == (FAILED, "1.2.0", set()), "the upgrade waits for a file that the lake has"
    assert lab.news() == [], "readers do not see the other file yet"
    lab.faults, lab.busy = None, no_work
    assert lab.tick() == (DONE, "1.3.0", {SESSION, EXPERIMENT}), "after the other writer"
    assert len(lab.waits) == 1
    assert lab.news() == [TRAINED, IMAGED]

    revise(training)
    lab.release("1.4.0", IMAGED, TRAINED)
    lab.busy = lab.upgrade_by_hand
    assert lab.tick() == (DONE, "1.4.0", {SESSION}), "the other writer has done the upgrade"

    whole = training.read_bytes()
    training.write_bytes(whole[: len(whole) // 2])
    lab.release("1.5.0", IMAGED, TRAINED)
    assert lab.tick() == (FAILED, "1.5.0", {SESSION})
    assert lab.statuses() == {EXPERIMENT: "ingested", SESSION: "quarantined"}
    training.write_bytes(whole)
    lab.release("1.6.0", IMAGED, TRAINED)
    assert lab.tick() == (DONE, "1.6.0", {SESSION})

    lab.patch.setenv("VBLAKE_RELEASE", "1.6.0")
    lab.release("1.7.0", IMAGED)
    assert lab.tick() == (DONE, "1.6.0", set()), "pinned"
    lab.patch.setenv("VBLAKE_RELEASE", "latest")
    assert lab.tick() == (DONE, "1.7.0", set())
    assert lab.statuses() == {EXPERIMENT: "ingested"}
    lab.patch.delenv("VBLAKE_RELEASE")
    assert roll_back(lab.store).release == "1.6.0"
    assert lab.tick() == (DONE, "1.6.0", set()), "who goes back stays there"
