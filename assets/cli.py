"""The two commands that need Dagster, added to those of `pipelines.cli`; and the entry point.

Dagster takes over a second to import, so it is imported only once one of the two has work to do.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipelines.cli import app as cli
from pipelines.cli.app import BUILD_PANEL, USE_PANEL
from pipelines.cli.options import (
    DEFAULT_LAKE,
    DEFAULT_SOURCE,
    IngestOptions,
    LakeOption,
    SourceOption,
    absolute,
    with_options,
)

RecordOption = Annotated[
    bool,
    typer.Option(
        "--record/--no-record",
        help="Whether to record it as a Dagster run, for 1 to 2 s of a processor.",
        rich_help_panel="Work",
    ),
]


@cli.app.command(rich_help_panel=BUILD_PANEL)
@with_options
def ingest(options: IngestOptions, record: RecordOption = True) -> None:
    """Bring the selected files into the lake; files that are there already are not read again.

    It is recorded as a Dagster run, which `vblake ui` shows. Exit code 0: all done; 3: some files are quarantined,
    the rest is done; 2: bad arguments; 1: anything else.

    Example: vblake ingest --lake lake --where "cre_line = 'Vip-IRES-Cre' AND session_number = 1" --tables trials,dff_traces
    """
    from pipelines.cli.progress import Progress, print_summary
    from pipelines.ingest import ingest as run
    from pipelines.ingest import prepare

    prepared = prepare(options.request())
    if not prepared.mice:
        # Nothing to convert: project tables and catalog are still seen to, and Dagster is not needed for that.
        summary = print_summary(prepared, run(prepared))
    else:
        from assets.recording import recorded, unrecorded

        with (
            (recorded if record else unrecorded)(prepared, options) as outcome,
            Progress() as progress,
        ):
            progress.start(len(prepared.todo), sum(t.bytes or 0 for t in prepared.todo))
            reports = run(prepared, on_file=progress.file_done, on_mouse=progress.mouse_done)
            outcome.set_result(reports)
        summary = print_summary(prepared, reports)
    raise typer.Exit(summary)


@cli.app.command(rich_help_panel=USE_PANEL)
def ui(
    lake: LakeOption = DEFAULT_LAKE,
    source: SourceOption = DEFAULT_SOURCE,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 3000,
) -> None:
    """Start Dagster's web interface with the project's settings: assets, partitions, runs, checks, schedules.

    Example: vblake ui --lake lake
    """
    from assets.run import dagster_home

    home = dagster_home()
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "VBLAKE_LAKE": absolute(lake),
        "VBLAKE_SOURCE": absolute(source),
    }
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "--module-name",
        "assets.definitions",
        "--host",
        host,
        "--port",
        str(port),
    ]
    # In the place of this process, so that whoever stops it stops Dagster.
    os.chdir(home)
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def main() -> None:
    """Entry point of `vblake`."""
    cli.main()


if __name__ == "__main__":
    main()
