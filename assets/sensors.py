"""The sensors: the mice of the release, Dagster's record of the lake, and news of failed runs."""

import hashlib
import json
import smtplib
import urllib.request
from email.message import EmailMessage
from typing import Any

import dagster as dg

from assets.partitions import MICE, known_mice
from assets.record import IN_PROGRESS, mark_dead_runs, mark_published
from assets.settings import SETTINGS
from pipelines.cli.options import IngestOptions
from pipelines.lake.ledger import LEDGER
from pipelines.lake.marker import read_marker
from pipelines.lake.store import open_store
from pipelines.prepare import mice_of_release
from schemas.errors import VblakeError

_AT_ONCE = 500
"""Partitions that a tick of `record` reports at most: it may take a minute."""
_ANSWER_S = 20.0


@dg.sensor(
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds a partition for each mouse of the release that has none yet.",
)
def mice_in_release(
    context: dg.SensorEvaluationContext, options: dg.ResourceParam[IngestOptions]
) -> dg.SensorResult | dg.SkipReason:
    """Adds the partitions."""
    try:
        mice = mice_of_release(options.request())
    except VblakeError as error:
        return dg.SkipReason(str(error))
    new = sorted(str(mouse) for mouse in mice - known_mice(context.instance))
    if not new:
        return dg.SkipReason(f"All {len(mice)} mice of the release have a partition.")
    return dg.SensorResult(dynamic_partitions_requests=[MICE.build_add_request(new)])


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs as failed whose process has died, and partitions as materialised that "
    "are in the lake though no run reported them: after a kill, or if the lake was made elsewhere.",
)
def record(
    context: dg.SensorEvaluationContext, options: dg.ResourceParam[IngestOptions]
) -> dg.SkipReason:
    """Brings the record up to date."""
    dead = mark_dead_runs(context.instance)
    if context.instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS), limit=1):
        return dg.SkipReason("A run goes on, which reports what it publishes.")
    try:
        store = open_store(options.lake)
        if read_marker(store) is None:
            return dg.SkipReason(f"There is no lake at {options.lake} yet.")
        content = json.dumps([options.lake, *store.files(LEDGER.name).items()])
        ledger = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()  # shown in the UI
        if ledger == context.cursor and not dead:
            return dg.SkipReason("The record is up to date.")
        if mark_published(context.instance, store, _AT_ONCE):
            context.update_cursor(ledger)
    except VblakeError as error:
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"The record was brought up to date; {len(dead)} runs had died.")


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends news of a failed run to VBLAKE_WEBHOOK (an address that takes JSON) and "
    "VBLAKE_EMAIL (through the mail server VBLAKE_SMTP).",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Sends the news."""
    run = context.dagster_run
    config: Any = run.run_config
    options = config.get("resources", {}).get("options", {}).get("config", {})
    lake = options.get("lake") or IngestOptions.from_settings({}).lake
    causes = [e.step_failure_data for e in context.get_step_failure_events()]
    errors = [
        data.user_failure_data.description
        if data.user_failure_data and data.user_failure_data.description
        else data.error_display_string.strip().splitlines()[0]
        for data in causes
    ]
    text = "\n".join(errors) or context.failure_event.message or "The run failed."
    news = {"lake": lake, "run": run.run_id, "job": run.job_name, "error": text}
    if SETTINGS.webhook:
        _post(SETTINGS.webhook, {"text": f"vblake: a run over {lake} failed: {text}", **news})
    if SETTINGS.email:
        send_mail(SETTINGS.email, SETTINGS.smtp, f"vblake: a run over {lake} failed", news)


def _post(address: str, message: dict[str, str]) -> None:
    request = urllib.request.Request(
        address, json.dumps(message).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_S):
        pass


def send_mail(address: str, server: str, subject: str, news: dict[str, str]) -> None:
    """Mails news of a run, from the address to itself."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, address, address
    message.set_content("\n".join(f"{name}: {text}" for name, text in news.items()))
    host, _, port = server.partition(":")
    with smtplib.SMTP(host, int(port or 25), timeout=_ANSWER_S) as connection:
        connection.send_message(message)


SENSORS = [
    mice_in_release,
    record,
    *([failed_runs] if SETTINGS.webhook or SETTINGS.email else []),
]
