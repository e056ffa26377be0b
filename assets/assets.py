"""The assets: one per table of the lake, and the catalog.

Keep data processing out of this folder: an asset calls one function of `pipelines` and reports
what it did.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import dagster as dg

from assets.checks import check_results, check_specs, report_held_back
from assets.faults import report_bad_files, working
from assets.partitions import MICE, register_mice
from assets.record import (
    FROM_NWB,
    PROJECT,
    Recorder,
    catalog_materialization,
    mark_unpartitioned,
    materialization,
    project_materialization,
    settle,
)
from assets.resources import IngestHooks
from assets.settings import SETTINGS
from pipelines import log
from pipelines.catalog.build import rebuild_catalog
from pipelines.cli.options import IngestOptions
from pipelines.cli.progress import file_facts, mouse_facts, mouse_outcome, outcome
from pipelines.convert.staged import FileResult
from pipelines.ingest import MouseReport, upgrade_waits_for
from pipelines.lake.ledger import LEDGER, Identity, read_ledger, read_mouse
from pipelines.lake.store import Store, open_store
from pipelines.prepare import Prepared
from pipelines.request import IngestRequest
from schemas import TABLES, Column, Subject, Table
from schemas.layout import CATALOG

WAIT_S = 12 * 3600.0
"""How long a run waits for a command that writes to the lake; the build of a whole lake takes
less."""

_OWNERS = [SETTINGS.owner]


def _column(column: Column, table: Table) -> dg.TableColumn:
    return dg.TableColumn(
        name=column.name,
        type=column.type.value,
        description=column.comment,
        constraints=dg.TableColumnConstraints(
            nullable=not (column.required or column.name in table.primary_key),
            unique=table.primary_key == (column.name,),
        ),
    )


def _spec(table: Table, deps: Iterable[str] = ()) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        deps=list(deps),
        description=table.description,
        group_name=table.subject.value,
        kinds={"csv" if table.subject is Subject.PROJECT else "hdf5", "parquet"},
        owners=_OWNERS,
        tags={"by_name_only": "true"} if table.by_name_only else {},
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[_column(column, table) for column in table]
            ),
            "primary_key": ", ".join(table.primary_key) or "none",
            "storage": table.storage.value,
        },
        skippable=True,
    )


def _checks(tables: Sequence[Table]) -> list[dg.AssetCheckSpec]:
    return [spec for table in tables for spec in check_specs(table.name)]


def _publish_project(
    context: dg.AssetExecutionContext, options: IngestOptions, hooks: IngestHooks
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    with working(context, hooks):
        if context.selected_asset_keys:
            prepared = hooks.prepare(_request(options, hooks))
            tables = hooks.publish_project(prepared)
            if prepared.upgrade is not None and _are_alone(context):
                raise dg.Failure(
                    f"The lake is to be upgraded ({prepared.upgrade.reason}), and its project "
                    "tables change together with all others: run the job `lake`, or materialize "
                    "any table of a mouse.",
                    allow_retries=False,
                )
            # The tables of an upgrade are reported again once readers can see them. Without a
            # result here, Dagster would skip the step that makes the upgrade.
            mice = tables["behavior_sessions"].column("mouse_id").to_pylist()
            register_mice(context.instance, set(mice))
            for key in sorted(context.selected_asset_keys):
                table = TABLES[key.to_user_string()]
                if table.name in tables:
                    rows = tables[table.name].num_rows
                    metadata = project_materialization(prepared.store, table, rows)
                    yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        yield from check_results(context, options.lake, () if context.selected_asset_keys else None)


def _are_alone(context: dg.AssetExecutionContext) -> bool:
    """Whether a run materialises project tables only; the selection of a whole job is empty."""
    selected = {key.to_user_string() for key in context.run.asset_selection or ()}
    return bool(selected) and selected <= {table.name for table in PROJECT}


@dataclass
class _Run:
    """A run over tables that come from NWB files, and its report to Dagster."""

    context: dg.AssetExecutionContext
    hooks: IngestHooks
    store: Store
    tables: list[Table]
    recorder: Recorder
    work: dict[Identity, FileResult] = field(default_factory=dict[Identity, FileResult])
    upgrades: bool = False

    def file_done(self, result: FileResult) -> None:
        """Logs a file."""
        self.work[result.task.identity] = result
        show = self.context.log.warning if result.error else self.context.log.info
        text = f"mouse {result.task.mouse_id} {outcome(result, reason=True)}"
        show(text)
        if not self.hooks.of_command:
            log.record(text, **file_facts(result))
        self.hooks.on_file(result)

    def mouse_done(self, report: MouseReport) -> None:
        """Reports a mouse that is in the lake, which in an upgrade is only once all are."""
        if not report.quarantined and not self.upgrades:
            self.mark(report.mouse_id)
        if not self.hooks.of_command:
            log.record(mouse_outcome(report), **mouse_facts(report))
        self.hooks.on_mouse(report)

    def mark(self, mouse: int) -> None:
        """Reports the partition of a mouse as materialised, in every selected table."""
        ledger = read_mouse(self.store, mouse).values()
        self.recorder.add(
            [materialization(self.store, table, mouse, ledger, self.work) for table in self.tables]
        )


def _ingest(
    context: dg.AssetExecutionContext, options: IngestOptions, hooks: IngestHooks
) -> Iterator[dg.AssetCheckResult]:
    """Ingests the mice of a run.

    A run of partitions is over their mice, any other run over those that its options select.
    Each mouse is reported as soon as it is in the lake. There are no results: Dagster would
    apply a result to every partition of the run, even to those of failed mice and of mice that the
    options leave out.
    """
    selected = {key.to_user_string() for key in context.selected_asset_keys}
    tables = [t for t in FROM_NWB if t.name in selected]
    with working(context, hooks), Recorder.of(context) as recorder:
        if not tables:
            yield from check_results(context, options.lake, None)
            return
        run = _Run(context, hooks, open_store(options.lake), tables, recorder)
        settle(context.instance, run.store)
        if tables == [LEDGER]:
            _report_ledger(run, _partitions(context, options.request()))
            yield from check_results(context, options.lake, None)
            return
        prepared, partitions = _prepare(context, options, hooks, tables)
        run.upgrades = prepared.upgrade is not None
        with hooks.signals():
            reports = hooks.ingest(prepared, run.file_done, run.mouse_done)
        for mouse in sorted(_left_to_mark(prepared, partitions, reports)):
            run.mark(mouse)
        upgraded = run.upgrades and not upgrade_waits_for(prepared, reports)
        context.log_event(catalog_materialization(run.store))  # `ingest` rebuilds it
        mark_unpartitioned(run.store, context.instance, context.log_event, again=upgraded)
        if hooks.of_command:
            report_held_back(context.instance, prepared.ledger, run.store, tables)
        recorder.wait()
        mice = {*partitions, *(report.mouse_id for report in reports)}
        yield from check_results(context, options.lake, tuple(sorted(mice)))
        report_bad_files(context, hooks, reports, run.work.values())


def _left_to_mark(
    prepared: Prepared, partitions: Iterable[int], reports: Sequence[MouseReport]
) -> set[int]:
    """The mice that readers see in the lake after a run, and that were not reported meanwhile."""
    bad = {report.mouse_id for report in reports if report.quarantined}
    done = {report.mouse_id for report in reports} - bad
    # Of the other mice of the partitions, the lake held all files already.
    held = set(partitions) - done - bad
    if prepared.upgrade is None:
        return held
    if upgrade_waits_for(prepared, reports):
        return set()
    # An earlier run, whose upgrade had to wait, may have converted some of them.
    changed = {task.mouse_id for task in (*prepared.upgrade.changed, *prepared.upgrade.added)}
    return (held | done | changed) - bad


def _request(options: IngestOptions, hooks: IngestHooks) -> IngestRequest:
    request = options.request()
    if options.wait is None and not hooks.of_command:
        return replace(request, wait_s=WAIT_S)
    return request


def _prepare(
    context: dg.AssetExecutionContext,
    options: IngestOptions,
    hooks: IngestHooks,
    tables: Sequence[Table],
) -> tuple[Prepared, tuple[int, ...]]:
    """The plan of a run, and the mice of its partitions."""
    request = _request(options, hooks)
    partitions = _partitions(context, request)
    names = tuple(t.name for t in tables if t is not LEDGER)
    selection = replace(request.selection, mice=partitions or request.selection.mice, tables=names)
    return hooks.prepare(replace(request, selection=selection)), partitions


def _report_ledger(run: _Run, partitions: tuple[int, ...]) -> None:
    """Reports the ledger as it is; it is written with every other table.

    Raises:
        dg.Failure: it has nothing of some mice.
    """
    held = {entry.mouse_id for entry in read_ledger(run.store, partitions or None).values()}
    for mouse in sorted(held):
        run.mark(mouse)
    run.recorder.wait()
    if missing := sorted(set(partitions) - held):
        raise dg.Failure(
            f"Nothing of mouse {', '.join(map(str, missing))} has been ingested yet. Materialize "
            "another table of the mouse; the ledger is written with it.",
            allow_retries=False,
        )


def _partitions(context: dg.AssetExecutionContext, request: IngestRequest) -> tuple[int, ...]:
    """The mice of the run's partitions that its options select; none if it has no partitions."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ()
    mice = {int(key) for key in context.partition_keys}
    if request.selection.mice:
        mice &= set(request.selection.mice)
    if not mice:
        raise dg.Failure(
            "None of the run's partitions is among the mice of its options.", allow_retries=False
        )
    return tuple(sorted(mice))


