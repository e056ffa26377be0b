"""What Dagster loads."""

from __future__ import annotations

from typing import Any

import dagster as dg

from assets.assets import catalog, table_assets
from assets.jobs import catalog_job, ingest_job, lake_job, nwb_tables, project_tables, verify_job
from assets.resources import IngestHooks, ingest_options
from assets.schedules import update
from assets.sensors import SENSORS

# The steps of a run follow each other, and `ingest` has worker processes of its own.
_EXECUTOR = dg.in_process_executor


def definitions(hooks: IngestHooks) -> dg.Definitions:
    """Everything that Dagster knows of, with what the process that runs it adds."""
    return dg.Definitions(
        assets=[project_tables, nwb_tables, catalog],
        jobs=[lake_job, verify_job, catalog_job, ingest_job],
        schedules=[update],
        sensors=SENSORS,
        resources=_resources(hooks),
        executor=_EXECUTOR,
    )


def definitions_of_command(hooks: IngestHooks) -> dg.Definitions:
    """What `vblake ingest` runs."""
    return dg.Definitions(
        assets=table_assets(checks=False),
        jobs=[ingest_job],
        resources=_resources(hooks),
        executor=_EXECUTOR,
    )


def _resources(hooks: IngestHooks) -> dict[str, Any]:
    return {
        "options": ingest_options,
        "hooks": hooks,
        # Named, so that a run of the command does not count as one that leaves nothing behind,
        # which cannot be re-executed from its failure. No asset has a value to store.
        "io_manager": dg.FilesystemIOManager(),
    }


defs = definitions(IngestHooks())
