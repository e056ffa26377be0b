"""The job over all tables, a weekly schedule and a sensor for new mice. Both are off until they are switched on in the UI."""

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from assets.lake import MICE, catalog, nwb_tables, project_tables, register_mice
from pipelines.cli.options import IngestOptions
from pipelines.ingest import mice_of_release
from schemas import TABLES

BY_NAME_ONLY = [t.name for t in TABLES.values() if t.by_name_only]

lake_job = dg.define_asset_job(
    "lake",
    # The checks read the whole lake again; they are run when they are asked for.
    selection=(
        dg.AssetSelection.assets(project_tables, nwb_tables, catalog)
        - dg.AssetSelection.assets(*BY_NAME_ONLY)
    ).without_checks(),
    description="All documented tables of the selected mice, then the catalog.",
)


def range_tags(instance: dg.DagsterInstance, mice: set[str]) -> dict[str, str]:
    """Tags of one run over all these mice; the range may hold others in between, which the run's config leaves out."""
    ordered = [key for key in instance.get_dynamic_partitions(MICE.name or "") if key in mice]
    return {ASSET_PARTITION_RANGE_START_TAG: ordered[0], ASSET_PARTITION_RANGE_END_TAG: ordered[-1]}


@dg.schedule(
    job=lake_job, cron_schedule="0 3 * * 0", default_status=dg.DefaultScheduleStatus.STOPPED
)
def weekly(
    context: dg.ScheduleEvaluationContext, options: dg.ResourceParam[IngestOptions]
) -> dg.RunRequest:
    """Every mouse of the release, once a week. Files that the lake holds already are not read again."""
    mice = mice_of_release(options.request().source, options.release)
    register_mice(context.instance, mice)
    return dg.RunRequest(tags=range_tags(context.instance, {str(m) for m in mice}))


@dg.sensor(minimum_interval_seconds=3600, default_status=dg.DefaultSensorStatus.STOPPED)
def mice_in_release(
    context: dg.SensorEvaluationContext, options: dg.ResourceParam[IngestOptions]
) -> dg.SensorResult:
    """Adds a partition for each mouse of the release that has none yet."""
    known = set(context.instance.get_dynamic_partitions(MICE.name or ""))
    fresh = [
        str(m)
        for m in sorted(mice_of_release(options.request().source, options.release))
        if str(m) not in known
    ]
    return dg.SensorResult(
        dynamic_partitions_requests=[MICE.build_add_request(fresh)] if fresh else []
    )
