"""How errors become outcomes of Dagster steps: which faults pass, and which do not."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

import dagster as dg

from assets.record import hold
from assets.resources import IngestHooks
from pipelines.cli.log_options import LogOptions
from pipelines.cli.option_fields import from_settings
from pipelines.convert.staged import FileResult
from pipelines.ingest import MouseReport
from pipelines.lake.lock import writer
from schemas.errors import VblakeError

RETRIES = 3
RETRY_AFTER_S = 60.0
"""Doubled at each further try: a source that does not answer is given seven minutes."""


@contextmanager
def working(context: dg.AssetExecutionContext, hooks: IngestHooks) -> Generator[None]:
    """What every step does: it shows that its process lives, and says which of its faults pass."""
    if hooks.of_command:
        yield
        return
    hold(context.instance, context.run.run_id)
    log, step = from_settings(LogOptions, "ingest", {}), context.op_execution_context.op.name
    before = writer.set(f"Dagster run {context.run.run_id}")
    try:
        with log.writing(f"step {step} of Dagster run {context.run.run_id}"):
            yield
    except VblakeError as error:
        if error.retryable:
            raise _again(context, str(error)) from error
        raise dg.Failure(str(error), allow_retries=False) from error
    finally:
        writer.reset(before)


def _again(context: dg.AssetExecutionContext, why: str) -> dg.RetryRequested:
    """Asks Dagster for another try of the step, later.

    Not with a `RetryPolicy`, which Dagster applies to a terminated step, too: it would start again
    instead of ending.
    """
    context.log.warning(f"{why} This is tried again.")
    return dg.RetryRequested(
        max_retries=RETRIES, seconds_to_wait=RETRY_AFTER_S * 2**context.retry_number
    )


def report_bad_files(
    context: dg.AssetExecutionContext,
    hooks: IngestHooks,
    reports: Sequence[MouseReport],
    results: Iterable[FileResult],
) -> None:
    """Ends a step whose files could not all be ingested.

    Raises:
        dg.RetryRequested: the source did not answer properly for some of them.
        dg.Failure: for other reasons, or after the last try.
    """
    bad = [report for report in reports if report.quarantined]
    if not bad:
        return
    files = [entry for report in bad for entry in report.quarantined]
    message = f"{len(files)} files of {len(bad)} mice are not in the lake; all others are."
    passing = any(result.error and result.passing for result in results)
    if passing and not hooks.of_command and context.retry_number < RETRIES:
        raise _again(context, message)
    raise dg.Failure(
        message,
        metadata={
            str(e.object_key or f"{e.file_kind.value} {e.file_key}"): str(e.error) for e in files
        },
        allow_retries=False,
    )
