"""Writes SQL: names, values, and the files of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

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


def values(rows: Iterable[Sequence[Any]]) -> str:
    """Returns rows as a VALUES clause. Loading them as parameters one by one would take seconds.

    >>> values([("licks", ("a", "b"), None), ("trials", (), 5)])
    "VALUES ('licks', ['a', 'b'], NULL), ('trials', [], 5)"
    """
    return "VALUES " + ", ".join(f"({', '.join(map(_value, row))})" for row in rows)


def _value(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            return literal(value)
        case list() | tuple():
            items = cast("Sequence[Any]", value)
            return f"[{', '.join(map(_value, items))}]"
        case _:
            return str(value)


def table_source(table: Table, root: str, *, has_files: bool) -> str:
    """Returns what stands after FROM to read a table's files, wherever the lake is now.

    Args:
        table: the declaration.
        root: where the lake is, unless the variable `lake_root` is set.
        has_files: whether the lake has a file of the table. If not, the SQL returns no rows.
    """
    if not has_files:
        columns = (f"CAST(NULL AS {c.type.value}) AS {identifier(c.name)}" for c in table.columns)
        return f"(SELECT {', '.join(columns)} WHERE false)"
    place = f"coalesce(getvariable('{LAKE_ROOT}'), {literal(as_pattern(root))})"
    return _parquet(table, f"{place} || {literal('/' + glob_pattern(table))}")


def listed_source(table: Table, paths: Sequence[str], url: str | None) -> str:
    """Returns what stands after FROM to read certain files of a table of a published lake.

    Args:
        table: the declaration.
        paths: the files, below the lake.
        url: where the lake is, unless the variable `lake_root` is set or the catalog is opened as
            the database of the connection: then it is where the catalog is.
    """
    own = (
        f"CASE WHEN current_setting('temp_directory') LIKE '%/{CATALOG}.tmp' THEN regexp_replace("
        f"current_setting('temp_directory')[:-{len(f'/{CATALOG}.tmp') + 1}], "
        r"'([\[*?])', '[\1]', 'g') END"
    )
    unknown = (
        f"Where is this lake? Open its {CATALOG} as the database of the connection, or SET "
        f"VARIABLE {LAKE_ROOT} to its folder or address."
    )
    otherwise = literal(as_pattern(url)) if url else f"error({literal(unknown)})"
    place = f"coalesce(getvariable('{LAKE_ROOT}'), {own}, {otherwise})"
    listed = ", ".join(literal(as_pattern(path)) for path in paths)
    return _parquet(table, f"list_transform([{listed}], lambda p: {place} || '/' || p)")


def _parquet(table: Table, paths: str) -> str:
    options = ["union_by_name = false"]
    if table.partitions:
        types = ", ".join(f"{literal(c.name)}: {c.type.value}" for c in table.partitions)
        options += ["hive_partitioning = true", f"hive_types = {{{types}}}"]
    else:
        options.append("hive_partitioning = false")
    return f"read_parquet({paths}, {', '.join(options)})"
