"""The tables and describe commands: by the declarations, or by the catalog of a lake."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import JsonOption
from pipelines.cli.terminal import print_json, print_table, width, wrapped
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipelines.catalog.macros import Macro
    from schemas import Table
    from schemas.views import View

DictionaryOption = Annotated[
    str | None,
    typer.Option(
        "--lake",
        envvar="VBLAKE_LAKE",
        show_envvar=False,
        metavar="PLACE",
        help="A lake, whose catalog is read: a folder or a URL. "
        "[dim]\\[default: the tables of this version][/dim]",
        show_default=False,
    ),
]


def tables(lake: DictionaryOption = None, as_json: JsonOption = False) -> None:
    """List the tables of the lake, and the views and macros of its catalog.

    Without a lake, these are the tables that this version of vblake writes.

    [dim]Example:[/dim]  vblake tables
    """
    listed = _declared_tables() if lake is None else _tables_of(lake)
    if as_json:
        print_json(listed)
        return
    rows = [
        (t["name"], t["description"] + (" Ingested by name only." if t["by_name_only"] else ""))
        for t in listed
        if t["files"] is not None
    ]
    print_table(("table", "~description"), rows)
    views = [(t["name"], t["description"]) for t in listed if t["files"] is None]
    print_table(("view", "~description"), views)
    macros = _declared_macros() if lake is None else _macros_of(lake)
    # Without the parameters, which `describe` explains: they leave no room beside them.
    print_table(
        ("macro", "~description"),
        [(f"{text.partition('(')[0]}()", about.split(". ")[0] + ".") for text, about in macros],
    )
    typer.echo("vblake describe NAME says more of a table, view or macro, and lists its columns.")


def _declared_tables() -> list[dict[str, Any]]:
    from schemas import TABLES
    from schemas.dictionary import path_pattern
    from schemas.views import VIEWS, View

    return [
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


def _declared_macros() -> list[tuple[str, str]]:
    from pipelines.catalog.macros import MACROS

    return [(macro.signature, macro.description) for macro in MACROS.values()]


_MACROS = (
    "SELECT format('{}({})', function_name, array_to_string(parameters, ', ')), comment "
    "FROM duckdb_functions() WHERE database_name = 'lake'"
)
"""Signatures and descriptions of the macros of a lake."""


def _macros_of(lake: str) -> list[tuple[str, str]]:
    from pipelines.catalog.connect import open_lake

    with open_lake(lake) as opened:
        return opened.sql(f"{_MACROS} ORDER BY function_name").fetchall()


def _tables_of(lake: str) -> list[dict[str, Any]]:
    from pipelines.catalog.connect import open_lake

    columns = ("name", "subject", "description", "primary_key", "files", "by_name_only")
    with open_lake(lake) as opened:
        rows = opened.sql(
            "SELECT table_name, subject, description, primary_key, "
            "CASE WHEN storage <> 'view' THEN table_name || '/**/*.parquet' END, by_name_only "
            "FROM _tables ORDER BY rowid"
        ).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def describe(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A table, view or macro of the lake.")
    ],
    lake: DictionaryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a table, view or macro and its columns.

    Without a lake, this is the table that this version of vblake writes.

    [dim]Example:[/dim]  vblake describe trials
    """
    facts, columns = _declaration(table) if lake is None else _description_in(lake, table)
    if as_json:
        named = {label.replace(" ", "_"): text for label, text in facts}
        print_json({**named, "columns": columns})
        return
    label_width = max(len(label) for label, _ in facts)
    for label, text in facts:
        indented = wrapped(text, label_width + 2)
        typer.echo(f"{typer.style(label.ljust(label_width), bold=True)}  {indented}")
    rows = [
        (
            c["name"] + (f"\nalias {c['alias']}" if c["alias"] else ""),
            *(c[name] for name in ("type", "unit", "null", "description")),
        )
        for c in columns
    ]
    print_table(("column", "~type", "~unit", "~NULL", "~description"), rows)
    if width() is not None:
        typer.echo("--json also has the source of each column in the NWB files.")


def _declaration(table: str) -> tuple[list[tuple[str, str]], list[dict[str, str]]]:
    """Facts about a table, as label and text, and its columns."""
    from pipelines.catalog.macros import Macro
    from schemas.dictionary import column_rows, table_summary, view_summary
    from schemas.views import View

    declared = _declared(table)
    match declared:
        case Macro():
            facts = [("macro", declared.signature), ("description", declared.description)]
        case View():
            facts = view_summary(declared)
        case _:
            facts = table_summary(declared)
    return facts, column_rows(declared)


def _description_in(lake: str, table: str) -> tuple[list[tuple[str, str]], list[dict[str, str]]]:
    """The same by the catalog of a lake."""
    from pipelines.catalog.connect import open_lake
    from vblake.connection import literal

    with open_lake(lake) as opened:
        try:
            opened.describe(table)
        except LookupError as error:
            raise UsageError(str(error)) from None
        one = f"WHERE table_name = {literal(table)}"
        listed = opened.sql(
            f"SELECT description, primary_key, storage FROM _tables {one}"
        ).fetchall()
        macros = opened.sql(f"{_MACROS} AND function_name = {literal(table)}").fetchall()
        rows = opened.sql(
            "SELECT column_name, type, coalesce(unit, ''), if(nullable, 'may be', 'never'), "
            "if(documented, '●', ''), coalesce(alias, ''), description, coalesce(source, '') "
            f"FROM _columns {one} ORDER BY position"
        ).fetchall()
    if listed:
        ((description, key, storage),) = listed
        kind = "view" if storage == "view" else "table"
        facts = [(kind, table), ("description", description)]
        facts.append(("primary key", ", ".join(key) or "none"))
    else:
        ((signature, description),) = macros
        facts = [("macro", signature), ("description", description)]
    names = ("name", "type", "unit", "null", "documented", "alias", "description", "source")
    return facts, [dict(zip(names, row, strict=True)) for row in rows]


def _declared(name: str) -> Table | View | Macro:
    from pipelines.catalog.macros import MACROS
    from schemas import TABLES
    from schemas.views import VIEWS

    known = {**TABLES, **VIEWS, **MACROS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower(), known, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "See `vblake tables`."
    raise UsageError(f"There is no table {name!r}. {hint}")
