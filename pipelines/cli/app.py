"""The `vblake` application: its commands, and how their errors become messages and exit codes.

`assets.commands` adds `ingest` and `ui`, which need Dagster; `assets.__main__` is the entry point.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption

from pipelines.cli import (
    catalog,
    check,
    clean,
    config,
    explore,
    interrupt,
    plan,
    publish,
    releases,
    remove,
    rules,
    sample,
    settings,
    sql,
    status,
    tables,
    verify,
)
from pipelines.cli.terminal import has_styles, is_interrupt, plain, say
from pipelines.os_errors import is_limit
from schemas.errors import UsageError, VblakeError
from vblake.extras import pyarrow_problem

BUILD_PANEL = "Build a lake"
USE_PANEL = "Use a lake"

USAGE_ERROR = 2
OTHER_ERROR = 1
BROKEN_PIPE = 141
_TYPER_INTERRUPTED = 130

_ORDER = (
    *("plan", "ingest", "status", "releases", "diff", "rollback", "remove"),
    *("verify", "check", "catalog", "clean", "publish"),
    *("sql", "tables", "describe", "explore", "rules", "sample", "ui", "config"),
)


def say_error(message: str) -> None:
    """Prints an error on stderr; `error:` in red on a terminal."""
    prefix = "error:"
    if has_styles(sys.stderr) and not os.environ.get("NO_COLOR"):
        prefix = typer.style(prefix, fg=typer.colors.RED, bold=True)
    typer.echo(f"{prefix} {plain(message)}", err=True)


def _no_output() -> None:
    """Drops what has not reached stdout, which Python would try to write again at exit."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _hide_type_of_flags(params: list[Any]) -> list[Any]:
    """Keeps `<bool>` out of the help: a flag takes no value."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag and param.metavar is None:
            param.metavar = ""
    return params


class Commands(TyperGroup):
    """The commands, in the order in which people need them.

    Errors that are meant for the user become a message and an exit code.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, command in self.commands.items():
            settings.name_variables(name, settings.options_of(command))

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names of the commands; those that are not in our list come last."""
        names = list(self.commands)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """The command of a name, None if there is none."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _hide_type_of_flags(command.get_params(ctx))
        return command

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        """The options before the name of a command."""
        return _hide_type_of_flags(super().get_params(ctx))

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            explained = settings.explained(error)
            if explained is None:
                raise
            say_error(str(explained))
            raise typer.Exit(USAGE_ERROR) from None
        except VblakeError as error:
            say_error(str(error))
            raise typer.Exit(
                USAGE_ERROR if isinstance(error, UsageError) else OTHER_ERROR
            ) from None
        except BrokenPipeError:
            # Nobody reads the rest, as in `vblake sql ... | head`. SIGPIPE ends other programs.
            _no_output()
            raise typer.Exit(BROKEN_PIPE) from None
        except OSError as error:
            if not is_limit(error):
                raise
            if error.filename is None:
                _no_output()
            say_error(f"{error.filename or 'the output'}: {error.strerror}")
            raise typer.Exit(OTHER_ERROR) from None
        except (KeyboardInterrupt, Exception) as error:
            # After a signal, the error is the signal, whatever a library makes of it.
            if interrupt.received() is None and not is_interrupt(error):
                raise
            say_error(interrupt.farewell("".join(getattr(error, "__notes__", []))))
            raise typer.Exit(interrupt.exit_code()) from None


app = typer.Typer(
    name="vblake",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    # Typer's traceback shows the values of all variables. `main` shows a plain one.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done; 1 an error; 2 wrong arguments or settings; 3 done but for files "
    "or tables that are quarantined, missing or held back; 129, 130 and 143 stopped by SIGHUP, "
    "Ctrl-C and SIGTERM; 141 nobody read the output.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vblake {version('vblake')}")
        raise typer.Exit


@app.callback()
def vblake(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """The Allen Institute's Visual Behavior 2P dataset as a Parquet and DuckDB lake.

    Try it without the network:

    $ vblake sample --out bucket
    $ vblake ingest --source bucket --lake lake
    $ vblake sql --lake lake "SELECT * FROM behavior_sessions"
    """
    commands: dict[str, Any] = getattr(context.command, "commands", {})
    if (file := settings.read_file()) is not None:
        settings.check_names(file, commands)
        settings.set_environment(file)
        context.default_map = settings.defaults(file, commands)


app.command(rich_help_panel=BUILD_PANEL)(plan.plan)
app.command(rich_help_panel=BUILD_PANEL)(status.status)
app.command(rich_help_panel=BUILD_PANEL)(releases.releases)
app.command(rich_help_panel=BUILD_PANEL)(releases.diff)
app.command(rich_help_panel=BUILD_PANEL)(releases.rollback)
app.command(rich_help_panel=BUILD_PANEL)(remove.remove)
app.command(rich_help_panel=BUILD_PANEL)(verify.verify)
app.command(rich_help_panel=BUILD_PANEL)(check.check)
app.command(rich_help_panel=BUILD_PANEL)(catalog.catalog)
app.command(rich_help_panel=BUILD_PANEL)(clean.clean)
app.command(rich_help_panel=BUILD_PANEL)(publish.publish)
app.command(rich_help_panel=BUILD_PANEL)(sample.sample)
app.command(rich_help_panel=USE_PANEL)(sql.sql)
app.command(rich_help_panel=USE_PANEL)(tables.tables)
app.command(rich_help_panel=USE_PANEL)(tables.describe)
app.command(rich_help_panel=USE_PANEL)(explore.explore)
app.command(rich_help_panel=USE_PANEL)(rules.rules)
app.command(rich_help_panel=BUILD_PANEL)(config.config)


def _run(application: typer.Typer) -> None:
    try:
        application()
    except KeyboardInterrupt:  # outside of a command
        say_error(interrupt.farewell())
        code = interrupt.exit_code()
    except SystemExit as leaving:
        if interrupt.received() is None:
            raise
        code = leaving.code if isinstance(leaving.code, int) else OTHER_ERROR
        if code == _TYPER_INTERRUPTED:
            code = interrupt.exit_code()
    else:
        return
    # At once: DuckDB's and Dagster's threads may be busy for long.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(application: typer.Typer = app) -> None:
    """Runs the command line and exits.

    Exit codes: 0 done; 2 the arguments are wrong; 1 any other error; 130 interrupted; 143 and 129
    stopped by SIGTERM and SIGHUP; 141 nobody read the output. Commands may add their own.
    """
    try:
        with interrupt.listening():
            _run(application)
    except Exception as error:  # noqa: BLE001 - the last resort, which reports it
        if isinstance(error, OSError) and is_limit(error):  # of the version or a help page
            _no_output()
            say_error(f"the output: {error.strerror}")
            sys.exit(OTHER_ERROR)
        if isinstance(error, ImportError) and (problem := pyarrow_problem()):
            say_error(problem)
            sys.exit(OTHER_ERROR)
        say_error(
            f"Sorry, this should not have happened ({type(error).__name__}). "
            "Please report it with what follows."
        )
        say(traceback.format_exc().rstrip(), err=True)
        sys.exit(OTHER_ERROR)
