"""The Parquet files in a snapshot, with what is known of their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.frozen.columns import Field, fields_of_table
from pipelines.frozen.ducklake import Snapshot
from pipelines.frozen.files import ColumnStats, Footer, FrozenFile, stats_of_folders
from schemas import TABLES

_FILE = (
    "data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format, record_count, "
    "file_size_bytes, footer_size, row_id_start, mapping_id"
)
_STATS = (
    "data_file_id, table_id, column_id, column_size_bytes, value_count, null_count, min_value, "
    "max_value"
)

_STATISTICS = """
INSERT INTO ducklake_table_column_stats
WITH types AS (
    SELECT DISTINCT table_id, column_id, column_type FROM ducklake_column
), facts AS (
    SELECT table_id, column_id, null_count, min_value, max_value,
        min_value IS NULL AND coalesce(value_count > null_count, true) AS unknown, column_type,
        CASE WHEN column_type LIKE '%int%' OR column_type LIKE 'float%' THEN 'number'
            WHEN column_type LIKE 'timestamp%' THEN 'time' ELSE 'text' END AS kind
    FROM ducklake_file_column_stats JOIN types USING (table_id, column_id)
), typed AS (
    SELECT *,
        CASE WHEN kind = 'number' AND column_type LIKE '%int%' THEN TRY_CAST(min_value AS HUGEINT)
            END AS least_integer,
        CASE WHEN kind = 'number' AND column_type LIKE '%int%' THEN TRY_CAST(max_value AS HUGEINT)
            END AS greatest_integer,
        CASE WHEN kind = 'number' THEN TRY_CAST(min_value AS DOUBLE) END AS least_number,
        CASE WHEN kind = 'number' THEN TRY_CAST(max_value AS DOUBLE) END AS greatest_number,
        CASE WHEN kind = 'time' THEN TRY_CAST(min_value AS TIMESTAMPTZ) END AS least_time,
        CASE WHEN kind = 'time' THEN TRY_CAST(max_value AS TIMESTAMPTZ) END AS greatest_time,
        CASE WHEN kind = 'text' THEN min_value END AS least_text,
        CASE WHEN kind = 'text' THEN max_value END AS greatest_text
    FROM facts
)
SELECT table_id, column_id, bool_or(null_count > 0), NULL,
    CASE WHEN bool_or(unknown) THEN NULL ELSE coalesce(
        min(least_integer)::VARCHAR, min(least_number)::VARCHAR, min(least_time)::VARCHAR,
        min(least_text)) END,
    CASE WHEN bool_or(unknown) THEN NULL ELSE coalesce(
        max(greatest_integer)::VARCHAR, max(greatest_number)::VARCHAR,
        max(greatest_time)::VARCHAR, max(greatest_text)) END,
    NULL
FROM typed GROUP BY table_id, column_id
"""
"""What is known of the columns of all files that ever were: it has no snapshot, and must hold for
earlier ones, too."""


def write_files(
    snapshot: Snapshot,
    tables: Mapping[str, int],
    files: Sequence[FrozenFile],
    footer: Callable[[FrozenFile], Footer],
) -> None:
    """Ends the files that the lake has no more, and adds those that it has now.

    Args:
        snapshot: the snapshot.
        tables: ids of the tables by name.
        files: the files of the lake.
        footer: reads the footer of a file that the catalog has not had.
    """
    wanted = {
        (tables[file.table], file.path.removeprefix(f"{file.table}/")): file for file in files
    }
    snapshot.end_others(
        "ducklake_data_file", "table_id, path", list(wanted), "deleted_from_table:{table_id}"
    )
    present = set(
        snapshot.rows("SELECT table_id, path FROM ducklake_data_file WHERE end_snapshot IS NULL")
    )
    added = {key: file for key, file in wanted.items() if key not in present}
    if added:
        _add(snapshot, added, footer)
        snapshot.con.execute("DELETE FROM ducklake_table_column_stats")
        snapshot.con.execute(_STATISTICS)


def _add(
    snapshot: Snapshot,
    added: Mapping[tuple[int, str], FrozenFile],
    footer: Callable[[FrozenFile], Footer],
) -> None:
    counts = dict(snapshot.rows("SELECT table_id, next_row_id FROM ducklake_table_stats"))
    sizes = dict.fromkeys(counts, 0)
    fields = {name: fields_of_table(table) for name, table in TABLES.items()}
    files: list[Sequence[Any]] = []
    stats: list[Sequence[Any]] = []
    for (table, path), file in added.items():
        found = footer(file)
        number = snapshot.new_file_id()
        about = (path, True, "parquet", found.rows, file.bytes, found.bytes, counts[table], table)
        files.append((number, table, snapshot.number, *about))
        stats += [
            (number, table, field, known.bytes, known.values, known.nulls, known.min, known.max)
            for field, known in _by_field(fields[file.table], file, found)
        ]
        counts[table] += found.rows
        sizes[table] += file.bytes
        snapshot.changes.append(f"inserted_into_table:{table}")
    snapshot.insert("ducklake_data_file", _FILE, files)
    snapshot.insert("ducklake_file_column_stats", _STATS, stats)
    for table, size in sizes.items():
        snapshot.con.execute(
            "UPDATE ducklake_table_stats SET record_count = ?, next_row_id = ?, "
            "file_size_bytes = file_size_bytes + ? WHERE table_id = ?",
            [counts[table], counts[table], size, table],
        )


def _by_field(
    fields: Sequence[Field], file: FrozenFile, footer: Footer
) -> Iterator[tuple[int, ColumnStats]]:
    """What is known of the columns of a file, by the ids of their fields."""
    of_folders = stats_of_folders(TABLES[file.table], file.path, footer.rows)
    in_file = iter(footer.leaves)
    for field in fields:
        if field.parent is None and field.name in of_folders:
            yield field.id, of_folders[field.name]
        elif field.is_leaf:
            yield field.id, next(in_file)
