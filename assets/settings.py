"""What an operator sets for a lake's web interface, by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from schemas.errors import UsageError

WEEKLY = "0 3 * * 0"
_CRON_FIELDS = 5


@dataclass(frozen=True)
class Settings:
    """How a lake is kept current.

    Attributes:
        schedule: VBLAKE_SCHEDULE, cron expression of the ingests, UTC. If it is set, the schedule
            is on; else it can be switched on in the web interface, and is weekly.
        mice_per_run: VBLAKE_MICE_PER_RUN, the number of mice in each run of a backfill; None for
            one run over all.
        fresh_days: VBLAKE_FRESH_DAYS, the age in days at which the catalog is no longer fresh.
        owner: VBLAKE_OWNER, an e-mail address or `team:NAME` that is shown beside the tables.
        webhook: VBLAKE_WEBHOOK, an address that is sent a JSON message when a run fails.
        email: VBLAKE_EMAIL, an address that is sent a message when a run fails.
        smtp: VBLAKE_SMTP, host or host:port of the mail server.
    """

    schedule: str | None = None
    mice_per_run: int | None = None
    fresh_days: float = 14.0
    owner: str = "team:lab"
    webhook: str | None = None
    email: str | None = None
    smtp: str = "localhost"

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the variables.

        Raises:
            UsageError: one has no value that it can have.
        """
        mice = _number("VBLAKE_MICE_PER_RUN", least=1)
        days = _number("VBLAKE_FRESH_DAYS", least=0.01)
        return cls(
            schedule=_cron("VBLAKE_SCHEDULE"),
            mice_per_run=None if mice is None else int(mice),
            fresh_days=cls.fresh_days if days is None else days,
            owner=os.environ.get("VBLAKE_OWNER") or cls.owner,
            webhook=_address("VBLAKE_WEBHOOK"),
            email=os.environ.get("VBLAKE_EMAIL") or None,
            smtp=os.environ.get("VBLAKE_SMTP") or cls.smtp,
        )


def _cron(variable: str) -> str | None:
    text = os.environ.get(variable) or None
    if text is not None and len(text.split()) != _CRON_FIELDS and not text.startswith("@"):
        raise UsageError(
            f"{variable} is {text!r}; expected a cron expression of five fields, like {WEEKLY!r}."
        )
    return text


def _address(variable: str) -> str | None:
    text = os.environ.get(variable) or None
    if text is not None and not text.startswith(("http://", "https://")):
        raise UsageError(f"{variable} is {text!r}; expected an http:// or https:// address.")
    return text


def _number(variable: str, least: float) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{variable} is {text!r}; expected a number.") from None
    if number < least:
        raise UsageError(f"{variable} is {text}; expected {least:g} or more.")
    return number


SETTINGS = Settings.from_environment()
