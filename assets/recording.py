"""Recording an ingest as a Dagster run beside it: importing Dagster and writing its events takes seconds, and no file waits for that."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

from pipelines.cli.options import IngestOptions
from pipelines.ingest import MouseReport, Prepared
from pipelines.publish.background import stand_back
from schemas.errors import VblakeError

_PATIENCE = 10.0
"""Seconds that an ingest which has failed waits for its run to be recorded as failed."""
_A_MOMENT = 2.0
"""The same for one that was asked to stop. Where Dagster is still being imported, there is no run yet."""


class _Recorder(Thread):
    """The run, in a thread; the main thread keeps the signals, so that Ctrl-C stops the ingest at once."""

    def __init__(
        self, prepared: Prepared, options: IngestOptions, reports: Future[list[MouseReport]]
    ) -> None:
        super().__init__(name="dagster", daemon=True)
        self._prepared = prepared
        self._options = options
        self._reports = reports
        self.error: BaseException | None = None
        self.good = False
        self.begun = False

    def run(self) -> None:
        stand_back()
        try:
            from assets.resources import SharedRun
            from assets.run import record

            self.begun = True
            self.good = record(SharedRun(self._prepared, self._reports), self._options)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error


@contextmanager
def unrecorded(_: Prepared, __: IngestOptions) -> Generator[Future[list[MouseReport]]]:
    """In the place of `recorded` where no run is wanted."""
    yield Future()


@contextmanager
def recorded(prepared: Prepared, options: IngestOptions) -> Generator[Future[list[MouseReport]]]:
    """A Dagster run of the ingest that the `with` block does.

    The block sets the result of what it is given. What it raises fails the run.

    Raises:
        VblakeError: the run failed though no file did; the lake is as it should be.
    """
    reports: Future[list[MouseReport]] = Future()
    recorder = _Recorder(prepared, options, reports)
    recorder.start()
    try:
        yield reports
    except BaseException as error:
        reports.set_exception(
            error
            if isinstance(error, Exception)
            else RuntimeError(f"stopped: {type(error).__name__}")
        )
        if not isinstance(error, KeyboardInterrupt):
            recorder.join(_PATIENCE)
        elif recorder.begun:
            recorder.join(_A_MOMENT)
        raise
    recorder.join()
    quarantined = any(r.quarantined for r in reports.result())
    if recorder.error is not None or not (recorder.good or quarantined):
        why = (
            f"{type(recorder.error).__name__}: {recorder.error}"
            if recorder.error
            else "`vblake ui` shows why"
        )
        raise VblakeError(
            f"The lake holds all files that are good, but Dagster could not record the run ({why})."
        ) from recorder.error
