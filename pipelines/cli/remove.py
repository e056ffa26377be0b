"""The remove command."""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any

import typer

from pipelines.cli.extras import require_build
from pipelines.cli.options import DEFAULT_LAKE, IngestOptions, JsonOption, LakeOption, with_options
from pipelines.cli.terminal import counted, print_json, print_table, say


@with_options("mouse", "behavior_session", "experiment")
def remove(
    options: IngestOptions,
    lake: LakeOption = DEFAULT_LAKE,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it. Without this, only list what would go.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take the rows of files out of the lake, for readers in one moment.

    The ids add up. What other planes of a session need stays: its behaviour,
    which is read from one of its planes. The next ingest that selects the files
    brings them in again. vblake rollback brings them back at once; the disk has
    the room back when vblake clean has dropped what the lake was before.

    [dim]Example:[/dim]  vblake remove --lake lake --mouse 412366 --yes
    """
    require_build()
    from pipelines.lake.generations import settle
    from pipelines.lake.store import open_store
    from pipelines.release.selection import Selection
    from pipelines.remove import plan_removal
    from pipelines.remove import remove as take_out

    store = open_store(lake)
    settle(store)
    selection = Selection(
        mice=tuple(options.mouse or ()),
        behavior_sessions=tuple(options.behavior_session or ()),
        experiments=tuple(options.experiment or ()),
    )
    removal = plan_removal(store, selection)
    rows: list[dict[str, Any]] = [
        {
            "mouse_id": entry.mouse_id,
            "kind": entry.file_kind.value,
            "file_key": entry.file_key,
            "rows": sum(entry.row_counts.values()),
            "behavior_stays": entry in removal.behavior_stays,
        }
        for entry in (*removal.gone, *removal.behavior_stays)
    ]
    if yes:
        take_out(store, removal)
    if as_json:
        print_json({"lake": store.root, "removed": yes, "files": rows})
        return
    columns = ("mouse_id", "kind", "file_key", "rows", "behavior_stays")
    print_table(
        (">mouse", "kind", ">id", ">rows", "stays"),
        [
            (*(str(row[c]) for c in columns[:-1]), "its behaviour" if row[columns[-1]] else "")
            for row in rows
        ],
    )
    files = counted(len(rows), "file")
    if yes:
        say(f"{files} taken out of {store.root}")
        say(f"vblake rollback --lake {quote(store.root)} brings them back")
    else:
        say(f"Nothing was done yet: {files} would go. Add --yes to remove them.")
