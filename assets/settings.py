"""What an operator has set for a lake's web interface, when Dagster loads the definitions."""

from __future__ import annotations

from pipelines.cli.option_fields import from_settings
from pipelines.cli.options import UiOptions

SETTINGS = from_settings(UiOptions, "ui", {})
