"""The assets: one per table of the lake, and the catalog.

Keep data processing out of this folder: an asset calls one function of `pipelines` and reports
what it did.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.checks import COMPLETE, complete_results
from assets.partitions import MICE, register_mice
from assets.resources import IngestHooks
from pipelines.catalog.build import build_catalog
from pipelines.cli.options import IngestOptions
from pipelines.ingest import MouseReport, ingest, publish_project
from pipelines.lake.ledger import LEDGER
from pipelines.lake.lock import writing
from pipelines.lake.marker import require_lake
from pipelines.lake.store import open_store
from pipelines.request import IngestRequest
from schemas import TABLES, Subject, Table
from schemas.layout import CATALOG

_PROJECT = [t for t in TABLES.values() if t.subject is Subject.PROJECT]
_FROM_NWB = [t for t in TABLES.values() if t.subject is not Subject.PROJECT]


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


@dg.multi_asset(name="project_tables", specs=[_spec(t) for t in _PROJECT], can_subset=True)
def project_tables(
    context: dg.AssetExecutionContext,
    options: dg.ResourceParam[IngestOptions],
    hooks: dg.ResourceParam[IngestHooks],
) -> Iterator[dg.MaterializeResult[Any]]:
    """The release's own tables; their mice become the partitions."""
    tables = publish_project(hooks.prepare(options.request()))
    register_mice(context.instance, set(tables["behavior_sessions"].column("mouse_id").to_pylist()))
    for key in sorted(context.selected_asset_keys):
        table = tables.get(key.to_user_string())
        if table is not None:
            yield dg.MaterializeResult(
                asset_key=key, metadata={"dagster/row_count": table.num_rows}
            )


@dg.multi_asset(
    name="nwb_tables",
    specs=[_spec(t, [p.name for p in _PROJECT if p.name != "ophys_cells"]) for t in _FROM_NWB],
    partitions_def=MICE,
    check_specs=COMPLETE,
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
)
def nwb_tables(
    context: dg.AssetExecutionContext,
    options: dg.ResourceParam[IngestOptions],
    hooks: dg.ResourceParam[IngestHooks],
) -> Iterator[dg.AssetCheckResult]:
    """Every table that comes from NWB files, for the mice of the run.

    A run of partitions is over their mice, any other run over those that its options select.
    Each mouse is reported as soon as it is in the lake. The asset yields no results: Dagster would
    apply a result to every partition of the run, even to those of failed mice and of mice that the
    options leave out.
    """
    selected = {key.to_user_string() for key in context.selected_asset_keys}
    tables = [t.name for t in _FROM_NWB if t.name in selected and t.subject is not Subject.LEDGER]
    if not tables:  # only checks; no tables would mean all
        yield from complete_results(options.lake, context.selected_asset_check_keys)
        return
    request = options.request()
    partitions = _partitions(context, request)
    selection = replace(
        request.selection, mice=partitions or request.selection.mice, tables=tuple(tables)
    )

    def on_mouse(report: MouseReport) -> None:
        if not report.quarantined:
            _mark(context, report.mouse_id, report)
        hooks.on_mouse(report)

    prepared = hooks.prepare(replace(request, selection=selection))
    with hooks.signals():
        reports = ingest(prepared, on_file=hooks.on_file, on_mouse=on_mouse)
    for mouse in sorted(set(partitions) - {report.mouse_id for report in reports}):
        _mark(context, mouse)  # the lake held all of its files already
    context.log_event(dg.AssetMaterialization("catalog"))  # `ingest` rebuilds it
    yield from complete_results(options.lake, context.selected_asset_check_keys)
    bad = [report for report in reports if report.quarantined]
    if bad:
        files = [entry for report in bad for entry in report.quarantined]
        raise dg.Failure(
            f"{len(files)} files of {len(bad)} mice are not in the lake; all others are.",
            metadata={
                str(e.object_key or f"{e.file_kind.value} {e.file_key}"): str(e.error)
                for e in files
            },
        )


def _partitions(context: dg.AssetExecutionContext, request: IngestRequest) -> tuple[int, ...]:
    """The mice of the run's partitions that its options select; none if it has no partitions."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ()
    mice = {int(key) for key in context.partition_keys}
    if request.selection.mice:
        mice &= set(request.selection.mice)
    if not mice:
        raise dg.Failure("None of the run's partitions is among the mice of its options.")
    return tuple(sorted(mice))


def _mark(context: dg.AssetExecutionContext, mouse: int, report: MouseReport | None = None) -> None:
    """Reports the partition of a mouse as materialised, in every selected table."""
    for key in sorted(context.selected_asset_keys):
        # Metadata costs as much as an event, so only the ledger has the rows of all tables.
        metadata = (
            {"rows": dict(report.row_counts), "files": len(report.entries)}
            if report is not None and key == dg.AssetKey(LEDGER.name)
            else None
        )
        context.log_event(dg.AssetMaterialization(key, partition=str(mouse), metadata=metadata))


@dg.asset(deps=[t.name for t in TABLES.values()], group_name="catalog", kinds={"duckdb"})
def catalog(options: dg.ResourceParam[IngestOptions]) -> dg.MaterializeResult[Any]:
    """The DuckDB file of views over all tables. Every ingest rebuilds it too."""
    store = open_store(options.lake)
    release = require_lake(store).release
    with writing(store):
        build_catalog(store, release)
    return dg.MaterializeResult(metadata={"path": f"{store.root}/{CATALOG}"})
