"""`vblake.open`: SQL, frames and the data dictionary of a lake, on its files and catalog alone."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

import vblake
from schemas import TABLES

ROOT = Path(__file__).parents[2]


def test_imports_nothing_of_the_project() -> None:
    allowed = {"vblake", "duckdb", "polars", "pyarrow", "numpy", "s3fs", "pytest"}
    ours = {"pipelines", "schemas", "assets", "benchmarks", "tests"}
    for path in (ROOT / "vblake").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
        used = {name.split(".")[0] for name in names}
        assert used & ours == set(), path
        assert used <= allowed | set(sys.stdlib_module_names), path


def test_every_table_is_the_same_in_sql_and_as_a_frame(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        assert lake.tables["table_name"].to_list() == list(TABLES)
        for table in TABLES:
            frame = lake.scan(table).collect()
            names = ", ".join(f'"{name}"' for name in frame.columns)
            rows = lake.sql(f"SELECT {names} FROM {table}").pl()
            assert frame.schema == rows.schema, table
            assert frame.height == rows.height, table


def test_a_frame_has_the_declared_columns_and_prunes_by_mouse(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        mouse = lake.scan("licks").select("mouse_id").first().collect().item()
        frame = lake.scan("licks")
        assert frame.collect_schema().names() == [c.name for c in TABLES["licks"].columns]
        one = frame.filter(mouse_id=mouse).collect()
        expected = lake.sql("SELECT count(*) FROM licks WHERE mouse_id = ?", [mouse]).fetchall()
        assert [(one.height,)] == expected


def test_describe_has_type_unit_and_description(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        row = lake.describe("trials").row(by_predicate=pl.col("alias") == "is_change", named=True)
    assert (row["column_name"], row["type"]) == ("stimulus_change", "BOOLEAN")
    assert row["description"]


def test_a_moved_lake_and_a_folder_named_like_a_pattern(sample_lake: Path, tmp_path: Path) -> None:
    moved = tmp_path / "run[1]*"
    for table in ("licks", "behavior_sessions"):
        shutil.copytree(sample_lake / table, moved / table)
    shutil.copy(sample_lake / "catalog.duckdb", moved)
    with vblake.open(sample_lake) as before, vblake.open(moved) as after:
        query = "SELECT * FROM licks ORDER BY ALL"
        assert after.sql(query).fetchall() == before.sql(query).fetchall()
        assert after.scan("licks").collect().equals(before.scan("licks").collect())


def test_a_table_without_files_is_an_empty_frame(sample_lake: Path, tmp_path: Path) -> None:
    shutil.copy(sample_lake / "catalog.duckdb", tmp_path)
    with vblake.open(sample_lake) as full, vblake.open(tmp_path) as empty:
        schema = full.scan("demixed_traces").collect_schema()
        assert empty.scan("demixed_traces").collect().is_empty()
        assert schema["demixed_trace"] == pl.List(pl.Float64)


@pytest.mark.parametrize(
    "query", ["SET threads = 1", "CREATE TABLE a (b INT)", "SELECT 1; SELECT 2"]
)
def test_sql_is_one_statement_that_reads(sample_lake: Path, query: str) -> None:
    with (
        vblake.open(sample_lake) as lake,
        pytest.raises(ValueError, match=re.escape(f"not: {query}")),
    ):
        lake.sql(query)


def test_unknown_table(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        for read in (lake.scan, lake.describe):
            with pytest.raises(LookupError) as raised:
                read("trails")
            assert str(raised.value) == (
                f"{sample_lake.resolve()} has no table 'trails'. Did you mean 'trials'?"
            )


def test_no_lake_and_no_catalog(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError) as raised:
            vblake.open(path)
        assert str(raised.value) == (
            f"{path} has no catalog.duckdb. Check the path; for a lake without a catalog, run "
            f"`vblake catalog --lake {path}`."
        )


def test_a_damaged_catalog(sample_lake: Path, tmp_path: Path) -> None:
    data = (sample_lake / "catalog.duckdb").read_bytes()
    (tmp_path / "catalog.duckdb").write_bytes(b"no database" + data[11:])
    with pytest.raises(duckdb.Error, match=r"catalog\.duckdb"):
        vblake.open(tmp_path)
