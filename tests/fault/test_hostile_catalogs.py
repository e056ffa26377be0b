"""Catalogs that somebody else made, or that are damaged, open no more than their lake."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import duckdb
import pytest
from builders.cli import run
from builders.secret import CANARY

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def foreign(place: Path, tmp_path: Path) -> Path:
    """A lake whose catalog reads more than the lake."""
    lake = tmp_path / "foreign"
    shutil.copytree(place / "lake", lake)
    with duckdb.connect(str(lake / "catalog.duckdb")) as con:
        for name, body in {
            "trials": f"FROM read_csv('{place}/secret.csv')",
            "licks": f"FROM '{place}/secret.parquet'",
            "running_speed": "FROM glob('/*')",
        }.items():
            con.execute(f"CREATE OR REPLACE VIEW {name} AS {body}")
        con.execute(f"CREATE MACRO range(n) AS TABLE FROM read_csv('{place}/secret.csv')")
        con.execute('CREATE VIEW "\x1b[31mred" AS SELECT 1')
    return lake


@pytest.mark.parametrize("query", ["trials", "licks", "running_speed", "range(3)"])
def test_a_foreign_catalog_reads_no_more_than_its_lake(foreign: Path, query: str) -> None:
    result = run("sql", "--lake", foreign, f"FROM {query}")
    assert result.exit_code != 0
    assert CANARY not in result.output
    assert "Permission Error" in result.stderr


def test_verify_opens_a_foreign_catalog_no_wider(foreign: Path) -> None:
    result = run("verify", "--lake", foreign)
    assert result.exit_code == 1
    for name in ("trials", "licks"):
        (line,) = [
            line for line in result.stdout.splitlines() if f"view {name} cannot be queried" in line
        ]
        assert "Permission Error" in line
    assert CANARY not in result.output
    assert "\x1b" not in result.output


def test_a_foreign_catalog_is_replaced_by_one_of_our_own(foreign: Path) -> None:
    assert run("catalog", "--lake", foreign).exit_code == 0
    counted = run("sql", "--lake", foreign, "--format", "csv", "SELECT count(*) AS n FROM trials")
    assert counted.stdout == "n\n5\n"


@pytest.mark.parametrize("damage", [b"", b"DUCK", random.Random(1).randbytes(20_000)])
def test_a_catalog_that_is_none(foreign: Path, damage: bytes) -> None:
    (foreign / "catalog.duckdb").write_bytes(damage)
    result = run("sql", "--lake", foreign, "SELECT 1")
    assert result.exit_code == 1
    assert f"Rebuild it with `vblake catalog --lake {foreign}`." in result.stderr
