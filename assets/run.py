"""The run of `vblake ingest`: the assets, materialised in the process of the command."""

from __future__ import annotations

import functools
import gc
import json
import logging
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from assets.definitions import definitions_of_command
from assets.instance import LOCATION, dagster_home
from assets.jobs import ingest_job, run_config
from assets.partitions import register_mice
from assets.record import alive, settle
from assets.resources import IngestHooks
from pipelines.cli import interrupt
from pipelines.cli.options import IngestOptions
from pipelines.ingest import Begun, MouseReport, OnFile, OnMouse
from pipelines.lake.store import open_store
from pipelines.prepare import Prepared
from schemas import TABLES, Subject
from schemas.errors import VblakeError


def run_in_this_process(
    options: IngestOptions, work: Begun, *, on_file: OnFile, on_mouse: OnMouse
) -> list[MouseReport]:
    """Materialises the assets that an ingest is about, and finishes it.

    Args:
        options: what was planned from. They are recorded, so that the run can be repeated.
        work: the ingest, which has begun; its plan has mice.
        on_file: called for each converted or failed file.
        on_mouse: called after a mouse's files are in the lake.

    Returns:
        The report of each mouse. Files that could not be ingested are in their mouse's report.

    Raises:
        VblakeError: what `Begun.finish` raises; or Dagster cannot keep its record.
    """
    home = dagster_home(options.lake)
    # A signal that comes while a connection is closed stops the command, and is not worth a
    # traceback in the log.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    reports: list[MouseReport] = []

    def published(report: MouseReport) -> None:
        reports.append(report)
        on_mouse(report)

    prepared = work.prepared
    hooks = IngestHooks(
        prepare=lambda _: prepared,
        publish_project=lambda _: prepared.project.tables,  # they are published
        ingest=lambda _, on_file, on_mouse: work.finish(on_file=on_file, on_mouse=on_mouse),
        on_file=on_file,
        on_mouse=published,
        signals=interrupt.raising,
        of_command=True,
    )
    try:
        with dg.DagsterInstance.get() as instance:
            settle(instance, prepared.store)
            _materialize(instance, options, prepared, hooks)
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    except SQLAlchemyError as error:
        raise VblakeError(
            f"Dagster cannot write its record in {home} ({_cause(error)}). Free the folder, or set "
            "DAGSTER_HOME to another. The same command goes on from what is in the lake."
        ) from error
    except dg.Failure:
        if not any(report.quarantined for report in reports):
            raise
    return reports


def settle_record(lake: str) -> None:
    """Records what runs that were killed have left, for a command that has nothing else to do."""
    dagster_home(lake)
    with dg.DagsterInstance.get() as instance:
        settle(instance, open_store(lake))


def _materialize(
    instance: dg.DagsterInstance, options: IngestOptions, prepared: Prepared, hooks: IngestHooks
) -> None:
    asked = {name for task in prepared.todo for name in task.tables}
    selected = [
        table.name
        for table in TABLES.values()
        if table.name in asked or table.subject in (Subject.PROJECT, Subject.LEDGER)
    ]
    register_mice(instance, prepared.mice)
    run_id = str(uuid.uuid4())
    # The run names no partitions. For a range of them, Dagster would first write an event for each
    # table and partition that it plans: with 107 mice, a minute and a half before any work.
    job = definitions_of_command(hooks).resolve_job_def(ingest_job.name)
    # What is imported stays. To look through it for garbage, in the midst of the run, takes 0.3 s.
    gc.freeze()
    with alive(instance, run_id), _known_to_the_ui(instance):
        job.execute_in_process(
            run_config=run_config(options),
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in selected],
            run_id=run_id,
        )


@contextmanager
def _known_to_the_ui(instance: dg.DagsterInstance) -> Generator[None]:
    """Records runs made in the block with the place where the web interface finds their job.

    It re-executes only runs with such an origin. `execute_in_process` gives them none, and Dagster
    1.13 has no public way to add one (its issue 19458 asks for it). Two things of Dagster that are
    not promised are relied on: that `execute_in_process` records the run with the instance's
    `create_run_for_job`, and how Dagster stores an origin (`_ORIGIN`). If either changes, runs are
    recorded without an origin, or not at all, and
    test_a_failed_run_of_the_command_is_news_and_is_re_executed_from_its_failure fails.
    """
    origin: Any = dg.deserialize_value(json.dumps(_ORIGIN))
    create = instance.create_run_for_job
    recorded = functools.partial(create, remote_job_origin=origin)
    setattr(instance, create.__name__, recorded)
    try:
        yield
    finally:
        delattr(instance, create.__name__)


_ORIGIN = {
    "__class__": "ExternalPipelineOrigin",
    "external_repository_origin": {
        "__class__": "ExternalRepositoryOrigin",
        "repository_location_origin": {
            "__class__": "RegisteredRepositoryLocationOrigin",
            "location_name": LOCATION,
        },
        "repository_name": "__repository__",
    },
    "pipeline_name": ingest_job.name,
}


def _cause(error: SQLAlchemyError) -> str:
    """Returns the error of the database alone; SQLAlchemy adds the statement, in several lines."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]