def table_assets(*, checks: bool = True) -> tuple[dg.AssetsDefinition, dg.AssetsDefinition]:
    """The assets of the project tables, and of the tables that come from NWB files.

    Args:
        checks: whether they have checks. Dagster writes an event for each that a run may evaluate,
            so the run of a command goes without.
    """

    @dg.multi_asset(
        specs=[_spec(t) for t in PROJECT],
        check_specs=_checks(PROJECT) if checks else None,
        can_subset=True,
    )
    def project_tables(
        context: dg.AssetExecutionContext,
        options: dg.ResourceParam[IngestOptions],
        hooks: dg.ResourceParam[IngestHooks],
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        """The release's own tables; their mice become the partitions."""
        yield from _publish_project(context, options, hooks)

    @dg.multi_asset(
        specs=[_spec(t, [p.name for p in PROJECT if p.name != "ophys_cells"]) for t in FROM_NWB],
        partitions_def=MICE,
        check_specs=_checks(FROM_NWB) if checks else None,
        backfill_policy=dg.BackfillPolicy.single_run()
        if SETTINGS.mice_per_run is None
        else dg.BackfillPolicy.multi_run(SETTINGS.mice_per_run),
        can_subset=True,
    )
    def nwb_tables(
        context: dg.AssetExecutionContext,
        options: dg.ResourceParam[IngestOptions],
        hooks: dg.ResourceParam[IngestHooks],
    ) -> Iterator[dg.AssetCheckResult]:
        """Every table that comes from NWB files, a partition per mouse."""
        yield from _ingest(context, options, hooks)

    return project_tables, nwb_tables


@dg.asset(
    deps=[t.name for t in TABLES.values()],
    group_name="catalog",
    kinds={"duckdb"},
    owners=_OWNERS,
    freshness_policy=dg.FreshnessPolicy.time_window(timedelta(days=SETTINGS.fresh_days)),
)
def catalog(
    context: dg.AssetExecutionContext,
    options: dg.ResourceParam[IngestOptions],
    hooks: dg.ResourceParam[IngestHooks],
) -> dg.MaterializeResult[Any]:
    """The DuckDB file of views over all tables. Every ingest rebuilds it too."""
    with working(context, hooks):
        store = open_store(options.lake)
        rebuild_catalog(store, _request(options, hooks).wait_s)
        return dg.MaterializeResult(metadata={"path": f"{store.root}/{CATALOG}"})
