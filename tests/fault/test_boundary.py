"""A file that breaks a declaration is quarantined with an error that names it; the others go on, and what the lake held stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders.lakes import contents, query
from builders.rows import CHECKS
from builders.violations import BY_READER, VIOLATIONS, Violation, ids, violation_bucket
from conftest import Figure, Ingest

from pipelines.check.lake import verify
from pipelines.ingest import ingest, prepare
from pipelines.lake.store import LocalStore
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES, Subject

ALL_TABLES = tuple(name for name, table in TABLES.items() if table.subject is not Subject.LEDGER)
CASES = list(enumerate(VIOLATIONS, start=1))

Contents = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boundary") / "bad"
    violation_bucket(damaged=True).write(folder)
    return folder


@pytest.fixture(scope="module")
def lake(bad: Path) -> tuple[Path, Contents]:
    """A lake that held all files in their good state, after the damaged ones were ingested with --force; and what it held before."""
    violation_bucket(damaged=False).write(bad.parent / "good")
    place = bad.parent / "lake"

    def run(bucket: Path, *, force: bool) -> Contents:
        request = IngestRequest(
            SourceSpec(str(bucket)),
            str(place),
            selection=Selection(tables=ALL_TABLES),
            workers=1,
            force=force,
        )
        ingest(prepare(request))
        return contents(place)

    before = run(bad.parent / "good", force=False)
    assert len(before["trials"]) == 4 * (len(VIOLATIONS) + 1)
    run(bad, force=True)
    return place, before


def _entries(lake: Path) -> dict[int, tuple[str, str | None]]:
    return {
        key: (status, error)
        for key, status, error in query(lake, "SELECT file_key, status, error FROM source_files")
    }


@pytest.mark.parametrize(("number", "case"), CASES, ids=[case.name for case in VIOLATIONS])
def test_a_file_that_breaks_a_declaration_is_quarantined(
    number: int, case: Violation, lake: tuple[Path, Contents]
) -> None:
    experiment = ids(number)[3]
    status, error = _entries(lake[0])[experiment]
    assert status == "quarantined"
    assert error is not None
    assert f"behavior_ophys_experiment_{experiment}.nwb" in error
    if case.table is not None:
        assert f", table {case.table}" in error
    position = 0
    for part in case.says:
        assert part in error[position:], error
        position = error.index(part, position)


def test_the_others_go_on_and_earlier_data_stays(
    lake: tuple[Path, Contents], figure: Figure
) -> None:
    place, before = lake
    entries = _entries(place)
    assert entries.pop(ids(0)[3]) == ("ingested", None)
    assert {status for status, _ in entries.values()} == {"quarantined"}
    after = contents(place)
    assert [name for name in before if after[name] != before[name]] == ["ophys_cells"]
    figure(
        f"boundary: {len(VIOLATIONS)} kinds of file that break a declaration: all quarantined, the rows of their good versions unchanged"
    )


def test_verify_finds_what_became_wrong_without_the_file(lake: tuple[Path, Contents]) -> None:
    # The newer project tables no longer list one ROI whose rows, of an earlier good file, are still in the lake.
    (problem,) = verify(LocalStore(lake[0]))
    assert (problem.table, problem.message) == (
        "cell_specimens",
        "rows refer to ophys_cells that are not there",
    )


def test_nothing_of_the_bad_files_enters_a_new_lake(
    bad: Path, tmp_path: Path, run_ingest: Ingest
) -> None:
    run_ingest(bad, tmp_path / "lake", tables=ALL_TABLES)
    for name, table in TABLES.items():
        if table.unit_key is not None:
            rows = query(tmp_path / "lake", f"SELECT DISTINCT {table.unit_key} FROM {name}")
            assert rows == [(ids(0)[1 if table.subject is Subject.BEHAVIOR else 3],)], name
    assert verify(LocalStore(tmp_path / "lake")) == []


def test_every_declared_check_has_a_violating_file() -> None:
    broken = {check for case in VIOLATIONS for check in case.checks}
    declared = {(table.name, check) for table, check in CHECKS}
    assert broken | set(BY_READER) == declared
    assert not broken & set(BY_READER)
