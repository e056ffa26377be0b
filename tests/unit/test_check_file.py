"""Every rule on the tables of one file, whatever tables are selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.lake import replaced
from builders.nwb import (
    BEHAVIOR_SESSION_ID,
    CELLS,
    EXPERIMENT_ID,
    NAME,
    OPHYS,
    OPHYS_SESSION_ID,
    ROI_IDS,
    TEMPLATE,
    TRIALS,
    Content,
    read,
    recording,
    whole_file,
    without,
)
from builders.violations import VIOLATIONS, Violation
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.check.file import FileCheck, check_ids
from pipelines.check.rows import parents
from pipelines.convert.staged import check_staged
from pipelines.nwb.recording import Recording
from pipelines.release.manifest import ReleaseObject
from pipelines.release.selection import FileKind, FileTask
from schemas import TABLES, Subject, Table
from schemas.checks import Rule
from schemas.errors import DataError, IntegrityError
from schemas.known_defects import known

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


# --- whole files ---------------------------------------------------------------------------------


@settings(max_examples=15)
@given(chosen=st.sets(st.sampled_from([t.name for t in READ]), min_size=1))
def test_a_good_file_passes_whatever_tables_are_selected(
    rows: dict[str, pa.Table], chosen: set[str]
) -> None:
    assert run([t for t in READ if t.name in chosen], rows) == []


def _check_all_tables(task: FileTask, source: Recording) -> None:
    check_ids(task, source)
    check = FileCheck(task, source)
    for table in (*READ, TABLES["stimulus_templates"]):
        try:
            check.take(table, read(table.name, source))
            check.finish(table)
        except DataError as error:
            raise error.located(file=NAME, table=table.name) from None


@pytest.mark.parametrize("case", VIOLATIONS, ids=[case.name for case in VIOLATIONS])
def test_a_file_that_breaks_a_rule_is_refused(case: Violation) -> None:
    task = TASK if case.listed else replace(TASK, cells=CELLS_LISTED[1:])
    with pytest.raises(DataError) as caught:
        _check_all_tables(task, recording(case.change(whole_file())))
    error = str(caught.value)
    assert case.table is None or f", table {case.table}" in error
    position = 0
    for part in case.says:
        assert part in error[position:]
        position = error.index(part, position)


# --- rules that need tables of their own ---------------------------------------------------------


@pytest.mark.parametrize("name", ["trials", "dff_traces", "projections"])
def test_a_repeated_primary_key_is_found_also_far_apart(
    name: str, rows: dict[str, pa.Table]
) -> None:
    column = TABLES[name].primary_key[-1]
    values = rows[name].column(column).to_pylist()
    twice = replaced(rows[name], column, [*values[:-1], values[0]])
    error = refused([TABLES[name]], {name: twice})
    assert (error.column, error.problem) == (column, "a primary key repeats")
    assert error.found == f"{column} {values[0]} twice"


@pytest.mark.parametrize("selected", [True, False], ids=["parent-selected", "parent-not-selected"])
@pytest.mark.parametrize("name", ["rolling_performance", "dff_traces", "events"])
def test_references_are_closed_in_both_directions(
    name: str, selected: bool, rows: dict[str, pa.Table]
) -> None:
    table = TABLES[name]
    ((column, parent, complete),) = parents(table)
    assert complete
    tables = [parent, table] if selected else [table]
    values = rows[name].column(column).to_pylist()
    lost = rows | {name: replaced(rows[name], column, [*values[:-1], 999_999])}
    error = refused(tables, lost)
    assert (error.table, error.column) == (name, column)
    assert (error.expected, error.found) == (f"keys of {parent.name}", f"{column} 999999")
    fewer = rows | {name: rows[name].slice(1)}
    if known(name, Rule.ROW_PER_PARENT, "1.1.0"):
        assert run(tables, fewer) == ["cells-without-events"]
        return
    count = rows[parent.name].num_rows
    missing = f"1 of {count} {parent.name} without a row, {column} {values[0]}"
    assert refused(tables, fewer).found == missing


def test_a_file_that_the_project_tables_do_not_list_is_refused(rows: dict[str, pa.Table]) -> None:
    error = refused([TABLES["trials"]], rows, replace(TASK, unlisted=("behavior_sessions",)))
    assert error.problem == "rows refer to behavior_sessions that are not there"
    assert error.found == f"behavior_session_id {BEHAVIOR_SESSION_ID}"
    old = replace(TASK, cells=None)
    cells = [TABLES["cell_specimens"]]
    assert run(cells, rows, old) == [], "releases before 1.0.0 have no ophys_cells"


@pytest.mark.parametrize("table", READ, ids=lambda t: t.name)
def test_a_table_without_rows_is_refused_or_known(table: Table, rows: dict[str, pa.Table]) -> None:
    nothing = {table.name: rows[table.name].slice(0, 0)}
    defects = known(table.name, Rule.ROWS_EXPECTED, "1.1.0")
    if passing := [d.name for d in defects if d.unless is None]:
        assert run([table], nothing) == passing
        return
    error = refused([table], nothing)
    assert (error.table, error.problem) == (table.name, "the table is empty")
    for evidence in [d.unless for d in defects if d.unless]:
        assert error.hint == f"{evidence.table}.{evidence.column} says that there should be some."


# --- known defects -------------------------------------------------------------------------------


def _known_in(content: Content, *names: str, task: FileTask = TASK) -> list[str]:
    source = recording(content)
    tables = [TABLES[name] for name in names]
    return run(tables, {name: read(name, source) for name in names}, task, content)


@pytest.mark.parametrize("trials", [(), ("trials",)], ids=["alone", "with-trials"])
def test_a_passive_session_needs_neither_licks_nor_rewards(trials: tuple[str, ...]) -> None:
    content = without(whole_file(), "/processing/licking", "/processing/rewards")
    content |= {
        f"{TRIALS}/lick_times": [""],
        f"{TRIALS}/lick_times_index": np.zeros(4, np.uint8),
        f"{TRIALS}/reward_volume": np.zeros(4),
    }
    assert _known_in(content, *trials, "licks", "rewards") == ["no-licks", "no-rewards"]


def test_old_releases_have_no_demixed_traces_new_ones_must() -> None:
    content = without(whole_file(), f"{OPHYS}/demixed_trace")
    old = replace(TASK, release="1.0.1")
    assert _known_in(content, "demixed_traces", task=old) == ["no-demixed-traces"]
    with pytest.raises(IntegrityError, match="the table is empty"):
        _known_in(content, "demixed_traces")


def test_a_plane_without_valid_rois_gives_no_traces() -> None:
    content = whole_file() | {f"{CELLS}/valid_roi": np.zeros(4, dtype=bool)}
    assert _known_in(content, "cell_specimens", "dff_traces", "demixed_traces") == [
        "no-valid-roi",
        "no-cells-in-dff-traces",
        "no-cells-in-demixed-traces",
    ]


def test_a_clock_that_goes_on_after_the_traces_is_known() -> None:
    content = whole_file() | {f"{OPHYS}/dff/traces/timestamps": np.arange(7) / 8}
    names = [t.name for t in READ if t.subject is Subject.OPHYS]
    assert _known_in(content, *names) == ["clock-goes-on"]


# --- warnings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("images_too", [True, False])
def test_an_image_that_the_file_s_set_does_not_have_is_a_warning(images_too: bool) -> None:
    names = {f"/stimulus/templates/{TEMPLATE}/control_description": ["im077", "im066"]}
    source = recording(whole_file() | names)
    table = TABLES["stimulus_presentations"]
    tables = (table.name, "stimulus_templates") if images_too else (table.name,)
    check = FileCheck(replace(TASK, tables=tables), source)
    check.take(table, read(table.name, source))
    check.finish(table)
    warning = (
        "table stimulus_presentations, column image_name: presentations name images that their "
        f"image set does not have; expected images of {TEMPLATE}: im066, im077; "
        "found im065 in 2 rows"
    )
    assert source.warnings == ([warning] if images_too else [])


# --- whose file it is ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["457841", np.int64(457841)], ids=["text", "number"])
def test_a_mouse_is_the_one_of_the_project_tables_in_every_form(form: object) -> None:
    check_ids(TASK, recording(whole_file() | {"/general/subject/subject_id": form}))


# --- staged files --------------------------------------------------------------------------------


def test_a_staged_file_must_hold_what_was_written(
    tmp_path: Path, rows: dict[str, pa.Table]
) -> None:
    path = tmp_path / "licks.parquet"
    assert check_staged(path, 3) is not None
    pq.write_table(rows["licks"], path)
    assert check_staged(path, 3) is None
    assert check_staged(path, 4) == "holds 3 of 4 rows"
    path.write_bytes(path.read_bytes()[:-9])
    assert (check_staged(path, 3) or "").startswith("cannot be opened (")
