"""The publish command."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.log_options import logged
from pipelines.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from pipelines.cli.terminal import counted, print_json, say, size
from schemas.errors import UsageError


@logged
def publish(
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="PLACE", help="Where to publish it: a folder or an s3:// prefix."
        ),
    ],
    lake: LakeOption = DEFAULT_LAKE,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Address at which readers will find it, like https://host/vb.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a frozen copy of the lake, which anyone can query by its address.

    A web server or a bucket is enough: a DuckLake catalog, vb.ducklake, and a
    list, files.parquet, name all files, with statistics by which readers skip
    most of them. Publishing into the same place again adds a snapshot; earlier
    ones stay readable, and files that did not change are not copied again. In a
    local folder, files are linked where the file system can.
    See docs/publishing.md.

    [dim]Example:[/dim]  vblake publish --lake lake --to /srv/vb --url https://host/vb
    """
    from pipelines.frozen.publish import publish as publish_lake
    from pipelines.lake.store import open_store
    from schemas.layout import DUCKLAKE

    if url is not None and not url.startswith(("https://", "http://", "s3://")):
        raise UsageError(f"--url is {url!r}; expected an address like https://host/vb.")
    target = open_store(to)
    done = publish_lake(open_store(lake), target, url)
    if as_json:
        facts = {"release": done.release, "snapshot": done.snapshot, "files": done.files}
        print_json({"place": target.root, **facts, "bytes": done.bytes, "copied": done.copied})
        return
    if done.snapshot is None:
        say(f"{target.root} already holds this state of release {done.release}")
        return
    say(
        f"snapshot {done.snapshot}, release {done.release}, is in {target.root}: "
        f"{counted(done.files, 'file')}, {size(done.bytes)}; {counted(done.copied, 'file')} new"
    )
    place = url.rstrip("/") if url else target.root
    options = "" if url else f" (READ_ONLY, DATA_PATH '{place}/', OVERRIDE_DATA_PATH true)"
    say(f"Next, in DuckDB: ATTACH 'ducklake:{place}/{DUCKLAKE}' AS vb{options}; USE vb;")
