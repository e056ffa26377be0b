"""Imports run one way: assets -> pipelines -> schemas. Dagster stays in assets/."""

from __future__ import annotations

import ast
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


@pytest.mark.process
@pytest.mark.parametrize(
    "command", [["--help"], ["sql", "--help"], ["describe", "trials"], ["status", "--help"]]
)
def test_quick_commands_do_not_load_dagster(command: list[str]) -> None:
    program = f"import sys; sys.argv = ['vblake', *{command!r}]\nfrom assets.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\nprint('dagster' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "False"


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


def test_an_ingest_loads_only_what_it_needs(sample_bucket: Path, tmp_path: Path) -> None:
    # What the command loads, it loads before the first file is read: h5py and the readers are for the workers, pandas is what DuckDB
    # imports for registered tables and for parameters of a query.
    command = [
        "ingest",
        "--source",
        str(sample_bucket),
        "--lake",
        str(tmp_path / "lake"),
        "--workers",
        "1",
        "--no-record",
    ]
    program = (
        f"import sys; sys.argv = ['vblake', *{[*command, '--where', 'mouse_id > 0']!r}]\nfrom assets.cli import main\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    print(leaving.code)\n"
        "print(sorted({'pandas', 'scipy', 'polars', 'dagster', 's3fs', 'h5py', 'pipelines.nwb'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]
