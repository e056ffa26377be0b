"""Buckets that mean harm: keys that lead elsewhere, cells that are programs, names that are no names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders.bucket import HOST, PROJECT, Bucket, blake2b, to_csv
from builders.cli import output
from builders.lakes import query
from builders.network import ingest_from, manifest_of, source_of
from servers.s3 import S3Server

from pipelines.release.manifest import load_release
from pipelines.release.selection import Selection
from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from schemas.errors import CastError, ReleaseError

CANARY = "c4n4ry"
GOOD = f"{PROJECT}/behavior_sessions/behavior_session_1001.nwb"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a bucket and, beside it, a file that is none of its."""
    Bucket().write(tmp_path / "bucket")
    (tmp_path / "secret.nwb").write_text(CANARY)
    (tmp_path / "bucket/secret.nwb").write_text(CANARY)
    return tmp_path


# --- manifests

WAYS_OUT: dict[str, Callable[[Path], str]] = {
    "..": lambda place: f"{HOST}/{PROJECT}/../secret.nwb",
    "absolute": lambda place: str(place / "secret.nwb"),
    "a host behind a user": lambda place: (
        f"https://visual-behavior-ophys-data.s3.amazonaws.com@example.org/{GOOD}"
    ),
    "NUL": lambda place: f"{HOST}/{PROJECT}/a%00.nwb",
    "very long": lambda place: f"{HOST}/{PROJECT}/{'a/' * 600}b.nwb",
    "a user": lambda place: (
        f"https://me:{CANARY}@visual-behavior-ophys-data.s3.us-west-2.amazonaws.com/{GOOD}"
    ),
    "a user and nonsense": lambda place: f"https://me:{CANARY}@[::1/{GOOD}",
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_key_that_leads_elsewhere_is_refused(place: Path, way: str) -> None:
    section = "metadata_files" if way == ".." else "data_files"
    url = WAYS_OUT[way](place)
    path = manifest_of(place / "bucket")
    manifest = json.loads(path.read_text())
    name = next(iter(manifest[section]))
    manifest[section][name] |= {"url": url, "file_hash": None, "version_id": None}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError) as caught:
        load_release(open_source(SourceSpec(str(place / "bucket"))))
    said = str(caught.value)
    assert f"{section}[{name!r}].url: expected " in said
    assert said.isprintable()
    assert len(said) < 1000
    assert CANARY not in said
    assert "AKIA" not in said


# --- cells

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "'; DROP TABLE trials; --",
    "__import__('os').system('touch owned')",
    "$(touch owned) `touch owned` ; touch owned | cat",
    '"quoted", with, commas\nand a second line',
    "\x1b]0;title\x07",
]


def _with_cells(bucket: Path, column: str, values: list[str]) -> None:
    """Puts the values into a text column of the session table, and its hash into the manifest."""
    table = bucket / PROJECT / "project_metadata/behavior_session_table.csv"
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(table.read_text(), newline="")))
    for number, row in enumerate(rows):
        row[column] = values[number % len(values)]
    table.write_bytes(to_csv(rows))
    path = manifest_of(bucket)
    manifest = json.loads(path.read_text())
    manifest["metadata_files"]["behavior_session_table"] |= {
        "file_hash": blake2b(table.read_bytes())
    }
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("column", ["driver_line", "mouse_id"])
def test_a_program_in_a_typed_column_is_an_error_and_is_not_run(
    place: Path, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket()
    bucket.tables["behavior_session_table"][0][column] = "__import__('os').system('touch owned')"
    monkeypatch.chdir(place)
    with pytest.raises(CastError) as caught:
        bucket.read(place / "other")
    assert caught.value.column == column
    assert not list(place.rglob("*owned*"))


def test_cells_stay_what_they_are_all_the_way(bucket: Path, tmp_path: Path) -> None:
    """Over S3 into the lake, the catalog and the answers; `--where` compares them as text."""
    _with_cells(bucket, "equipment_name", FORMULAS)
    with S3Server(bucket) as server:
        ingest_from(
            source_of(server, read_timeout_s=30.0),
            tmp_path / "lake",
            selection=Selection(tables=("behavior_sessions",)),
        )
        where = f"equipment_name = $${FORMULAS[0]}$$"
        options = ("--endpoint-url", server.url, "--where", where)
        assert output("plan", "--lake", tmp_path / "lake", *options)
    cells = query(tmp_path / "lake", "SELECT DISTINCT equipment_name FROM behavior_sessions")
    found = {text for (text,) in cells}
    assert found
    assert found <= set(FORMULAS)
    file = pq.read_table(tmp_path / "lake/behavior_sessions")
    assert set(file.column("equipment_name").to_pylist()) == found
