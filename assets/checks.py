"""Asset checks: `vblake verify`, shown per table."""

from collections.abc import Iterator

import dagster as dg

from pipelines.check.lake import Severity, verify
from pipelines.cli.options import IngestOptions
from pipelines.lake.store import open_store
from schemas import TABLES

_NAME = "verified"
_DESCRIPTION = "Files open, schema exact, keys unique, references closed, rows as in the ledger."


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(_NAME, asset=name, description=_DESCRIPTION) for name in TABLES]
)
def lake_verified(options: dg.ResourceParam[IngestOptions]) -> Iterator[dg.AssetCheckResult]:
    """Re-reads the lake and reports the problems of each table."""
    problems = verify(open_store(options.lake))
    for name in TABLES:
        found = [str(p) for p in problems if p.table == name and p.severity is Severity.ERROR]
        metadata = {"problems": dg.MetadataValue.json(found[:20]), "count": len(found)}
        yield dg.AssetCheckResult(
            check_name=_NAME, asset_key=name, passed=not found, metadata=metadata
        )
