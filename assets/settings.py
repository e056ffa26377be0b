"""What an operator has set for a lake's web interface, when Dagster loads the definitions."""

from __future__ import annotations

from pipelines.cli.options import UiOptions, from_settings

SETTINGS = from_settings(UiOptions, "ui", {})
