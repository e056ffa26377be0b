"""The status command."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Any

from pipelines.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from pipelines.cli.terminal import one_line, print_json, print_table, say, size

if TYPE_CHECKING:
    from pipelines.lake.status import Counts, LakeStatus


def status(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Show what the lake holds, by table and by mouse, and which files failed.

    Done, quarantined (the last attempt failed), skipped (in the release, but
    not in the bucket) and missing (not tried yet) are numbers of NWB files.

    [dim]Example:[/dim]  vblake status --lake lake
    """
    from pipelines.lake.status import lake_status
    from pipelines.lake.store import open_store

    found = lake_status(open_store(lake))
    if as_json:
        print_json(_status_json(found))
    else:
        _print_status(found)


def _print_status(found: LakeStatus) -> None:
    say(f"release {found.release} in {found.root}")
    if not found.has_catalog:
        say(f"There is no catalog yet: vblake catalog --lake {quote(found.root)}")
    header = (">rows", ">size", ">files", ">done", ">quarantined", ">skipped", ">missing")
    print_table(
        ("table", *header),
        [(name, *_cells(c)) for name, c in found.tables.items() if any(asdict(c).values())],
    )
    print_table(
        (">mouse", *header),
        [(str(mouse), *_cells(c)) for mouse, c in sorted(found.mice.items())],
        footer=("all", *_cells(found.sources)),
    )
    for p in found.problems:
        file = p.object_key or f"{p.kind} {p.file_key}"
        say(one_line(f"{p.status}: {file} (mouse {p.mouse_id}): {p.error}"))


def _cells(counts: Counts) -> tuple[str, ...]:
    numbers = (counts.files, counts.done, counts.quarantined, counts.skipped, counts.missing)
    return (f"{counts.rows:,}", size(counts.bytes), *(f"{n:,}" for n in numbers))


def _status_json(found: LakeStatus) -> dict[str, Any]:
    return {
        "lake": found.root,
        "release": found.release,
        "has_catalog": found.has_catalog,
        "all": asdict(found.sources),
        "tables": [{"table": name, **asdict(c)} for name, c in found.tables.items()],
        "mice": [{"mouse_id": mouse, **asdict(c)} for mouse, c in sorted(found.mice.items())],
        "tables_by_mouse": [
            {"table": t, "mouse_id": m, **asdict(c)} for (t, m), c in sorted(found.cells.items())
        ],
        "problems": [asdict(p) for p in found.problems],
    }
