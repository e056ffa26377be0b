"""Dagster resources: the options of a run, and what a run shares with the command that it records."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin

import dagster as dg
from rich.text import Text

from pipelines.cli.options import IngestOptions, option_info, option_types
from pipelines.ingest import MouseReport, Prepared


def _config_type(kind: Any) -> Any:
    """The type of a configuration field, as Dagster writes it."""
    if isinstance(kind, UnionType):
        return dg.Noneable(_config_type(get_args(kind)[0]))
    return list(get_args(kind)) if get_origin(kind) is list else kind


@dg.resource(
    config_schema={
        name: dg.Field(
            _config_type(get_args(annotation)[0]),
            is_required=False,
            description=Text.from_markup(option_info(annotation).help or "").plain,
        )
        for name, annotation in option_types().items()
    }
)
def ingest_options(context: dg.InitResourceContext) -> IngestOptions:
    """The options of `vblake ingest`, with the same defaults and environment variables."""
    return IngestOptions.from_environment(context.resource_config)


@dataclass(frozen=True)
class SharedRun:
    """The ingest of a command that a run records; empty for runs started from the UI, which ingest themselves.

    Attributes:
        prepared: the command's plan.
        reports: what the ingest has done, as soon as it is done.
    """

    prepared: Prepared | None = None
    reports: Future[list[MouseReport]] = field(default_factory=Future[list[MouseReport]])

    def resource(self) -> dg.ResourceDefinition:
        """As the resource `shared`."""
        return dg.ResourceDefinition.hardcoded_resource(self)
