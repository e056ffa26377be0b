"""A lake goes over to another release and back: what is read again, what goes, what readers see."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from builders.cli import output, refusal, run
from builders.lakes import behavior_file, contents, file_key, files, query
from builders.releases import revise, write_release

from pipelines.check.lake import verify
from pipelines.lake.ledger import read_ledger, write_mouse
from pipelines.lake.lock import writing
from pipelines.lake.marker import read_marker
from pipelines.lake.store import LocalStore
from pipelines.next_generation import roll_back
from schemas import SCHEMA_VERSION
from schemas.layout import MARKER

TABLES = (
    *("trials", "stimulus_presentations", "licks", "running_speed", "stimulus_templates"),
    *("cell_specimens", "dff_traces", "ophys_timestamps"),
)


@dataclass(frozen=True)
class Releases:
    """Release 1.1.0 in a lake, and a bucket whose 1.2.0 differs.

    Attributes:
        bucket: the folder with both.
        lake: with all of 1.1.0.
        changed: a behaviour file of which 1.2.0 has another version.
        gone: a plane that 1.2.0 lacks; it gave the behaviour of its session.
        added: a plane that only 1.2.0 has.
    """

    bucket: Path
    lake: Path
    changed: int
    gone: int
    added: int


def planes(lake: Path) -> list[tuple[int, int]]:
    """The first and the last plane of each session with more than two."""
    return query(
        lake,
        "SELECT ophys_experiment_id[1], ophys_experiment_id[-1] FROM behavior_sessions "
        "WHERE len(ophys_experiment_id) > 1 ORDER BY len(ophys_experiment_id) DESC, 1",
    )


@pytest.fixture(scope="module")
def both(
    sample_bucket: Path, sample_lake: Path, tmp_path_factory: pytest.TempPathFactory
) -> Releases:
    folder = tmp_path_factory.mktemp("releases")
    bucket, lake = folder / "bucket", folder / "lake"
    shutil.copytree(sample_bucket, bucket)
    (first, last), *_ = planes(sample_lake)
    file = behavior_file(bucket)
    write_release(bucket, "1.0.9")  # everything, to start from
    write_release(bucket, "1.1.0", without=[last])
    _ingest(bucket, lake, tables=TABLES)
    revise(file)
    write_release(bucket, "1.2.0", without=[first], base="1.0.9")
    return Releases(bucket, lake, file_key(file), first, last)


def _ingest(bucket: Path, lake: Path, release: str | None = None, **selection: object) -> list[int]:
    """Ids of the files that were read."""
    from pipelines.ingest import ingest
    from pipelines.prepare import prepare
    from pipelines.release.selection import Selection
    from pipelines.request import IngestRequest
    from pipelines.source.base import SourceSpec

    request = IngestRequest(
        SourceSpec(str(bucket)),
        str(lake),
        release=release,
        workers=0,
        selection=Selection(**selection),  # type: ignore[arg-type]
    )
    return sorted(e.file_key for report in ingest(prepare(request)) for e in report.entries)


def test_an_upgrade_makes_the_lake_that_an_ingest_of_the_new_release_makes(
    both: Releases, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(both.lake, lake)
    before = files(lake)
    assert _ingest(both.bucket, lake, "1.2.0") == sorted(
        {both.changed, both.added} | _givers(lake, both)
    )
    fresh = tmp_path / "fresh"
    _ingest(both.bucket, fresh, tables=TABLES)
    assert contents(lake) == contents(fresh)
    assert verify(LocalStore(lake)) == []
    assert query(lake, "SELECT DISTINCT release FROM source_files") == [("1.2.0",)]
    kept = [name for name, facts in files(lake).items() if before.get(name) == facts]
    assert len(kept) > len(before) / 2, "files that did not change are the same files"
    roll_back(LocalStore(lake))
    assert contents(lake) == contents(both.lake)
    assert verify(LocalStore(lake)) == []
    marker = read_marker(LocalStore(lake))
    assert marker is not None
    assert (marker.release, marker.follows_latest) == ("1.1.0", False)
    assert _ingest(both.bucket, lake, tables=TABLES) == [], "pinned: it is not upgraded again"
    roll_back(LocalStore(lake))
    assert contents(lake) == contents(fresh)


def _givers(lake: Path, both: Releases) -> set[int]:
    """The plane that gives the behaviour of the session that lost its first one."""
    ((giver,),) = query(
        lake,
        "SELECT ophys_experiment_id[1] FROM behavior_sessions "
        f"WHERE list_contains(ophys_experiment_id, {both.added})",
    )
    return {giver}


def test_what_is_removed_goes_and_behaviour_stays_while_another_plane_needs_it(
    both: Releases, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(both.lake, lake)
    ((session, first, *_, second),) = query(
        lake,
        f"SELECT behavior_session_id, {both.gone}, max(ophys_experiment_id) FROM ophys_experiments "
        f"JOIN source_files USING (behavior_session_id, ophys_experiment_id) "
        f"WHERE behavior_session_id = (SELECT behavior_session_id FROM ophys_experiments "
        f"WHERE ophys_experiment_id = {both.gone}) GROUP BY 1",
    )
    assert first != second
    trials = f"SELECT count(*) FROM trials WHERE behavior_session_id = {session}"
    ((had,),) = query(lake, trials)
    assert had
    listed = output("remove", "--lake", lake, "--experiment", first)
    assert "Nothing was done yet: 1 file would go." in listed
    assert contents(lake) == contents(both.lake)
    removal = ("remove", "--lake", lake, "--experiment", first, "--yes", "--wait", "0.1")
    for command in (removal, ("rollback", "--lake", lake, "--wait", "0.1")):
        with writing(LocalStore(lake)):
            assert "It was waited for 0.1 s." in run(*command).stderr
    output(*removal)
    assert query(lake, f"SELECT count(*) FROM dff_traces WHERE ophys_experiment_id = {first}") == [
        (0,)
    ]
    assert query(lake, trials) == [(had,)]
    assert verify(LocalStore(lake)) == []
    others = [
        e
        for (e,) in query(
            lake,
            f"SELECT ophys_experiment_id FROM source_files WHERE behavior_session_id = {session}",
        )
        if e != first
    ]
    output("remove", "--lake", lake, "--yes", *(a for e in others for a in ("--experiment", e)))
    assert query(lake, trials) == [(0,)]
    assert query(lake, f"SELECT * FROM source_files WHERE behavior_session_id = {session}") == []
    assert verify(LocalStore(lake)) == []
    _ingest(both.bucket, lake, "1.1.0", behavior_sessions=(session,), tables=TABLES)
    assert contents(lake) == contents(both.lake)


def test_an_upgrade_waits_for_files_that_cannot_be_fetched(both: Releases, tmp_path: Path) -> None:
    lake, bucket = tmp_path / "lake", tmp_path / "bucket"
    shutil.copytree(both.lake, lake)
    shutil.copytree(both.bucket, bucket)
    away = behavior_file(bucket).rename(tmp_path / "away.nwb")
    assert both.changed in _ingest(bucket, lake, "1.2.0")
    assert contents(lake) == contents(both.lake)
    away.rename(
        bucket / f"visual-behavior-ophys/behavior_sessions/behavior_session_{both.changed}.nwb"
    )
    assert _ingest(bucket, lake, "1.2.0") == [both.changed], "the others are not read again"
    assert query(lake, "SELECT DISTINCT release FROM source_files") == [("1.2.0",)]
    assert verify(LocalStore(lake)) == []


def test_another_schema_version_is_an_upgrade_in_which_every_file_is_read_again(
    both: Releases, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path / "lake")
    shutil.copytree(both.lake, store.folder)
    marker = read_marker(store)
    assert marker is not None
    earlier = str(int(SCHEMA_VERSION) - 1)
    store.write(MARKER, replace(marker, schema_version=earlier).to_json())
    ledger = read_ledger(store).values()
    for mouse in {entry.mouse_id for entry in ledger}:
        own = (replace(e, schema_version=earlier) for e in ledger if e.mouse_id == mouse)
        write_mouse(store, mouse, own, "1.1.0")
    assert refusal("status", "--lake", store.root, code=1) == (
        f"error: {store.root} has schema version {earlier}, of an earlier version of vblake; this one "
        f"reads and writes version {SCHEMA_VERSION}. `vblake ingest --lake {store.root}` upgrades it; "
        "`vblake plan` shows what that takes."
    )
    plan = output("plan", "--source", both.bucket, "--lake", store.root, "--release", "1.1.0")
    assert (
        f"upgrade of what the lake holds: schema version {earlier} to {SCHEMA_VERSION}, "
        "for which every file is read again\n"
        f"files: 0 kept, {len(ledger)} read again, 0 added, 0 removed\n" in plan
    )
    tables = ("trials", "stimulus_presentations")
    assert len(_ingest(both.bucket, store.folder, "1.1.0", tables=tables)) == len(ledger)
    assert verify(store) == []
    now, before = contents(store.folder), contents(both.lake)
    for table in ("trials", "licks", "dff_traces"):
        assert now[table] == before[table]
    assert roll_back(store).schema_version == earlier
