"""The weekly schedule. It is off until somebody switches it on in the UI."""

import dagster as dg

from assets.jobs import lake_job


@dg.schedule(
    job=lake_job, cron_schedule="0 3 * * 0", default_status=dg.DefaultScheduleStatus.STOPPED
)
def weekly() -> dg.RunRequest:
    """Every mouse of the release, once a week. Files already in the lake are not read again."""
    return dg.RunRequest()
