"""Project tables: CSV to exactly the declared Arrow tables, and what is refused on the way."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders.bucket import PROJECT, Bucket, to_csv

from pipelines.release.manifest import Release, ReleaseObject, load_release
from pipelines.release.project_tables import ProjectTables, read_project_tables
from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from schemas import TABLES
from schemas.arrow import arrow_schema
from schemas.errors import CastError, DataError, IntegrityError

BEHAVIOR = f"{PROJECT}/project_metadata/behavior_session_table.csv"


def _read(bucket: Bucket, folder: Path) -> ProjectTables:
    return bucket.read(folder)[1]


def _error(bucket: Bucket, folder: Path, kind: type[DataError] = CastError) -> DataError:
    with pytest.raises(kind) as caught:
        _read(bucket, folder)
    assert caught.value.file is not None
    return caught.value


def _rows(project: ProjectTables, table: str, key: str) -> dict[int, dict[str, Any]]:
    return {row[key]: row for row in project.tables[table].to_pylist()}


def test_tables_have_exactly_the_declared_schema_and_order(tmp_path: Path) -> None:
    project = _read(Bucket(), tmp_path)
    assert list(project.tables) == [
        "behavior_sessions",
        "ophys_sessions",
        "ophys_experiments",
        "ophys_cells",
    ]
    for name, table in project.tables.items():
        assert table.schema.equals(arrow_schema(TABLES[name]), check_metadata=True)
        keys = list(
            zip(*(table.column(column).to_pylist() for column in TABLES[name].order), strict=True)
        )
        assert keys == sorted(keys)
        table.validate(full=True)
    assert project.warnings == ()


def test_values(tmp_path: Path) -> None:
    project = _read(Bucket(), tmp_path)
    sessions = _rows(project, "behavior_sessions", "behavior_session_id")
    assert list(sessions) == [1001, 1002, 1003, 1004]
    training, imaged, planes = sessions[1001], sessions[1002], sessions[1003]
    assert (training["ophys_session_id"], training["ophys_experiment_id"]) == (None, None)
    assert (training["file_id"], imaged["file_id"]) == (21, None)  # None: -999
    assert (imaged["ophys_session_id"], imaged["session_number"]) == (2002, 1)
    assert planes["ophys_experiment_id"] == [5003, 5002, 5004]
    assert planes["driver_line"] == ["Slc17a7-IRES2-Cre", "Camk2a-tTA"]
    assert project.tables["ophys_cells"].to_pylist() == [
        {"cell_roi_id": 9001, "cell_specimen_id": 1091957586, "ophys_experiment_id": 5001},
        {"cell_roi_id": 9002, "cell_specimen_id": 8002, "ophys_experiment_id": 5001},
        {"cell_roi_id": 9003, "cell_specimen_id": None, "ophys_experiment_id": 5002},
    ]


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        (
            "date_of_acquisition",
            "2019-05-17T14:46:33-07:00",
            datetime(2019, 5, 17, 21, 46, 33, tzinfo=UTC),
        ),
        ("age_in_days", "12.0", 12),
        ("age_in_days", "9223372036854775807.0", 2**63 - 1),
        ("age_in_days", "<NA>", None),
        ("ophys_experiment_id", "[5003, 5002.0]", [5003, 5002]),
        ("ophys_experiment_id", "(5003, 5002)", [5003, 5002]),
        ("ophys_experiment_id", "5003.0", [5003]),
        ("ophys_experiment_id", "[]", []),
        ("ophys_experiment_id", "None", None),
        ("driver_line", '["Sst-IRES-Cre", "Camk2a-tTA"]', ["Sst-IRES-Cre", "Camk2a-tTA"]),
        ("driver_line", "Sst-IRES-Cre", ["Sst-IRES-Cre"]),
    ],
)
def test_cells(tmp_path: Path, column: str, cell: str, value: object) -> None:
    bucket = Bucket()
    bucket.tables["behavior_session_table"][0]["age_in_days"] = ""
    bucket.tables["behavior_session_table"][1][column] = cell
    sessions = _rows(_read(bucket, tmp_path), "behavior_sessions", "behavior_session_id")
    assert sessions[1001][column] == value


HOSTILE = {
    "call": "__import__('os').system('touch owned')",
    "nested list": "[1, [2]]",
    "boolean": "[True]",
    "cut off": "[1, 2",
    "infinite": "[1e400]",
    "deep": "(" * 5000,
    "long": "[" + "1," * 6000 + "]",
}


@pytest.mark.parametrize("cell", HOSTILE.values(), ids=HOSTILE)
def test_lists_that_are_code_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    monkeypatch.chdir(tmp_path)
    bucket = Bucket()
    bucket.tables["behavior_session_table"][3]["driver_line"] = cell
    error = _error(bucket, tmp_path / "bucket")
    assert (error.file, error.table, error.column) == (BEHAVIOR, "behavior_sessions", "driver_line")
    assert len(str(error)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["bucket"]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("imaging_depth", "12.5"),
        ("imaging_depth", "1_000"),
        ("imaging_depth", "9" * 5000),
        ("imaging_depth", "١٢"),
        ("passive", "maybe"),
        ("date_of_acquisition", "2019-13-01"),
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, column: str, cell: str) -> None:
    bucket = Bucket()
    bucket.tables["ophys_experiment_table"][2][column] = cell
    error = _error(bucket, tmp_path)
    assert (error.table, error.column) == ("ophys_experiments", column)
    assert "row 2" in str(error)
    assert repr(cell)[:100] in str(error)


def test_missing_column_names_file_table_and_column(tmp_path: Path) -> None:
    bucket = Bucket()
    for row in bucket.tables["behavior_session_table"]:
        del row["cre_line"]
    error = _error(bucket, tmp_path, IntegrityError)
    assert str(error).startswith(
        f"file {BEHAVIOR}, table behavior_sessions, column cre_line: a column is missing; expected cre_line"
    )


def test_a_spreadsheet_that_was_saved_again_is_read_alike(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.tables["ophys_session_table"][0]["full_genotype"] = "Sst-IRES-Cre/wt;\r\nAi148/wt"
    sessions = _read(bucket, tmp_path / "before").tables["ophys_sessions"]
    text = to_csv(bucket.tables["ophys_session_table"]).decode()
    assert '"Sst-IRES-Cre/wt;\r\nAi148/wt"' in text
    bucket.contents["ophys_session_table"] = text.encode("utf-8-sig")
    assert _read(bucket, tmp_path / "after").tables["ophys_sessions"].equals(sessions)
    genotypes = sessions.column("full_genotype").to_pylist()
    assert genotypes == ["Sst-IRES-Cre/wt;\r\nAi148/wt", "A-Cre/wt;B-tTA/wt"]


def test_a_release_before_1_0_0_has_no_cells(tmp_path: Path) -> None:
    bucket = Bucket("0.3.0")
    del bucket.tables["ophys_cells_table"]
    project = _read(bucket, tmp_path)
    assert list(project.tables) == ["behavior_sessions", "ophys_sessions", "ophys_experiments"]
    assert project.warnings == ()


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    bucket = Bucket()
    for row in bucket.tables["behavior_session_table"]:
        del row["image_set"]
    sessions = _read(bucket, tmp_path).tables["behavior_sessions"]
    assert sessions.column("image_set").null_count == sessions.num_rows


def test_columns_and_tables_of_newer_releases_are_reported(tmp_path: Path) -> None:
    bucket = Bucket()
    for row in bucket.tables["ophys_session_table"]:
        row |= {"donor_id": "7", "rig weather": "fine"}
    bucket.tables["lick_table"] = [{"a": "1"}]
    assert _read(bucket, tmp_path).warnings == (
        "release 1.1.0 has the table 'lick_table', which vblake does not know: it is not in the lake",
        f"{PROJECT}/project_metadata/ophys_session_table.csv: columns that the lake's table ophys_sessions does not have "
        "were left out: 'donor_id', 'rig weather'",
    )


def test_keys_are_unique_and_not_null(tmp_path: Path) -> None:
    bucket = Bucket()
    rows = bucket.tables["ophys_cells_table"]
    rows[0]["cell_roi_id"] = rows[1]["cell_roi_id"]
    error = _error(bucket, tmp_path / "twice", IntegrityError)
    assert (error.column, error.found) == ("cell_roi_id", f"{rows[1]['cell_roi_id']} in 2 rows")
    rows[0]["cell_roi_id"] = ""
    error = _error(bucket, tmp_path / "null", IntegrityError)
    assert (error.column, error.problem) == ("cell_roi_id", "a required value is missing")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the table has no rows"),
        (b'a,b\n"1,2\n', "the file is not a CSV table"),
        (b"a,b\n1,2,3\n", "row 0 has the wrong number of cells"),
        (b"a,a\n1,2\n", "column names repeat"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes, problem: str) -> None:
    bucket = Bucket()
    bucket.contents["behavior_session_table"] = content
    error = _error(bucket, tmp_path, IntegrityError)
    assert (error.file, error.table, error.problem) == (BEHAVIOR, "behavior_sessions", problem)


def test_content_is_checked_against_the_manifest(tmp_path: Path) -> None:
    bucket = Bucket()
    source = bucket.write(tmp_path)
    path = tmp_path / BEHAVIOR
    path.write_bytes(path.read_bytes().replace(b"100001", b"100003"))
    with pytest.raises(
        IntegrityError, match=rf"file {BEHAVIOR}: the content is not what the manifest pins"
    ):
        read_project_tables(source, load_release(source))


def test_table_without_a_hash_is_reported(tmp_path: Path) -> None:
    bucket = Bucket()
    manifest = bucket.manifest()
    manifest["metadata_files"]["ophys_cells_table"]["file_hash"] = None
    source = bucket.write(tmp_path, manifest)
    assert read_project_tables(source, load_release(source)).warnings == (
        f"{PROJECT}/project_metadata/ophys_cells_table.csv: the manifest has no hash for it, so the content was not checked",
    )


def test_a_session_has_one_mouse(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.tables["ophys_experiment_table"][3]["mouse_id"] = "100001"
    error = _error(bucket, tmp_path, IntegrityError)
    assert (error.problem, error.table) == (
        "behaviour session 1003 belongs to two mice",
        "ophys_experiments",
    )
    assert (error.expected, error.found) == ("100002, as in behavior_sessions", "100001")


def test_published_tables_at_full_size() -> None:
    folder = Path(__file__).parents[2].parent / "shared" / "reference" / "project_metadata"
    if not folder.is_dir():
        pytest.skip(f"no published tables at {folder}")
    objects = {
        path.stem: ReleaseObject(path.name, None, hashlib.blake2b(path.read_bytes()).hexdigest())
        for path in folder.glob("*.csv")
    }
    source = open_source(SourceSpec(str(folder)))
    tables = read_project_tables(source, Release("0.3.0", objects, {})).tables
    assert {name: table.num_rows for name, table in tables.items()} == {
        "behavior_sessions": 4787,
        "ophys_sessions": 704,
        "ophys_experiments": 1941,
    }
    sessions = tables["behavior_sessions"]
    assert len(set(sessions.column("mouse_id").to_pylist())) == 107
    listed = {e for cell in sessions.column("ophys_experiment_id").to_pylist() for e in cell or ()}
    assert listed == set(tables["ophys_experiments"].column("ophys_experiment_id").to_pylist())
