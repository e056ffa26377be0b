"""What an operator sets for the web interface, and the mail about a failed run."""

from __future__ import annotations

import socket
import threading

import pytest

from assets.sensors import send_mail
from pipelines.cli.option_fields import from_settings
from pipelines.cli.options import UiOptions
from schemas.errors import UsageError


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VBLAKE_SCHEDULE": "30 2 * * *",
        "VBLAKE_MICE_PER_RUN": "5",
        "VBLAKE_FRESH_DAYS": "2.5",
        "VBLAKE_OWNER": "lab@example.org",
        "VBLAKE_WEBHOOK": "https://example.org/hook",
        "VBLAKE_EMAIL": "",
    }.items():
        monkeypatch.setenv(name, value)
    assert from_settings(UiOptions, "ui", {}) == UiOptions(
        schedule="30 2 * * *",
        mice_per_run=5,
        fresh_days=2.5,
        owner="lab@example.org",
        webhook="https://example.org/hook",
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "VBLAKE_MICE_PER_RUN",
            "many",
            "mice_per_run is 'many' (environment VBLAKE_MICE_PER_RUN); ",
        ),
        ("VBLAKE_MICE_PER_RUN", "0", "mice_per_run is '0' (environment VBLAKE_MICE_PER_RUN); "),
        (
            "VBLAKE_SCHEDULE",
            "weekly",
            "schedule is 'weekly'; expected a cron expression of five fields, like '0 3 * * 0'.",
        ),
        ("VBLAKE_WEBHOOK", "file:///etc", "webhook is no http:// or https:// address."),
        ("VBLAKE_FRESH_DAYS", "-1", "fresh_days is '-1' (environment VBLAKE_FRESH_DAYS); "),
    ],
)
def test_a_wrong_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as error:
        from_settings(UiOptions, "ui", {})
    assert str(error.value).startswith(message)


def test_a_failed_run_is_mailed() -> None:
    received: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rw", newline="\r\n") as line:

                def say(text: str) -> None:
                    line.write(f"{text}\n")
                    line.flush()

                say("220 ready")
                while (asked := line.readline().strip().upper()) != "QUIT":
                    say("354 go on" if asked == "DATA" else "250 ok")
                    while asked == "DATA" and (text := line.readline().strip()) != ".":
                        received.append(text)
                    if asked == "DATA":
                        say("250 taken")
                say("221 bye")

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        news = {"lake": "/data/vb", "error": "The disk is full."}
        send_mail("lab@example.org", f"127.0.0.1:{port}", "vblake: a run failed", news)
        thread.join()
    assert "Subject: vblake: a run failed" in received
    assert "To: lab@example.org" in received
    assert received[-2:] == ["lake: /data/vb", "error: The disk is full."]
