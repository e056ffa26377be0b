"""The jobs, and the configuration of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.assets import catalog, table_assets
from assets.checks import COMPLETE, VERIFIED
from pipelines.cli.options import IngestOptions
from schemas import TABLES

project_tables, nwb_tables = table_assets()

_BY_NAME_ONLY = [t.name for t in TABLES.values() if t.by_name_only]
_CHECKS = [*project_tables.check_specs, *nwb_tables.check_specs]


def _checks(name: str) -> dg.AssetSelection:
    return dg.AssetSelection.checks(*(check.key for check in _CHECKS if check.name == name))


# `verified` reads what is in the lake again, so it runs only on request.
_TABLES = dg.AssetSelection.assets(project_tables, nwb_tables).without_checks()

lake_job = dg.define_asset_job(
    "lake",
    selection=(_TABLES - dg.AssetSelection.assets(*_BY_NAME_ONLY)) | _checks(COMPLETE),
    description="Brings every documented table up to date, and the catalog. Files that the lake "
    "has already are not read again. Warns of each table of which rows are held back.",
)

ingest_job = dg.define_asset_job(
    "ingest",
    selection=_TABLES,
    description="What `vblake ingest` runs, in its own process: the tables that it was asked for.",
)

verify_job = dg.define_asset_job(
    "verify",
    selection=_checks(VERIFIED) | _checks(COMPLETE),
    description="Reads the whole lake again, as `vblake verify` does, and writes nothing.",
)

catalog_job = dg.define_asset_job(
    "rebuild_catalog",
    selection=dg.AssetSelection.assets(catalog),
    description="Builds the catalog again from the files, as `vblake catalog` does.",
)


def run_config(options: IngestOptions) -> dict[str, Any]:
    """The configuration of a run with these options, valid in any working directory."""
    return {
        "resources": {"options": {"config": asdict(options.from_any_folder())}},
        # Dagster's events are for the UI; the command has its own display.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
