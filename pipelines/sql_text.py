"""Writes SQL: names, values, and the files of a table."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from schemas import Table
from schemas.layout import CATALOG, glob_pattern
from vblake.connection import LAKE_ROOT, literal
from vblake.connection import escaped as as_pattern


def identifier(name: str) -> str:
    """Returns a name as a quoted SQL identifier.

    >>> identifier("index")
    '"index"'
    """
    return '"' + name.replace('"', '""') + '"'


def rows_as_json(types: Mapping[str, str], rows: Collection[Sequence[Any]]) -> str:
    """Returns a query for many rows: JSON takes a tenth of the time of VALUES.

    Parameters would make DuckDB import pandas.

    >>> print(rows_as_json({"n": "BIGINT"}, [(5,), (None,)]))
    SELECT unnest(from_json('[5, null]', '["BIGINT"]')) AS n
    """
    columns = zip(*rows, strict=True) if rows else ((),) * len(types)
    return "SELECT " + ", ".join(
        f"unnest(from_json({literal(json.dumps(column))}, '[\"{kind}\"]')) AS {name}"
        for column, (name, kind) in zip(columns, types.items(), strict=True)
    )


_QUOTE = "'"
_END = f"/{CATALOG}.tmp"
OWN_FOLDER = (
    f"CASE WHEN current_setting('temp_directory') LIKE '%{_END}' THEN regexp_replace("
    f"current_setting('temp_directory')[:-{len(_END) + 1}], '([\\[*?])', '[\\1]', 'g') END"
)
"""The folder of the catalog that a connection was opened with, as a pattern; else NULL.

Only a scalar may stand in the arguments of `read_parquet`, and this is the one that knows where the
database is: by default DuckDB keeps temporary files beside it."""


def place(root: str) -> str:
    """Returns the SQL of where a lake is, in a view of its catalog.

    That is the variable `lake_root` if it is set; else the folder of the catalog, if a connection
    was opened with it; else, if it was attached, where it was made.
    """
    return f"coalesce(getvariable('{LAKE_ROOT}'), {OWN_FOLDER}, {literal(as_pattern(root))})"


def made_in(root: str) -> str:
    """Returns the comment by which a view finds its own catalog among those that are open.

    >>> made_in("/data/vb")
    'The lake that this catalog was made for, in /data/vb.'
    """
    return f"The lake that this catalog was made for, in {root}."


def unless_moved(root: str) -> str:
    """Returns a WHERE that fails unless the one catalog of a lake that is open lies in `place`."""
    text = (
        f"Where is the lake of this {CATALOG}, which was made in {root}? Open one such catalog as "
        f"the database of the connection, or SET VARIABLE {LAKE_ROOT} = 'folder or address'."
    )
    beside = "current_setting('temp_directory')"
    expected = (
        f"CASE WHEN {beside} LIKE '%{_END}' THEN {beside}[:-5] "
        f"ELSE {literal(f'{root}/{CATALOG}')} END"
    )
    found = (
        "SELECT list(d.path) FROM duckdb_tables() t JOIN duckdb_databases() d USING (database_oid) "
        f"WHERE t.comment = {literal(made_in(root))}"
    )
    return f" WHERE CASE WHEN ({found}) = [{expected}] THEN true ELSE error({literal(text)}) END"


def table_source(table: Table, root: str, *, has_files: bool) -> str:
    """Returns what stands after FROM to read a table's files.

    Args:
        table: the declaration.
        root: where the lake is.
        has_files: whether the lake has a file of the table. If not, the SQL returns no rows.
    """
    if not has_files:
        return no_rows(table)
    return _parquet(table, literal(f"{as_pattern(root)}/{glob_pattern(table)}"))


def view_source(table: Table, root: str, *, has_files: bool) -> str:
    """Returns what stands after FROM in the view of a table, which finds the lake where it is now.

    It is SQL in a text, so that `unless_moved` can be left out where `lake_root` is set. Else it is
    one more join for each table, which takes 1 ms.

    Args:
        table: the declaration.
        root: where the lake is when the catalog is made.
        has_files: whether the lake has a file of the table. If not, the SQL returns no rows.
    """
    if not has_files:
        return no_rows(table)
    before, after = f"FROM {_parquet(table, '@')}".split("@")
    paths = f"{place(root)} || {literal('/' + glob_pattern(table))}"
    path = f"replace({paths}, {literal(_QUOTE)}, {literal(2 * _QUOTE)})"
    unset = f"getvariable('{LAKE_ROOT}') IS NULL"
    condition = f"CASE WHEN {unset} THEN {literal(unless_moved(root))} ELSE '' END"
    return (
        f"query({literal(before + _QUOTE)} || {path} || {literal(_QUOTE + after)} || {condition})"
    )


def listed_source(table: Table, paths: Sequence[str], url: str | None) -> str:
    """Returns what stands after FROM to read certain files of a table of a published lake.

    Args:
        table: the declaration.
        paths: the files, below the lake.
        url: where the lake is where its catalog is attached and `lake_root` is not set.
    """
    unknown = (
        f"Where is this lake? Open its {CATALOG} as the database of the connection, or SET "
        f"VARIABLE {LAKE_ROOT} = 'folder or address'."
    )
    otherwise = literal(as_pattern(url)) if url else f"error({literal(unknown)})"
    where = f"coalesce(getvariable('{LAKE_ROOT}'), {OWN_FOLDER}, {otherwise})"
    listed = ", ".join(literal(as_pattern(path)) for path in paths)
    return _parquet(table, f"list_transform([{listed}], lambda p: {where} || '/' || p)")


def no_rows(table: Table) -> str:
    """Returns what stands after FROM to read no rows of a table."""
    columns = (f"CAST(NULL AS {c.type.value}) AS {identifier(c.name)}" for c in table.columns)
    return f"(SELECT {', '.join(columns)} WHERE false)"


def _parquet(table: Table, paths: str) -> str:
    options = ["union_by_name = false"]
    if table.partitions:
        types = ", ".join(f"{literal(c.name)}: {c.type.value}" for c in table.partitions)
        options += ["hive_partitioning = true", f"hive_types = {{{types}}}"]
    else:
        options.append("hive_partitioning = false")
    return f"read_parquet({paths}, {', '.join(options)})"
