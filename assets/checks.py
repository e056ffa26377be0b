"""The asset checks of each table: `verified`, and `complete` for tables that come from NWB files.

They are evaluated by the step that makes the tables, for the mice of its run. A step of their own
would be skipped: a run reports its partitions one by one and yields no results. Executed by
themselves, they look at the whole lake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from pipelines.check.finding import Finding
from pipelines.check.lake import verify
from pipelines.lake.ledger import Entry, Ledger, read_ledger
from pipelines.lake.store import Store, open_store
from schemas import TABLES, Subject, Table
from schemas.checks import Level

_SHOWN = 20

VERIFIED, COMPLETE = "verified", "complete"

_HELD_BACK_BY_RULE = [
    name for name, t in TABLES.items() if t.subject not in (Subject.PROJECT, Subject.LEDGER)
]


def check_specs(table: str) -> Iterator[dg.AssetCheckSpec]:
    """The checks of a table."""
    yield dg.AssetCheckSpec(
        VERIFIED,
        asset=table,
        description="Reads the rows again, as `vblake verify` does: files open, the schema is "
        "exact, keys are unique, references resolve, the rules hold, rows are as in the ledger. "
        "After a materialisation it reads the mice of the run; executed alone, the whole lake.",
    )
    if table in _HELD_BACK_BY_RULE:
        yield dg.AssetCheckSpec(
            COMPLETE,
            asset=table,
            description="Warns if rows of ingested files are held back because they break a rule. "
            "The view _held_back of the catalog says which and why.",
        )


class _Looked:
    """What the last reading of a lake has found, for further steps of the same run."""

    key: tuple[object, ...] = ()
    findings: tuple[Finding, ...] = ()


def _findings(run_id: str, lake: str, mice: tuple[int, ...] | None) -> tuple[Finding, ...]:
    key = (run_id, lake, mice)
    if _Looked.key != key:
        _Looked.key, _Looked.findings = key, tuple(verify(open_store(lake), mice=mice))
    return _Looked.findings


def check_results(
    context: dg.AssetExecutionContext, lake: str, mice: tuple[int, ...] | None
) -> Iterator[dg.AssetCheckResult]:
    """Evaluates the selected checks of a step.

    Args:
        context: that of the step.
        lake: the lake.
        mice: those that the run has ingested; None to look at all that the lake holds.
    """
    selected = sorted(context.selected_asset_check_keys)
    if any(check.name == VERIFIED for check in selected):
        problems = _findings(context.run.run_id, lake, mice)
        for check in selected:
            if check.name == VERIFIED:
                yield _verified(check, problems)
    if any(check.name == COMPLETE for check in selected):
        entries = [
            e for e in read_ledger(open_store(lake)).values() if mice is None or e.mouse_id in mice
        ]
        for check in selected:
            if check.name == COMPLETE:
                yield _complete(check, entries)


def _verified(check: dg.AssetCheckKey, problems: tuple[Finding, ...]) -> dg.AssetCheckResult:
    table = check.asset_key.to_user_string()
    found = [str(p) for p in problems if p.table == table and p.level is Level.ERROR]
    return _result(check, found, dg.AssetCheckSeverity.ERROR)


def _complete(check: dg.AssetCheckKey, entries: list[Entry]) -> dg.AssetCheckResult:
    table = check.asset_key.to_user_string()
    found = [
        f"{entry.object_key}: {outcome}"
        for entry in entries
        for outcome in entry.held_back
        if outcome.table == table
    ]
    return _result(check, found, dg.AssetCheckSeverity.WARN)


def report_held_back(
    instance: dg.DagsterInstance, before: Ledger, store: Store, tables: Iterable[Table]
) -> None:
    """Evaluates `complete` for a run that has no checks, if anything is or was held back.

    Args:
        instance: Dagster's record.
        before: the ledger before the run.
        store: the lake.
        tables: those of the run.
    """
    names = {t.name for t in tables} & set(_HELD_BACK_BY_RULE)
    entries = list(read_ledger(store).values())
    held_back = {t.table for e in (*before.values(), *entries) for t in e.held_back}
    for name in sorted(names & held_back):
        result = _complete(dg.AssetCheckKey(dg.AssetKey(name), COMPLETE), entries)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(name),
            check_name=COMPLETE,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
        )
        instance.report_runless_asset_event(evaluation)


def _result(
    check: dg.AssetCheckKey, found: list[str], severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"problems": len(found)}
    if found:
        metadata["first problems"] = dg.MetadataValue.md(
            "\n".join(f"* {problem}" for problem in found[:_SHOWN])
        )
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=check.asset_key,
        passed=not found,
        severity=severity,
        metadata=metadata,
        description=found[0] if found else None,
    )
