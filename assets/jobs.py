"""The job over all tables, and the configuration of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.assets import nwb_tables, project_tables
from assets.checks import COMPLETE
from pipelines.cli.options import IngestOptions
from schemas import TABLES

_BY_NAME_ONLY = [t.name for t in TABLES.values() if t.by_name_only]

# `lake_verified` reads the whole lake again, so it runs only on request.
_TABLES = dg.AssetSelection.assets(project_tables, nwb_tables).without_checks()

lake_job = dg.define_asset_job(
    "lake",
    selection=(_TABLES - dg.AssetSelection.assets(*_BY_NAME_ONLY))
    | dg.AssetSelection.checks(*(check.key for check in COMPLETE)),
    description="All documented tables of the selected mice, the catalog, and a warning for each "
    "table of which rows are held back.",
)

ingest_job = dg.define_asset_job(
    "ingest",
    selection=_TABLES,
    description="What `vblake ingest` runs, in its own process: the tables that it was asked for.",
)


def run_config(options: IngestOptions) -> dict[str, Any]:
    """The configuration of a run with these options, valid in any working directory."""
    return {
        "resources": {"options": {"config": asdict(options.from_any_folder())}},
        # Dagster's events are for the UI; the command has its own display.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
