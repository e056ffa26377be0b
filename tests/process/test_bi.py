"""BI tools read a lake's schema `bi`, in an environment with the tested versions of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from builders.lake import build_lake

from schemas.bi import BI_VIEWS
from schemas.model import Type

PYTHON = os.environ.get("VBLAKE_BI_PYTHON")
"""An interpreter with duckdb-sqlalchemy and ibis."""

pytestmark = pytest.mark.skipif(PYTHON is None, reason="VBLAKE_BI_PYTHON is not set: make test-bi")

REFLECTED = """
import json, sys
import sqlalchemy as sa

engine = sa.create_engine(f"duckdb:///{sys.argv[1]}", connect_args={"read_only": True})
metadata = sa.MetaData()
metadata.reflect(engine, schema="bi", views=True)
with engine.connect() as connection:
    found = {
        table.name: {
            "comment": sa.inspect(engine).get_table_comment(table.name, schema="bi")["text"],
            "columns": [[c.name, str(c.type), c.comment] for c in table.columns],
            "rows": connection.execute(sa.select(sa.func.count()).select_from(table)).scalar(),
        }
        for table in metadata.tables.values()
    }
print(json.dumps(found))
"""

WITH_IBIS = """
import json, sys
import ibis

lake = ibis.duckdb.connect(sys.argv[1], read_only=True)
tables = lake.list_tables(database="bi")
counts = {name: int(lake.table(name, database="bi").count().execute()) for name in tables}
print(json.dumps(counts))
"""

NAMES = {Type.FLOAT32: "REAL"}
"""Types that SQLAlchemy calls by another name."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = build_lake(tmp_path_factory.mktemp("bi") / "lake")
    return Path(store.root) / "catalog.duckdb"


def _run(script: str, catalog: Path) -> dict[str, Any]:
    command = [str(PYTHON), "-E", "-c", script, str(catalog)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sqlalchemy_reflects_views_types_and_comments(catalog: Path) -> None:
    found = _run(REFLECTED, catalog)
    assert set(found) == set(BI_VIEWS)
    for name, view in BI_VIEWS.items():
        assert found[name]["comment"] == view.description
        declared = [[c.name, NAMES.get(c.type, c.type.value), c.comment] for c in view]
        assert found[name]["columns"][: len(declared)] == declared, "aliases follow"
    assert found["sessions"]["rows"]


def test_ibis_lists_and_counts_the_views(catalog: Path) -> None:
    counts = _run(WITH_IBIS, catalog)
    assert set(counts) == set(BI_VIEWS)
    assert counts["trials"] == _run(REFLECTED, catalog)["trials"]["rows"]
