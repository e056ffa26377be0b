"""`verify` finds each kind of damage, and nothing else.

The rules that workers share are tested one by one in test_check_rows.py and test_check_file.py;
here, that `verify` applies them to a lake, and what only a lake can break.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.lake import (
    BEHAVIOR_1001,
    BEHAVIOR_1002,
    OPHYS,
    RELEASE,
    entry,
    reordered,
    replaced,
    rewrite,
    write_rows,
)

from pipelines.catalog.build import build_catalog
from pipelines.check.finding import Finding
from pipelines.check.lake import verify
from pipelines.lake.ledger import TableOutcome, publish_mouse, read_ledger
from pipelines.lake.store import LocalStore
from pipelines.release.selection import FileKind
from schemas import SCHEMA_VERSION
from schemas.checks import Rule
from schemas.errors import LakeError
from schemas.known_defects import Occurrence

TRIALS = "trials/mouse_id=101/trials.parquet"
LICKS = "licks/mouse_id=101/licks.parquet"
CELLS = "cell_specimens/mouse_id=101/cell_specimens.parquet"
SHOWN = "stimulus_presentations/mouse_id=101/stimulus_presentations.parquet"
SPEED = "running_speed/mouse_id=101/behavior_session_id=1001/running_speed.parquet"
DFF = (
    "dff_traces/mouse_id=101/behavior_session_id=1002/ophys_session_id=2002/"
    "ophys_experiment_id=3001/dff_traces.parquet"
)
SESSIONS = "behavior_sessions/behavior_sessions.parquet"
PLANE = {"behavior_session_id": 1002, "ophys_session_id": 2002, "ophys_experiment_id": 3001}


def found(store: LocalStore, *, deep: bool = True, catalog: bool = False) -> list[str]:
    """The findings; without those of the catalog where a test writes files beside it.

    A file keeps the name that it had before another took its place.
    """
    return [
        f"{f.level.value}: {f}".replace(".2.parquet", ".parquet")
        for f in verify(store, deep=deep)
        if catalog or f.rule is not Rule.CATALOG
    ]


def rules(store: LocalStore, *, deep: bool = True) -> list[tuple[Rule, str, str | None]]:
    """The rule, table and column of each finding; the words of rules that workers share are theirs."""
    findings = [f for f in verify(store, deep=deep) if f.rule is not Rule.CATALOG]
    return [(f.rule, f.table or "", f.column) for f in findings]


def known(store: LocalStore) -> list[str]:
    seen: list[Finding] = []
    verify(store, on_known=seen.append)
    return [f"{f.level.value}: {f}" for f in seen]


def count(store: LocalStore, session: dict[str, int], plane: dict[str, int]) -> None:
    """Adds to the ledger's counts of session 1001, and of experiment 3001 with session 1002."""
    behavior = entry(FileKind.BEHAVIOR_SESSION, 1001, 101, 1001, row_counts=BEHAVIOR_1001 | session)
    counts = BEHAVIOR_1002 | OPHYS | plane
    ophys = entry(
        FileKind.OPHYS_EXPERIMENT, 3001, 101, 1002, gives_behavior=True, row_counts=counts
    )
    publish_mouse(store, 101, [behavior, ophys], RELEASE)


