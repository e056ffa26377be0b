"""The status command."""

from __future__ import annotations

from shlex import quote
from typing import Any

from pipelines.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from pipelines.cli.terminal import one_line, print_json, print_table, say, size, with_name

_OUTCOMES = ("done", "held_back", "quarantined", "skipped", "missing")


def status(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Show what the lake holds, by table and by mouse, and which files failed.

    NWB files are counted once for each table that is read from them, and once
    for their mouse: done, held back (rows break a rule), quarantined (the last
    attempt failed), skipped (the release has no file) or missing (not tried yet).

    [dim]Example:[/dim]  vblake status --lake lake
    """
    from pipelines.lake.generations import settle
    from pipelines.lake.store import open_store
    from pipelines.status import lake_status

    store = open_store(lake)
    settle(store)
    found = lake_status(store)
    if as_json:
        print_json(found)
        return
    say(
        f"release {found['release']} in {found['lake']}, "
        + ("follows latest" if found["follows_latest"] else "pinned")
    )
    if found["synthetic"]:
        say("synthetic data: no file is a recording")
    if not found["has_catalog"]:
        say(f"There is no catalog yet: vblake catalog --lake {quote(found['lake'])}")
    print_table(
        ("Parquet files of the lake", ">rows", ">size", ">files"),
        [_held(t["table"], t) for t in found["tables"] if t["files"]],
        footer=_held("all", found["all"]),
    )
    outcomes = tuple(f">{name.replace('_', ' ')}" for name in _OUTCOMES)
    counts = [(t["table"], _numbers(t)) for t in found["tables"]]
    print_table(
        ("NWB files by table", *outcomes),
        [[name, *numbers] for name, numbers in counts if {*numbers} != {"0"}],
    )
    print_table(
        ("NWB files by mouse", *outcomes),
        [[str(mouse["mouse_id"]), *_numbers(mouse)] for mouse in found["mice"]],
        footer=["all", *_numbers(found["all"])],
    )
    _print_held_back(found)
    for p in found["problems"]:
        file = p["object_key"] or f"{p['kind']} {p['file_key']}"
        say(one_line(f"{p['status']}: mouse {p['mouse_id']}: {with_name(file, p['error'])}"))


def _print_held_back(found: dict[str, Any]) -> None:
    """Prints each table that is held back with its rule, the number of files, and one of them."""
    files: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in found["held_back"]:
        files.setdefault((row["table"], row["rule"]), []).append(row)
    if not files:
        return
    from pipelines.lake.ledger import TableOutcome  # with PyArrow, 0.2 s

    print_table(
        ("held back", "rule", ">NWB files"),
        [(*key, f"{len(rows):,}") for key, rows in files.items()],
    )
    for first, *_ in files.values():
        outcome = TableOutcome.from_dict({f: first[f] for f in TableOutcome._fields})
        say(one_line(f"held back: mouse {first['mouse_id']}: {first['object_key']}: {outcome}"))
    if len(found["held_back"]) > len(files):
        say(f'all: vblake sql --lake {quote(found["lake"])} "FROM _held_back"')


def _held(name: str, counts: dict[str, Any]) -> list[str]:
    return [name, f"{counts['rows']:,}", size(counts["bytes"]), f"{counts['files']:,}"]


def _numbers(counts: dict[str, Any]) -> list[str]:
    return [f"{counts[name]:,}" for name in _OUTCOMES]
