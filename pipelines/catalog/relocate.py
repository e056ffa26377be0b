"""Copies a catalog for another folder of the same lake, whatever version of vblake made it."""

from __future__ import annotations

import re
import uuid

from pipelines.catalog.connect import connect_files
from pipelines.lake.store import Store
from pipelines.sql_text import (
    LAKE_ROOT,
    as_pattern,
    identifier,
    literal,
    made_in,
    place,
    unless_moved,
)

_TEXT = r"'(?:[^']|'')*'"
_OWN_FOLDER = rf"CASE\s+WHEN (?:[^']|{_TEXT})*? END, "
_PLACE = re.compile(
    rf"coalesce\(getvariable\('{LAKE_ROOT}'\), (?:{_OWN_FOLDER})?{_TEXT}\)", re.IGNORECASE
)
"""Where the views look for the lake, in the SQL that DuckDB makes of `sql_text.place`. Earlier
versions of vblake did not ask for the catalog's own folder."""
_UNLESS_MOVED = re.compile(r"' WHERE CASE WHEN (?:[^']|'')*'")
"""`sql_text.unless_moved` as it is in the views, a text."""


def relocated(store: Store, catalog: bytes, *, below: str = "", files: str = "") -> bytes:
    """Returns a catalog whose views read a folder of a lake.

    Args:
        store: the lake, which the views are to find at its present place or at `lake_root`.
        catalog: content of the catalog to copy.
        below: folder of the lake with the tables' folders; empty for the lake's own.
        files: folder of the lake that has the files now, which DuckDB looks at when it makes a
            view; `below` if empty.
    """
    here = place(store.root)
    if below:
        here = f"({here} || {literal(f'/{below}')})"
    condition = literal(unless_moved(store.root))
    store.staging.mkdir(parents=True, exist_ok=True)
    copy = store.staging / f"catalog-{uuid.uuid4().hex}.duckdb"
    copy.write_bytes(catalog)
    with connect_files(store) as con:
        if files:
            folder = as_pattern(f"{store.root}/{files}")
            con.execute(f"SET VARIABLE {LAKE_ROOT} = {literal(folder)}")
        con.execute(f"ATTACH {literal(str(copy))} AS moved")
        con.execute("USE moved")
        views = con.execute(
            "SELECT view_name, sql, comment FROM duckdb_views() "
            "WHERE database_name = 'moved' AND schema_name = 'main' AND NOT internal"
        ).fetchall()
        comments = con.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() "
            "WHERE database_name = 'moved' AND schema_name = 'main' AND comment IS NOT NULL"
        ).fetchall()
        con.execute("BEGIN")
        replaced = {name for name, sql, _ in views if _PLACE.search(sql)}
        for name, sql, comment in views:
            if name in replaced:
                fresh = sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
                fresh = _PLACE.sub(lambda _: here, fresh)
                con.execute(_UNLESS_MOVED.sub(lambda _: condition, fresh))
                con.execute(f"COMMENT ON VIEW {identifier(name)} IS {literal(comment or '')}")
        for name, column, comment in comments:
            if name in replaced:
                spot = f"{identifier(name)}.{identifier(column)}"
                con.execute(f"COMMENT ON COLUMN {spot} IS {literal(comment)}")
        con.execute(f"UPDATE _lake SET root = {literal(store.root)}")
        con.execute(f"COMMENT ON TABLE _lake IS {literal(made_in(store.root))}")
        con.execute("COMMIT")
        con.execute("USE memory")
        con.execute("DETACH moved")
    data = copy.read_bytes()
    copy.unlink()
    return data
