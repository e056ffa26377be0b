"""The asset checks, one of each kind per table: `verified` and `complete`."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from pipelines.check.lake import verify
from pipelines.cli.options import IngestOptions
from pipelines.lake.ledger import read_ledger
from pipelines.lake.store import open_store
from schemas import TABLES
from schemas.checks import Level

_SHOWN = 20


def _specs(name: str, description: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=table, description=description) for table in TABLES]


def _result(
    check: dg.AssetCheckKey, found: list[str], severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {
        "problems": dg.MetadataValue.json(found[:_SHOWN]),
        "count": len(found),
    }
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=check.asset_key,
        passed=not found,
        severity=severity,
        metadata=metadata,
    )


@dg.multi_asset_check(
    specs=_specs(
        "verified",
        "`vblake verify`: files open, the schema is exact, keys are unique, references closed, "
        "rows as in the ledger.",
    ),
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
        yield _result(check, found, dg.AssetCheckSeverity.ERROR)


@dg.multi_asset_check(
    specs=_specs("complete", "No rows of the ingested files are held back by a rule."),
    can_subset=True,
)
def lake_complete(
    context: dg.AssetCheckExecutionContext, options: dg.ResourceParam[IngestOptions]
) -> Iterator[dg.AssetCheckResult]:
    """Reports the rows that are held back, as the ledger has them."""
    entries = read_ledger(open_store(options.lake)).values()
    for check in sorted(context.selected_asset_check_keys):
        table = check.asset_key.to_user_string()
        found = [
            f"{entry.object_key}: {outcome}"
            for entry in entries
            for outcome in entry.held_back
            if outcome.table == table
        ]
        yield _result(check, found, dg.AssetCheckSeverity.WARN)
