"""The asset checks, one of each kind per table: `verified` and `complete`."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from pipelines.check.lake import verify
from pipelines.cli.options import IngestOptions
from pipelines.lake.ledger import read_ledger
from pipelines.lake.store import open_store
from schemas import TABLES, Subject
from schemas.checks import Level

_SHOWN = 20


VERIFIED = [
    dg.AssetCheckSpec(
        "verified",
        asset=table,
        description="`vblake verify`: files open, the schema is exact, keys are unique, references "
        "closed, rows as in the ledger.",
    )
    for table in TABLES
]
COMPLETE = [
    dg.AssetCheckSpec(
        "complete", asset=name, description="No rows of the ingested files are held back by a rule."
    )
    for name, table in TABLES.items()
    if table.subject not in (Subject.PROJECT, Subject.LEDGER)
]
"""Evaluated by the step that makes the tables: as it marks partitions one by one and yields no
results, Dagster would skip checks in a step of their own."""


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


@dg.multi_asset_check(specs=VERIFIED, can_subset=True)
def lake_verified(
    context: dg.AssetCheckExecutionContext, options: dg.ResourceParam[IngestOptions]
) -> Iterator[dg.AssetCheckResult]:
    """Re-reads the lake and reports the problems of each selected table."""
    problems = verify(open_store(options.lake))
    for check in sorted(context.selected_asset_check_keys):
        table = check.asset_key.to_user_string()
        found = [str(p) for p in problems if p.table == table and p.level is Level.ERROR]
        yield _result(check, found, dg.AssetCheckSeverity.ERROR)


def complete_results(
    lake: str, checks: Iterable[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """The rows of each table that are held back, as the ledger has them."""
    selected = sorted(checks)
    entries = read_ledger(open_store(lake)).values() if selected else ()
    for check in selected:
        table = check.asset_key.to_user_string()
        found = [
            f"{entry.object_key}: {outcome}"
            for entry in entries
            for outcome in entry.held_back
            if outcome.table == table
        ]
        yield _result(check, found, dg.AssetCheckSeverity.WARN)
