"""Counts what a lake holds, by table and by mouse: SQL over the ledger and the project tables."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from shlex import quote
from typing import TYPE_CHECKING, Any

import duckdb

from pipelines.catalog.connect import connect_files, lake_root
from pipelines.lake.marker import require_lake
from pipelines.lake.store import Store
from pipelines.os_errors import first_line
from pipelines.release.behavior_source import behavior_sources
from pipelines.release.selection import FileKind
from pipelines.sql_text import literal, rows_as_json, table_source
from schemas import TABLES
from schemas.errors import LakeError
from schemas.layout import CATALOG

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from concurrent.futures import Future


def lake_status(store: Store) -> dict[str, Any]:
    """Counts what a lake holds.

    Of the data files only names and sizes are read.

    Returns:
        What `vblake status --json` prints. Counts are: `rows`, `bytes` and `files` of the lake's
        Parquet files; NWB files that are `done`; `held_back`, whose rows of the table (of some
        table, where a mouse is counted) break a rule; `quarantined`, which failed, although rows
        of an earlier attempt may be in the lake; `skipped`, for which the release has no file; and
        `missing`, which were not tried yet. An NWB file counts for the tables that are read from
        files like it.
        `tables_by_mouse` lacks the tables that belong to no mouse.

    Raises:
        LakeError: there is no lake, or one of its project tables or ledger files cannot be read.
    """
    marker = require_lake(store)
    with store.listed_once(), ThreadPoolExecutor(1) as lister, connect_files(store) as con:
        # While DuckDB reads. The tables that it waits for come first.
        names = [*_LOADED, *(name for name in TABLES if name not in _LOADED)]
        listed = {name: lister.submit(store.table_files, TABLES[name]) for name in names}
        _load(con, store, listed)
        _add_released_files(con)
        con.execute(_SOURCES.format(release=literal(marker.release)))
        con.execute(_PARTS)
        return {
            "lake": store.root,
            "release": marker.release,
            "follows_latest": marker.follows_latest,
            "synthetic": marker.synthetic,
            "source": marker.source,
            "has_catalog": store.exists(CATALOG),
            "all": _records(con, f"SELECT {_COUNTS} FROM {_FILES_AND_PARTS}")[0],
            "tables": _records(con, _BY_TABLE),
            "mice": _records(con, _BY_MOUSE),
            "tables_by_mouse": _records(con, _BY_TABLE_AND_MOUSE),
            "held_back": _records(con, _HELD_BACK),
            "problems": _records(con, _PROBLEMS),
        }


# --- what is counted --------------------------------------------------------------------------

_LOADED = {
    "source_files": "mouse_id, release, file_kind, file_key, gives_behavior, status, object_key, "
    "error, tables",
    "behavior_sessions": "behavior_session_id, mouse_id, ophys_experiment_id, file_id",
    "ophys_sessions": "ophys_session_id",
    "ophys_experiments": "ophys_experiment_id, mouse_id, behavior_session_id",
    "ophys_cells": "cell_roi_id",
    "stimulus_templates": "image_name",
}
"""The tables whose rows are read, with the columns. The ledger has the row counts of all others:
to open 30,000 files would take minutes in S3."""

_SOURCES = """
CREATE TABLE sources AS
SELECT file_kind, mouse_id, gives_behavior, status, tables FROM source_files
UNION ALL
SELECT file_kind, mouse_id, gives_behavior, 'missing', []
FROM released ANTI JOIN (FROM source_files WHERE release = {release}) USING (file_kind, file_key)
"""
"""A row per NWB file."""

_PARTS = """
CREATE TABLE parts AS
SELECT table_name, mouse_id, NULL AS outcome, 0 AS rows, bytes, files FROM held
UNION ALL
SELECT table_name, mouse_id,
    CASE WHEN status IN ('quarantined', 'skipped') THEN status
        WHEN outcome IN ('ingested', 'absent') THEN 'ingested'
        WHEN outcome = 'held_back' THEN outcome
        WHEN NOT by_name_only THEN 'missing' END, 0, 0, 0
FROM (
    SELECT *, list_filter(tables, lambda t: t."table" = table_name)[1].status AS outcome
    FROM sources JOIN tables AS declared ON subject = 'ophys' AND file_kind = 'ophys_experiment'
        OR subject = 'behavior' AND gives_behavior)
