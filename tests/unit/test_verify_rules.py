"""`verify` holds the lake to the same declarations as workers hold files to, and names the known exceptions that occur."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from builders.lake import (
    BEHAVIOR_1001,
    BEHAVIOR_1002,
    OPHYS,
    RELEASE,
    entry,
    replaced,
    rewrite,
    write_rows,
)
from builders.rows import CHECKS, broken, drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.check.lake import Problem, verify
from pipelines.check.lake_file import check_file
from pipelines.lake.ledger import publish_mouse
from pipelines.lake.store import LocalStore
from pipelines.release.selection import FileKind
from schemas import Table
from schemas.checks import Check, InClock, PerFrame
from schemas.known_defects import Occurrence

TRIALS = "trials/mouse_id=101/trials.parquet"
CELLS = "cell_specimens/mouse_id=101/cell_specimens.parquet"
PLANE = {"behavior_session_id": 1002, "ophys_session_id": 2002, "ophys_experiment_id": 3001}


def found(store: LocalStore) -> list[str]:
    """The problems; files by the name they had before anything took their place."""
    return [
        f"{p.severity.value}: {p}".replace(".2.parquet", ".parquet")
        for p in verify(store)
        if p.file != "catalog.duckdb"
    ]


def exceptions(store: LocalStore) -> list[str]:
    seen: list[Problem] = []
    verify(store, on_known=seen.append)
    return [f"{p.severity.value}: {p}" for p in seen]


def counted(store: LocalStore, session: dict[str, int], plane: dict[str, int]) -> None:
    """Notes in the ledger what was ingested of session 1001, and of experiment 3001 with session 1002."""
    behavior = entry(FileKind.BEHAVIOR_SESSION, 1001, 101, 1001, row_counts=BEHAVIOR_1001 | session)
    ophys = entry(
        FileKind.OPHYS_EXPERIMENT,
        3001,
        101,
        1002,
        gives_behavior=True,
        row_counts=BEHAVIOR_1002 | OPHYS | plane,
    )
    publish_mouse(store, 101, [behavior, ophys], RELEASE)


# --- the checks of each table ------------------------------------------------------------------------------------------------

IN_ONE_FILE = [(t, c) for t, c in CHECKS if not isinstance(c, (InClock, PerFrame))]


@pytest.mark.parametrize(
    ("table", "check"), IN_ONE_FILE, ids=[f"{t.name}-{'-'.join(c.columns)}" for t, c in IN_ONE_FILE]
)
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_a_broken_check_is_found_in_the_lake(
    table: Table, check: Check, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = data.draw(drawn(table))
    store = LocalStore(tmp_path_factory.mktemp("rows"))
    unit = table.unit_key
    ids: dict[str, Any] = {
        "mouse_id": 101,
        "behavior_session_id": 1001,
        "ophys_experiment_id": 5001,
        "image_set": "A",
    }
    path = write_rows(store, table.name, sample.rows().to_pylist(), **ids)
    about = ", ".join(check.columns)
    assert [
        p for p in check_file(store, table, path, deep=True).problems if p.column == about
    ] == []
    path = write_rows(store, table.name, broken(data.draw, sample, check).rows().to_pylist(), **ids)
    problems = [p for p in check_file(store, table, path, deep=True).problems if p.column == about]
    assert [p.expected for p in problems] == [check.expected]
    where = f" of {unit} {5001 if unit == 'ophys_experiment_id' else 1001}" if unit else ""
    assert (problems[0].found or "").endswith(where)


def test_each_session_of_a_mouse_has_a_clock_of_its_own(store: LocalStore) -> None:
    # Times of the second session lie before those of the first: no disorder.
    licks = [
        {"behavior_session_id": s, "timestamps": t, "frame": f}
        for s, t, f in ((1001, 9.5, 1), (1001, 9.6, 2), (1002, 0.5, 3))
    ]
    path = write_rows(store, "licks", licks, mouse_id=101)
    for session, frames in ((1001, 3), (1002, 3)):
        clock = [{"behavior_session_id": session, "timestamps": [n / 60 for n in range(frames)]}]
        write_rows(store, "stimulus_timestamps", clock, mouse_id=101, behavior_session_id=session)
    counted(store, {"stimulus_timestamps": 1}, {"licks": 1, "stimulus_timestamps": 1})
    assert found(store) == [
        f"error: file {path}, table licks, column frame: a frame lies outside of the clock; "
        "expected 0 to 2, frames of the clock in stimulus_timestamps; found frame 3 of behavior_session_id 1002"
    ]


def test_lists_are_as_long_as_the_clock(store: LocalStore) -> None:
    path = "dff_traces/mouse_id=101/ophys_experiment_3001.parquet"
    rewrite(store, path, lambda rows: replaced(rows, "dff", [[0.5] * 6]))
    assert found(store) == [
        f"error: file {path}, table dff_traces, column dff: lengths and clock do not match; "
        "expected 5, one item per frame of the clock in ophys_timestamps; found 6 of ophys_experiment_id 3001"
    ]


def test_tables_of_a_plane_have_the_frames_of_its_traces(store: LocalStore) -> None:
    rows = [{**PLANE, "frame": n} for n in range(4)]
    path = write_rows(store, "motion_correction", rows, mouse_id=101, ophys_experiment_id=3001)
    counted(store, {}, {"motion_correction": 4})
    assert found(store) == [
        f"error: file {path}, table motion_correction: lengths and clock do not match; "
        "expected 5, the frames of dF/F; found 4 of ophys_experiment_id 3001"
    ]


# --- keys --------------------------------------------------------------------------------------------------------------------


def test_a_reference_of_several_columns_is_one_reference(store: LocalStore) -> None:
    # Session 1001 has trials 0 and 1, session 1002 trials 0 to 2: trial 2 exists, but not in session 1001.
    path = "stimulus_presentations/mouse_id=101/stimulus_presentations.parquet"
    rewrite(store, path, lambda rows: replaced(rows, "trials_id", [None, 0, 2, 0, 1]))
    assert found(store) == [
        "error: table stimulus_presentations, column behavior_session_id, trials_id: rows refer to trials that are not there; "
        "expected keys of trials; found behavior_session_id 1001, trials_id 2"
    ]


def test_a_cell_that_the_release_does_not_list(store: LocalStore) -> None:
    write_rows(store, "ophys_cells", [{"cell_roi_id": 9002, "ophys_experiment_id": 3002}])
    assert found(store) == [
        "error: table cell_specimens, column cell_roi_id: rows refer to ophys_cells that are not there; "
        "expected keys of ophys_cells; found cell_roi_id 9001"
    ]


def test_a_cell_that_the_release_lists_elsewhere(store: LocalStore) -> None:
    cells = [
        {"cell_roi_id": 9001, "ophys_experiment_id": 3002},
        {"cell_roi_id": 9002, "ophys_experiment_id": 3002},
    ]
    write_rows(store, "ophys_cells", cells)
    assert found(store) == [
        "error: table cell_specimens, column cell_roi_id: rows differ in ophys_experiment_id from those of ophys_cells they refer to; "
        "expected the same value in both; found cell_roi_id 9001"
    ]


def _second_cell(rows: pa.Table) -> pa.Table:
    more = replaced(rows.slice(0, 1), "cell_roi_id", [9002])
    return pa.concat_tables(
        [rows.slice(0, 1), more, replaced(rows.slice(1, 1), "cell_roi_id", [9003])]
    )


def test_a_cell_without_its_trace(store: LocalStore) -> None:
    cells = [
        {"cell_roi_id": 9000 + n, "ophys_experiment_id": e}
        for n, e in ((1, 3001), (2, 3001), (3, 3002))
    ]
    write_rows(store, "ophys_cells", cells)
    rewrite(store, CELLS, _second_cell)
    trace = "dff_traces/mouse_id=101/ophys_experiment_3002.parquet"
    rewrite(store, trace, lambda rows: replaced(rows, "cell_roi_id", [9003]))
    counted(store, {}, {"cell_specimens": 2})
    assert found(store) == [
        "error: table dff_traces, column ophys_experiment_id, cell_roi_id: rows are missing; "
        "expected a row for each of cell_specimens; found ophys_experiment_id 3001, cell_roi_id 9002"
    ]


# --- missing rows and known exceptions ---------------------------------------------------------------------------------------


def test_a_table_that_should_have_rows(store: LocalStore) -> None:
    counted(store, {}, {"motion_correction": 0})
    assert found(store) == [
        "error: table motion_correction: experiment 3001 gave no rows. Ingest again with --force; "
        "expected rows, as every file of its kind has them; found none"
    ]


def test_an_exception_does_not_hold_against_other_tables(store: LocalStore) -> None:
    assert exceptions(store)[-1].startswith(
        "known exception: table licks: no-licks: sessions without licks; "
    )
    assert found(store) == []
    rewrite(store, TRIALS, lambda rows: replaced(rows, "lick_times", [[], [], [], [0.5], []]))
    assert found(store) == [
        "error: table licks: behaviour session 1002 gave no rows. Ingest again with --force; "
        "expected rows, as every file of its kind has them; found none"
    ]


def test_known_exceptions_are_named_with_their_reason_and_not_among_the_problems(
    store: LocalStore,
) -> None:
    event = {**PLANE, "cell_roi_id": 9001, "events": [0.5] * 5, "filtered_events": [0.5] * 5}
    write_rows(
        store,
        "ophys_cells",
        [{"cell_roi_id": n, "ophys_experiment_id": 2 * n - 15001} for n in (9001, 9002)],
    )
    cells = [
        {"cell_roi_id": 9001, "ophys_experiment_id": 3001},
        {"cell_roi_id": 9002, "ophys_experiment_id": 3002},
    ]
    write_rows(store, "ophys_cells", cells)
    write_rows(store, "events", [event], mouse_id=101, ophys_experiment_id=3001)
    write_rows(
        store,
        "ophys_timestamps",
        [{**PLANE, "timestamps": [n / 10 for n in range(7)]}],
        mouse_id=101,
        ophys_experiment_id=3001,
    )
    counted(store, {"eye_tracking": 0}, {"events": 1})
    assert found(store) == []
    assert exceptions(store) == [
        "known exception: table behavior_sessions, column file_id: imaged-sessions-have-no-file: sessions that were imaged; they have no "
        "behaviour file (-999 in the release): behaviour is read from the first plane listed (NWB_TABLES.md 7.4, 7.5); found 2 rows",
        "known exception: table licks: no-licks: sessions without licks; most passive sessions have none, and their files have no licking "
        "module (NWB_TABLES.md 2.1, 9); found behaviour session 1002",
        "known exception: table eye_tracking: no-eye-tracking: sessions without eye tracking; behaviour boxes have no eye camera, and "
        "some imaging sessions no usable video (NWB_TABLES.md 2.9, 9); found behaviour session 1001",
        "known exception: table ophys_timestamps, column timestamps: clock-goes-on: planes whose clock has more times than there are "
        "frames; the released reader returns all times; frame k is still element k (NWB_TABLES.md 3.7); found experiment 3001",
    ]


def test_cells_without_events_are_known(store: LocalStore) -> None:
    event = {**PLANE, "cell_roi_id": 9001, "events": [0.5] * 5, "filtered_events": [0.5] * 5}
    cells = [
        {"cell_roi_id": 9000 + n, "ophys_experiment_id": e}
        for n, e in ((1, 3001), (2, 3001), (3, 3002))
    ]
    write_rows(store, "ophys_cells", cells)
    rewrite(store, CELLS, _second_cell)
    write_rows(store, "events", [event], mouse_id=101, ophys_experiment_id=3001)
    counts = {"events": 1, "cell_specimens": 2}
    ophys = entry(
        FileKind.OPHYS_EXPERIMENT,
        3001,
        101,
        1002,
        gives_behavior=True,
        row_counts=BEHAVIOR_1002 | OPHYS | counts,
    )
    publish_mouse(store, 101, [ophys], RELEASE)
    assert any(
        "cells-without-events: " in text and text.endswith("found experiment 3001")
        for text in exceptions(store)
    )


def test_what_only_the_file_showed_is_known_from_the_ledger(store: LocalStore) -> None:
    behavior = entry(
        FileKind.BEHAVIOR_SESSION,
        1001,
        101,
        1001,
        row_counts=BEHAVIOR_1001,
        known_defects=(Occurrence("no-change-time", "trials", "the file has no such column"),),
    )
    publish_mouse(store, 101, [behavior], RELEASE)
    (text,) = [text for text in exceptions(store) if "no-change-time" in text]
    assert text.startswith(
        "known exception: table trials, column change_time: no-change-time: sessions of old releases; "
    )
    assert text.endswith("; found behaviour session 1001")
