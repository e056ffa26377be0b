"""The schedule. It is on if VBLAKE_SCHEDULE is set; else it can be switched on in the UI."""

import dagster as dg

from assets.jobs import lake_job
from assets.settings import SETTINGS
from pipelines.cli.options import WEEKLY


@dg.schedule(
    job=lake_job,
    cron_schedule=SETTINGS.schedule or WEEKLY,
    default_status=dg.DefaultScheduleStatus.RUNNING
    if SETTINGS.schedule
    else dg.DefaultScheduleStatus.STOPPED,
    description="Brings the lake up to date: every mouse of the release that VBLAKE_RELEASE names, "
    "or else of the release that the lake follows. A run waits until other runs and commands have "
    "finished. The times are those of VBLAKE_SCHEDULE, a cron expression in UTC.",
)
def update() -> dg.RunRequest:
    """All mice of the release. Files already in the lake are not read again."""
    return dg.RunRequest()