# --- nothing wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False])
def test_a_good_lake_has_no_findings_and_every_file_is_read(store: LocalStore, deep: bool) -> None:
    read: list[str] = []
    assert verify(store, deep=deep, on_file=read.append) == []
    files = [p.relative_to(store.folder).as_posix() for p in store.folder.rglob("*.parquet")]
    assert sorted(read) == sorted(files)


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LakeError) as caught:
        verify(LocalStore(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path} is not a vblake lake: it has no _lake.json. ")


# --- files ---------------------------------------------------------------------------------------


def test_a_truncated_file(store: LocalStore) -> None:
    file = store.folder / SPEED
    file.write_bytes(file.read_bytes()[:-20])
    (text,) = found(store, deep=False)
    start = f"error: file {SPEED}, table running_speed: the file cannot be opened ("
    assert text.startswith(start)
    assert text.endswith("). Ingest its sources again with --force")


def test_a_column_that_does_not_decode_is_named(store: LocalStore) -> None:
    chunk = pq.ParquetFile(store.folder / TRIALS).metadata.row_group(0).column(3)
    assert chunk.path_in_schema == "stop_time"
    data = bytearray((store.folder / TRIALS).read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    (store.folder / TRIALS).write_bytes(data)
    (finding,) = verify(store)  # and the presentations are not said to refer to nothing
    assert (finding.rule, finding.column) == (Rule.FILE_READABLE, "stop_time")
    assert finding.message.startswith("row group 0 cannot be read (")
    assert verify(store, deep=False) == []


def _as_text(rows: pa.Table) -> pa.Table:
    field = pa.field("frame", pa.string(), nullable=False)
    return rows.set_column(2, field, rows.column("frame").cast(pa.string()))


def _nullable(rows: pa.Table) -> pa.Table:
    position = rows.schema.get_field_index("frame")
    return rows.cast(rows.schema.set(position, rows.schema.field(position).with_nullable(True)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda rows: rows.drop_columns(["frame"]), ", column frame: the column is missing"),
        (_as_text, ", column frame: the column has another type; expected int64; found string"),
        (
            _nullable,
            ", column frame: the file declares another nullability; "
            "expected never NULL; found may be NULL",
        ),
        (
            lambda rows: rows.append_column("extra", rows.column("frame")),
            ", column extra: the file has a column that is not declared",
        ),
        (
            lambda rows: rows.select(["frame", "timestamps", "behavior_session_id"]),
            ": the columns are in another order; expected behavior_session_id, timestamps, frame; "
            "found frame, timestamps, behavior_session_id",
        ),
    ],
)
def test_another_schema(
    store: LocalStore, change: Callable[[pa.Table], pa.Table], text: str
) -> None:
    rewrite(store, LICKS, change)
    assert found(store, deep=False) == [f"error: file {LICKS}, table licks{text}"]


def test_a_required_column_with_nulls(store: LocalStore) -> None:
    rewrite(store, LICKS, lambda rows: replaced(_nullable(rows), "frame", [90, None]))
    assert rules(store) == [(Rule.SCHEMA, "licks", "frame"), (Rule.NOT_NULL, "licks", "frame")]


def test_rows_out_of_order_across_row_groups(store: LocalStore) -> None:
    rewrite(store, SPEED, lambda rows: reordered(rows, [0, 2, 1, 3]), row_group_size=2)
    at = f"error: file {SPEED}, table running_speed"
    order, clock = found(store)
    assert order == (
        f"{at}: the rows are not in order; expected sorted by behavior_session_id, timestamps; "
        "found row 2 out of place"
    )
    assert clock.endswith(f"found {1 / 60} after {2 / 60} in row 2 of behavior_session_id 1001")
    assert verify(store, deep=False) == []


def test_a_file_without_rows(store: LocalStore) -> None:
    rewrite(store, SPEED, lambda rows: rows.slice(0, 0))
    at = f"file {SPEED}, table running_speed"
    assert found(store) == [
        f"warning: {at}: the file has no rows; vblake writes no such file",
        f"error: {at}: the ledger counts another number of rows of behaviour session 1001. "
        "Ingest it again with --force; expected 4 rows; found 0",
    ]


# --- places --------------------------------------------------------------------------------------


def test_another_mouses_folder(store: LocalStore) -> None:
    wrong = DFF.replace("mouse_id=101", "mouse_id=102")
    (store.folder / wrong).parent.mkdir(parents=True)
    (store.folder / DFF).rename(store.folder / wrong)
    assert found(store) == [
        f"error: file {wrong}, table dff_traces, column mouse_id: "
        "rows of experiment 3001 are in another mouse's folder; "
        "expected mouse_id=101; found mouse_id=102"
    ]


def test_a_folder_with_the_name_of_another_experiment(store: LocalStore) -> None:
    right, wrong = (store.folder / DFF.replace("3001", e) for e in ("3001", "3009"))
    right.parent.rename(wrong.parent)
    labelled, dangling, unknown, missing = found(store)
    path = DFF.replace("3001", "3009")
    assert labelled == (
        f"error: file {path}, table dff_traces, column ophys_experiment_id: the file was written "
        "for another folder; expected ophys_experiment_id=3001; found ophys_experiment_id=3009"
    )
    assert "rows refer to ophys_experiments that are not there" in dangling
    assert "the ledger does not know of rows of experiment 3009" in unknown
    assert "the file is missing" in missing


def test_a_stray_copy_of_a_file(store: LocalStore) -> None:
    copy = DFF.replace("dff_traces.parquet", "copy.parquet")
    shutil.copyfile(store.folder / DFF, store.folder / copy)
    named, twice, counted = found(store)
    assert named == (
        f"error: file {copy}, table dff_traces: rows of experiment 3001 are in a file of another "
        f"name; expected {DFF}"
    )
    assert twice.endswith(
        "rows of experiment 3001 are in two files, so their keys repeat; "
        f"expected each source in one file; found rows in {copy} too"
    )
    assert counted.endswith("Ingest it again with --force; expected 1 rows; found 2")


def test_a_file_outside_of_the_partitions(store: LocalStore) -> None:
    shutil.copyfile(store.folder / TRIALS, store.folder / "trials" / "stray.parquet")
    assert found(store) == [
        "error: file trials/stray.parquet, table trials: the file is in a folder where readers do "
        "not expect it; expected a file in trials/mouse_id=..."
    ]


def test_a_second_file_of_a_project_table(store: LocalStore) -> None:
    shutil.copyfile(store.folder / SESSIONS, store.folder / "behavior_sessions" / "old.parquet")
    assert found(store, deep=False) == [
        "error: file behavior_sessions/old.parquet, table behavior_sessions: vblake does not write "
        f"this file; its rows count twice; expected {SESSIONS}"
    ]
    assert rules(store) == [
        (Rule.PRIMARY_KEY, "behavior_sessions", "behavior_session_id"),
        (Rule.FILE_PLACE, "behavior_sessions", None),
    ]


# --- the rules of files, on a lake ---------------------------------------------------------------


def test_keys_repeat_and_references_dangle_within_a_session(store: LocalStore) -> None:
    # Session 1001 has trials 0 and 1, so trial 2 exists in session 1002 only.
    rewrite(store, TRIALS, lambda rows: replaced(rows, "trials_id", [0, 1, 0, 0, 2]))
    rewrite(store, SHOWN, lambda rows: replaced(rows, "trials_id", [None, 0, 2, 0, 2]))
    twice, dangling = found(store)
    assert twice.startswith(f"error: file {TRIALS}, table trials, column trials_id: ")
    assert twice.endswith("; found trials_id 0 twice of behavior_session_id 1002")
    assert dangling.startswith(f"error: file {SHOWN}, table stimulus_presentations, column ")
    assert dangling.endswith("; found trials_id 2 of behavior_session_id 1001")
    assert verify(store, deep=False) == []


def test_the_tables_of_a_plane_have_the_frames_of_its_traces(store: LocalStore) -> None:
    rows = [{**PLANE, "frame": n} for n in range(4)]
    write_rows(store, "motion_correction", rows, mouse_id=101, ophys_experiment_id=3001)
    count(store, {}, {"motion_correction": 4})
    assert rules(store) == [(Rule.ONE_PER_FRAME, "motion_correction", None)]


def test_a_cell_that_the_release_lists_for_another_experiment(store: LocalStore) -> None:
    cells = [{"cell_roi_id": cell, "ophys_experiment_id": 3002} for cell in (9001, 9002)]
    write_rows(store, "ophys_cells", cells)
    assert rules(store) == [(Rule.FOREIGN_KEY, "cell_specimens", "cell_roi_id")]


def test_a_trace_needs_no_cell_where_cells_were_not_ingested(store: LocalStore) -> None:
    rewrite(store, CELLS, lambda rows: rows.slice(0, 1))  # without the cell of 3002
    counts = {name: n for name, n in OPHYS.items() if name != "cell_specimens"}
    other = entry(FileKind.OPHYS_EXPERIMENT, 3002, 101, 1002, row_counts=counts)
    publish_mouse(store, 101, [other], RELEASE)
    assert verify(store) == []


def test_a_missing_file_and_what_refers_to_its_rows(store: LocalStore) -> None:
    (store.folder / TRIALS).unlink()
    assert rules(store) == [
        (Rule.LEDGER, "trials", None),
        (Rule.FOREIGN_KEY, "stimulus_presentations", "trials_id"),
    ]
    assert found(store, deep=False) == [
        f"error: file {TRIALS}, table trials: the file is missing, though the ledger counts rows of "
        "behaviour session 1001, 1002. Ingest again with --force"
    ]


# --- image sets ----------------------------------------------------------------------------------


def _showing(*images: str | None) -> Callable[[pa.Table], pa.Table]:
    sets = ["images_A" if name and name != "omitted" else name for name in images]
    return lambda rows: replaced(replaced(rows, "image_name", images), "image_set", sets)


def test_images_that_their_set_does_not_have_are_a_warning(store: LocalStore) -> None:
    rewrite(store, SHOWN, _showing("im061", "omitted", "im061", "gratings_90.0", "im062"))
    assert found(store) == [
        f"warning: file {SHOWN}, table stimulus_presentations, column image_name: presentations "
        "name images that their image set does not have; expected images of images_A: im000, "
        "im031; found im061 in 2 rows of behavior_session_id 1001; "
        "im062 in 1 row of behavior_session_id 1002"
    ]


def test_images_are_not_judged_where_the_session_s_own_were_not_ingested(store: LocalStore) -> None:
    rewrite(store, SHOWN, _showing("im061", None, None, None, None))
    counts = {name: n for name, n in BEHAVIOR_1001.items() if name != "stimulus_templates"}
    alone = entry(FileKind.BEHAVIOR_SESSION, 1001, 101, 1001, row_counts=counts)
    publish_mouse(store, 101, [alone], RELEASE)
    assert found(store) == []


@pytest.mark.parametrize("held_back", [False, True])
def test_planes_refer_to_presentations_of_their_session(store: LocalStore, held_back: bool) -> None:
    rows = [{**PLANE, "stimulus_presentations_id": n} for n in (0, 1 if held_back else 5)]
    write_rows(store, "presentation_frames", rows, mouse_id=101)
    count(store, {}, {"presentation_frames": 2})
    if held_back:
        outcome = TableOutcome.of_parent("stimulus_presentations", "trials")
        plane = read_ledger(store)[RELEASE, "ophys_experiment", 3001].with_outcome(outcome)
        publish_mouse(store, 101, [plane], RELEASE)
    finding = (Rule.FOREIGN_KEY, "presentation_frames", "stimulus_presentations_id")
    assert finding in rules(store)
    assert held_back or rules(store) == [finding]


# --- known defects -------------------------------------------------------------------------------


def test_cells_need_traces_but_not_events(store: LocalStore) -> None:
    cells = ((9001, 3001), (9002, 3001), (9003, 3002))
    listed = [{"cell_roi_id": cell, "ophys_experiment_id": plane} for cell, plane in cells]
    write_rows(store, "ophys_cells", listed)
    roi = {"valid_roi": True, "field_of_view_height": 2, "field_of_view_width": 2}
    rows = [{**PLANE, **roi, **cell} for cell in listed]
    write_rows(store, "cell_specimens", rows, mouse_id=101)
    other = DFF.replace("3001", "3002")
    rewrite(store, other, lambda rows: replaced(rows, "cell_roi_id", [9003]))
    event = {**PLANE, "cell_roi_id": 9001, "events": [0.5] * 5, "filtered_events": [0.5] * 5}
    write_rows(store, "events", [event], mouse_id=101, ophys_experiment_id=3001)
    count(store, {}, {"cell_specimens": 2, "events": 1})
    (text,) = found(store)
    assert text.startswith(
        f"error: file {DFF}, table dff_traces, column cell_roi_id: rows are miss"
    )
    assert text.endswith("without a row, cell_roi_id 9002 of ophys_experiment_id 3001")
    assert any("cells-without-events: " in text for text in known(store))


def test_no_licks_are_known_unless_trials_have_some(store: LocalStore) -> None:
    assert known(store)[-1].startswith("known exception: table licks: no-licks: ")
    rewrite(store, TRIALS, lambda rows: replaced(rows, "lick_times", [[], [], [], [0.5], []]))
    assert rules(store) == [(Rule.ROWS_EXPECTED, "licks", None)]


def test_known_defects_are_named_with_their_reason_and_not_among_the_findings(
    store: LocalStore,
) -> None:
    clock = [{**PLANE, "timestamps": [n / 10 for n in range(7)]}]
    write_rows(store, "ophys_timestamps", clock, mouse_id=101, ophys_experiment_id=3001)
    seen = Occurrence("no-change-time", "trials", "the file has no such column")
    behavior = entry(
        FileKind.BEHAVIOR_SESSION, 1001, 101, 1001, row_counts=BEHAVIOR_1001, known_defects=(seen,)
    )
    publish_mouse(store, 101, [behavior], RELEASE)
    assert found(store) == []
    texts = known(store)
    assert texts[0] == (
        "known exception: table behavior_sessions, column file_id: imaged-sessions-have-no-file: "
        "sessions that were imaged; they have no behaviour file (-999 in the release): behaviour "
        "is read from the first plane listed (AllenSDK 2.16.2); found 2 rows"
    )
    ends = [text.partition("found ")[2] for text in texts[1:]]
    assert ends == ["behaviour session 1002", "experiment 3001", "behaviour session 1001"]
    assert ["no-licks: " in texts[1], "clock-goes-on: " in texts[2]] == [True, True]
    assert "no-change-time: " in texts[3]


# --- ledger --------------------------------------------------------------------------------------


def test_other_row_counts_than_in_the_ledger(store: LocalStore) -> None:
    rewrite(store, LICKS, lambda rows: rows.slice(0, 1))
    assert found(store, deep=False) == [
        f"error: file {LICKS}, table licks: the ledger counts another number of rows of behaviour "
        "session 1001. Ingest it again with --force; expected 2 rows; found 1"
    ]


def test_what_an_interrupted_run_left_is_a_warning(store: LocalStore) -> None:
    plane = {"behavior_session_id": 1003, "ophys_session_id": 2003, "ophys_experiment_id": 3003}
    rows = [{**plane, "timestamps": [0.5]}]
    path = write_rows(store, "ophys_timestamps", rows, mouse_id=102, ophys_experiment_id=3003)
    assert found(store) == [
        f"warning: file {path}, table ophys_timestamps: the ledger does not know of rows of "
        "experiment 3003: an interrupted run left them. Ingest these files again"
    ]


def test_a_ledger_that_makes_no_sense(store: LocalStore) -> None:
    path = "source_files/mouse_id=102/source_files.parquet"
    rewrite(store, path, lambda rows: replaced(rows, "status", ["odd", "odd"]))
    assert found(store) == [
        "error: table source_files: the ledger cannot be read ('odd' is not a valid Status), "
        "so rows were not compared with it"
    ]


def test_a_ledger_file_that_does_not_open(store: LocalStore) -> None:
    path = "source_files/mouse_id=102/source_files.parquet"
    (store.folder / path).write_bytes(b"PAR1 nothing")
    assert [m.split(" (")[0] for m in found(store)] == [
        f"error: file {path}, table source_files: the file cannot be opened"
    ]


# --- catalog -------------------------------------------------------------------------------------


def test_no_catalog(store: LocalStore) -> None:
    (store.folder / "catalog.duckdb").unlink()
    assert [(f.rule, f.table) for f in verify(store)] == [(Rule.CATALOG, None)]
    assert found(store, catalog=True)[0].startswith(
        f"error: file catalog.duckdb: {store.root} has no catalog.duckdb."
    )


def _catalog_finding(store: LocalStore, *statements: str, deep: bool = True) -> str:
    with duckdb.connect(str(store.folder / "catalog.duckdb")) as con:
        for statement in statements:
            con.execute(statement)
    (text,) = found(store, deep=deep, catalog=True)
    rebuild = f"Rebuild the catalog with `vblake catalog --lake {store.root}`"
    assert rebuild in text
    return text.replace(f" {rebuild}", "").removeprefix("error: file catalog.duckdb")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            "DROP VIEW licks",
            "views are missing.; expected all views of this version; found none for",
        ),
        (
            "UPDATE _lake SET schema_version = '0'",
            f"the catalog has another schema version.; expected {SCHEMA_VERSION}; found 0",
        ),
    ],
)
def test_a_catalog_of_another_version(store: LocalStore, statement: str, text: str) -> None:
    assert _catalog_finding(store, statement).startswith(f": {text}")


def test_a_catalog_from_before_a_table_had_files(store: LocalStore) -> None:
    empty = "CREATE OR REPLACE VIEW licks AS SELECT 1 AS frame WHERE false"
    assert _catalog_finding(store, empty) == (
        ", table licks: view licks does not return all rows of its files.; expected 2 rows; found 0"
    )
    assert verify(store, deep=False) == []
    build_catalog(store, RELEASE)
    assert verify(store) == []


def test_a_view_that_cannot_be_queried(store: LocalStore) -> None:
    statements = (
        "CREATE TABLE gone AS SELECT 1 AS frame",
        "CREATE VIEW old AS SELECT frame FROM gone",
        "DROP TABLE gone",
    )
    assert _catalog_finding(store, *statements, deep=False) == (
        ": view old cannot be queried (Catalog Error: Table with name gone does not exist!)."
    )
