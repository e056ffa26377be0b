"""What breaks a rule costs its table of its file, and what refers to that; all else is published.

tests/unit/test_check_file.py has what each error says.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from builders.lakes import query, rows_by_unit
from builders.nwb import IMAGES
from builders.violations import VIOLATIONS, PlanesBucket, at, drop, ids, violation_bucket

from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake.store import LocalStore
from pipelines.prepare import Prepared, prepare
from pipelines.release.selection import Selection
from pipelines.request import AllowedRule, IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES, Subject, session_parents
from schemas.checks import Level

ALL_TABLES = tuple(name for name, table in TABLES.items() if table.subject is not Subject.LEDGER)
TRACES = {"dff_traces", "corrected_fluorescence_traces", "demixed_traces", "neuropil_traces"}
MORE = {
    "a clock shorter than the traces": TRACES | {"events", "ophys_timestamps", "motion_correction"},
}
"""Tables that a violation breaks besides the one that it names."""
OTHER = {("no stimulus_templates", "stimulus_presentations")}
"""Tables that are published with other values: image_set is the name of the templates."""


def _prepared(
    bucket: Path,
    lake: Path,
    *,
    tables: tuple[str, ...] = ALL_TABLES,
    force: bool = False,
    allow: tuple[str, ...] = (),
) -> Prepared:
    return prepare(
        IngestRequest(
            SourceSpec(str(bucket)),
            str(lake),
            selection=Selection(tables=tables),
            workers=0,
            force=force,
            allow=tuple(AllowedRule.parse(text) for text in allow),
        )
    )


def _held_back(lake: Path) -> dict[int, set[str]]:
    """The tables that are held back, by file."""
    found: dict[int, set[str]] = defaultdict(set)
    for key, table in query(lake, 'SELECT file_key, "table" FROM _held_back'):
        found[key].add(table)
    return found


def _with_children(*tables: str) -> set[str]:
    children = {name for name, t in TABLES.items() if {*tables} & {*t.depends_on}}
    return {*tables} | (_with_children(*children) if children else set())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    violation_bucket(VIOLATIONS, damaged=False).write(folder / "bucket")
    ingest(_prepared(folder / "bucket", folder / "lake"))
    return folder / "lake"


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    violation_bucket(VIOLATIONS, damaged=True).write(folder / "bucket")
    ingest(_prepared(folder / "bucket", folder / "lake"))
    return folder


def test_a_violation_costs_its_table_and_what_refers_to_it(good: Path, bad: Path) -> None:
    lake = bad / "lake"
    before, after, held_back = rows_by_unit(good), rows_by_unit(lake), _held_back(lake)
    statuses = dict(query(lake, "SELECT file_key, status FROM source_files"))
    for number, case in enumerate(VIOLATIONS, 1):
        _, session, _, experiment = ids(number)
        lost = set(ALL_TABLES)
        if case.table is not None:
            lost = _with_children(case.table, *MORE.get(case.name, ()))
            assert held_back[experiment] == lost, case.name
        assert statuses[experiment] == ("quarantined" if case.table is None else "partial")
        for name, table in TABLES.items():
            unit = experiment if table.subject is Subject.OPHYS else session
            if (case.name, name) in OTHER:
                continue
            rows = [] if name in lost else before.get((name, unit), [])
            assert after.get((name, unit), []) == rows, (case.name, name)


def test_a_lake_without_rows_that_are_held_back_is_consistent(bad: Path) -> None:
    findings = verify(LocalStore(bad / "lake"))
    assert {f.level for f in findings} == {Level.WARNING}
    assert {f.table for f in findings} >= {"licks", "trials", "dff_traces"}


def test_what_is_held_back_is_not_read_again_for_nothing(bad: Path) -> None:
    again = _prepared(bad / "bucket", bad / "lake")
    kinds = dict(query(bad / "lake", "SELECT file_key, status FROM source_files"))
    assert {kinds[task.file_key] for task in again.todo} == {"quarantined"}
    files = {entry.file_key for entry, _ in again.held_back()}
    assert len(files) == sum(case.table is not None for case in VIOLATIONS)
    # Of other tables than the selected ones, nothing is said.
    some = _prepared(bad / "bucket", bad / "lake", tables=("licks",))
    assert {table.table for _, table in some.held_back()} == {"licks"}


def _licks(lake: Path) -> list[tuple[object, ...]]:
    sql = """SELECT file_key, t.status, t.allowed_rules
        FROM (SELECT file_key, unnest(tables) AS t FROM source_files)
        WHERE t."table" = 'licks' AND (t.status = 'held_back' OR len(t.allowed_rules) > 0)"""
    return query(lake, f"{sql} ORDER BY ALL")


def test_an_allowed_rule_publishes_the_rows_until_it_is_withdrawn(tmp_path: Path) -> None:
    (case,) = (c for c in VIOLATIONS if c.name == "a lick outside of the clock")
    bucket, lake, key = tmp_path / "bucket", tmp_path / "lake", ids(1)[3]
    violation_bucket([case], damaged=True).write(bucket)
    ingest(_prepared(bucket, lake))
    rows = "SELECT count(*) FROM licks"
    ((without,),) = query(lake, rows)
    assert _licks(lake) == [(key, "held_back", [])]
    assert _prepared(bucket, lake, allow=("finite",)).todo == ()

    allow = (f"frame_in_clock:{key}",)
    ingest(_prepared(bucket, lake, allow=allow))
    ((having,),) = query(lake, rows)
    assert having > without
    assert _licks(lake) == [(key, "ingested", ["frame_in_clock"])]
    assert query(lake, "SELECT DISTINCT status FROM source_files") == [("ingested",)]
    assert [(f.level, f.table) for f in verify(LocalStore(lake))] == [(Level.WARNING, "licks")]
    assert _prepared(bucket, lake).todo == ()

    ingest(_prepared(bucket, lake, force=True))
    assert _licks(lake) == [(key, "held_back", [])]
    assert query(lake, rows) == [(without,)]
    assert {f.level for f in verify(LocalStore(lake))} == {Level.WARNING}


def test_rows_that_refer_to_a_table_held_back_are_held_back_in_later_runs_too(
    tmp_path: Path,
) -> None:
    (case,) = (c for c in VIOLATIONS if c.name == "an ROI that ophys_cells does not list")
    violation_bucket([case], damaged=True).write(tmp_path / "bucket")
    violation_bucket([case], damaged=False).write(tmp_path / "good")
    key = ids(1)[3]

    # The parent first, then a child.
    lake = tmp_path / "lake"
    ingest(_prepared(tmp_path / "bucket", lake, tables=("ophys_cells", "cell_specimens")))
    ingest(_prepared(tmp_path / "bucket", lake, tables=("ophys_cells", "dff_traces")))
    assert _held_back(lake)[key] == {"cell_specimens", "dff_traces"}

    # They are read again once the parent is in the lake.
    good = tmp_path / "good"
    ingest(_prepared(good, lake, tables=("ophys_cells", "cell_specimens"), force=True))
    again = _prepared(good, lake, tables=("ophys_cells", "cell_specimens", "dff_traces"))
    assert [task.file_key for task in again.todo if task.file_key == key] == [key]
    ingest(again)
    assert _held_back(lake)[key] == set()

    # Children that an earlier run published are withdrawn with their parent.
    lake = tmp_path / "other"
    ingest(_prepared(tmp_path / "good", lake))
    ingest(
        _prepared(tmp_path / "bucket", lake, tables=("ophys_cells", "cell_specimens"), force=True)
    )
    assert _held_back(lake)[key] == _with_children("cell_specimens")
    assert query(lake, f"FROM dff_traces WHERE ophys_experiment_id = {key}") == []
    assert {f.level for f in verify(LocalStore(lake))} == {Level.WARNING}


# --- planes refer to the behaviour of their session, which the file of plane 5003 gives -------------


def _planes(
    bucket: Path, lake: Path, *, allow: tuple[str, ...] = (), force: bool = False, **selected: Any
) -> Prepared:
    selected = selected or {"behavior_sessions": (1003,)}
    return prepare(
        IngestRequest(
            SourceSpec(str(bucket)),
            str(lake),
            selection=Selection(**selected),
            workers=0,
            force=force,
            allow=tuple(AllowedRule.parse(text) for text in allow),
        )
    )


def _files(prepared: Prepared) -> set[int]:
    return {task.file_key for task in prepared.todo}


def _frames_of(lake: Path) -> set[int]:
    rows = query(lake, "SELECT DISTINCT ophys_experiment_id FROM presentation_frames")
    return {experiment for (experiment,) in rows}


def _is_consistent(lake: Path) -> bool:
    return {f.level for f in verify(LocalStore(lake))} <= {Level.WARNING}


PRESENTATIONS = "/intervals/{}_presentations"
OUTSIDE = at(f"{PRESENTATIONS.format(IMAGES)}/start_frame", 0, 10**6)
BY_DEFAULT = {name: table for name, table in TABLES.items() if not table.by_name_only}
REFERRING = {
    name for name, table in BY_DEFAULT.items() if "stimulus_presentations" in session_parents(table)
}
COMPUTED = {name for name, table in BY_DEFAULT.items() if session_parents(table)}
OF_PLANES = {5002: COMPUTED, 5004: COMPUTED}


def test_planes_wait_for_the_presentations_of_their_session(tmp_path: Path) -> None:
    bucket, lake = tmp_path / "bucket", tmp_path / "lake"
    PlanesBucket(changes={5003: OUTSIDE}).write(bucket)
    ingest(_planes(bucket, lake))
    of_giver = {5003: _with_children("stimulus_presentations") & {*BY_DEFAULT}}
    assert _held_back(lake) == of_giver | OF_PLANES
    reason = """SELECT DISTINCT "rule", expected, found FROM _held_back WHERE file_key <> 5003"""
    assert query(lake, f"{reason} ORDER BY ALL") == [
        (
            "parent_held_back",
            f"rows of {table}",
            f"{table} of the session, which ophys_experiment 5003 gives, is not in the lake",
        )
        for table in ("presentation_annotations", "stimulus_presentations")
    ]
    assert _is_consistent(lake)
    assert _files(_planes(bucket, lake)) == set()

    # Once the rule is allowed, one run brings them all in.
    allowed = _planes(bucket, lake, allow=("frame_in_clock:5003",))
    assert _files(allowed) == {5002, 5003, 5004}
    ingest(allowed)
    assert _held_back(lake) == {}
    assert _frames_of(lake) == {5002, 5003, 5004}
    assert _is_consistent(lake)

    # What refers to rows that are taken out is taken out with them, though its file is not read.
    again = _planes(bucket, lake, force=True, experiments=(5003,))
    assert _files(again) == {5003}
    ingest(again)
    assert _held_back(lake) == of_giver | OF_PLANES
    assert _frames_of(lake) == set()
    assert _is_consistent(lake)

    # The presentations come in alone; the next ingest reads the planes again.
    PlanesBucket().write(bucket)
    ingest(_planes(bucket, lake, experiments=(5003,)))
    assert _held_back(lake) == OF_PLANES
    later = _planes(bucket, lake)
    assert _files(later) == {5002, 5004}
    ingest(later)
    assert _held_back(lake) == {}
    assert _frames_of(lake) == {5002, 5003, 5004}


def test_a_plane_with_more_presentations_than_the_lake_waits_for_them(tmp_path: Path) -> None:
    bucket, lake = tmp_path / "bucket", tmp_path / "lake"
    PlanesBucket(changes={5003: drop(PRESENTATIONS.format("natural_movie_one"))}).write(bucket)
    ingest(_planes(bucket, lake))
    # The presentations of the movie are missing, for which there are no responses.
    assert _held_back(lake) == {5002: {"presentation_frames"}, 5004: {"presentation_frames"}}
    reason = 'SELECT DISTINCT "rule", "column", found FROM _held_back'
    column = "stimulus_presentations_id"
    assert query(lake, reason) == [("parent_held_back", column, f"{column} 7, 8 missing")]
    assert _files(_planes(bucket, lake)) == set()
    assert _is_consistent(lake)

    PlanesBucket().write(bucket)
    ingest(_planes(bucket, lake))
    assert _held_back(lake) == {}
    assert _is_consistent(lake)


def test_what_was_not_selected_holds_nothing_back(tmp_path: Path) -> None:
    bucket, lake = tmp_path / "bucket", tmp_path / "lake"
    PlanesBucket().write(bucket)
    ingest(_planes(bucket, lake, experiments=(5002,)))
    assert _held_back(lake) == {}
    assert _frames_of(lake) == {5002}
    assert _is_consistent(lake)

    ingest(_planes(bucket, tmp_path / "named", tables=("presentation_frames",), mice=(100002,)))
    assert _frames_of(tmp_path / "named") == {5002, 5003, 5004}
    assert _is_consistent(tmp_path / "named")

    # It does if it is selected and cannot be read.
    key = PlanesBucket().files[1]
    (bucket / key).write_bytes(b"no HDF5")
    ingest(_planes(bucket, lake))
    assert _held_back(lake)[5002] == _held_back(lake)[5004] == REFERRING
    assert _frames_of(lake) == set()
    assert _is_consistent(lake)
    assert _files(_planes(bucket, lake)) == {5003}  # what is quarantined is tried in every run
