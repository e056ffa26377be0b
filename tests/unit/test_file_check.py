"""What a file gives is checked before it counts: keys, references, required values and missing rows, whatever tables were selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders.nwb import (
    BEHAVIOR_SESSION_ID,
    CELLS,
    EXPERIMENT_ID,
    NAME,
    OPHYS,
    OPHYS_SESSION_ID,
    ROI_IDS,
    TRIALS,
    Content,
    make,
    read,
    recording,
    whole_file,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.check.file import FileCheck, check_ids
from pipelines.check.rows import in_file, parents_in_file
from pipelines.convert.staged import check_staged
from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.recording import Recording
from pipelines.release.manifest import ReleaseObject
from pipelines.release.selection import FileKind, FileTask
from schemas import TABLES, ForeignKey, Subject, Table
from schemas.errors import DataError, IntegrityError
from schemas.known_defects import Rule, known

READ = [t for t in TABLES.values() if t.subject in (Subject.BEHAVIOR, Subject.OPHYS)]
CELLS_LISTED = tuple(sorted(ROI_IDS))
TASK = FileTask(
    release="1.1.0",
    kind=FileKind.OPHYS_EXPERIMENT,
    file_key=EXPERIMENT_ID,
    mouse_id=457841,
    behavior_session_id=BEHAVIOR_SESSION_ID,
    ophys_session_id=OPHYS_SESSION_ID,
    ophys_experiment_id=EXPERIMENT_ID,
    gives_behavior=True,
    object=ReleaseObject(NAME, "v1", None),
    tables=tuple(t.name for t in READ),
    bytes=None,
    cells=CELLS_LISTED,
)


@pytest.fixture(scope="module")
def rows() -> dict[str, pa.Table]:
    """The rows of every table of a whole file."""
    source = recording(whole_file())
    return {table.name: read(table.name, source) for table in READ}


def run(
    tables: Sequence[Table],
    rows: dict[str, pa.Table],
    task: FileTask = TASK,
    content: Content | None = None,
) -> list[str]:
    """Checks tables as a worker does, two rows at a time; returns the names of known defects."""
    source = recording(whole_file() if content is None else content)
    check = FileCheck(task, source)
    for table in tables:
        own = rows[table.name]
        for start in range(0, own.num_rows, 2):
            check.take(table, own.slice(start, 2))
        check.finish(table)
    return [defect.defect for defect in source.known_defects]


def refused(
    tables: Sequence[Table],
    rows: dict[str, pa.Table],
    task: FileTask = TASK,
    content: Content | None = None,
) -> IntegrityError:
    with pytest.raises(IntegrityError) as caught:
        run(tables, rows, task, content)
    assert caught.value.file == NAME
    return caught.value


def with_values(
    rows: pa.Table, column: str, change: Callable[[list[object]], list[object]]
) -> pa.Table:
    position = rows.schema.get_field_index(column)
    values = pa.array(change(rows.column(column).to_pylist()), rows.schema.field(position).type)
    return pa.Table.from_arrays(
        [*rows.columns[:position], values, *rows.columns[position + 1 :]], schema=rows.schema
    )


# --- good files --------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(chosen=st.sets(st.sampled_from([t.name for t in READ]), min_size=1))
def test_a_good_file_passes_whatever_tables_are_selected(chosen: set[str]) -> None:
    source = recording(whole_file())
    tables = [t for t in READ if t.name in chosen]
    assert run(tables, {t.name: read(t.name, source) for t in tables}) == []


def test_rows_of_another_schema_are_refused(rows: dict[str, pa.Table]) -> None:
    table = TABLES["licks"]
    error = refused(
        [table],
        {"licks": rows["licks"].rename_columns(["behavior_session_id", "timestamps", "frames"])},
    )
    assert str(error) == (
        f"file {NAME}, table licks: the table has another schema; expected behavior_session_id int64, timestamps double, frame int64; "
        "found behavior_session_id int64, timestamps double, frames int64"
    )


# --- every declaration -------------------------------------------------------------------------------------------------------

REQUIRED = [(t, c.name) for t in READ for c in t.stored if c.required]
KEYED = [t for t in READ if in_file(t)]
IN_FILE = [(t, column, parent) for t in READ for column, parent, _ in parents_in_file(t)]
COMPLETE = [
    (t, column, parent) for t in READ for column, parent, complete in parents_in_file(t) if complete
]
TO_PROJECT = [
    (t, key) for t in READ for key in t.foreign_keys if TABLES[key.table].subject is Subject.PROJECT
]


@pytest.mark.parametrize(("table", "column"), REQUIRED, ids=[f"{t.name}.{c}" for t, c in REQUIRED])
def test_a_missing_required_value_is_found(
    table: Table, column: str, rows: dict[str, pa.Table]
) -> None:
    error = refused(
        [table],
        {table.name: with_values(rows[table.name], column, lambda values: [*values[:-1], None])},
    )
    assert (error.table, error.column, error.problem) == (
        table.name,
        column,
        "a required value is missing",
    )


@pytest.mark.parametrize("table", KEYED, ids=lambda t: t.name)
def test_a_repeated_primary_key_is_found_also_far_apart(
    table: Table, rows: dict[str, pa.Table]
) -> None:
    (column,) = in_file(table)
    twice = with_values(rows[table.name], column, lambda values: [*values[:-1], values[0]])
    error = refused([table], {table.name: twice})
    assert (error.table, error.column, error.problem) == (
        table.name,
        column,
        "a primary key repeats",
    )
    assert error.found == f"{column} {rows[table.name].column(column)[0]} twice"


@pytest.mark.parametrize("selected", [True, False], ids=["parent-selected", "parent-not-selected"])
@pytest.mark.parametrize(
    ("table", "column", "parent"), IN_FILE, ids=[f"{t.name}-{p.name}" for t, _, p in IN_FILE]
)
def test_a_reference_to_no_row_is_found(
    table: Table, column: str, parent: Table, selected: bool, rows: dict[str, pa.Table]
) -> None:
    changed = rows | {
        table.name: with_values(rows[table.name], column, lambda values: [*values[:-1], 999_999])
    }
    error = refused([parent, table] if selected else [table], changed)
    assert (error.table, error.column, error.expected) == (
        table.name,
        column,
        f"keys of {parent.name}",
    )
    assert error.found == f"{column} 999999"


@pytest.mark.parametrize("selected", [True, False], ids=["parent-selected", "parent-not-selected"])
@pytest.mark.parametrize(
    ("table", "column", "parent"), COMPLETE, ids=[f"{t.name}-{p.name}" for t, _, p in COMPLETE]
)
def test_a_row_that_is_left_out_is_found(
    table: Table, column: str, parent: Table, selected: bool, rows: dict[str, pa.Table]
) -> None:
    changed = rows | {table.name: rows[table.name].slice(1)}
    tables = [parent, table] if selected else [table]
    gone = f"1 of {rows[parent.name].num_rows} {parent.name} without a row, {column} {rows[table.name].column(column)[0]}"
    if known(table.name, Rule.ROW_PER_PARENT, "1.1.0"):
        assert run(tables, changed) == ["cells-without-events"]
        return
    error = refused(tables, changed)
    assert (error.table, error.column, error.problem, error.found) == (
        table.name,
        column,
        "rows are missing",
        gone,
    )


@pytest.mark.parametrize(
    ("table", "key"), TO_PROJECT, ids=[f"{t.name}-{k.table}" for t, k in TO_PROJECT]
)
def test_a_file_that_the_project_tables_do_not_list_is_refused(
    table: Table, key: ForeignKey, rows: dict[str, pa.Table]
) -> None:
    error = refused(
        [table],
        rows,
        replace(TASK, unlisted=(key.table,))
        if key.since is None
        else replace(TASK, cells=CELLS_LISTED[1:]),
    )
    assert (error.table, error.column) == (table.name, ", ".join(key.columns))
    assert error.problem == f"rows refer to {key.table} that are not there"
    if key.since is not None:
        assert (error.expected, error.found) == (
            f"keys of ophys_cells of experiment {EXPERIMENT_ID}",
            f"cell_roi_id {CELLS_LISTED[0]}",
        )
        assert run([table], rows, replace(TASK, cells=None)) == [], (
            "releases before 1.0.0 have no ophys_cells"
        )


@pytest.mark.parametrize("table", READ, ids=lambda t: t.name)
def test_a_table_without_rows_is_refused_or_known(table: Table, rows: dict[str, pa.Table]) -> None:
    nothing = {table.name: rows[table.name].slice(0, 0)}
    passing = [e for e in known(table.name, Rule.ROWS_EXPECTED, "1.1.0") if e.unless is None]
    if passing:
        assert run([table], nothing) == [passing[0].name]
        return
    error = refused([table], nothing)
    assert (error.table, error.problem, error.found) == (table.name, "the table is empty", "none")
    if against := [e.unless for e in known(table.name, Rule.ROWS_EXPECTED, "1.1.0") if e.unless]:
        assert (
            error.hint == f"{against[0].table}.{against[0].column} says that there should be some."
        )


# --- known exceptions --------------------------------------------------------------------------------------------------------


def passive() -> Content:
    content = without(whole_file(), "/processing/licking", "/processing/rewards")
    content |= {
        f"{TRIALS}/lick_times": [""],
        f"{TRIALS}/lick_times_index": np.zeros(4, np.uint8),
        f"{TRIALS}/reward_volume": np.zeros(4),
    }
    return content


def test_a_passive_session_needs_neither_licks_nor_rewards() -> None:
    tables = [TABLES["licks"], TABLES["rewards"]]
    content = passive()
    rows = {t.name: read(t.name, recording(content)) for t in tables}
    assert run(tables, rows, content=content) == ["no-licks", "no-rewards"]


def test_old_releases_have_no_demixed_traces_new_ones_must() -> None:
    table = TABLES["demixed_traces"]
    content = without(whole_file(), f"{OPHYS}/demixed_trace")
    nothing = {table.name: read(table.name, recording(content))}
    old = replace(TASK, release="1.0.1")
    assert run([table], nothing, old, content) == ["no-demixed-traces"]
    assert refused([table], nothing, content=content).problem == "the table is empty"


def test_a_plane_without_valid_rois_gives_no_traces() -> None:
    content = whole_file() | {f"{CELLS}/valid_roi": np.zeros(4, dtype=bool)}
    tables = [
        t
        for t in READ
        if t.name
        in ("cell_specimens", "dff_traces", "corrected_fluorescence_traces", "demixed_traces")
    ]
    rows = {t.name: read(t.name, recording(content)) for t in tables}
    assert run(tables, rows, content=content) == [
        "no-valid-roi",
        "no-cells-in-dff-traces",
        "no-cells-in-corrected-fluorescence-traces",
        "no-cells-in-demixed-traces",
    ]


def test_a_clock_that_goes_on_after_the_traces_is_known() -> None:
    content = whole_file() | {f"{OPHYS}/dff/traces/timestamps": np.arange(7) / 8}
    tables = [t for t in READ if t.subject is Subject.OPHYS and t.name != "experiment_metadata"]
    source = recording(content)
    rows = {t.name: read(t.name, source) for t in tables}
    assert run(tables, rows, content=content) == ["clock-goes-on"]


# --- whose file it is --------------------------------------------------------------------------------------------------------


def opened(**subject: object) -> Recording:
    return Recording(
        HdfFile(
            make(
                without(whole_file(), "/general/subject/subject_id")
                | {"/general/subject/subject_id": subject["id"]}
            ),
            NAME,
        )
    )


@pytest.mark.parametrize(
    "form", ["457841", b"457841", np.int64(457841)], ids=["text", "bytes", "number"]
)
def test_a_mouse_is_the_one_of_the_project_tables_in_every_form(form: object) -> None:
    check_ids(TASK, opened(id=form))


@pytest.mark.parametrize(
    ("form", "shown"), [("457842", "457842"), ("M457841", "M457841"), (np.int64(1), "1")]
)
def test_another_mouse_is_refused(form: object, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        check_ids(TASK, opened(id=form))
    assert (caught.value.column, caught.value.expected) == (
        "mouse_id",
        "457841",
    ) or "subject_id" in (caught.value.column or "")
    assert shown in str(caught.value)


@pytest.mark.parametrize("name", ["behavior_session_id", "ophys_session_id", "file_key"])
def test_a_file_of_another_recording_is_refused(name: str) -> None:
    task = replace(TASK, **{name: 7})
    with pytest.raises(IntegrityError) as caught:
        check_ids(task, recording(whole_file()))
    assert caught.value.column == {"file_key": "ophys_experiment_id"}.get(name, name)
    assert caught.value.expected == "7"


# --- staged files ------------------------------------------------------------------------------------------------------------


def test_a_staged_file_must_hold_what_was_written(
    tmp_path: Path, rows: dict[str, pa.Table]
) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "licks.parquet"
    assert check_staged(path, 3) is not None
    pq.write_table(rows["licks"], path)
    assert check_staged(path, 3) is None
    assert check_staged(path, 4) == "holds 3 of 4 rows"
    path.write_bytes(path.read_bytes()[:-9])
    assert (check_staged(path, 3) or "").startswith("cannot be opened (")
