"""The lake as its users read it: DuckDB, Polars, pyarrow; from elsewhere, and after it was moved."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from builders.lakes import query

from schemas import TABLES, Storage
from schemas.arrow import arrow_schema

BY_DEFAULT = [t for t in TABLES.values() if not t.by_name_only]
SESSION_TABLES = [t for t in BY_DEFAULT if "behavior_session_id" in {c.name for c in t}]
EXPERIMENT_TABLES = [t for t in BY_DEFAULT if t.subject.value == "ophys"]


def _count(lake: Path, table: str) -> int:
    (count,) = query(lake, f"SELECT count(*) FROM {table}")[0]
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("table", BY_DEFAULT, ids=lambda t: t.name)
def test_every_reader_sees_the_same_rows(sample_lake: Path, table: object) -> None:
    assert isinstance(table, type(BY_DEFAULT[0]))
    expected = _count(sample_lake, table.name)
    assert expected > 0
    folder = sample_lake / table.name
    lazy = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=table.partition is not None)
    assert lazy.select(pl.len()).collect().item() == expected
    assert pq.read_table(folder).num_rows == expected
    assert duckdb.sql(f"SELECT count(*) FROM '{folder}/**/*.parquet'").fetchall() == [(expected,)]


@pytest.mark.parametrize("table", BY_DEFAULT, ids=lambda t: t.name)
def test_files_have_exactly_the_declared_schema_and_its_descriptions(
    sample_lake: Path, table: object
) -> None:
    assert isinstance(table, type(BY_DEFAULT[0]))
    for path in (sample_lake / table.name).rglob("*.parquet"):
        schema = pq.ParquetFile(path).schema_arrow
        assert schema.equals(arrow_schema(table), check_metadata=False)
        assert schema.metadata[b"release"] == b"1.1.0"
        for column in table.stored:
            assert schema.field(column.name).metadata[b"description"].decode() == column.description


def _pairs_without_rows(lake: Path, names: list[str], key: str) -> list[tuple[str, str]]:
    pairs = list(combinations(names, 2))
    joins = [
        f"SELECT {i}, count(*) FROM (SELECT DISTINCT {key} FROM {a}) JOIN {b} USING ({key})"
        for i, (a, b) in enumerate(pairs)
    ]
    return [pairs[i] for i, rows in query(lake, " UNION ALL ".join(joins)) if not rows]


def test_any_two_behaviour_tables_join_on_the_session(sample_lake: Path) -> None:
    assert (
        _pairs_without_rows(sample_lake, [t.name for t in SESSION_TABLES], "behavior_session_id")
        == []
    )


def test_any_two_ophys_tables_join_on_the_experiment(sample_lake: Path) -> None:
    assert (
        _pairs_without_rows(sample_lake, [t.name for t in EXPERIMENT_TABLES], "ophys_experiment_id")
        == []
    )


def test_a_moved_lake_works_with_one_setting(sample_lake: Path, tmp_path: Path) -> None:
    moved = tmp_path / "it's run[1] – für alle"
    shutil.copytree(sample_lake, moved)
    for table in BY_DEFAULT:
        assert _count(moved, table.name) == _count(sample_lake, table.name)


def test_the_catalog_opens_read_only_from_any_working_directory(
    sample_lake: Path, tmp_path: Path
) -> None:
    program = f"import duckdb; print(duckdb.connect({str(sample_lake / 'catalog.duckdb')!r}, read_only=True).execute('SELECT count(*) FROM trials').fetchone()[0])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == _count(sample_lake, "trials")


def test_every_view_and_column_carries_its_comment(sample_lake: Path) -> None:
    views = dict(
        query(sample_lake, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
    )
    columns = {
        (t, c): text
        for t, c, text in query(
            sample_lake,
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal",
        )
    }
    for table in TABLES.values():
        assert views[table.name] == table.description
        for column in table:
            expected = (
                f"{column.description} [{column.unit}]" if column.unit else column.description
            )
            assert columns[table.name, column.name] == expected
            if column.alias:
                assert (
                    columns[table.name, column.alias] == f"Newer name of {column.name}. {expected}"
                )


def test_aliases_give_the_same_values(sample_lake: Path) -> None:
    for table in BY_DEFAULT:
        for column in table:
            if column.alias:
                differ = query(
                    sample_lake,
                    f"SELECT count(*) FROM {table.name} WHERE {column.name} IS DISTINCT FROM {column.alias}",
                )
                assert differ == [(0,)], (table.name, column.name)


def test_declarations_are_ordinary_tables(sample_lake: Path) -> None:
    assert query(sample_lake, "SELECT count(*) FROM _tables") == [(len(TABLES),)]
    assert query(sample_lake, "SELECT count(*) FROM _columns") == [
        (sum(len(t.columns) for t in TABLES.values()),)
    ]
    assert query(
        sample_lake, "SELECT referenced_table FROM _foreign_keys WHERE table_name = 'trials'"
    ) == [("behavior_sessions",)]


def test_long_views_have_one_row_per_cell_and_frame(sample_lake: Path) -> None:
    assert query(sample_lake, "SELECT count(*) FROM dff_traces_long") == query(
        sample_lake, "SELECT sum(len(dff)) FROM dff_traces"
    )
    frames = query(
        sample_lake,
        "SELECT l.frame, l.timestamps = c.timestamps[l.frame + 1], l.dff = t.dff[l.frame + 1] FROM dff_traces_long l "
        "JOIN ophys_timestamps c USING (ophys_experiment_id) JOIN dff_traces t USING (ophys_experiment_id, cell_roi_id) "
        "WHERE l.frame IN (0, 5) ",
    )
    assert frames
    assert all(same_time and same_value for _, same_time, same_value in frames)
    assert query(sample_lake, "SELECT count(*) FROM cell_pixels_long") == query(
        sample_lake, "SELECT sum(len(roi_mask)) FROM cell_specimens"
    )


def test_rows_of_a_file_are_in_the_declared_order(sample_lake: Path) -> None:
    for table in BY_DEFAULT:
        names = [
            n for n in table.order if table.storage is not Storage.IMAGE_SET or n != "image_set"
        ]
        for path in (sample_lake / table.name).rglob("*.parquet"):
            rows = pq.ParquetFile(path).read(names).to_pylist()
            keys = [tuple(row[n] for n in names) for row in rows]
            assert keys == sorted(keys), path


def test_alias_and_documented_name_are_both_there(sample_lake: Path) -> None:
    assert query(
        sample_lake,
        "SELECT count(*) FILTER (is_change) = count(*) FILTER (stimulus_change) FROM trials",
    ) == [(True,)]
    assert query(
        sample_lake, "SELECT count(end_time) = count(stop_time) FROM stimulus_presentations"
    ) == [(True,)]
    assert query(
        sample_lake, "SELECT count(ophys_container_id) = count(*) FROM experiment_metadata"
    ) == [(True,)]
