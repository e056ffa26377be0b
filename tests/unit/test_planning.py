"""Planning: which files and tables a selection means, and which `--where` texts are refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from builders.bucket import PROJECT, Bucket

from pipelines.release.manifest import Release
from pipelines.release.project_tables import ProjectTables
from pipelines.release.selection import FileKind, Plan, Selection
from pipelines.release.tasks import plan
from schemas import TABLES, Subject
from schemas.errors import UsageError

Known = tuple[Release, ProjectTables]

BEHAVIOR_TABLES = tuple(
    name
    for name, t in TABLES.items()
    if t.subject in (Subject.BEHAVIOR, Subject.STIMULUS) and not t.by_name_only
)
OPHYS_TABLES = tuple(
    name for name, t in TABLES.items() if t.subject is Subject.OPHYS and not t.by_name_only
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Bucket().read(tmp_path_factory.mktemp("bucket"))


def _plan(known: Known, *, sizes: dict[str, int] | None = None, **selection: object) -> Plan:
    release, project = known
    return plan(project, release, Selection(**selection), sizes or {})  # pyright: ignore[reportArgumentType]


def _keys(planned: Plan) -> list[int]:
    return [task.file_key for task in planned.tasks]


def test_everything_in_order_of_mouse_session_and_experiment(known: Known) -> None:
    planned = _plan(known)
    assert [
        (task.mouse_id, task.behavior_session_id, task.ophys_experiment_id)
        for task in planned.tasks
    ] == [
        (100001, 1001, None),
        (100001, 1002, 5001),
        (100002, 1003, 5002),
        (100002, 1003, 5003),
        (100002, 1003, 5004),
        (100002, 1004, None),
    ]
    assert (planned.missing, planned.warnings) == ([], [])


def test_a_task_says_what_to_read(known: Known) -> None:
    key = f"{PROJECT}/behavior_ophys_experiments/behavior_ophys_experiment_5003.nwb"
    task = next(t for t in _plan(known, sizes={key: 12345}).tasks if t.file_key == 5003)
    assert (task.release, task.kind, task.ophys_session_id) == (
        "1.1.0",
        FileKind.OPHYS_EXPERIMENT,
        2003,
    )
    assert task.object is known[0].files[1]
    assert (task.object.key, task.bytes) == (key, 12345)
    assert pickle.loads(pickle.dumps(task)) == task


def test_behaviour_comes_from_the_behaviour_file_or_the_first_listed_plane(known: Known) -> None:
    tasks = {task.file_key: task for task in _plan(known).tasks}
    assert {key for key, task in tasks.items() if task.gives_behavior} == {1001, 1004, 5001, 5003}
    assert tasks[1001].tables == BEHAVIOR_TABLES
    assert tasks[5003].tables == tuple(
        name for name in TABLES if name in BEHAVIOR_TABLES + OPHYS_TABLES
    )
    assert tasks[5002].tables == OPHYS_TABLES


def test_an_imaged_session_with_a_behaviour_file_is_read_from_that(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.tables["behavior_session_table"][2]["file_id"] = "23"
    bucket.files[23] = f"{PROJECT}/behavior_sessions/behavior_session_1002.nwb"
    tasks = _plan(bucket.read(tmp_path), mice=(100001,)).tasks
    assert [(task.kind, task.file_key, task.gives_behavior) for task in tasks] == [
        (FileKind.BEHAVIOR_SESSION, 1001, True),
        (FileKind.BEHAVIOR_SESSION, 1002, True),
        (FileKind.OPHYS_EXPERIMENT, 5001, False),
    ]
    assert tasks[1].ophys_session_id == 2002


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        ({"mice": (100001,)}, [1001, 5001]),
        ({"behavior_sessions": (1003,)}, [5002, 5003, 5004]),
        ({"experiments": (5004, 5001)}, [5001, 5004]),
        ({"experiments": (5004,), "behavior_sessions": (1001,)}, [1001, 5004]),
        ({"mice": (100001,), "experiments": (5001, 5002)}, [1001, 5001, 5002]),
        ({"mice": (100002,), "where": "passive is null"}, [1004]),
        ({"mice": (100001,), "experiments": (5004,), "tables": ("dff_traces",)}, [5001, 5004]),
    ],
)
def test_selection(known: Known, selection: dict[str, object], keys: list[int]) -> None:
    assert _keys(_plan(known, **selection)) == keys


@pytest.mark.parametrize(
    ("tables", "wanted"),
    [
        (("licks", "behavior_sessions"), dict.fromkeys((1001, 5001, 5003, 1004), ("licks",))),
        (
            ("motion_correction", "dff_traces"),
            dict.fromkeys((5001, 5002, 5003, 5004), ("dff_traces", "motion_correction")),
        ),
        (("behavior_sessions",), {}),
    ],
)
def test_tables_leave_out_files_that_do_not_give_them(
    known: Known, tables: tuple[str, ...], wanted: dict[int, tuple[str, ...]]
) -> None:
    assert {task.file_key: task.tables for task in _plan(known, tables=tables).tasks} == wanted


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (
            {"mice": (1, 100001, 2)},
            "The release has no mouse 1, 2. `vblake plan --list` lists its files, column mouse_id of "
            "behavior_sessions its mice.",
        ),
        ({"experiments": (2003,)}, "no experiment 2003: 2003 is in ophys_session_id of ophys_se"),
        ({"mice": tuple(range(1, 13))}, "no mouse 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more. "),
        ({"tables": ("DFF_trace",)}, "no table 'DFF_trace' to select. Did you mean dff_traces"),
        ({"tables": ("source_files",)}, "'source_files' to select. The tables are behavior_ses"),
        (
            {"mice": (100001,), "experiments": (5004,), "where": "false"},
            "Nothing is selected: no file of release 1.1.0 matches mouse 100001 or experiment 5004; "
            "--where false.",
        ),
        ({"where": "false", "tables": ("trials",)}, "matches --where false; tables trials."),
    ],
)
def test_selections_that_mean_nothing(
    known: Known, selection: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(known, **selection)
    assert message in str(caught.value)


def test_files_that_the_manifest_lacks_are_missing_not_fatal(tmp_path: Path) -> None:
    bucket = Bucket()
    sessions, experiments = (
        bucket.tables["behavior_session_table"],
        bucket.tables["ophys_experiment_table"],
    )
    sessions[1]["file_id"] = "-999"  # 1001: no file, no experiment
    sessions[0]["file_id"] = "77"  # 1004: not in the manifest
    sessions[2]["ophys_experiment_id"] = "[5002]"  # 1002: an experiment of another session
    experiments[1]["file_id"] = "-999"  # 5002
    known = bucket.read(tmp_path)
    planned = _plan(known)
    assert [(m.file_key, m.reason) for m in planned.missing] == [
        (
            1001,
            "behavior_sessions gives neither a file_id nor an experiment to read its behaviour from",
        ),
        (1002, "its behaviour is in experiment 5002, which ophys_experiments does not list for it"),
        (5002, "the project tables give it no file_id (empty or -999)"),
        (1004, "its file_id 77 is not in the manifest of release 1.1.0"),
    ]
    assert [(task.file_key, task.gives_behavior) for task in planned.tasks] == [
        (5001, False),
        (5003, True),
        (5004, False),
    ]
    assert [m.file_key for m in _plan(known, tables=("dff_traces",)).missing] == [5002]
    only_missing = _plan(known, behavior_sessions=(1001,))
    assert (only_missing.tasks, [m.file_key for m in only_missing.missing]) == ([], [1001])


def test_file_id_0_is_an_experiment_but_no_behaviour_file(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.tables["behavior_session_table"][2]["file_id"] = "0"
    tasks = _plan(bucket.read(tmp_path), behavior_sessions=(1002,)).tasks
    assert [(task.file_key, task.gives_behavior) for task in tasks] == [(5001, True)]


def test_an_object_that_two_rows_claim_is_given_to_neither(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.files[2] = bucket.files[3]
    planned = _plan(bucket.read(tmp_path), behavior_sessions=(1003,))
    assert _keys(planned) == [5003]
    assert [m.file_key for m in planned.missing] == [5002, 5004]
    assert "to another session or experiment as well" in planned.missing[0].reason


def test_experiments_without_a_behaviour_session_are_reported(tmp_path: Path) -> None:
    bucket = Bucket()
    del bucket.tables["behavior_session_table"][2]
    planned = _plan(bucket.read(tmp_path), experiments=(5001,))
    assert [(task.file_key, task.tables) for task in planned.tasks] == [(5001, OPHYS_TABLES)]
    assert planned.warnings == [
        "behaviour sessions 1002 have experiments but no row in behavior_sessions: their behaviour is not read"
    ]


def test_objects_that_the_listing_lacks_stay_planned(known: Known) -> None:
    listed = known[0].files[0].key
    planned = _plan(known, sizes={listed: 5})
    assert {task.file_key: task.bytes for task in planned.tasks if task.bytes} == {5001: 5}
    assert len(planned.tasks) == 6
    assert planned.warnings == [
        f"5 of 6 files are not in the source's listing, first {known[0].files[21].key}"
    ]


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ("cre_line = 'Sst-IRES-Cre' and sex = 'F' or imaging_depth >= 300", [1001, 5001, 5004]),
        ("trial_count > 250", [5001, 5002, 5003, 5004, 1004]),  # experiments have their session's
        ("image_set = 'A'", [5001, 5002, 5003, 5004]),  # their own value, not their session's
        ("list_contains(driver_line, 'Camk2a-tTA')", [5002, 5003, 5004, 1004]),
        # 10:00 at +02:00 is 8:00 UTC
        ("date_of_acquisition < '2020-01-03 09:00:00'", [1001, 5001, 5002, 5003, 5004]),
        ("session_type ~ 'TRAINING.*' -- only training", [1001, 1004]),
    ],
)
def test_where_is_judged_per_file(known: Known, where: str, keys: list[int]) -> None:
    assert _keys(_plan(known, where=where)) == keys


REFUSED = {
    "a file in a query": "exists (select * from read_csv('/etc/passwd'))",
    "a Python variable": "exists (select * from known)",
    "a second statement": "true); COPY files TO '{out}'; select (true",
    "the end of a statement": "true;",
    "the rest of a query": "true UNION ALL SELECT true",
    "a value of another type": "mouse_id = 'abc'",
    "bytes that are not UTF-8": "cre_line = '\udce9'",
    "too much memory": "length(repeat(cre_line, 1000000000)) > 0",
}


@pytest.mark.parametrize("where", REFUSED.values(), ids=REFUSED)
def test_where_that_is_not_one_condition_is_refused_and_does_nothing(
    known: Known, tmp_path: Path, where: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(known, where=where.replace("{out}", str(tmp_path / "out")))
    assert str(caught.value).startswith("--where ")
    assert "over the columns mouse_id, behavior_session_id, " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_task_carries_the_cells_and_the_tables_that_lack_its_sessions(tmp_path: Path) -> None:
    bucket = Bucket()
    del bucket.tables["ophys_session_table"][1]  # 2003
    del bucket.tables["behavior_session_table"][2]  # 1002
    tasks = {task.file_key: task for task in _plan(bucket.read(tmp_path)).tasks}
    planes = ((9001, 9002), (9003,), (), ())
    assert [tasks[n].cells for n in (5001, 5002, 5003, 5004)] == list(planes)
    assert tasks[1001].cells is None
    assert {n: task.unlisted for n, task in tasks.items() if task.unlisted} == {
        5001: ("behavior_sessions",),
        **dict.fromkeys((5002, 5003, 5004), ("ophys_sessions",)),
    }
