"""The commands about releases: releases, diff and rollback."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.extras import require_build
from pipelines.cli.log_options import logged
from pipelines.cli.option_fields import with_options
from pipelines.cli.options import IngestOptions, JsonOption
from pipelines.cli.terminal import counted, one_line, print_json, print_table, say, size, waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.release.differences import FileChanges, RowChanges
    from pipelines.release.manifest import Release

_CHANGES = ("same", "changed", "added", "removed")
_BEHAVIOR_FOLDER = "behavior_sessions"


@with_options(IngestOptions, "Source", "lake")
def releases(options: IngestOptions, as_json: JsonOption = False) -> None:
    """List the releases of the source, and which of them the lake holds.

    The date is that of the manifest in the source. Sizes are those of the newest
    version of each file; a copy of the bucket may lack files of older releases.

    [dim]Example:[/dim]  vblake releases --lake lake
    """
    require_build()
    from pipelines.lake.marker import read_marker
    from pipelines.lake.store import open_store
    from pipelines.release.manifest import load_release, manifest_key, versions
    from pipelines.request import DATA_PREFIX
    from pipelines.source.open import open_source

    store, source = open_store(options.lake), open_source(options.request().source)
    marker = read_marker(store)
    with waiting(f"reading the releases from {source.spec.url}"):
        found = versions(source)
        listed, written = source.sizes(DATA_PREFIX), source.dates(DATA_PREFIX)
        rows: list[dict[str, Any]] = [
            _release_row(load_release(source, version), listed)
            | {
                "date": written[manifest_key(version)].date().isoformat(),
                "held": marker is not None and marker.release == version,
            }
            for version in found
        ]
    if as_json:
        print_json({"source": source.spec.url, "lake": store.root, "releases": rows})
        return
    print_table(
        ("release", "date", ">files", ">behaviour", ">experiments", ">size", "lake"),
        [
            (
                *(row["release"], row["date"]),
                *(f"{row[name]:,}" for name in ("files", "behavior_sessions", "experiments")),
                size(row["bytes"]) + ("+" if row["unlisted"] else ""),
                "holds it" if row["held"] else "",
            )
            for row in rows
        ],
    )
    if any(row["unlisted"] for row in rows):
        say("+: the source does not list all of the files")
    if any(row["synthetic"] for row in rows):
        say(f"{source.spec.url} holds synthetic data: no file is a recording")


def _release_row(release: Release, listed: Mapping[str, int]) -> dict[str, Any]:
    from pipelines.release.differences import known_bytes, objects_of

    objects = objects_of(release)
    behavior = sum(_is_behavior(obj.key) for obj in objects)
    return {
        "release": release.version,
        "files": len(objects),
        "behavior_sessions": behavior,
        "experiments": len(objects) - behavior,
        "bytes": known_bytes(objects, listed),
        "unlisted": sum(obj.key not in listed for obj in objects),
        "synthetic": release.synthetic,
    }


def _is_behavior(key: str) -> bool:
    return f"/{_BEHAVIOR_FOLDER}/" in key


@with_options(IngestOptions, "Source")
def diff(
    options: IngestOptions,
    old: Annotated[str, typer.Argument(metavar="A", help="A release, X.Y.Z or latest.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The release to compare with it.")],
    list_files: Annotated[bool, typer.Option("--list", help="List the files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two releases: files, and rows of the project tables.

    A file is the same if its key, version and hash are; an upgrade does not read
    it again. Rows are compared by their primary key.

    [dim]Example:[/dim]  vblake diff 1.0.1 1.1.0
    """
    require_build()
    from pipelines.release.differences import compare_files, compare_tables, objects_of
    from pipelines.release.manifest import load_release
    from pipelines.release.project_tables import read_project_tables
    from pipelines.request import DATA_PREFIX
    from pipelines.source.open import open_source

    source = open_source(options.request().source)
    with waiting(f"reading the releases from {source.spec.url}"):
        one, other = (load_release(source, version) for version in (old, new))
        files = compare_files(objects_of(one), objects_of(other))
        tables = compare_tables(*(read_project_tables(source, r).tables for r in (one, other)))
        counts = file_counts(files, source.sizes(DATA_PREFIX))
    if as_json:
        print_json(
            {
                "source": source.spec.url,
                "releases": [one.version, other.version],
                "files": counts,
                "tables": {name: asdict(changes) for name, changes in tables.items()},
                **({"keys": _keys(files)} if list_files else {}),
            }
        )
        return
    say(f"release {one.version} to {other.version} of {source.spec.url}")
    rows = [
        (change, *(f"{counts[change][kind]:,}" for kind in _KINDS), size(counts[change]["bytes"]))
        for change in _CHANGES
    ]
    print_table(("files", *(f">{kind.replace('_', ' ')}" for kind in _KINDS), ">size"), rows)
    print_row_changes(tables)
    if list_files:
        for change, keys in _keys(files).items():
            for key in keys:
                say(one_line(f"{change}: {key}"))


@logged
@with_options(IngestOptions, "lake", "wait")
def rollback(options: IngestOptions, as_json: JsonOption = False) -> None:
    """Go back to what the lake was before its last upgrade or removal, at once.

    It then stays at that release until another is asked for (--release latest
    follows again). A second rollback goes forward again. Nothing is fetched.

    [dim]Example:[/dim]  vblake rollback --lake lake
    """
    from pipelines.lake.store import open_store
    from pipelines.next_generation import roll_back

    store = open_store(options.lake)
    marker = roll_back(store, options.wait or 0.0)
    if as_json:
        print_json({"lake": store.root, "release": marker.release, "generation": marker.generation})
        return
    say(f"{store.root} holds release {marker.release} again, and is pinned to it")
    say(f"vblake rollback --lake {quote(store.root)} goes forward again")


_KINDS = ("behavior_sessions", "experiments")


def file_counts(files: FileChanges, listed: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Numbers of files by change and kind, and their bytes as far as they are listed."""
    from pipelines.release.differences import known_bytes

    counts: dict[str, dict[str, int]] = {}
    for change in _CHANGES:
        objects = getattr(files, change)
        behavior = sum(_is_behavior(obj.key) for obj in objects)
        numbers = (behavior, len(objects) - behavior)
        counts[change] = dict(zip(_KINDS, numbers, strict=True))
        counts[change]["bytes"] = known_bytes(objects, listed)
    return counts


def print_row_changes(tables: Mapping[str, RowChanges]) -> None:
    """Prints how many rows of the project tables change, and in which columns."""
    print_table(
        ("project table", *(f">{change}" for change in _CHANGES)),
        [
            (name, *(f"{getattr(changes, change):,}" for change in _CHANGES))
            for name, changes in tables.items()
        ],
    )
    for name, changes in tables.items():
        if changes.columns:
            said = (f"{column} in {counted(n, 'row')}" for column, n in changes.columns.items())
            say(f"{name}: {', '.join(said)}")


def _keys(files: FileChanges) -> dict[str, list[str]]:
    """The keys of the files that differ, by change."""
    return {
        change: [obj.key for obj in getattr(files, change)]
        for change in _CHANGES
        if change != "same"
    }
