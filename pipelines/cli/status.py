"""The status command."""

from __future__ import annotations

from dataclasses import fields
from shlex import quote
from typing import Any

from pipelines.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from pipelines.cli.terminal import one_line, print_json, print_table, say, size

_OUTCOMES = ("done", "held_back", "quarantined", "skipped", "missing")


def status(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Show what the lake holds, by table and by mouse, and which files failed.

    Done, held back (rows that break a rule), quarantined (the last attempt
    failed), skipped (the release has no file for it) and missing (not
    tried yet) are numbers of NWB files.

    [dim]Example:[/dim]  vblake status --lake lake
    """
    from pipelines.lake.generations import settle
    from pipelines.lake.ledger import TableOutcome
    from pipelines.lake.status import lake_status
    from pipelines.lake.store import open_store

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
    header = (">rows", ">size", ">files", *(f">{name.replace('_', ' ')}" for name in _OUTCOMES))
    rows = [_row(table["table"], table) for table in found["tables"]]
    empty = _row("", dict.fromkeys(found["all"], 0))[1:]
    print_table(("table", *header), [row for row in rows if row[1:] != empty])
    print_table(
        (">mouse", *header),
        [_row(str(mouse["mouse_id"]), mouse) for mouse in found["mice"]],
        footer=_row("all", found["all"]),
    )
    for t in found["held_back"]:
        outcome = TableOutcome.from_dict({f.name: t[f.name] for f in fields(TableOutcome)})
        say(one_line(f"held back: {t['object_key']} (mouse {t['mouse_id']}): {outcome}"))
    for p in found["problems"]:
        file = p["object_key"] or f"{p['kind']} {p['file_key']}"
        say(one_line(f"{p['status']}: {file} (mouse {p['mouse_id']}): {p['error']}"))


def _row(name: str, counts: dict[str, Any]) -> list[str]:
    numbers = [f"{counts[n]:,}" for n in ("files", *_OUTCOMES)]
    return [name, f"{counts['rows']:,}", size(counts["bytes"]), *numbers]
