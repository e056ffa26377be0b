"""What Dagster loads."""

from __future__ import annotations

import dagster as dg

from assets.assets import catalog, nwb_tables, project_tables
from assets.checks import lake_verified
from assets.jobs import ingest_job, lake_job
from assets.resources import IngestHooks, ingest_options
from assets.schedules import weekly
from assets.sensors import mice_in_release


def definitions(hooks: IngestHooks) -> dg.Definitions:
    """Everything that Dagster knows of, with what the process that runs it adds."""
    return dg.Definitions(
        assets=[project_tables, nwb_tables, catalog],
        asset_checks=[lake_verified],
        jobs=[lake_job, ingest_job],
        schedules=[weekly],
        sensors=[mice_in_release],
        resources={"options": ingest_options, "hooks": hooks},
        # The steps of a run follow each other, and `ingest` has worker processes of its own.
        executor=dg.in_process_executor,
    )


defs = definitions(IngestHooks())
