"""The explore command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_LAKE, LakeOption
from pipelines.cli.terminal import say
from schemas.errors import UsageError, VblakeError


def explore(
    lake: LakeOption = DEFAULT_LAKE,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Address to listen on. If others reach it, the page needs a token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port; 0 for any free one.")
    ] = 8050,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            help="What the address of the page has to carry. "
            "[dim]\\[default: none on loopback, else a new one][/dim]",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser, on a desktop.")
    ] = True,
) -> None:
    """Show the lake in the browser: sessions, trials, training, planes, cells.

    Every figure can be saved as SVG and PNG, has a link that shows it again,
    and shows its query as SQL and Polars. Works without the internet.

    [dim]Example:[/dim]  vblake explore --lake lake
    """
    from pipelines.catalog.connect import open_lake
    from vblake.extras import import_extra

    try:
        for package in ("dash", "flask", "waitress"):
            import_extra(package, "explore")
    except ModuleNotFoundError as error:
        raise VblakeError(str(error)) from None
    from vblake.explore.server import serve

    def started(address: str) -> None:
        say(f"{address}  (Ctrl-C ends it)")
        sys.stdout.flush()
        if open_ and sys.stdout.isatty() and _has_desktop():
            import webbrowser

            webbrowser.open(address)

    with open_lake(lake) as opened:
        try:
            serve(opened, host, port, token, started)
        except OSError as error:
            raise UsageError(
                f"{host}:{port} cannot be listened on ({error.strerror or error}). "
                "Choose another --port or --host."
            ) from None


def _has_desktop() -> bool:
    """Whether a browser would open in a window, not in this terminal."""
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
