"""The sensor for new mice. It is off until somebody switches it on in the UI."""

import dagster as dg

from assets.partitions import MICE
from pipelines.cli.options import IngestOptions
from pipelines.ingest import mice_of_release


@dg.sensor(minimum_interval_seconds=3600, default_status=dg.DefaultSensorStatus.STOPPED)
def mice_in_release(
    context: dg.SensorEvaluationContext, options: dg.ResourceParam[IngestOptions]
) -> dg.SensorResult:
    """Adds a partition for each mouse of the release that has none yet."""
    known = set(context.instance.get_dynamic_partitions("mouse"))
    mice = mice_of_release(options.request())
    new = [str(mouse) for mouse in sorted(mice) if str(mouse) not in known]
    return dg.SensorResult(dynamic_partitions_requests=[MICE.build_add_request(new)] if new else [])