WHERE NOT (status = 'missing' AND by_name_only)
UNION ALL
SELECT t."table", mouse_id, NULL, t."rows", 0, 0
FROM (SELECT mouse_id, unnest(tables) AS t FROM source_files)
JOIN tables ON table_name = t."table" WHERE subject <> 'stimulus'
UNION ALL
SELECT 'source_files', mouse_id, NULL, count(*), 0, 0 FROM source_files GROUP BY mouse_id
""" + "".join(
    f"UNION ALL SELECT '{name}', NULL, NULL, count(*), 0, 0 FROM {name}\n"
    for name in _LOADED
    if name != "source_files"
)
"""What the counts of a table and a mouse add up from: rows, files, and outcomes of NWB files."""

_COUNTS = """
CAST(coalesce(sum(rows), 0) AS BIGINT) AS rows,
CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes,
CAST(coalesce(sum(files), 0) AS BIGINT) AS files,
count(*) FILTER (outcome = 'ingested') AS done,
count(*) FILTER (outcome IN ('held_back', 'partial')) AS held_back,
count(*) FILTER (outcome = 'quarantined') AS quarantined,
count(*) FILTER (outcome = 'skipped') AS skipped,
count(*) FILTER (outcome = 'missing') AS missing
"""
_BY_TABLE = f"""
SELECT table_name AS "table", {_COUNTS} FROM tables LEFT JOIN parts USING (table_name)
GROUP BY table_name, tables.rowid ORDER BY tables.rowid
"""
_BY_TABLE_AND_MOUSE = f"""
SELECT table_name AS "table", mouse_id, {_COUNTS} FROM parts WHERE mouse_id IS NOT NULL
GROUP BY table_name, mouse_id ORDER BY ALL
"""
# An NWB file counts once for its mouse, but for several tables.
_FILES_AND_PARTS = """(
SELECT mouse_id, NULL AS outcome, rows, bytes, files FROM parts
UNION ALL SELECT mouse_id, status, 0, 0, 0 FROM sources
)"""
_BY_MOUSE = f"""
SELECT mouse_id, {_COUNTS} FROM {_FILES_AND_PARTS} WHERE mouse_id IS NOT NULL
GROUP BY mouse_id ORDER BY mouse_id
"""
_PROBLEMS = """
SELECT status, file_kind AS kind, file_key, mouse_id, coalesce(object_key, '') AS object_key,
    coalesce(error, '') AS error
FROM source_files WHERE status NOT IN ('ingested', 'partial')
ORDER BY mouse_id, release, file_kind, file_key
"""


_HELD_BACK = """
SELECT t.*, file_kind AS kind, file_key, mouse_id, object_key
FROM (SELECT *, unnest(tables) AS t FROM source_files WHERE status = 'partial')
WHERE t.status = 'held_back' ORDER BY mouse_id, release, file_kind, file_key
"""


def _load(
    con: duckdb.DuckDBPyConnection, store: Store, listed: Mapping[str, Future[dict[str, int]]]
) -> None:
    """Loads the ledger, the project tables, the declarations, and the listing of the files."""
    for name, columns in _LOADED.items():
        has_files = bool(listed[name].result())
        source = table_source(TABLES[name], lake_root(store), has_files=has_files)
        try:
            con.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {source}")
        except duckdb.Error as error:
            raise LakeError(
                f"The table {name} of {store.root} cannot be read ({first_line(error)}). "
                f"See `vblake verify --lake {quote(store.root)}`."
            ) from error
    types = {"table_name": "VARCHAR", "subject": "VARCHAR", "by_name_only": "BOOLEAN"}
    rows = [(t.name, t.subject.value, t.by_name_only) for t in TABLES.values()]
    _create(con, "tables", types, rows)
    held: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for name, files in listed.items():
        for path, size in files.result().items():
            held[name, _mouse_of(path.split("/", 2)[1])].append(size)
    types = {"table_name": "VARCHAR"} | dict.fromkeys(("mouse_id", "bytes", "files"), "BIGINT")
    _create(con, "held", types, [(*key, sum(sizes), len(sizes)) for key, sizes in held.items()])


@cache
def _mouse_of(folder: str) -> int | None:
    name, _, value = folder.partition("=")
    return int(value) if name == "mouse_id" and value.isdecimal() else None


def _add_released_files(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the table `released`: the NWB files that the project tables name."""
    sessions = con.execute("FROM behavior_sessions").fetchall()
    experiments = con.execute("FROM ophys_experiments").fetchall()
    sources = behavior_sources(
        ((session, file_id, listed) for session, _, listed, file_id in sessions),
        ((experiment, session) for experiment, _, session in experiments),
    )
    own, imaged = FileKind.BEHAVIOR_SESSION, FileKind.OPHYS_EXPERIMENT
    givers = {source.file_key for source in sources.values() if source.kind is imaged}
    released = [
        (own.value, session, mouse, True)
        for session, mouse, _, _ in sessions
        if sources[session].kind is own
    ]
    released += [(imaged.value, key, mouse, key in givers) for key, mouse, _ in experiments]
    types = {"file_kind": "VARCHAR", "file_key": "BIGINT", "mouse_id": "BIGINT"}
    _create(con, "released", types | {"gives_behavior": "BOOLEAN"}, released)


def _create(
    con: duckdb.DuckDBPyConnection,
    table: str,
    types: Mapping[str, str],
    rows: Collection[Sequence[Any]],
) -> None:
    """Makes a table of rows."""
    con.execute(f"CREATE TABLE {table} AS {rows_as_json(types, rows)}")


def _records(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    found = con.execute(query)
    names = [str(column[0]) for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
