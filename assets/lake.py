"""Assets: one per table of the lake, and the catalog.

Keep data processing out of this folder: an asset calls one function of `pipelines` and reports what it did.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.resources import SharedRun
from pipelines.catalog.build import build_catalog
from pipelines.cli.options import IngestOptions
from pipelines.ingest import MouseReport, ingest, prepare, refresh_project_tables
from pipelines.lake.ledger import LEDGER
from pipelines.lake.lock import writing
from pipelines.lake.store import open_store, require_lake
from schemas import TABLES, Subject, Table

Results = Iterator[dg.MaterializeResult[Any]]

MICE = dg.DynamicPartitionsDefinition(name="mouse")
"""A partition is a mouse: 107 in the release. A partition per file would cost over an hour of bookkeeping."""

_PROJECT = [t for t in TABLES.values() if t.subject is Subject.PROJECT]
_INGESTED = [t for t in TABLES.values() if t.subject is not Subject.PROJECT]


def _spec(table: Table, deps: Iterable[str] = ()) -> dg.AssetSpec:
    columns = dg.TableSchema(
        columns=[
            dg.TableColumn(name=c.name, type=c.type.value, description=c.comment) for c in table
        ]
    )
    return dg.AssetSpec(
        table.name,
        deps=list(deps),
        description=table.description,
        group_name=table.subject.value,
        kinds={"parquet"},
        metadata={
            "dagster/column_schema": columns,
            "primary_key": ", ".join(table.primary_key) or "none",
            "storage": table.storage.value,
        },
        skippable=True,
    )


def register_mice(instance: dg.DagsterInstance, mice: Iterable[int]) -> None:
    """Makes sure that every mouse has a partition."""
    known = set(instance.get_dynamic_partitions(MICE.name or ""))
    fresh = [str(m) for m in sorted(mice) if str(m) not in known]
    if fresh:
        instance.add_dynamic_partitions(MICE.name or "", fresh)


@dg.multi_asset(name="project_tables", specs=[_spec(t) for t in _PROJECT], can_subset=True)
def project_tables(
    context: dg.AssetExecutionContext,
    options: dg.ResourceParam[IngestOptions],
    shared: dg.ResourceParam[SharedRun],
) -> Results:
    """The release's own tables; their mice become the partitions."""
    tables = (
        shared.prepared.project.tables
        if shared.prepared
        else refresh_project_tables(options.request())
    )
    register_mice(context.instance, set(tables["behavior_sessions"].column("mouse_id").to_pylist()))
    for name in context.selected_asset_keys:
        table = tables.get(name.to_user_string())
        if table is not None:
            yield dg.MaterializeResult(
                asset_key=name, metadata={"dagster/row_count": table.num_rows}
            )


@dg.multi_asset(
    name="nwb_tables",
    specs=[_spec(t, [p.name for p in _PROJECT if p.name != "ophys_cells"]) for t in _INGESTED],
    partitions_def=MICE,
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
)
def nwb_tables(
    context: dg.AssetExecutionContext,
    options: dg.ResourceParam[IngestOptions],
    shared: dg.ResourceParam[SharedRun],
) -> Results:
    """Every table that comes from NWB files, for the mice of the run."""
    selected = [k.to_user_string() for k in context.selected_asset_keys]
    request = options.request()
    mice = {int(key) for key in context.partition_keys}
    if request.selection.mice:
        mice &= set(request.selection.mice)
    if not mice:
        raise dg.Failure("none of the run's partitions is among the mice of its options")
    tables = [t.name for t in _INGESTED if t.name in selected and t.subject is not Subject.LEDGER]
    chosen = replace(request.selection, mice=tuple(sorted(mice)), tables=tuple(tables))

    reports = (
        shared.reports.result()
        if shared.prepared
        else ingest(prepare(replace(request, selection=chosen)), mice=mice)
    )
    for report in reports:
        context.log.info(
            f"mouse {report.mouse_id}: {len(report.entries)} files, {len(report.quarantined)} quarantined"
        )
    bad = {r.mouse_id for r in reports if r.quarantined}
    yield from _results(context, selected, mice, bad, reports)
    if bad:
        raise dg.Failure(
            description=f"{sum(len(r.quarantined) for r in reports)} files of {len(bad)} mice were quarantined; all others are in the lake",
            metadata={
                e.object_key or str(e.file_key): e.error or ""
                for r in reports
                for e in r.quarantined
            },
        )


def _results(
    context: dg.AssetExecutionContext,
    selected: list[str],
    mice: set[int],
    bad: set[int],
    reports: list[MouseReport],
) -> Results:
    """Reports good partitions.

    Plain results would mark every partition of the run's range, failed ones and those between the selected ones too. So they are used
    only where the whole range is good; else each good partition gets its own event, and the catalog, which `ingest` has rebuilt, too.
    """
    good = mice - bad
    whole = not bad and {int(k) for k in context.partition_keys} == mice
    ledger = dg.AssetKey(LEDGER.name)
    for name in selected:
        key = dg.AssetKey(name)
        # Metadata costs as much as the event itself, so only the ledger's partitions carry the rows of all tables.
        metadata = (
            {r.mouse_id: {"rows": dict(r.row_counts), "files": len(r.entries)} for r in reports}
            if key == ledger
            else {}
        )
        if whole:
            for mouse, facts in metadata.items():
                context.add_asset_metadata(facts, asset_key=key, partition_key=str(mouse))
            yield dg.MaterializeResult(asset_key=key)
        else:
            for mouse in sorted(good):
                context.log_event(
                    dg.AssetMaterialization(key, partition=str(mouse), metadata=metadata.get(mouse))
                )
    if not whole and good:
        context.log_event(dg.AssetMaterialization("catalog"))


@dg.asset(deps=[t.name for t in TABLES.values()], group_name="catalog", kinds={"duckdb"})
def catalog(
    options: dg.ResourceParam[IngestOptions], shared: dg.ResourceParam[SharedRun]
) -> dg.MaterializeResult[Any]:
    """The DuckDB file of views over all tables."""
    store = open_store(options.lake)
    if not shared.prepared:
        release = require_lake(store)
        with writing(store):
            build_catalog(store, release)
    return dg.MaterializeResult(metadata={"path": f"{store.root}/catalog.duckdb"})
