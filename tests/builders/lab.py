"""A lab whose lake is kept current by ticks of the schedule, and what happens to its source meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from servers.s3 import BUCKET, Faults, S3Server

from assets.definitions import defs
from assets.schedules import update
from builders.lakes import query
from builders.releases import write_release
from pipelines.check.lake import verify
from pipelines.cli.options import IngestOptions
from pipelines.ingest import ingest
from pipelines.lake.lock import writing
from pipelines.lake.marker import read_marker
from pipelines.lake.store import LocalStore
from pipelines.log import ROOT as LOG
from pipelines.prepare import prepare
from schemas.checks import Level

REPOSITORY = defs.get_repository_def()


@dataclass
class Lab:
    """A source, a lake, and Dagster's record of it.

    Attributes:
        releases: those that the source has; each was made from the first one.
        faults: those of the source.
        busy: what another writer does to the lake while a tick waits for it; None if there is none.
        waits: what ticks have said about other writers.
        reported: how many events `news` has seen.
        versions: those of the source's objects, as `S3Server` takes them.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    instance: dg.DagsterInstance
    faults: Faults | None = None
    busy: Callable[[], object] | None = None
    waits: list[str] = field(default_factory=list[str])
    reported: int = 0
    versions: dict[str, dict[str, str | Path]] = field(
        default_factory=dict[str, dict[str, str | Path]]
    )

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
        [request] = update.evaluate_tick(context).run_requests or []
        assert (request.run_config, request.asset_selection) == ({}, None)
        done = self.run(update.job_name)
        read = {key for key, at in self.ledger().items() if before.get(key) != at}
        marker = read_marker(self.store)
        assert [p for p in verify(self.store) if p.level is Level.ERROR] == []
        return done.success, marker and marker.release, read

    def run(self, job: str, *tables: str) -> dg.ExecuteInProcessResult:
        """A run as the schedule or, of some tables, the web interface starts it."""
        with self.serving(self.faults), self._another_writer():
            return defs.resolve_job_def(job).execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                asset_selection=[dg.AssetKey(table) for table in tables] or None,
                instance=self.instance,
                raise_on_error=False,
            )

    @contextmanager
    def serving(self, faults: Faults | None = None) -> Generator[S3Server]:
        """The source as it is now, whose address the settings name."""
        with S3Server(self.bucket, faults=faults, versions=self.versions) as server:
            self.patch.setenv("VBLAKE_ENDPOINT_URL", server.url)
            yield server

    @contextmanager
    def _another_writer(self) -> Generator[None]:
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


def no_work() -> None:
    """What a writer does that only keeps the lake busy."""


@contextmanager
def open_lab(folder: Path, patch: pytest.MonkeyPatch) -> Generator[Lab]:
    """A lab in a folder, whose settings are in the environment. There is no bucket yet."""
    settings = {"LAKE": folder / "lake", "SOURCE": f"s3://{BUCKET}", "WORKERS": 1, "RETRIES": 0}
    for name, value in settings.items():
        patch.setenv(f"VBLAKE_{name}", str(value))
    patch.setattr("assets.faults.RETRY_AFTER_S", 0.0)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Lab(folder, patch, instance)
