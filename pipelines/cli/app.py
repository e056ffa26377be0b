"""The `vblake` application: commands, common behaviour, and what becomes of errors.

`assets.cli` adds `ingest` and `ui`, which need Dagster, and calls `main`.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines.cli import inspect, make_sample, query
from pipelines.cli.terminal import is_interrupt
from schemas.errors import UsageError, VblakeError

BUILD_PANEL = "Build a lake"
USE_PANEL = "Use a lake"

USAGE_ERROR = 2
OTHER_ERROR = 1
INTERRUPTED = 130

_ORDER = ("plan", "ingest", "status", "verify", "catalog", "sql", "tables", "describe", "sample", "ui")


def say_error(message: str) -> None:
    """Prints an error on stderr; `error:` in red on a terminal."""
    prefix = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        prefix = typer.style(prefix, fg=typer.colors.RED, bold=True)
    typer.echo(f"{prefix} {message}", err=True)


class Commands(TyperGroup):
    """The commands, in the order in which people need them. Errors meant for the user become a message and an exit code."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names of the commands, those that others added last."""
        names = list(self.commands)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except VblakeError as error:
            say_error(str(error))
            raise typer.Exit(USAGE_ERROR if isinstance(error, UsageError) else OTHER_ERROR) from None
        except (KeyboardInterrupt, RuntimeError) as error:
            if not is_interrupt(error):
                raise
            say_error("interrupted")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="vblake",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    # A traceback with the values of all variables helps nobody who typed a command; `main` shows a plain one.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vblake {version('vblake')}")
        raise typer.Exit


@app.callback()
def vblake(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """The Allen Institute's Visual Behavior 2P dataset as a Parquet and DuckDB lake.

    Try it without the network:

    $ vblake sample --out bucket
    $ vblake ingest --source bucket --lake lake
    $ vblake sql --lake lake "SELECT * FROM behavior_sessions"
    """


app.command(rich_help_panel=BUILD_PANEL)(inspect.plan)
app.command(rich_help_panel=BUILD_PANEL)(inspect.status)
app.command(rich_help_panel=BUILD_PANEL)(inspect.verify)
app.command(rich_help_panel=BUILD_PANEL)(query.catalog)
app.command(rich_help_panel=BUILD_PANEL)(make_sample.sample)
app.command(rich_help_panel=USE_PANEL)(query.sql)
app.command(rich_help_panel=USE_PANEL)(query.tables)
app.command(rich_help_panel=USE_PANEL)(query.describe)


def main(application: typer.Typer = app) -> None:
    """Runs the command line and exits.

    Exit codes: 0 done; 2 the arguments are wrong; 1 any other error; 130 interrupted; commands may add their own.
    """
    try:
        application()
    except KeyboardInterrupt:
        say_error("interrupted")
        sys.exit(INTERRUPTED)
    except SystemExit as leaving:
        if query.abandoned:
            os._exit(int(leaving.code or 0))  # at once, see there
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, it is reported and nothing goes on
        say_error(f"Sorry, this should not have happened ({type(error).__name__}). Please report it with what follows.")
        traceback.print_exc()
        sys.exit(OTHER_ERROR)
