"""`verify` finds each kind of damage, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.lake import OPHYS, RELEASE, entry, reordered, replaced, rewrite, write_rows

from pipelines.catalog.build import build_catalog
from pipelines.check.lake import Problem, Severity, verify
from pipelines.lake.ledger import publish_mouse
from pipelines.lake.store import LocalStore
from pipelines.release.selection import FileKind
from schemas.errors import LakeError

TRIALS = "trials/mouse_id=101/trials.parquet"
SPEED = "running_speed/mouse_id=101/behavior_session_1001.parquet"
DFF = "dff_traces/mouse_id=101/ophys_experiment_3001.parquet"
SESSIONS = "behavior_sessions/behavior_sessions.parquet"


def found(store: LocalStore, *, deep: bool = True) -> list[str]:
    return [f"{p.severity.value}: {p}" for p in verify(store, deep=deep)]


def not_all_rows(store: LocalStore, table: str, held: int, given: int) -> str:
    return (
        f"error: file catalog.duckdb, table {table}: view {table} does not give all rows of its files. "
        f"Make the catalog anew with `vblake catalog --lake {store.root}`; expected {held} rows; found {given}"
    )


# --- nothing wrong -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False])
def test_a_good_lake_has_no_problems_and_every_file_is_read(store: LocalStore, deep: bool) -> None:
    read: list[str] = []
    assert verify(store, deep=deep, on_file=read.append) == []
    assert sorted(read) == sorted(
        p.relative_to(store.folder).as_posix() for p in store.folder.rglob("*.parquet")
    )


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LakeError) as caught:
        verify(LocalStore(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} is not a vblake lake: it has no _lake.json. "
        f"Check --lake (or VBLAKE_LAKE), or make one with `vblake ingest --lake {tmp_path}`."
    )


def test_a_lake_of_another_schema_version_is_refused(store: LocalStore) -> None:
    marker = store.folder / "_lake.json"
    marker.write_text(marker.read_text().replace('"schema_version": "2"', '"schema_version": "1"'))
    with pytest.raises(LakeError) as caught:
        verify(store)
    assert str(caught.value) == (
        f"{store.root} was written with schema version 1; this version of vblake reads and writes "
        "version 2. Ingest into a new --lake, or delete this one and ingest again."
    )


def test_a_problem_says_where_what_expected_and_found() -> None:
    problem = Problem(Severity.ERROR, "trials", "a.parquet", "go", "it is wrong", "true", "false")
    assert (
        str(problem)
        == "file a.parquet, table trials, column go: it is wrong; expected true; found false"
    )
    assert str(Problem(Severity.WARNING, None, None, None, "it is odd")) == "it is odd"


# --- files -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False])
def test_a_truncated_file(store: LocalStore, deep: bool) -> None:
    file = store.folder / SPEED
    file.write_bytes(file.read_bytes()[:-20])
    assert found(store, deep=deep) == [
        f"error: file {SPEED}, table running_speed: the file cannot be opened (Parquet magic bytes not found in footer. "
        "Either the file is corrupted or this is not a parquet file.). Ingest its sources again with --force"
    ]


def test_a_column_that_does_not_decode_is_named(store: LocalStore) -> None:
    chunk = pq.ParquetFile(store.folder / TRIALS).metadata.row_group(0).column(3)
    assert chunk.path_in_schema == "stop_time"
    data = bytearray((store.folder / TRIALS).read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    (store.folder / TRIALS).write_bytes(data)
    problems = verify(store)
    assert [(p.severity, p.table, p.file, p.column) for p in problems] == [
        (Severity.ERROR, "trials", TRIALS, "stop_time")
    ]
    assert problems[0].message.startswith("row group 0 cannot be read (")
    assert problems[0].message.endswith("). Ingest its sources again with --force")
    assert verify(store, deep=False) == []


def _without(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.drop_columns([name])


def _as_text(rows: pa.Table) -> pa.Table:
    position = rows.schema.get_field_index("frame")
    return rows.set_column(
        position,
        pa.field("frame", pa.string(), nullable=False),
        rows.column("frame").cast(pa.string()),
    )


def _nullable(rows: pa.Table) -> pa.Table:
    position = rows.schema.get_field_index("frame")
    return rows.cast(rows.schema.set(position, rows.schema.field(position).with_nullable(True)))


@pytest.mark.parametrize(
    ("change", "column", "message"),
    [
        (_without("frame"), "frame", "the column is missing"),
        (_as_text, "frame", "the column has another type; expected int64; found string"),
        (
            _nullable,
            "frame",
            "the column is declared otherwise in the file; expected never NULL; found may be NULL",
        ),
        (
            lambda rows: rows.append_column("frame", rows.column("frame")),
            "frame",
            "the column is there more than once",
        ),
        (
            lambda rows: rows.append_column("extra", rows.column("frame")),
            "extra",
            "the file has a column that is not declared",
        ),
    ],
)
@pytest.mark.parametrize("deep", [True, False])
def test_another_schema(
    store: LocalStore, change: Callable[[pa.Table], pa.Table], column: str, message: str, deep: bool
) -> None:
    path = "licks/mouse_id=101/licks.parquet"
    rewrite(store, path, change)
    assert found(store, deep=deep) == [
        f"error: file {path}, table licks, column {column}: {message}"
    ]


def test_columns_in_another_order(store: LocalStore) -> None:
    path = "licks/mouse_id=101/licks.parquet"
    rewrite(store, path, lambda rows: rows.select(["frame", "timestamps", "behavior_session_id"]))
    assert found(store) == [
        f"error: file {path}, table licks: the columns are in another order; "
        "expected behavior_session_id, timestamps, frame; found frame, timestamps, behavior_session_id"
    ]


def test_a_required_column_with_nulls(store: LocalStore) -> None:
    def change(rows: pa.Table) -> pa.Table:
        return replaced(_nullable(rows), "frame", [90, None])

    path = "licks/mouse_id=101/licks.parquet"
    rewrite(store, path, change)
    at = f"error: file {path}, table licks, column frame:"
    assert found(store) == [
        f"{at} the column is declared otherwise in the file; expected never NULL; found may be NULL",
        f"{at} values are missing; expected a value in every row; found 1 NULLs",
    ]


@pytest.mark.parametrize("row_group_size", [2, 100])
def test_rows_out_of_order_within_and_across_row_groups(
    store: LocalStore, row_group_size: int
) -> None:
    rewrite(store, SPEED, lambda rows: reordered(rows, [0, 2, 1, 3]), row_group_size=row_group_size)
    at = f"error: file {SPEED}, table running_speed"
    assert found(store) == [
        f"{at}, column timestamps: times are not in order; expected times that are finite and do not decrease; "
        f"found {1 / 60} after {2 / 60} in row 2 of behavior_session_id 1001",
        f"{at}: the rows are not in order; expected sorted by behavior_session_id, timestamps; found row 2 out of place",
    ]
    assert verify(store, deep=False) == []


def test_a_file_without_rows(store: LocalStore) -> None:
    rewrite(store, SPEED, lambda rows: rows.slice(0, 0))
    assert found(store) == [
        f"warning: file {SPEED}, table running_speed: the file has no rows; vblake writes no such file",
        f"error: file {SPEED}, table running_speed: rows of behaviour session 1001 are not as many as the ledger says. "
        "Ingest it again with --force; expected 4 rows; found 0",
    ]


# --- places ------------------------------------------------------------------------------------------------------------------


def test_another_mouses_folder(store: LocalStore) -> None:
    wrong = "trials/mouse_id=102/trials.parquet"
    (store.folder / wrong).parent.mkdir()
    (store.folder / TRIALS).rename(store.folder / wrong)
    assert found(store) == [
        f"error: file {wrong}, table trials, column mouse_id: rows of behaviour session 1001, 1002 are in another mouse's folder; "
        "expected mouse_id=101; found mouse_id=102"
    ]


def test_a_stray_copy_of_a_file(store: LocalStore) -> None:
    copy = "dff_traces/mouse_id=101/copy.parquet"
    shutil.copyfile(store.folder / DFF, store.folder / copy)
    assert found(store) == [
        f"error: file {copy}, table dff_traces: rows of experiment 3001 are in a file of another name; expected {DFF}",
        f"error: file {DFF}, table dff_traces: rows of experiment 3001 are in two files, so their keys repeat; "
        f"expected each source in one file; found rows in {copy} too",
        f"error: file {DFF}, table dff_traces: rows of experiment 3001 are not as many as the ledger says. "
        "Ingest it again with --force; expected 1 rows; found 2",
    ]


def test_a_file_outside_of_the_partitions(store: LocalStore) -> None:
    shutil.copyfile(store.folder / TRIALS, store.folder / "trials" / "stray.parquet")
    assert found(store) == [
        "error: file trials/stray.parquet, table trials: the file is in a folder where readers do not expect it; "
        "expected a file in trials/mouse_id=..."
    ]


def test_a_second_file_of_a_project_table(store: LocalStore) -> None:
    shutil.copyfile(store.folder / SESSIONS, store.folder / "behavior_sessions" / "old.parquet")
    expected = [
        f"error: file behavior_sessions/old.parquet, table behavior_sessions: the file is not one that vblake writes; "
        f"its rows count twice; expected {SESSIONS}"
    ]
    assert found(store, deep=False) == expected
    repeated = [
        f"error: table behavior_sessions: a primary key repeats; expected unique keys; found behavior_session_id {s} 2 times"
        for s in range(1001, 1006)
    ]
    assert found(store) == expected + repeated


# --- keys --------------------------------------------------------------------------------------------------------------------


def test_a_repeated_key_in_order(store: LocalStore) -> None:
    rewrite(store, TRIALS, lambda rows: replaced(rows, "trials_id", [0, 1, 0, 0, 2]))
    assert found(store) == [
        f"error: file {TRIALS}, table trials: a primary key repeats; expected unique keys; "
        "found behavior_session_id 1002, trials_id 0 again in row 3",
        "error: table stimulus_presentations, column behavior_session_id, trials_id: rows refer to trials that are not there; "
        "expected keys of trials; found behavior_session_id 1002, trials_id 1",
    ]
    assert verify(store, deep=False) == []


def test_a_repeated_key_out_of_order(store: LocalStore) -> None:
    rewrite(
        store,
        "cell_specimens/mouse_id=101/cell_specimens.parquet",
        lambda rows: reordered(rows, [0, 1, 0]),
    )
    assert [m for m in found(store) if "ledger" not in m] == [
        "error: file cell_specimens/mouse_id=101/cell_specimens.parquet, table cell_specimens: the rows are not in order; "
        "expected sorted by ophys_experiment_id, cell_roi_id; found row 2 out of place",
        "error: table cell_specimens: a primary key repeats; expected unique keys; "
        "found ophys_experiment_id 3001, cell_roi_id 9001 2 times",
    ]


def test_a_session_that_does_not_exist(store: LocalStore) -> None:
    rewrite(store, SESSIONS, lambda rows: rows.slice(1))
    messages = [m for m in found(store) if "rows refer to" in m]
    tables = ["trials", "stimulus_presentations", "licks", "running_speed"]
    assert messages == [
        f"error: table {table}, column behavior_session_id: rows refer to behavior_sessions that are not there; "
        "expected keys of behavior_sessions; found behavior_session_id 1001"
        for table in tables
    ]


def test_many_dangling_references_are_cut(store: LocalStore) -> None:
    rows = [{"cell_roi_id": 9000 + n, "ophys_experiment_id": 4000 + n} for n in range(7)]
    write_rows(store, "ophys_cells", rows)
    shown = "; ".join(f"ophys_experiment_id {4000 + n}" for n in range(5))
    assert found(store)[0] == (
        "error: table ophys_cells, column ophys_experiment_id: rows refer to ophys_experiments that are not there; "
        f"expected keys of ophys_experiments; found {shown} and more"
    )


def _drop_cells_of_3002(store: LocalStore) -> None:
    rewrite(
        store, "cell_specimens/mouse_id=101/cell_specimens.parquet", lambda rows: rows.slice(0, 1)
    )


def test_a_trace_without_its_cell(store: LocalStore) -> None:
    _drop_cells_of_3002(store)
    assert found(store)[1:] == [
        "error: table dff_traces, column ophys_experiment_id, cell_roi_id: rows refer to cell_specimens that are not there; "
        "expected keys of cell_specimens; found ophys_experiment_id 3002, cell_roi_id 9002",
    ]


def test_a_trace_needs_no_cell_where_cells_were_not_ingested(store: LocalStore) -> None:
    _drop_cells_of_3002(store)
    counts = {name: n for name, n in OPHYS.items() if name != "cell_specimens"}
    publish_mouse(
        store, 101, [entry(FileKind.OPHYS_EXPERIMENT, 3002, 101, 1002, row_counts=counts)], RELEASE
    )
    assert verify(store) == []


def test_a_missing_parent_table_makes_all_children_dangle(store: LocalStore) -> None:
    (store.folder / TRIALS).unlink()
    assert found(store)[:2] == [
        f"error: file {TRIALS}, table trials: the file is missing, though the ledger counts rows of behaviour session 1001, 1002. "
        "Ingest again with --force",
        f"error: file catalog.duckdb, table trials: view trials cannot be queried "
        f'(IO Error: No files found that match the pattern "{store.root}/trials/**/*.parquet"). '
        f"Make the catalog anew with `vblake catalog --lake {store.root}`",
    ]
    assert found(store)[2] == (
        "error: table stimulus_presentations, column behavior_session_id, trials_id: rows refer to trials that are not there; "
        "expected keys of trials; found behavior_session_id 1001, trials_id 0; behavior_session_id 1001, trials_id 1; "
        "behavior_session_id 1002, trials_id 0; behavior_session_id 1002, trials_id 1"
    )


# --- ledger ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False])
def test_other_row_counts_than_in_the_ledger(store: LocalStore, deep: bool) -> None:
    rewrite(store, "licks/mouse_id=101/licks.parquet", lambda rows: rows.slice(0, 1))
    assert found(store, deep=deep) == [
        "error: file licks/mouse_id=101/licks.parquet, table licks: rows of behaviour session 1001 are not as many as the ledger says. "
        "Ingest it again with --force; expected 2 rows; found 1"
    ]


def test_what_an_interrupted_run_left_is_a_warning(store: LocalStore) -> None:
    plane = {
        "behavior_session_id": 1003,
        "ophys_session_id": 2003,
        "ophys_experiment_id": 3003,
        "timestamps": [0.5],
    }
    path = write_rows(store, "ophys_timestamps", [plane], mouse_id=102, ophys_experiment_id=3003)
    assert found(store) == [
        f"warning: file {path}, table ophys_timestamps: the ledger does not know of rows of experiment 3003: "
        "an interrupted run left them. Ingest these files again"
    ]


def test_a_ledger_that_makes_no_sense(store: LocalStore) -> None:
    rewrite(
        store,
        "source_files/mouse_id=102/source_files.parquet",
        lambda rows: replaced(rows, "status", ["odd", "odd"]),
    )
    assert found(store) == [
        "error: table source_files: the ledger cannot be understood ('odd' is not a valid Status), so rows were not compared with it"
    ]


def test_a_ledger_file_that_does_not_open(store: LocalStore) -> None:
    path = "source_files/mouse_id=102/source_files.parquet"
    (store.folder / path).write_bytes(b"PAR1 nothing")
    assert [m.split(" (")[0] for m in found(store)] == [
        f"error: file {path}, table source_files: the file cannot be opened"
    ]


def test_a_source_that_is_in_two_ledger_files(store: LocalStore) -> None:
    (store.folder / "source_files/mouse_id=103").mkdir()
    shutil.copyfile(
        store.folder / "source_files/mouse_id=102/source_files.parquet",
        store.folder / "source_files/mouse_id=103/source_files.parquet",
    )
    assert found(store) == [
        "error: table source_files: a primary key repeats; expected unique keys; "
        f"found release 1.1.0, file_kind {kind}, file_key {key} 2 times"
        for kind, key in (("behavior_session", 1004), ("ophys_experiment", 3003))
    ]


# --- catalog -----------------------------------------------------------------------------------------------------------------


def test_no_catalog(store: LocalStore) -> None:
    (store.folder / "catalog.duckdb").unlink()
    assert found(store) == [
        f"error: file catalog.duckdb: {store.root} has no catalog.duckdb. Build it with `vblake catalog --lake {store.root}`."
    ]


def test_a_damaged_catalog(store: LocalStore) -> None:
    (store.folder / "catalog.duckdb").write_bytes(b"not a database")
    assert found(store) == [
        f"error: file catalog.duckdb: {store.root}/catalog.duckdb cannot be opened (IO Error: The file "
        f'"{store.folder}/catalog.duckdb" exists, but it is not a valid DuckDB database file!). '
        f"Rebuild it with `vblake catalog --lake {store.root}`."
    ]


def _change_catalog(store: LocalStore, *statements: str) -> None:
    with duckdb.connect(str(store.folder / "catalog.duckdb")) as con:
        for statement in statements:
            con.execute(statement)


def test_a_catalog_without_a_view(store: LocalStore) -> None:
    _change_catalog(store, "DROP VIEW licks")
    again = f"Make the catalog anew with `vblake catalog --lake {store.root}`"
    assert found(store) == [
        f"error: file catalog.duckdb: views are missing. {again}; expected a view for every table; found none for licks"
    ]


def test_a_catalog_of_another_schema_version(store: LocalStore) -> None:
    _change_catalog(store, "UPDATE _lake SET schema_version = '0'")
    again = f"Make the catalog anew with `vblake catalog --lake {store.root}`"
    assert found(store) == [
        f"error: file catalog.duckdb: the catalog is of another schema version. {again}; expected 2; found 0"
    ]


def test_a_catalog_from_before_a_table_had_files(store: LocalStore) -> None:
    _change_catalog(store, "CREATE OR REPLACE VIEW licks AS SELECT 1 AS frame WHERE false")
    assert found(store) == [not_all_rows(store, "licks", 2, 0)]
    assert verify(store, deep=False) == []
    build_catalog(store, RELEASE)
    assert verify(store) == []


def test_a_view_that_cannot_be_queried(store: LocalStore) -> None:
    _change_catalog(
        store,
        "CREATE TABLE gone AS SELECT 1 AS frame",
        "CREATE VIEW old AS SELECT frame FROM gone",
        "DROP TABLE gone",
    )
    again = f"Make the catalog anew with `vblake catalog --lake {store.root}`"
    assert found(store, deep=False) == [
        f"error: file catalog.duckdb: view old cannot be queried (Catalog Error: Table with name gone does not exist!). {again}"
    ]
