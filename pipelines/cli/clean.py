"""The clean command."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer

from pipelines.cli.log_options import logged
from pipelines.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from pipelines.cli.terminal import print_json, print_table, say, size


@logged
def clean(
    lake: LakeOption = DEFAULT_LAKE,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it. Without this, only list what would go.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what the lake can do without: staged files and old generations.

    Staged files are left by an ingest that was killed, which would go on with
    them. An old generation is what the lake was before an upgrade or removal;
    without it vblake rollback cannot go back. Sizes are what the disk gets back.

    [dim]Example:[/dim]  vblake clean --lake lake --yes
    """
    from pipelines.lake.leftovers import clean as remove_leftovers
    from pipelines.lake.marker import require_lake
    from pipelines.lake.store import open_store

    store = open_store(lake)
    require_lake(store)
    found = remove_leftovers(store, remove=yes)
    if as_json:
        rows = [{"what": x.what, "place": x.place, "bytes": x.bytes} for x in found]
        print_json({"lake": store.root, "removed": yes, "leftovers": rows})
        return
    if not found:
        say(f"{store.root} has nothing to clean")
        return
    print_table((">size", "what", "~place"), [(size(x.bytes), x.what, x.place) for x in found])
    total = size(sum(x.bytes for x in found))
    if yes:
        say(f"{total} freed")
    else:
        say(f"{total} can be freed: vblake clean --lake {quote(store.root)} --yes")
