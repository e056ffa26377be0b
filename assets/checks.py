"""The asset checks: `vblake verify`, one check per table."""

from collections.abc import Iterator

import dagster as dg

from pipelines.check.lake import verify
from pipelines.cli.options import IngestOptions
from pipelines.lake.store import open_store
from schemas import TABLES
from schemas.checks import Level

_NAME = "verified"
_DESCRIPTION = (
    "Files open, the schema is exact, keys are unique, references closed, rows as in the ledger."
)


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(_NAME, asset=name, description=_DESCRIPTION) for name in TABLES],
    can_subset=True,
)
def lake_verified(
    context: dg.AssetCheckExecutionContext, options: dg.ResourceParam[IngestOptions]
) -> Iterator[dg.AssetCheckResult]:
    """Re-reads the lake and reports the problems of each selected table."""
    problems = verify(open_store(options.lake))
    for check in sorted(context.selected_asset_check_keys):
        table = check.asset_key.to_user_string()
        found = [str(p) for p in problems if p.table == table and p.level is Level.ERROR]
        metadata = {"problems": dg.MetadataValue.json(found[:20]), "count": len(found)}
        yield dg.AssetCheckResult(
            check_name=check.name, asset_key=check.asset_key, passed=not found, metadata=metadata
        )
