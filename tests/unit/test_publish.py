"""What publication records in the ledger."""

from __future__ import annotations

from typing import Any

import pytest
from builders.lake import BEHAVIOR_1001, RELEASE, behavior_task, entry

from pipelines.convert.staged import FileResult
from pipelines.lake import ledger
from pipelines.lake.ledger import Status, TableOutcome
from pipelines.lake.store import LocalStore
from pipelines.lake.writer import write_table
from pipelines.publish.mouse import publish_mouse
from pipelines.release.selection import FileKind
from schemas import TABLES
from schemas.casts import conform
from schemas.checks import Rule
from schemas.known_defects import occurrence


def test_a_run_of_some_tables_keeps_what_earlier_runs_found_in_the_others(
    store: LocalStore,
) -> None:
    kind = FileKind.BEHAVIOR_SESSION
    no_licks = occurrence("no-licks", "no rows")
    no_time = occurrence("no-change-time", "the file has no such column")
    found = (no_licks, no_time)
    before = entry(kind, 1001, 101, 1001, row_counts=BEHAVIOR_1001, known_defects=found)
    ledger.publish_mouse(store, 101, [before], RELEASE)
    task = behavior_task(1001, tables=("trials", "rewards"))
    no_rewards = occurrence("no-rewards", "no rows")
    result = FileResult(
        task,
        store.staging / "1001",
        tables=(TableOutcome.read("trials", 0), TableOutcome.read("rewards", 0)),
        known_defects=(no_rewards,),
    )
    publish_mouse(store, 101, [result], [], RELEASE)
    after = ledger.read_mouse(store, 101)[before.identity]
    assert after.known_defects == (no_licks, no_rewards)
    assert after.row_counts == BEHAVIOR_1001 | {"trials": 0, "rewards": 0}


# --- planes of a session: 3001 gives the behaviour of session 1002, which has presentations 0 and 1 ---

SHOWN, FRAMES = "stimulus_presentations", "presentation_frames"
PLANE = {"behavior_session_id": 1002, "ophys_session_id": 2002, "ophys_experiment_id": 3002}


def _publish_plane(store: LocalStore, presentations: int) -> TableOutcome:
    """Publishes the frames of some presentations of plane 3002, and returns what became of them."""
    rows = [{**PLANE, "stimulus_presentations_id": n} for n in range(presentations)]
    folder = store.staging / "3002"
    folder.mkdir(parents=True)
    columns = {c.name: [row.get(c.name) for row in rows] for c in TABLES[FRAMES].stored}
    batch = conform(TABLES[FRAMES], columns, len(rows))
    write_table(TABLES[FRAMES], folder / f"{FRAMES}.parquet", [batch], release=RELEASE)
    task = behavior_task(
        1002,
        kind=FileKind.OPHYS_EXPERIMENT,
        file_key=3002,
        ophys_session_id=2002,
        ophys_experiment_id=3002,
        gives_behavior=False,
        tables=(FRAMES,),
    )
    result = FileResult(task, folder, tables=(TableOutcome.read(FRAMES, len(rows)),))
    (published,) = publish_mouse(store, 101, [result], [], RELEASE)
    assert store.exists(f"{FRAMES}/mouse_id=101/{FRAMES}.parquet") == bool(
        published.row_counts.get(FRAMES)
    )
    (outcome,) = (t for t in published.tables if t.table == FRAMES)
    return outcome


def _giver(store: LocalStore, *tables: TableOutcome, **fields: Any) -> None:
    kind = FileKind.OPHYS_EXPERIMENT
    giver = entry(kind, 3001, 101, 1002, gives_behavior=True, tables=tables, **fields)
    ledger.publish_mouse(store, 101, [giver], RELEASE)


def test_a_plane_is_published_with_the_presentations_that_it_refers_to(store: LocalStore) -> None:
    assert _publish_plane(store, 2).rows == 2


def test_a_plane_with_presentations_that_the_lake_lacks_is_held_back(store: LocalStore) -> None:
    outcome = _publish_plane(store, 4)
    assert str(outcome) == (
        "table presentation_frames, column stimulus_presentations_id: rule parent_held_back: "
        "expected rows of stimulus_presentations, found stimulus_presentations_id 2, 3 missing"
    )


def test_a_plane_is_not_compared_with_what_nobody_selected(store: LocalStore) -> None:
    _giver(store, TableOutcome.read("trials", 3))
    assert _publish_plane(store, 4).rows == 4


@pytest.mark.parametrize(
    ("tables", "fields"),
    [
        ([TableOutcome.of_parent(SHOWN, "trials")], {"status": Status.PARTIAL}),
        ([], {"status": Status.SKIPPED, "error": "there is no file"}),
    ],
)
def test_a_plane_waits_for_presentations_that_are_held_back_or_have_no_file(
    store: LocalStore, tables: list[TableOutcome], fields: dict[str, Any]
) -> None:
    _giver(store, *tables, **fields)
    outcome = _publish_plane(store, 2)
    assert (outcome.rule, outcome.column) == (Rule.PARENT_HELD_BACK, None)
    assert outcome.found == (
        "stimulus_presentations of the session, which ophys_experiment 3001 gives, is not in the "
        "lake"
    )


def test_presentations_whose_file_is_damaged_cannot_be_referred_to(store: LocalStore) -> None:
    (store.folder / f"{SHOWN}/mouse_id=101/{SHOWN}.parquet").write_bytes(b"damaged")
    assert "is damaged" in str(_publish_plane(store, 2))
