"""A file that breaks a rule is quarantined; the others go on, and what the lake held stays.

One file for each place where rules are applied; tests/unit/test_check_file.py has all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders.lakes import contents, query
from builders.violations import VIOLATIONS, ids, violation_bucket

from pipelines.check.lake import verify
from pipelines.ingest import ingest, prepare
from pipelines.lake.store import LocalStore
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES, Subject

ALL_TABLES = tuple(name for name, table in TABLES.items() if table.subject is not Subject.LEDGER)
NAMES = (
    "another mouse",
    "two outcomes",
    "licks that go back",
    "a presentation of no trial",
    "an ROI that ophys_cells does not list",
    "motion of more frames than there are",
    "no stimulus_templates",
)
CASES = [case for case in VIOLATIONS if case.name in NAMES]


def _ingest(bucket: Path, lake: Path, *, force: bool = False) -> dict[str, list[tuple[Any, ...]]]:
    selection = Selection(tables=ALL_TABLES)
    source = SourceSpec(str(bucket))
    ingest(prepare(IngestRequest(source, str(lake), selection=selection, workers=1, force=force)))
    return contents(lake)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quarantine") / "bad"
    violation_bucket(CASES, damaged=True).write(folder)
    return folder


def test_good_versions_of_bad_files_stay_in_the_lake(bad: Path, tmp_path: Path) -> None:
    violation_bucket(CASES, damaged=False).write(tmp_path / "good")
    lake = tmp_path / "lake"
    before = _ingest(tmp_path / "good", lake)
    assert len(before["trials"]) == 4 * (len(CASES) + 1)
    after = _ingest(bad, lake, force=True)
    assert [name for name in before if after[name] != before[name]] == ["ophys_cells"]
    rows = query(lake, "SELECT file_key, status, error FROM source_files ORDER BY file_key")
    assert rows[0] == (ids(0)[3], "ingested", None)
    for number, (case, (key, status, error)) in enumerate(zip(CASES, rows[1:], strict=True), 1):
        assert (key, status) == (ids(number)[3], "quarantined")
        assert f"behavior_ophys_experiment_{key}.nwb" in error
        assert case.table is None or f", table {case.table}" in error
        assert case.says[0] in error
    # The newer project tables no longer list one ROI whose rows, of the good file, are still there.
    (finding,) = verify(LocalStore(lake))
    assert (finding.rule, finding.table) == ("foreign_key", "cell_specimens")


def test_nothing_of_bad_files_enters_a_new_lake(bad: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    _ingest(bad, lake)
    for name, table in TABLES.items():
        if table.unit_key is not None:
            rows = query(lake, f"SELECT DISTINCT {table.unit_key} FROM {name}")
            assert rows == [(ids(0)[1 if table.subject is Subject.BEHAVIOR else 3],)], name
    assert verify(LocalStore(lake)) == []
