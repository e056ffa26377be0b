"""Imports run one way: assets -> pipelines -> schemas. Dagster stays in assets/."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        (
            "schemas",
            {"dagster", "pipelines", "assets", "h5py", "duckdb", "s3fs", "fsspec", "polars"},
        ),
        ("pipelines", {"dagster", "assets"}),
    ],
)
def test_imports_run_one_way(folder: str, forbidden: set[str]) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {str(p.relative_to(ROOT)): bad for p in files if (bad := _imports(p) & forbidden)}
    assert wrong == {}


@pytest.mark.parametrize(
    "folder", ["assets", "benchmarks", "pipelines", "schemas", "tests", "vblake"]
)
def test_nothing_private_of_dagster_is_imported(folder: str) -> None:
    private = re.compile(r"^\s*(?:from|import)\s+dagster\w*(?:\.\w+)*\._", re.MULTILINE)
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    assert [str(p.relative_to(ROOT)) for p in files if private.search(p.read_text())] == []
