"""The remove command."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.extras import require_build
from pipelines.cli.log_options import logged
from pipelines.cli.option_fields import with_options
from pipelines.cli.options import IngestOptions, JsonOption
from pipelines.cli.terminal import counted, print_json, print_table, say

if TYPE_CHECKING:
    from pipelines.remove import Removal


@logged
@with_options(IngestOptions, "lake", "mouse", "behavior_session", "experiment", "wait")
def remove(
    options: IngestOptions,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it. Without this, only list what would go.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take files out of the lake; readers see it happen in one step.

    The ids add up. The behaviour of a session stays as long as one of its planes
    does. The next ingest that selects the files brings them in again. vblake
    rollback brings them back at once, until vblake clean frees their room.

    [dim]Example:[/dim]  vblake remove --lake lake --mouse 412366 --yes
    """
    require_build()
    from pipelines.lake.generations import settle
    from pipelines.lake.store import open_store
    from pipelines.remove import plan_removal
    from pipelines.remove import remove as take_out

    store, wait_s = open_store(options.lake), options.wait or 0.0
    settle(store, wait_s)
    removal = plan_removal(store, options.request().selection)
    rows = _rows(removal)
    files = counted(len(rows), "file")
    if yes:
        if not as_json:
            say(f"taking {files} out of {store.root}")
        take_out(store, removal, wait_s)
    if as_json:
        print_json({"lake": store.root, "removed": yes, "files": rows})
        return
    _print_rows(rows)
    if yes:
        say(f"{files} taken out of {store.root}")
        say(f"vblake rollback --lake {quote(store.root)} brings them back")
    else:
        say(f"Nothing was done yet: {files} would go. Add --yes to remove them.")


def _rows(removal: Removal) -> list[dict[str, Any]]:
    """The files of a removal, as `--json` shows them."""
    return [
        {
            "mouse_id": entry.mouse_id,
            "kind": entry.file_kind.value,
            "file_key": entry.file_key,
            "behavior_stays": entry in removal.behavior_stays,
        }
        for entry in (*removal.gone, *removal.behavior_stays)
    ]


def _print_rows(rows: list[dict[str, Any]]) -> None:
    print_table(
        (">mouse", "kind", ">id", "stays"),
        [
            (
                *(str(row[name]) for name in ("mouse_id", "kind", "file_key")),
                "the session's behaviour" if row["behavior_stays"] else "",
            )
            for row in rows
        ],
    )
