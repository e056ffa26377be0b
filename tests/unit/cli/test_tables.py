"""`vblake tables` and `vblake describe`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from builders.cli import output, refusal

from pipelines.catalog.macros import MACROS
from schemas import TABLES
from schemas.views import VIEWS


def test_tables() -> None:
    lines = output("tables").splitlines()
    names = [re.split(r"[ (]", line.strip())[0] for line in lines[:-1] if line.strip(" ─")]
    assert names == ["table", *TABLES, "view", *VIEWS, "macro", *MACROS]
    assert lines[-1].startswith("vblake describe NAME says more of a table, view or macro")
    (demixed,) = [line for line in lines if line.startswith(" demixed_traces ")]
    assert "Ingested by name only." in demixed


def test_tables_as_json() -> None:
    found: list[dict[str, Any]] = json.loads(output("tables", "--json"))
    assert [t["name"] for t in found] == [*TABLES, *VIEWS]
    assert [t["name"] for t in found if t["files"] is None] == list(VIEWS)
    assert next(t for t in found if t["name"] == "licks") == {
        "name": "licks",
        "subject": "behavior",
        "description": TABLES["licks"].description,
        "primary_key": [],
        "files": "licks/mouse_id=<M>/licks.parquet",
        "by_name_only": False,
    }


def test_describe() -> None:
    lines = output("describe", "licks").splitlines()
    assert lines[0].split(maxsplit=1) == ["table", "licks"]
    assert lines[1].split(maxsplit=1) == ["description", TABLES["licks"].description]
    start = next(n for n, line in enumerate(lines) if line.split()[:1] == ["column"])
    assert [line.split()[0] for line in lines[start + 2 : start + 6]] == [
        c.name for c in TABLES["licks"].columns
    ]
    assert lines[start + 4].split()[:4] == ["timestamps", "DOUBLE", "s", "never"]


def test_describe_as_json() -> None:
    found = json.loads(output("describe", "licks", "--json"))
    assert found["table"] == "licks"
    assert [c["name"] for c in found["columns"]] == [c.name for c in TABLES["licks"].columns]
    assert found["columns"][2]["source"] == TABLES["licks"]["timestamps"].source


def test_describe_a_view() -> None:
    found = json.loads(output("describe", "matched_cells", "--json"))
    view = VIEWS["matched_cells"]
    assert {name: found[name] for name in found if name != "columns"} == {
        "view": "matched_cells",
        "description": view.description,
        "primary_key": "cell_specimen_id",
    }
    assert [c["name"] for c in found["columns"]] == [c.name for c in view]


@pytest.mark.parametrize("name", ["dff_around", "dprime"])
def test_describe_a_macro(lake: Path, name: str) -> None:
    macro = MACROS[name]
    found = json.loads(output("describe", name, "--json"))
    assert (found["macro"], found["description"]) == (macro.signature, macro.description)
    assert [c["name"] for c in found["columns"]] == [c.name for c in macro]
    of_lake = json.loads(output("describe", name, "--lake", lake, "--json"))
    assert of_lake["macro"].startswith(f"{name}(")
    assert (of_lake["description"], of_lake["columns"]) == (macro.description, found["columns"])


@pytest.mark.parametrize(
    ("name", "hint"), [("trial", "Did you mean trials?"), ("xyzzy", "See `vblake tables`.")]
)
def test_describe_an_unknown_table(name: str, hint: str) -> None:
    assert refusal("describe", name) == f"error: There is no table {name!r}. {hint}"


def test_tables_and_columns_of_a_lake(lake: Path) -> None:
    (licks,) = (t for t in json.loads(output("tables", "--json")) if t["name"] == "licks")
    found = json.loads(output("tables", "--lake", lake, "--json"))
    assert [t["name"] for t in found] == [*TABLES, *VIEWS]
    assert {**licks, "files": "licks/**/*.parquet"} in found
    for table in ("licks", "matched_cells"):
        described = json.loads(output("describe", table, "--lake", lake, "--json"))
        declared = json.loads(output("describe", table, "--json"))
        assert described["columns"] == declared["columns"]
    assert output("describe", "licks", "--lake", lake).split()[:2] == ["table", "licks"]


def test_describe_an_unknown_table_of_a_lake(lake: Path) -> None:
    assert refusal("describe", "lick", "--lake", lake) == (
        f"error: {lake} has no table 'lick'. Did you mean 'licks'?"
    )
