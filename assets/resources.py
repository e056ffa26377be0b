"""Dagster resources: the options of a run, and what the process that starts a run adds to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin

import dagster as dg
from rich.text import Text

from pipelines.cli.options import IngestOptions, option_info, option_types
from pipelines.ingest import OnFile, OnMouse, Prepared, ignore, prepare
from pipelines.request import IngestRequest


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
    return IngestOptions.from_settings(context.resource_config)


@dataclass(frozen=True)
class IngestHooks:
    """What the process that starts a run adds to it. `vblake ui` adds nothing.

    Attributes:
        prepare: makes the plan of a request; `vblake ingest` has one already.
        on_file: called for each converted or failed file, for a progress display.
        on_mouse: called after a mouse's files are in the lake.
        signals: who handles signals during an ingest; Dagster by default.
        of_command: whether the run is that of `vblake ingest`, which waits for nothing, tries
            nothing again, and shows itself that its process lives.
    """

    prepare: Callable[[IngestRequest], Prepared] = prepare
    on_file: OnFile = ignore
    on_mouse: OnMouse = ignore
    signals: Callable[[], AbstractContextManager[None]] = nullcontext
    of_command: bool = False
