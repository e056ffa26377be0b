"""Where the rows of a table lie in the lake: paths and row groups. No I/O."""

from __future__ import annotations

from urllib.parse import quote

from schemas.model import Storage, Table

CATALOG = "catalog.duckdb"
MARKER = "_lake.json"
"""Marks a folder as a lake and names its release.

Readers that glob skip names with a leading underscore.
"""
STAGING = "_staging"
DAGSTER = "_dagster"
"""Folder of Dagster's runs and settings in a local lake; no upgrade exchanges or copies it."""

ROW_GROUP_ROWS = 122_880
"""Rows of a row group, DuckDB's own size: one session's rows are found in 23 ms, against 325 ms
with a row group per session."""

CELLS_PER_ROW_GROUP = 16
"""Rows of a row group in the tables of traces: it bounds the memory of a conversion, and one cell's
trace is found by reading one group."""


def relative_path(
    table: Table,
    *,
    mouse_id: int | str | None = None,
    behavior_session_id: int | str | None = None,
    ophys_experiment_id: int | str | None = None,
    image_set: str | None = None,
) -> str:
    """Path of a table's file below the lake.

    Args:
        table: the declaration.
        mouse_id: Hive partition of all tables but the project tables and the templates.
        behavior_session_id: for tables with a file per session.
        ophys_experiment_id: for tables with a file per experiment.
        image_set: Hive partition of the templates; quoted, because it comes from a file.

    >>> from schemas import TABLES
    >>> relative_path(TABLES["trials"], mouse_id=457841)
    'trials/mouse_id=457841/trials.parquet'
    """
    match table.storage:
        case Storage.PROJECT:
            return f"{table.name}/{table.name}.parquet"
        case Storage.MOUSE:
            return f"{table.name}/mouse_id={mouse_id}/{table.name}.parquet"
        case Storage.SESSION:
            return (
                f"{table.name}/mouse_id={mouse_id}/behavior_session_{behavior_session_id}.parquet"
            )
        case Storage.EXPERIMENT:
            return (
                f"{table.name}/mouse_id={mouse_id}/ophys_experiment_{ophys_experiment_id}.parquet"
            )
        case Storage.IMAGE_SET:
            return f"{table.name}/image_set={quote(image_set or '', safe='')}/{table.name}.parquet"


def glob_pattern(table: Table) -> str:
    """Glob pattern below the lake for all files of a table."""
    return f"{table.name}/**/*.parquet"
