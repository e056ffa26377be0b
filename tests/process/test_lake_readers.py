"""The lake as its users read it: DuckDB, Polars, pyarrow; from elsewhere, and after it was moved."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from builders.cli import refusal
from builders.lakes import query

from schemas import TABLES, Table
from schemas.arrow import file_schema

BY_DEFAULT = [t for t in TABLES.values() if not t.by_name_only]


def _count(lake: Path, table: str) -> int:
    ((count,),) = query(lake, f"SELECT count(*) FROM {table}")
    return int(count)


@pytest.mark.parametrize("table", BY_DEFAULT, ids=lambda t: t.name)
def test_every_reader_sees_the_declared_rows_in_order(sample_lake: Path, table: Table) -> None:
    expected = _count(sample_lake, table.name)
    assert expected > 0
    folder = sample_lake / table.name
    lazy = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=bool(table.partitions))
    assert lazy.select(pl.len()).collect().item() == expected
    assert pq.read_table(folder).num_rows == expected
    assert duckdb.sql(f"SELECT count(*) FROM '{folder}/**/*.parquet'").fetchall() == [(expected,)]
    order = [n for n in table.order if n not in table.storage.partitions]
    for path in folder.rglob("*.parquet"):
        file = pq.ParquetFile(path)
        assert file.schema_arrow.equals(file_schema(table), check_metadata=False)
        assert file.schema_arrow.metadata[b"release"] == b"1.1.0"
        for column in table.stored:
            description = file.schema_arrow.field(column.name).metadata[b"description"]
            assert description.decode() == column.description
        keys = [tuple(row[n] for n in order) for row in file.read(order).to_pylist()]
        assert keys == sorted(keys), path


def test_the_catalog_opens_read_only_from_any_working_directory(
    sample_lake: Path, tmp_path: Path
) -> None:
    program = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); "
        "print(con.execute('SELECT count(*) FROM trials').fetchone()[0])"
    )
    command = [sys.executable, "-c", program, sample_lake / "catalog.duckdb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) == _count(sample_lake, "trials")


def test_a_catalog_that_another_process_has_open_for_writing(
    sample_lake: Path, tmp_path: Path
) -> None:
    """Rebuilding the catalog, as for a damaged one, would not be the remedy."""
    shutil.copy(sample_lake / "catalog.duckdb", tmp_path)
    program = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    command = [sys.executable, "-c", program, str(tmp_path / "catalog.duckdb")]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        message = refusal("sql", "--lake", tmp_path, "SELECT 1", code=1)
        holder.communicate("")
    assert re.fullmatch(
        rf"error: {re.escape(str(tmp_path))}/catalog\.duckdb is open for writing in .*python.* "
        rf"\(PID {holder.pid}\)\. Close it there, or open it there with read_only=True\.",
        message,
    )


def test_views_have_comments_and_aliases(sample_lake: Path) -> None:
    views = dict(
        query(sample_lake, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
    )
    listed = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    columns = {(t, c): text for t, c, text in query(sample_lake, listed)}
    for table in TABLES.values():
        assert views[table.name] == table.description
        for column in table:
            name, alias = column.name, column.alias
            expected = (
                f"{column.description} [{column.unit}]" if column.unit else column.description
            )
            assert columns[table.name, name] == expected
            if alias:
                assert columns[table.name, alias] == f"Newer name of {name}. {expected}"
                differ = f"SELECT count(*) FROM {table.name} WHERE {name} IS DISTINCT FROM {alias}"
                assert query(sample_lake, differ) == [(0,)], (table.name, name)


def test_long_views_have_one_row_per_cell_and_frame(sample_lake: Path) -> None:
    for view, lists in (("dff_traces", "dff"), ("cell_pixels", "roi_mask")):
        table = "cell_specimens" if view == "cell_pixels" else view
        assert query(sample_lake, f"SELECT count(*) FROM {view}_long") == query(
            sample_lake, f"SELECT sum(len({lists})) FROM {table}"
        )
    frames = query(
        sample_lake,
        "SELECT bool_and(l.timestamps = c.timestamps[l.frame + 1]), "
        "bool_and(l.dff = t.dff[l.frame + 1]) FROM dff_traces_long l "
        "JOIN ophys_timestamps c USING (ophys_experiment_id) "
        "JOIN dff_traces t USING (ophys_experiment_id, cell_roi_id) WHERE l.frame IN (0, 5)",
    )
    assert frames == [(True, True)]
