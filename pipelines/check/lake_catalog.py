"""Checks the catalog of a lake: that it opens, and that its views return what the files hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote

import duckdb

from pipelines.catalog.connect import connect_restricted, first_line
from pipelines.check.finding import Finding, some
from pipelines.check.lake_file import LakeFile
from pipelines.lake.store import Store
from pipelines.sql_text import identifier
from schemas import SCHEMA_VERSION, TABLES
from schemas.checks import Rule
from schemas.errors import LakeError
from schemas.layout import CATALOG

_VIEWS = (
    "SELECT view_name FROM duckdb_views() "
    "WHERE database_name = 'lake' AND NOT internal ORDER BY ALL"
)


def catalog_findings(
    store: Store, files: Mapping[str, list[LakeFile]], *, deep: bool
) -> Iterator[Finding]:
    """Everything that is wrong with the catalog.

    Args:
        store: the lake.
        files: its files by table, after they were read.
        deep: compare the number of rows that views return with the files'.
    """
    rebuild = f"Rebuild the catalog with `vblake catalog --lake {quote(store.root)}`"

    def finding(message: str, table: str | None = None, *details: str) -> Finding:
        return Finding(Rule.CATALOG, table, message, None, *details, file=CATALOG)

    try:
        con = connect_restricted(store)  # the catalog may come from somebody else
    except LakeError as error:
        yield finding(str(error))
        return
    with con:
        views = [name for (name,) in con.execute(_VIEWS).fetchall()]
        if missing := [name for name in TABLES if name not in views]:
            details = ("a view for every table", f"none for {some(missing)}")
            yield finding(f"views are missing. {rebuild}", None, *details)
        else:
            row = con.execute("SELECT max(schema_version) FROM _lake").fetchone()
            version = str(row and row[0])
            if version != SCHEMA_VERSION:
                message = f"the catalog has another schema version. {rebuild}"
                yield finding(message, None, SCHEMA_VERSION, version)
        for name in views:
            table = name if name in TABLES else None
            unusable = any(not file.usable for file in files.get(name, []))
            try:
                con.execute(f"SELECT * FROM {identifier(name)} LIMIT 0")
                if table is None or unusable or not deep:
                    continue
                row = con.execute(f"SELECT count(*) FROM {identifier(name)}").fetchone()
            except duckdb.Error as error:
                if not unusable:
                    message = f"view {name} cannot be queried ({first_line(error)}). {rebuild}"
                    yield finding(message, table)
                continue
            held, returned = sum(file.rows or 0 for file in files[table]), row and row[0]
            if held != returned:
                message = f"view {name} does not return all rows of its files. {rebuild}"
                yield finding(message, table, f"{held} rows", str(returned))
