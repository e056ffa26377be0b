"""What Dagster loads."""

from __future__ import annotations

import dagster as dg

from assets.automation import lake_job, mice_in_release, weekly
from assets.checks import lake_verified
from assets.lake import catalog, nwb_tables, project_tables
from assets.resources import SharedRun, ingest_options

RESOURCES = {"options": ingest_options, "shared": SharedRun().resource()}

defs = dg.Definitions(
    assets=[project_tables, nwb_tables, catalog],
    asset_checks=[lake_verified],
    jobs=[lake_job],
    schedules=[weekly],
    sensors=[mice_in_release],
    resources=RESOURCES,
)
