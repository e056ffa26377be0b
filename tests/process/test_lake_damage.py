"""Files of the lake that a disk or a copy has damaged: ingesting again mends them, and nothing that they held is lost on the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from builders.fixtures import Ingest
from builders.lakes import contents, query

from pipelines.check.finding import Finding
from pipelines.check.lake import verify
from pipelines.lake.store import LocalStore
from schemas.checks import Level
from schemas.errors import LakeError
from schemas.layout import CATALOG


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()  # other lakes of the tests may share it
    path.write_bytes(data[: len(data) // 2])


def _first(lake: Path, table: str) -> Path:
    return min((lake / table).rglob("*.parquet"))


def _mouse(path: Path) -> int:
    return int(path.parent.name.partition("=")[2])


def test_damaged_files_are_replaced(
    sample_bucket: Path, lake: Path, sample_lake: Path, run_ingest: Ingest
) -> None:
    damaged = ("trials", "cell_specimens", "dff_traces", "stimulus_templates", "behavior_sessions")
    for table in damaged:
        _cut(_first(lake, table))
    found = {p.table for p in verify(LocalStore(lake)) if p.level is Level.ERROR}
    assert found >= {*damaged}
    run_ingest(sample_bucket, lake, force=True)
    assert contents(lake) == contents(sample_lake)
    assert verify(LocalStore(lake)) == []


@pytest.mark.parametrize("deep", [True, False])
def test_several_workers_find_what_one_does(
    lake: Path, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    for table in ("trials", "dff_traces", "stimulus_templates", "ophys_cells"):
        _cut(_first(lake, table))
    for table in ("licks", "running_speed", "ophys_timestamps"):
        max((lake / table).rglob("*.parquet")).unlink()
    strays = [p for table in ("rewards", "events") for p in (lake / table).rglob("*.parquet")]
    for stray in strays:  # of each mouse, so that the order shows
        stray.rename(stray.with_name("stray.parquet"))

    def found(workers: int) -> tuple[list[Finding], list[Finding], list[str]]:
        known: list[Finding] = []
        read: list[str] = []
        problems = verify(
            LocalStore(lake),
            deep=deep,
            workers=workers,
            on_known=known.append,
            on_file=read.append,
        )
        return problems, known, read

    alone = found(1)
    assert len(alone[0]) > len(strays)
    # A small lake is not worth workers.
    monkeypatch.setattr("pipelines.check.lake.worthwhile_workers", lambda *_, **__: 2)
    assert found(2) == alone


def test_a_damaged_file_of_another_mouse_keeps_the_old_catalog_and_no_files_out(
    sample_bucket: Path, lake: Path, sample_lake: Path, run_ingest: Ingest
) -> None:
    damaged = _first(lake, "trials")
    (other,) = {_mouse(path) for path in (lake / "trials").rglob("*.parquet")} - {_mouse(damaged)}
    _cut(damaged)
    before, published = (
        (lake / CATALOG).read_bytes(),
        query(lake, "SELECT max(ingested_at) FROM source_files"),
    )
    with pytest.raises(
        LakeError,
        match=rf"catalog\.duckdb was not rebuilt, because .*{damaged}.* `vblake verify --lake {lake}` says how",
    ):
        run_ingest(sample_bucket, lake, force=True, mice=(other,), tables=("trials",))
    assert (lake / CATALOG).read_bytes() == before
    assert (
        query(lake, f"SELECT min(ingested_at) FROM source_files WHERE mouse_id = {other}")
        > published
    )
    run_ingest(sample_bucket, lake, force=True, mice=(_mouse(damaged),), tables=("trials",))
    assert contents(lake) == contents(sample_lake)


def test_rows_that_only_a_damaged_file_has_are_not_dropped(
    sample_bucket: Path, lake: Path, run_ingest: Ingest
) -> None:
    damaged = _first(lake, "trials")
    sessions = query(
        lake,
        f"SELECT DISTINCT behavior_session_id FROM trials WHERE mouse_id = {_mouse(damaged)} ORDER BY 1",
    )
    _cut(damaged)
    left = damaged.read_bytes()
    others = ", ".join(str(s) for (s,) in sessions[1:])
    with pytest.raises(
        LakeError,
        match=re.escape(
            f"It has rows of behavior_session_id {others} too, which this run does not read"
        ),
    ):
        run_ingest(sample_bucket, lake, force=True, behavior_sessions=sessions[0])
    assert damaged.read_bytes() == left


def test_a_damaged_ledger_is_reported_and_rebuilt(
    sample_bucket: Path, lake: Path, sample_lake: Path, run_ingest: Ingest
) -> None:
    damaged = _first(lake, "source_files")
    _cut(damaged)
    assert [
        p.message
        for p in verify(LocalStore(lake))
        if p.message.endswith("Delete it and ingest its mouse again")
    ]
    with pytest.raises(
        LakeError,
        match=rf"is damaged \(.*\)\. Delete it and run `vblake ingest` for mouse {_mouse(damaged)} again",
    ):
        run_ingest(sample_bucket, lake)
    damaged.unlink()
    run_ingest(sample_bucket, lake)
    assert contents(lake) == contents(sample_lake)
    assert query(lake, "SELECT count(*) FROM source_files") == query(
        sample_lake, "SELECT count(*) FROM source_files"
    )
