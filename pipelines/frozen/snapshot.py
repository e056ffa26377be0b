"""Writes a snapshot of the lake to its DuckLake catalog: what differs from the last one.

DuckLake reads the columns of a Parquet file by their names (`ducklake_name_mapping`) and takes the
Hive columns from the names of folders, as the files lack both field ids and Hive columns. Files of
some tables have dates with a time zone, or columns with a newer name, which only a view can give:
these tables are in the schema `stored`, and a view has their name in `main`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.catalog.build import selected, with_aliases
from pipelines.catalog.declared import Declared
from pipelines.catalog.macros import MACROS
from pipelines.frozen.columns import Field, fields, fields_of_table
from pipelines.frozen.data_files import write_files
from pipelines.frozen.ducklake import BI, MAIN, SCHEMAS, STORED, Snapshot, next_snapshot, qualified
from pipelines.frozen.files import Footer, FrozenFile
from pipelines.sql_text import identifier
from schemas import TABLES, Table, Type
from schemas.bi import BI_VIEWS
from schemas.views import VIEWS

_COLUMN = (
    "column_id, column_order, column_name, column_type, default_value, nulls_allowed, "
    "parent_column, default_value_type, default_value_dialect"
)


@dataclass(frozen=True, slots=True)
class State:
    """What a snapshot is to hold.

    Attributes:
        message: said of the snapshot in `snapshots()`.
        origin: whose data it holds, as in the marker of the lake.
        data_path: where the files are: a URL or a path, with a slash at the end.
        files: the Parquet files.
        declared: tables whose rows are in the catalog itself.
        footer: reads the footer of a file that the catalog has not had.
    """

    message: str
    origin: str
    data_path: str
    files: Sequence[FrozenFile]
    declared: Sequence[Declared]
    footer: Callable[[FrozenFile], Footer]


def write_snapshot(path: Path, state: State) -> int | None:
    """Adds a snapshot to a catalog, which is made if there is no such file.

    A kill in between leaves a file that is of no use: write a copy, then put it in place.

    Args:
        path: the catalog, a local file.
        state: what the snapshot holds.

    Returns:
        Number of the snapshot. None if the last one holds the same; then nothing is written.

    Raises:
        LakeError: the file is none of our catalogs.
    """
    with next_snapshot(path, state.origin) as snapshot:
        tables = _write_tables(snapshot, state.declared)
        views = _write_views(snapshot)
        _write_macros(snapshot)
        _write_comments(snapshot, tables, views, state.declared)
        for declared in state.declared:
            _write_inlined_rows(snapshot, tables[declared.name], declared)
        write_files(snapshot, tables, state.files, state.footer)
        return snapshot.commit(state.message, state.origin, state.data_path)


def _has_view(table: Table) -> bool:
    """Whether what users see of a table differs from what its files have."""
    return any(c.alias is not None or c.type is Type.TIMESTAMP for c in table)


def _write_tables(snapshot: Snapshot, declared: Iterable[Declared]) -> dict[str, int]:
    """Writes tables and columns. A table whose columns changed is a new one.

    Returns:
        The ids of the tables by name.
    """
    schemas = {t.name: STORED if _has_view(t) else MAIN for t in TABLES.values()}
    columns = {t.name: fields_of_table(t) for t in TABLES.values()}
    for table in declared:
        schemas[table.name] = MAIN
        columns[table.name] = fields((n, type_, True) for n, type_ in table.columns.items())
    wanted = {name: (schemas[name], [*map(_column, columns[name])]) for name in schemas}
    ids, fresh = snapshot.ids(_present_tables(snapshot), wanted)
    snapshot.changes += [f"created_table:{qualified(schemas[name], name)}" for name in fresh]
    snapshot.hold(
        "ducklake_table",
        "table_id, schema_id, table_name, path, path_is_relative",
        [(ids[name], schemas[name], name, f"{name}/", True) for name in wanted],
        "dropped_table:{table_id}",
    )
    snapshot.hold(
        "ducklake_column",
        f"table_id, {_COLUMN}",
        [(ids[name], *column) for name, (_, own) in wanted.items() for column in own],
    )
    for name in fresh:
        _write_new_table(snapshot, ids[name], name, columns[name])
    return ids


def _column(field: Field) -> tuple[Any, ...]:
    kind = "literal" if field.is_leaf else ""
    about = (field.id, field.id, field.name, field.type, "NULL", field.nullable)
    return (*about, field.parent, kind, "duckdb")


def _present_tables(snapshot: Snapshot) -> dict[str, tuple[int, tuple[int, list[Any]]]]:
    columns: dict[int, list[Any]] = {}
    for table, *column in snapshot.rows(
        f"SELECT table_id, {_COLUMN} FROM ducklake_column WHERE end_snapshot IS NULL "
        "ORDER BY table_id, column_id"
    ):
        columns.setdefault(table, []).append(tuple(column))
    tables = snapshot.rows(
        "SELECT table_name, table_id, schema_id FROM ducklake_table WHERE end_snapshot IS NULL"
    )
    return {name: (number, (schema, columns[number])) for name, number, schema in tables}


def _write_new_table(snapshot: Snapshot, number: int, name: str, columns: Sequence[Field]) -> None:
    con, since = snapshot.con, snapshot.number
    con.execute(f"INSERT INTO ducklake_schema_versions VALUES ({since}, {since}, {number})")
    con.execute(f"INSERT INTO ducklake_table_stats VALUES ({number}, 0, 0, 0)")
    if name not in TABLES:
        rows = f"ducklake_inlined_data_{number}_{since}"
        con.execute(
            f"INSERT INTO ducklake_inlined_data_tables VALUES ({number}, '{rows}', {since})"
        )
        return
    # The files of a table are read in one way, which has the number of the table.
    con.execute(f"INSERT INTO ducklake_column_mapping VALUES ({number}, {number}, 'map_by_name')")
    hive = TABLES[name].storage.partitions
    snapshot.insert(
        "ducklake_name_mapping",
        "mapping_id, column_id, source_name, target_field_id, parent_column, is_partition",
        [
            (number, f.id, f.source, f.id, f.parent, f.name in hive and f.parent is None)
            for f in columns
        ],
    )


def _write_views(snapshot: Snapshot) -> dict[tuple[int, str], int]:
    """Writes the views; returns their ids by schema and name."""
    wanted = {(MAIN, view.name): with_aliases(view, view.query) for view in VIEWS.values()}
    wanted |= {(BI, view.name): with_aliases(view, view.query) for view in BI_VIEWS.values()}
    for table in filter(_has_view, TABLES.values()):
        query = f"SELECT {selected(table)} FROM {SCHEMAS[STORED]}.{identifier(table.name)}"
        wanted[MAIN, table.name] = with_aliases(table, query)
    present = {
        (schema, name): (number, sql)
        for schema, name, number, sql in snapshot.rows(
            "SELECT schema_id, view_name, view_id, sql FROM ducklake_view "
            "WHERE end_snapshot IS NULL"
        )
    }
    ids, fresh = snapshot.ids(present, wanted)
    snapshot.changes += [f"created_view:{qualified(*view)}" for view in fresh]
    snapshot.hold(
        "ducklake_view",
        "view_id, schema_id, view_name, dialect, sql, column_aliases",
        [(ids[view], *view, "duckdb", sql, "") for view, sql in wanted.items()],
        "dropped_view:{view_id}",
    )
    return ids


def _write_macros(snapshot: Snapshot) -> None:
    parameters = {m.name: [*map(_parameter, m.parameters)] for m in MACROS.values()}
    wanted = {
        m.name: (m.body, [f"{name} {default}" for name, default, _ in parameters[m.name]])
        for m in MACROS.values()
    }
    present = {
        name: (number, (sql, parameters))
        for name, number, sql, parameters in snapshot.rows(
            "SELECT macro_name, macro_id, any_value(sql), list(parameter_name || ' ' || "
            "default_value ORDER BY column_id) FROM ducklake_macro JOIN ducklake_macro_impl "
            "USING (macro_id) JOIN ducklake_macro_parameters USING (macro_id) "
            "WHERE end_snapshot IS NULL GROUP BY ALL"
        )
    }
    ids, fresh = snapshot.ids(present, wanted)
    for name in fresh:
        kind = "table" if MACROS[name].returns_table else "scalar"
        snapshot.changes.append(f"created_{kind}_macro:{qualified(MAIN, name)}")
        snapshot.insert(
            "ducklake_macro_impl",
            "macro_id, impl_id, dialect, sql, type",
            [(ids[name], 0, "duckdb", MACROS[name].body, kind)],
        )
        snapshot.insert(
            "ducklake_macro_parameters",
            "macro_id, impl_id, column_id, parameter_name, parameter_type, default_value, "
            "default_value_type",
            [
                (ids[name], 0, position, parameter, "unknown", default, of_default)
                for position, (parameter, default, of_default) in enumerate(parameters[name])
            ],
        )
    snapshot.hold(
        "ducklake_macro",
        "schema_id, macro_id, macro_name",
        [(MAIN, number, name) for name, number in ids.items()],
        "dropped_macro:{macro_id}",
    )


def _parameter(text: str) -> tuple[str, str, str]:
    """Name, default value and its type of a macro's parameter.

    DuckLake 1.0 has no default of NULL. The parameters that have it are lists of events, and an
    empty list, as a text that they are cast from, means the same.

    >>> _parameter("before := 1"), _parameter("times := NULL"), _parameter("experiment")
    (('before', '1', 'int32'), ('times', '[]', 'varchar'), ('experiment', 'NULL', 'unknown'))
    """
    name, _, default = text.partition(" := ")
    if default == "NULL":
        return name, "[]", "varchar"
    return name, default or "NULL", "int32" if default else "unknown"


def _write_comments(
    snapshot: Snapshot,
    tables: Mapping[str, int],
    views: Mapping[tuple[int, str], int],
    declared: Iterable[Declared],
) -> None:
    comments = {tables[d.name]: d.comment for d in declared}
    of_columns: list[Sequence[Any]] = []
    for table in TABLES.values():
        number = tables[table.name]
        comments[number] = table.description
        ids = {f.name: f.id for f in fields_of_table(table) if f.parent is None}
        of_columns += [(number, ids[c.name], "comment", c.comment) for c in table]
    described = {MAIN: {**TABLES, **VIEWS}, BI: BI_VIEWS}
    for (schema, name), number in views.items():
        comments[number] = described[schema][name].description
    snapshot.hold(
        "ducklake_tag",
        "object_id, key, value",
        [(number, "comment", text) for number, text in comments.items()],
        "altered_table:{object_id}",
    )
    snapshot.hold(
        "ducklake_column_tag",
        "table_id, column_id, key, value",
        of_columns,
        "altered_table:{table_id}",
    )


def _write_inlined_rows(snapshot: Snapshot, number: int, declared: Declared) -> None:
    """Brings a table whose rows are in the catalog up to date."""
    ((name,),) = snapshot.rows(
        "SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = ?", number
    )
    typed = ", ".join(f"{identifier(n)} {t}" for n, t in declared.columns.items())
    snapshot.con.execute(
        f"CREATE TABLE IF NOT EXISTS {name} (row_id BIGINT, begin_snapshot BIGINT, "
        f"end_snapshot BIGINT, {typed})"
    )
    added, ended = snapshot.hold(name, ", ".join(map(identifier, declared.columns)), declared.rows)
    if added or ended:
        snapshot.changes.append(f"inlined_insert:{number}")
    first = f"(SELECT next_row_id FROM ducklake_table_stats WHERE table_id = {number})"
    snapshot.con.execute(
        f"UPDATE {name} SET row_id = {first} + n FROM (SELECT rowid AS r, "
        f"row_number() OVER (ORDER BY rowid) - 1 AS n FROM {name} WHERE row_id IS NULL) "
        f"WHERE {name}.rowid = r"
    )
    snapshot.con.execute(
        "UPDATE ducklake_table_stats SET record_count = record_count + ?, "
        "next_row_id = next_row_id + ? WHERE table_id = ?",
        [added, added, number],
    )
