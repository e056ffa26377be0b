"""The two commands that need Dagster, `ingest` and `ui`, and the entry point of `vblake`.

Dagster takes a second to import, so it is imported only once one of the two has work to do.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import Annotated

import typer

from pipelines.cli import app as cli
from pipelines.cli.app import BUILD_PANEL, USE_PANEL
from pipelines.cli.extras import require_build
from pipelines.cli.log_options import logged
from pipelines.cli.option_fields import with_options
from pipelines.cli.options import (
    DEFAULT_LAKE,
    DEFAULT_SOURCE,
    IngestOptions,
    LakeOption,
    SourceOption,
    UiOptions,
    absolute,
)
from pipelines.cli.settings import VARIABLE, read_file, variable
from pipelines.no_pandas import refuse_pandas


@cli.app.command(rich_help_panel=BUILD_PANEL)
@logged
@with_options(IngestOptions)
def ingest(options: IngestOptions) -> None:
    """Bring the selected files into the lake.

    Files that are there already are not read again. The work is a
    Dagster run, which `vblake ui` shows while it goes on.

    The exit code is 0 if all is done, 3 if some files are quarantined or tables
    held back and the rest is done, 2 for bad arguments, and 1 for anything else.

    [dim]Examples:[/dim]

      vblake ingest --mouse 412366
      vblake ingest --where "cre_line = 'Vip-IRES-Cre'" --tables trials,licks
    """
    require_build()
    from pipelines.convert.worker import start_early

    if options.workers != 0 and options.dask is None:
        start_early()  # before anything large is imported here
    from assets.instance import has_unfinished_runs
    from pipelines.cli.progress import Progress, print_nothing_to_do, print_summary, print_upgrade
    from pipelines.cli.terminal import waiting
    from pipelines.convert.pool import bytes_in_progress
    from pipelines.ingest import begun
    from pipelines.ingest import ingest as refresh
    from pipelines.prepare import prepare

    with waiting(f"reading the release from {options.source}"):
        prepared = prepare(options.request())
    if prepared.upgrade is not None:
        print_upgrade(prepared.upgrade)
    if not prepared.mice:
        refresh(prepared)  # project tables and catalog
        if has_unfinished_runs(options.lake):
            from assets.run import settle_record

            settle_record(options.lake)
        raise typer.Exit(print_nothing_to_do(prepared))
    with Progress(in_progress=bytes_in_progress) as progress:
        progress.start(len(prepared.todo), sum(task.bytes or 0 for task in prepared.todo))
        # The workers convert while this process imports Dagster and starts a run.
        with begun(prepared) as work:
            from assets.run import run_in_this_process

            reports = run_in_this_process(
                options, work, on_file=progress.file_done, on_mouse=progress.mouse_done
            )
    raise typer.Exit(print_summary(prepared, reports))


@cli.app.command(rich_help_panel=USE_PANEL)
@with_options(UiOptions)
def ui(
    options: UiOptions,
    lake: LakeOption = DEFAULT_LAKE,
    source: SourceOption = DEFAULT_SOURCE,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port to listen on.")
    ] = 3000,
) -> None:
    """Start Dagster's web interface: assets, partitions, runs, checks, schedules.

    [dim]Example:[/dim]  vblake ui --lake lake
    """
    require_build()
    from assets.instance import LOCATION, dagster_home

    home = dagster_home(lake)
    os.environ |= {"VBLAKE_LAKE": absolute(lake), "VBLAKE_SOURCE": absolute(source)}
    for name, value in vars(options).items():
        os.environ[variable(name)] = "" if value is None else str(value)
    # Dagster works in another folder.
    if (file := read_file()) is not None:
        os.environ[VARIABLE] = str(file.path)
    if log_file := os.environ.get("VBLAKE_LOG_FILE"):
        os.environ["VBLAKE_LOG_FILE"] = absolute(log_file)
    # Its successor, `dg dev`, needs a project of Dagster's own layout, and another package.
    quiet = ("-W", "ignore:Function `dev_command` is superseded")
    command = [sys.executable, *quiet, "-m", "dagster", "dev", "--module-name", LOCATION]
    command += ["--host", host, "--port", str(port)]
    os.chdir(home)
    sys.stdout.flush()
    # Dagster stops its services with SIGINT, which a shell's background jobs ignore.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Replaces this process, so that stopping it stops Dagster.
    os.execv(sys.executable, command)


def main() -> None:
    """Entry point of `vblake`."""
    refuse_pandas()
    # What commands read of a ledger, hundreds of thousands of records, lives to their end. By
    # default, Python looks through them every 700 records: a fifth of the time of `vblake plan`.
    gc.set_threshold(500_000)
    atexit.register(gc.freeze)  # nor at the end, where that takes up to 0.1 s
    cli.main()


if __name__ == "__main__":
    main()
