"""The options for a log with times, of commands that run long and of Dagster's runs."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.option_fields import option_types, panel, parameters, with_parameters
from pipelines.log import LogFormat

_log = panel("Log")
LogFileOption = Annotated[
    Path | None,
    _log("FILE", "Append a log with times to this file.", envvar="VBLAKE_LOG_FILE"),
]
LogFormatOption = Annotated[
    LogFormat | None,
    _log(
        None,
        "Format of the log; without --log-file it goes to stderr, in place of other output there.",
        envvar="VBLAKE_LOG_FORMAT",
        show_default="text, if there is a file",
    ),
]


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """The log with times, of commands that run long and of the runs of the web interface."""

    log_file: LogFileOption = None
    log_format: LogFormatOption = None

    @contextmanager
    def writing(self, name: str, **facts: object) -> Generator[None]:
        """Writes the log in the block: its start, its end, and what is recorded meanwhile.

        Args:
            name: what runs.
            **facts: of the start.

        Raises:
            UsageError: the log cannot be written.
        """
        from pipelines import log

        with log.writing(self.log_file, self.log_format):
            log.record(f"{name} starts", event="start", **facts)
            code, problem = 1, ""
            try:
                yield
                code = 0
            except typer.Exit as leaving:
                code = leaving.exit_code
                raise
            except BaseException as error:
                problem = str(error) or type(error).__name__
                raise
            finally:
                text = f"failed: {problem}" if problem else f"ended with exit code {code}"
                log.record(text, event="end", exit_code=code, error=problem or None)


def logged(command: Callable[..., None]) -> Callable[..., None]:
    """Adds options for a log with times to a command that runs long."""

    @functools.wraps(command)
    def run(log_file: Path | None, log_format: LogFormat | None, **given: Any) -> None:
        from importlib.metadata import version

        options = LogOptions(log_file=log_file, log_format=log_format)
        with options.writing(f"vblake {version('vblake')}", arguments=sys.argv[1:]):
            command(**given)

    added = [
        parameter.replace(annotation=option_types(LogOptions)[name])
        for name, parameter in inspect.signature(LogOptions).parameters.items()
    ]
    return with_parameters(run, [*parameters(command), *added])
