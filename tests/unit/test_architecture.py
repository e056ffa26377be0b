"""Imports run one way: assets -> pipelines -> schemas. Dagster stays in assets/."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
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


LOADED = """
import sys
from assets.__main__ import main
try:
    main()
except SystemExit as leaving:
    print(leaving.code or 0)
print(sorted({*sys.argv.pop().split(",")} & set(sys.modules)))
"""


def loaded(modules: set[str], *command: str | Path) -> tuple[str, str]:
    """The exit code of a command, and which of these modules it imports."""
    program = LOADED.replace("sys.argv.pop()", repr(",".join(sorted(modules))))
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    code, found = done.stdout.splitlines()[-2:]
    return code, found


@pytest.mark.process
@pytest.mark.parametrize(
    "command", [["--help"], ["sql", "--help"], ["describe", "trials"], ["status", "--help"]]
)
def test_quick_commands_do_not_load_dagster(command: list[str]) -> None:
    assert loaded({"dagster"}, *command) == ("0", "[]")


def test_an_ingest_with_nothing_to_do_does_not_load_dagster(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(sample_lake, copy)
    command = ("ingest", "--source", sample_bucket, "--lake", copy)
    assert loaded({"dagster"}, *command) == ("0", "[]")


def test_pandas_is_refused_and_arrow_does_without() -> None:
    program = (
        "import sys\nfrom pipelines.no_pandas import refuse_pandas\nrefuse_pandas()\nrefuse_pandas()\n"
        "import duckdb, numpy as np, pyarrow as pa\n"
        "print(pa.array(np.arange(3.0)).to_numpy().tolist(), pa.array(['a', None]).to_pylist())\n"
        "print(duckdb.execute('SELECT ?', [1]).fetchall(), 'pandas' in sys.modules)\n"
        "try:\n    import pandas\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == [
        "[0.0, 1.0, 2.0] ['a', None]",
        "[(1,)] False",
        "vblake does without pandas here",
    ]


def test_an_ingest_loads_only_what_it_needs(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # h5py and the readers are for the workers. DuckDB imports pandas for registered tables and for
    # parameters of a query, if it is there.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    command = ("ingest", "--source", sample_bucket, "--lake", tmp_path / "lake", "--workers", "1")
    unwanted = {"pandas", "scipy", "polars", "s3fs", "h5py", "pipelines.nwb"}
    assert loaded(unwanted, *command, "--where", "mouse_id > 0") == ("0", "[]")
