"""Imports run one way, in packages and in stages; functions are short; dependencies are declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("schemas", "pipelines", "assets", "vblake")
FOLDERS = (*PRODUCT, "benchmarks", "tests")

FORBIDDEN = {
    "schemas": {"pipelines", "assets", "vblake", "dagster", "h5py", "duckdb", "s3fs", "polars"},
    "pipelines": {"assets", "dagster"},
    "assets": {"vblake"},
    "vblake": {"schemas", "pipelines", "assets", "dagster"},
}
"""What the modules of a package must not import. vblake/ is for users of a lake and stands alone;
the commands read a lake with it."""

STAGES = (
    *("os_errors", "log", "sql_text", "no_pandas", "processes"),
    *(
        "source",
        "release",
        "request",
        "nwb",
        "lake",
        "catalog",
        "status",
        "check",
        "convert",
        "publish",
    ),
    *(
        "next_generation",
        "remove",
        "upgrade",
        "prepare",
        "ingest",
        "estimate",
        "file_report",
        "frozen",
        "sample",
        "cli",
    ),
)
"""Folders and modules of pipelines/; each imports only those that stand before it."""

MOST_LINES = 60
"""The longest that a function may be."""

PROGRAMS = {
    "boto3": "obstore.auth.boto3 imports it",
    "dagster-webserver": "`vblake ui` starts it",
    "pip-audit": "`make audit` runs it",
    "pyright": "`make types` runs it",
    "pytest-cov": "a plug-in of pytest",
    "pytest-xdist": "a plug-in of pytest",
    "ruff": "`make lint` runs it",
    "s3fs": "how PyArrow's users read a lake in S3, and a peer of benchmarks/fetch.py",
    "setuptools": "the build backend",
}
"""Dependencies that no module imports, and why they are declared."""


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _files(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return files


def _imported(path: Path) -> Iterator[str]:
    """Full names that a module imports; for `from a import b` both `a` and `a.b`."""
    for node in ast.walk(_tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(node.func).rpartition(".")[2] in ("import_module", "import_extra"):
                    yield name


def _packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imported(path)}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("folder", PRODUCT)
def test_packages_import_one_way(folder: str) -> None:
    wrong = {_module(p): bad for p in _files(folder) if (bad := _packages(p) & FORBIDDEN[folder])}
    assert wrong == {}


def test_stages_import_one_way() -> None:
    wrong: list[str] = []
    for path in _files("pipelines"):
        own = _module(path).split(".")[1:2]
        for name in _imported(path):
            other = name.split(".")[1:2] if name.startswith("pipelines.") else []
            if own and other and STAGES.index(other[0]) > STAGES.index(own[0]):
                wrong.append(f"{_module(path)} imports {name}")
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    modules = {_module(p): p for folder in PRODUCT for p in _files(folder)}
    graph = {name: set(_imported(p)) & set(modules) - {name} for name, p in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_private_of_dagster_is_imported(folder: str) -> None:
    private = re.compile(r"^dagster\w*(\.\w+)*\._")
    wrong = [f"{_module(p)}: {n}" for p in _files(folder) for n in _imported(p) if private.match(n)]
    assert wrong == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_functions_are_short(folder: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines"
        for path in _files(folder)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES
    ]
    assert long == []


# --- dependencies --------------------------------------------------------------------------------


def _declared(*groups: str) -> set[str]:
    """Names of the distributions that pyproject.toml declares, optional ones of these groups too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for group in groups:
        lines += project["optional-dependencies"][group]
    return {re.split(r"[\[<>=~! ]", line)[0].lower() for line in lines}


def _distributions(folders: tuple[str, ...]) -> dict[str, set[str]]:
    """The distributions that the modules of folders import, each with these modules."""
    known = packages_distributions()
    own = {*FOLDERS, "docs", "builders", "servers", "conftest"}
    found: dict[str, set[str]] = {}
    for path in (p for folder in folders for p in _files(folder)):
        for package in _packages(path) - own - set(sys.stdlib_module_names):
            for name in known.get(package, [package]):
                found.setdefault(name.lower().replace("_", "-"), set()).add(_module(path))
    return found


def test_what_the_packages_import_is_declared_and_nothing_else_is() -> None:
    imported = _distributions(PRODUCT)
    declared = _declared("build", "dask", "explore", "remote", "s3", "sdk")
    assert {n: m for n, m in imported.items() if n not in declared} == {}
    assert declared - set(imported) - set(PROGRAMS) == set()


def test_what_the_tests_import_is_declared_and_nothing_else_is() -> None:
    imported = _distributions(("tests",))
    declared = _declared("build", "dask", "dev", "explore", "remote", "s3", "sdk")
    other = {"tests.builders.with_allensdk"}  # run in an environment of its own
    assert {n: m for n, m in imported.items() if n not in declared and m != other} == {}
    assert _declared("dev") - _declared("build") - set(imported) - set(PROGRAMS) == set()


def test_every_dependency_has_a_bound_and_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    lines = [line for line in block.splitlines() if line.startswith('    "')]
    assert [x for x in lines if not re.search(r">=\d", x) or "#" not in x] == []
