"""`vblake.open`: SQL, frames and the data dictionary of a lake, on its files and catalog alone."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import duckdb
import polars as pl
import polars.selectors as cs
import pytest

import vblake
import vblake.tables
from schemas import SCHEMA_VERSION, TABLES
from schemas.views import VIEWS

ROOT = Path(__file__).parents[2]


def test_imports_nothing_of_the_project() -> None:
    allowed = {
        "vblake",
        "duckdb",
        "polars",
        "pyarrow",
        "numpy",
        "obstore",
        "aiohttp",
        "boto3",
        "botocore",
        "fsspec",
        "pandas",
        "xarray",
    }
    of_the_page = {"dash", "flask", "plotly", "waitress"}  # the extra `explore`
    ours = {"pipelines", "schemas", "assets", "benchmarks", "tests"}
    for path in (ROOT / "vblake").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
        used = {name.split(".")[0] for name in names}
        assert used & ours == set(), path
        more = of_the_page if "explore" in path.parts else set()
        assert used <= allowed | more | set(sys.stdlib_module_names), path


def test_every_table_is_the_same_in_sql_and_as_a_frame(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        assert lake.tables["table_name"].to_list() == [*TABLES, *VIEWS]
        for table in (t for t in TABLES if (sample_lake / t).is_dir()):
            frame = lake.scan(table).collect()
            names = ", ".join(f'"{name}"' for name in frame.columns)
            rows = lake.sql(f"SELECT {names} FROM {table}").pl()
            # Dates in the files are labelled UTC, those of SQL have no label.
            labelled = rows.with_columns(cs.datetime().dt.replace_time_zone("UTC"))
            assert frame.schema == labelled.schema, table
            assert frame.height == rows.height, table


def test_a_frame_has_the_declared_columns_then_the_aliases(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        columns = TABLES["trials"].columns
        frame = lake.scan("trials").collect()
        assert frame.columns == [c.name for c in columns] + [c.alias for c in columns if c.alias]
        assert frame["is_change"].equals(frame["stimulus_change"], check_names=False)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("licks", "mouse_id"),
        ("trials", "behavior_session_id"),
        ("eye_tracking", "behavior_session_id"),
        ("dff_traces", "behavior_session_id"),
        ("dff_traces", "ophys_session_id"),
        ("dff_traces", "ophys_experiment_id"),
        ("ophys_cells", "ophys_experiment_id"),
    ],
)
def test_a_frame_of_some_ids_has_their_rows_from_their_files(
    sample_lake: Path, table: str, key: str
) -> None:
    with vblake.open(sample_lake) as lake:
        whole = lake.scan(table).collect()
        some = whole[key].unique().sort().to_list()[:2]
        for ids in (some[0], some):
            wanted = whole.filter(pl.col(key).is_in(ids if isinstance(ids, list) else [ids]))
            assert lake.scan(table, **{key: ids}).collect().equals(wanted)


def test_an_experiment_is_read_from_one_file(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        experiment = lake.scan("dff_traces").first().collect()["ophys_experiment_id"].item()
        plan = lake.scan("dff_traces", ophys_experiment_id=experiment).explain()
    assert "dff_traces.parquet]" in plan
    assert "other sources" not in plan


def test_ids_that_the_release_does_not_have(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        known = lake.scan("behavior_sessions").first().collect()["behavior_session_id"].item()
        with pytest.raises(LookupError) as raised:
            lake.scan("licks", behavior_session_id=[known, 10 * known])
        assert str(raised.value) == (
            f"The release in {sample_lake.resolve()} has no behavior_session_id {10 * known}. "
            f"Did you mean '{known}'?"
        )


def test_a_project_table_is_checked_too(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake, pytest.raises(LookupError, match="has no mouse_id 1"):
        lake.scan("behavior_sessions", mouse_id=1)


def test_ids_that_do_not_belong_together_have_no_rows(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        planes = lake.scan("ophys_experiments").collect()
        first, last = planes.row(0, named=True), planes.row(-1, named=True)
        assert first["mouse_id"] != last["mouse_id"]
        frame = lake.scan(
            "dff_traces",
            mouse_id=first["mouse_id"],
            ophys_experiment_id=last["ophys_experiment_id"],
        )
        assert frame.collect().is_empty()


def test_ids_that_the_table_does_not_have(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        with pytest.raises(LookupError) as raised:
            lake.scan("licks", ophys_experiment_id=1)
        assert str(raised.value) == (
            "licks has no column ophys_experiment_id. Select its rows by mouse_id or "
            "behavior_session_id."
        )
        with pytest.raises(LookupError, match="no column mouse_id"):
            lake.scan("stimulus_templates", mouse_id=1)


def test_a_view_has_no_files(sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        assert lake.describe("cells").height == len(VIEWS["cells"].columns)
        with pytest.raises(LookupError) as raised:
            lake.scan("cells")
        assert str(raised.value) == (
            "cells is a view or macro of the catalog, without files of its own. "
            'Use lake.sql("SELECT ... FROM cells").'
        )


def test_a_lake_of_another_schema(lake: Path) -> None:
    with duckdb.connect(lake / "catalog.duckdb") as catalog:
        catalog.execute("UPDATE _lake SET schema_version = '1'")
    with vblake.open(lake) as opened, pytest.raises(LookupError) as raised:
        opened.scan("presentations")
    assert str(raised.value).endswith(
        f" The lake has schema version 1, of an earlier vblake; this one reads version "
        f"{SCHEMA_VERSION}. Upgrade the lake with `vblake ingest` where it was made, or install "
        "the vblake that wrote it."
    )
    later = str(int(SCHEMA_VERSION) + 1)
    with duckdb.connect(lake / "catalog.duckdb") as catalog:
        catalog.execute(f"UPDATE _lake SET schema_version = '{later}'")
    with vblake.open(lake) as opened:
        assert opened.schema_note() == (
            f" The lake has schema version {later}, of a newer vblake; this one reads version "
            f"{SCHEMA_VERSION}. Install the newer one."
        )
        assert opened.sql("SELECT count(*) > 0 FROM trials").fetchall() == [(True,)]
        with pytest.raises(
            LookupError, match=r"can only be read with Lake\.sql\. The lake has schema"
        ):
            opened.scan("trials")


def test_the_package_knows_the_schema_version() -> None:
    assert vblake.tables.SCHEMA_VERSION == SCHEMA_VERSION


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


def test_rows_that_no_file_has_are_an_empty_frame(sample_lake: Path, tmp_path: Path) -> None:
    shutil.copy(sample_lake / "catalog.duckdb", tmp_path)
    shutil.copytree(sample_lake / "source_files", tmp_path / "source_files")
    with vblake.open(sample_lake) as full, vblake.open(tmp_path) as empty:
        assert empty.scan("dff_traces").collect().is_empty()
        assert empty.scan("dff_traces").collect_schema() == full.scan("dff_traces").collect_schema()


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
    reasons = {
        tmp_path / "nothing": "there is no such folder",
        tmp_path: "it has no catalog.duckdb",
    }
    for path, why in reasons.items():
        with pytest.raises(FileNotFoundError) as raised:
            vblake.open(path)
        assert str(raised.value) == (
            f"{path} is not a vblake lake: {why}. Check the path, or make a lake "
            f"with `vblake ingest --lake {path}`."
        )
    (tmp_path / "_lake.json").touch()
    with pytest.raises(FileNotFoundError) as raised:
        vblake.open(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path} has no catalog.duckdb. Build it with `vblake catalog --lake {tmp_path}`."
    )


def test_a_damaged_catalog(sample_lake: Path, tmp_path: Path) -> None:
    data = (sample_lake / "catalog.duckdb").read_bytes()
    for damaged in (b"no database" + data[11:], data[: len(data) // 2]):
        (tmp_path / "catalog.duckdb").write_bytes(damaged)
        with pytest.raises(OSError) as raised:
            vblake.open(tmp_path)
        text = str(raised.value)
        assert text.startswith(f"{tmp_path}/catalog.duckdb cannot be opened (")
        assert text.endswith(f" Rebuild it with `vblake catalog --lake {tmp_path}`.")
