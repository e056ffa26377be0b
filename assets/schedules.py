"""The weekly schedule. It is off until somebody switches it on in the UI."""

import dagster as dg

from assets.jobs import lake_job
from assets.partitions import range_tags, register_mice
from pipelines.cli.options import IngestOptions
from pipelines.ingest import mice_of_release


@dg.schedule(
    job=lake_job, cron_schedule="0 3 * * 0", default_status=dg.DefaultScheduleStatus.STOPPED
)
def weekly(
    context: dg.ScheduleEvaluationContext, options: dg.ResourceParam[IngestOptions]
) -> dg.RunRequest:
    """Every mouse of the release, once a week. Files already in the lake are not read again."""
    request = options.request()
    mice = mice_of_release(request.source, request.release)
    register_mice(context.instance, mice)
    return dg.RunRequest(tags=range_tags(context.instance, mice))
