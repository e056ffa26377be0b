"""What publication records in the ledger."""

from __future__ import annotations

from builders.lake import BEHAVIOR_1001, RELEASE, behavior_task, entry

from pipelines.convert.staged import FileResult
from pipelines.lake import ledger
from pipelines.lake.ledger import TableOutcome
from pipelines.lake.store import LocalStore
from pipelines.publish.mouse import publish_mouse
from pipelines.release.selection import FileKind
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
