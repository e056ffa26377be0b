"""A lake that keeps itself current: ticks of the schedule over what happens to a source in a year."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.lab import Lab, no_work, open_lab
from builders.mini import BEHAVIOR_FILE, EXPERIMENT, EXPERIMENT_FILE, SESSION, mini_bucket
from builders.releases import revise
from servers.s3 import Fault, RequestInfo

from pipelines.next_generation import roll_back

TRAINED, IMAGED = 453913, 570949
"""The mice: of the one there is a behaviour session, of the other an experiment."""
FAILED, DONE = False, True


def down(request: RequestInfo, _: int) -> Fault:
    """A source that answers nothing."""
    return Fault(status=503, code="SlowDown")


class Flaky:
    """A source that answers no request for an object, the first two times."""

    def __init__(self, key: str) -> None:
        self._key, self._left = key, 2

    def __call__(self, request: RequestInfo, _: int) -> Fault | None:
        if request.key != self._key or not self._left:
            return None
        self._left -= 1
        return Fault(status=503, code="SlowDown")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    bucket = mini_bucket()
    bucket.version = "1.0.0"
    bucket.write(tmp_path / "bucket")
    with open_lab(tmp_path, monkeypatch) as lab:
        yield lab


def test_a_lake_is_kept_current_through_releases_faults_and_busy_times(lab: Lab) -> None:
    training, imaging = (lab.bucket / key for key in (BEHAVIOR_FILE, EXPERIMENT_FILE))
    lab.release("1.1.0", IMAGED)
    assert lab.tick() == (DONE, "1.1.0", {EXPERIMENT})
    assert lab.tick() == (DONE, "1.1.0", set()), "nothing is new"
    assert lab.news() == [IMAGED]

    lab.release("1.2.0", IMAGED, TRAINED)
    alone = lab.run("ingest", "behavior_sessions", "ophys_sessions")
    assert not alone.success, "project tables change together with all others"
    assert alone.asset_materializations_for_node("project_tables") == []
    lab.faults = down
    assert lab.tick() == (FAILED, "1.1.0", set())
    lab.faults = Flaky(BEHAVIOR_FILE)
    assert lab.tick() == (DONE, "1.2.0", {SESSION}), "the run tries again by itself"
    lab.news()

    for file in (training, imaging):
        revise(file)
    lab.release("1.3.0", IMAGED, TRAINED)
    lab.faults = lambda request, n: down(request, n) if request.key == BEHAVIOR_FILE else None
    assert lab.tick() == (FAILED, "1.2.0", set()), "the upgrade waits for a file that the lake has"
    assert lab.news() == [], "readers do not see the other file yet"
    lab.faults, lab.busy = None, no_work
    assert lab.tick() == (DONE, "1.3.0", {SESSION, EXPERIMENT}), "after the other writer"
    assert len(lab.waits) == 1
    assert lab.news() == [TRAINED, IMAGED]

    revise(training)
    lab.release("1.4.0", IMAGED, TRAINED)
    lab.busy = lab.upgrade_by_hand
    assert lab.tick() == (DONE, "1.4.0", {SESSION}), "the other writer has done the upgrade"

    whole = training.read_bytes()
    training.write_bytes(whole[: len(whole) // 2])
    lab.release("1.5.0", IMAGED, TRAINED)
    assert lab.tick() == (FAILED, "1.5.0", {SESSION})
    assert lab.statuses() == {EXPERIMENT: "ingested", SESSION: "quarantined"}
    training.write_bytes(whole)
    lab.release("1.6.0", IMAGED, TRAINED)
    assert lab.tick() == (DONE, "1.6.0", {SESSION})

    lab.patch.setenv("VBLAKE_RELEASE", "1.6.0")
    lab.release("1.7.0", IMAGED)
    assert lab.tick() == (DONE, "1.6.0", set()), "pinned"
    lab.patch.setenv("VBLAKE_RELEASE", "latest")
    assert lab.tick() == (DONE, "1.7.0", set())
    assert lab.statuses() == {EXPERIMENT: "ingested"}
    lab.patch.delenv("VBLAKE_RELEASE")
    assert roll_back(lab.store).release == "1.6.0"
    assert lab.tick() == (DONE, "1.6.0", set()), "who goes back stays there"
