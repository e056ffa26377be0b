"""The tables and describe commands."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import JsonOption
from pipelines.cli.terminal import print_json, print_table, width
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas import Table
    from schemas.views import View


def tables(
    as_json: JsonOption = False,
) -> None:
    """List the tables of the lake and the views of its catalog. Needs no lake.

    [dim]Example:[/dim]  vblake tables
    """
    from schemas import TABLES
    from schemas.dictionary import path_pattern
    from schemas.views import VIEWS, View

    if as_json:
        print_json(
            [
                {
                    "name": t.name,
                    "subject": t.subject.value,
                    "description": t.description,
                    "primary_key": list(t.primary_key),
                    "files": None if isinstance(t, View) else path_pattern(t),
                    "by_name_only": not isinstance(t, View) and t.by_name_only,
                }
                for t in (*TABLES.values(), *VIEWS.values())
            ]
        )
        return
    rows = [
        (t.name, t.description + (" Ingested by name only." if t.by_name_only else ""))
        for t in TABLES.values()
    ]
    print_table(("table", "~description"), rows)
    print_table(("view", "~description"), [(v.name, v.description) for v in VIEWS.values()])
    typer.echo("vblake describe TABLE lists the columns of a table.")


def describe(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A table or view of the lake.")],
    as_json: JsonOption = False,
) -> None:
    """Describe a table or view and its columns. Needs no lake.

    [dim]Example:[/dim]  vblake describe trials
    """
    from schemas.dictionary import column_rows, table_summary, view_summary
    from schemas.views import View

    declared = _declared(table)
    facts = view_summary(declared) if isinstance(declared, View) else table_summary(declared)
    if as_json:
        named = {label.replace(" ", "_"): text for label, text in facts}
        print_json({**named, "columns": column_rows(declared)})
        return
    label_width = max(len(label) for label, _ in facts)
    for label, text in facts:
        typer.echo(f"{typer.style(label.ljust(label_width), bold=True)}  {text}")
    rows = [
        (
            c["name"] + (f"\nalias {c['alias']}" if c["alias"] else ""),
            *(c[name] for name in ("type", "unit", "null", "description")),
        )
        for c in column_rows(declared)
    ]
    print_table(("column", "~type", "~unit", "~NULL", "~description"), rows)
    if width() is not None:
        typer.echo("--json also has the source of each column in the NWB files.")


def _declared(name: str) -> Table | View:
    from schemas import TABLES
    from schemas.views import VIEWS

    known = {**TABLES, **VIEWS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower(), known, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "See `vblake tables`."
    raise UsageError(f"There is no table {name!r}. {hint}")
