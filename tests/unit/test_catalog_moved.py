"""A catalog that plain DuckDB opens answers from the lake it lies in, or fails and says why."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from builders.lakes import query

from pipelines.lake.store import LocalStore
from schemas import TABLES

MADE_IN = r"Where is the lake of this catalog\.duckdb, which was made in {}\? "


@pytest.fixture
def copies(good: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A lake with fewer samples of running speed than the one it was copied from, and that one."""
    copy = tmp_path / "it's [1] copy"
    shutil.copytree(good, copy)
    shutil.rmtree(copy / "running_speed" / "mouse_id=101" / "behavior_session_id=1001")
    return copy, good


def samples(con: duckdb.DuckDBPyConnection, table: str = "running_speed") -> int:
    ((count,),) = con.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


def expected(lake: Path) -> int:
    return int(query(lake, "SELECT count(*) FROM running_speed")[0][0])


def opened(lake: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(lake / "catalog.duckdb", read_only=True)


def attached(*lakes: Path, **settings: Any) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for number, lake in enumerate(lakes):
        path = str(lake / "catalog.duckdb").replace("'", "''")
        con.execute(f"ATTACH '{path}' AS lake{number} (READ_ONLY)")
    return con


def test_a_copy_answers_from_its_own_files(
    copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, original = copies
    assert expected(copy) < expected(original)
    for lake in copies:
        with opened(lake) as con:
            assert samples(con) == expected(lake)
            for table in TABLES:
                con.execute(f"FROM {table} LIMIT 1").fetchall()
    monkeypatch.chdir(copy)
    with duckdb.connect("catalog.duckdb", read_only=True) as con:
        assert samples(con) == expected(copy)


def test_an_attached_copy_says_that_it_was_moved(copies: tuple[Path, Path]) -> None:
    copy, original = copies
    with attached(original) as con:
        assert samples(con, "lake0.running_speed") == expected(original)
        con.execute("FROM lake0.bi.trials LIMIT 1").fetchall()
    with attached(copy) as con:
        with pytest.raises(duckdb.Error, match=MADE_IN.format(original)):
            samples(con, "lake0.running_speed")
        con.execute("SET VARIABLE lake_root = ?", [str(copy).replace("[", "[[]")])
        assert samples(con, "lake0.running_speed") == expected(copy)


def test_a_copy_is_never_taken_for_the_original_beside_it(copies: tuple[Path, Path]) -> None:
    copy, original = copies
    with attached(copy, original) as con:
        for table in ("lake0.running_speed", "lake1.running_speed"):
            with pytest.raises(duckdb.Error, match="Where is the lake"):
                samples(con, table)
    with opened(copy) as con:
        con.execute(f"ATTACH '{original}/catalog.duckdb' AS other (READ_ONLY)")
        with pytest.raises(duckdb.Error, match="Where is the lake"):
            samples(con, "other.running_speed")


def test_two_lakes_side_by_side(good: Path, tmp_path: Path) -> None:
    from pipelines.catalog.build import rebuild_catalog

    other = tmp_path / "other"
    shutil.copytree(good, other)
    shutil.rmtree(other / "running_speed" / "mouse_id=101" / "behavior_session_id=1001")
    rebuild_catalog(LocalStore(other))
    with attached(good, other) as con:
        assert samples(con, "lake0.running_speed") == expected(good)
        assert samples(con, "lake1.running_speed") == expected(other)
    with opened(good) as con:
        con.execute(f"ATTACH '{other}/catalog.duckdb' AS other (READ_ONLY)")
        assert samples(con) == expected(good)
        with pytest.raises(duckdb.Error, match=MADE_IN.format(other)):
            samples(con, "other.running_speed")


def test_a_catalog_without_its_lake(good: Path, tmp_path: Path) -> None:
    shutil.copy(good / "catalog.duckdb", tmp_path / "catalog.duckdb")
    with (
        opened(tmp_path) as con,
        pytest.raises(duckdb.Error, match=f"No files.*{tmp_path}/running_speed"),
    ):
        samples(con)
    shutil.copy(good / "catalog.duckdb", tmp_path / "backup.duckdb")
    with (
        duckdb.connect(tmp_path / "backup.duckdb", read_only=True) as con,
        pytest.raises(duckdb.Error, match=MADE_IN.format(good)),
    ):
        samples(con)
