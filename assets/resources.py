"""Dagster resources: the options of a run, and what the process that starts a run adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin

import dagster as dg
import pyarrow as pa
from rich.text import Text

from pipelines.cli.option_fields import option_info, option_types
from pipelines.cli.options import IngestOptions
from pipelines.ingest import MouseReport, OnFile, OnMouse, ignore, ingest, publish_project
from pipelines.prepare import Prepared, prepare
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
        for name, annotation in option_types(IngestOptions).items()
    }
)
def ingest_options(context: dg.InitResourceContext) -> IngestOptions:
    """The options of `vblake ingest`, with the same defaults and environment variables."""
    return IngestOptions.from_settings(context.resource_config)


def _ingest(prepared: Prepared, on_file: OnFile, on_mouse: OnMouse) -> list[MouseReport]:
    return ingest(prepared, on_file=on_file, on_mouse=on_mouse)


@dataclass(frozen=True)
class IngestHooks:
    """What the process that starts a run adds to it. `vblake ui` adds nothing.

    Attributes:
        prepare: makes the plan of a request; `vblake ingest` has one already.
        publish_project: publishes the project tables of a plan.
        ingest: carries out a plan; `vblake ingest` has begun already.
        on_file: called for each converted or failed file, for a progress display.
        on_mouse: called after a mouse's files are in the lake.
        signals: who handles signals during an ingest; Dagster by default.
        of_command: whether the run is that of `vblake ingest`, which waits for nothing, tries
            nothing again, and shows itself that its process lives.
    """

    prepare: Callable[[IngestRequest], Prepared] = prepare
    publish_project: Callable[[Prepared], Mapping[str, pa.Table]] = publish_project
    ingest: Callable[[Prepared, OnFile, OnMouse], list[MouseReport]] = _ingest
    on_file: OnFile = ignore
    on_mouse: OnMouse = ignore
    signals: Callable[[], AbstractContextManager[None]] = nullcontext
    of_command: bool = False
