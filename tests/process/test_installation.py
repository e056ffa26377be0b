"""What an installation gives: the command and the packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("assets", "pipelines", "schemas", "vblake")


def test_this_installation_has_the_command() -> None:
    (command,) = entry_points(group="console_scripts", name="vblake")
    assert command.value == "assets.__main__:main"
    done = subprocess.run(
        [str(Path(sys.executable).parent / "vblake"), "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("vblake ")


def test_a_wheel_has_the_command_and_the_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "dagster.yaml", *PACKAGES):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run(
        [sys.executable, *command, str(tmp_path), str(source)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("vblake-*.whl")
    content = zipfile.ZipFile(wheel)
    names = content.namelist()
    modules = [p.relative_to(ROOT).as_posix() for f in PACKAGES for p in (ROOT / f).rglob("*.py")]
    assert set(modules) <= set(names)
    assert not any("conftest" in name for name in names)
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, "vblake-0.1.0.dist-info"}

    def text(end: str) -> str:
        (name,) = [name for name in names if name.endswith(end)]
        return content.read(name).decode()

    assert text("assets/dagster.yaml") == (ROOT / "dagster.yaml").read_text()
    assert "vblake = assets.__main__:main" in text("/entry_points.txt")
    assert text("/LICENSE") == (ROOT / "LICENSE").read_text()
    assert "License-Expression: BSD-3-Clause\n" in text("/METADATA")
    base = re.findall(r"Requires-Dist: ([\w-]+)[^;\n]*\n", text("/METADATA"))
    assert base == ["duckdb", "numpy", "polars", "pyarrow", "rich", "typer"]


_WITHOUT = """
import sys
from importlib.metadata import packages_distributions

optional, arguments = set(sys.argv[1].split()), sys.argv[2:]
names = {m for m, ds in packages_distributions().items() if optional & {d.lower() for d in ds}}

class Refusal:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusal())
sys.argv = ["vblake", *arguments]
from assets.__main__ import main
main()
"""
"""Runs vblake where some distributions are not installed."""


@pytest.mark.parametrize(
    "command",
    [
        ("sql", "SELECT count(*) FROM trials"),
        ("tables",),
        ("describe", "trials"),
        ("status",),
        ("verify",),
        ("catalog",),
        ("rules",),
    ],
    ids=lambda command: command[0],
)
def test_reading_needs_only_the_base_installation(lake: Path, command: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [line for name in ("build", "sdk", "dask", "explore") for line in extras[name]]
    names = {re.split(r"[\[<>=~! ]", line)[0].lower() for line in lines} - {"numpy"}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, " ".join(sorted(names)), *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"VBLAKE_LAKE": str(lake)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_says_what_to_install(lake: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, "dash", "explore", "--lake", str(lake)],
        capture_output=True,
        text=True,
        check=False,
    )
    message = 'error: This needs dash. Install it with: pip install "vblake[explore]"\n'
    assert (done.returncode, done.stderr) == (1, message)


_NUMPY_1 = """
import sys

class Refusal:
    def find_spec(self, name, path, target=None):
        if name == "pyarrow":
            raise ImportError("pyarrow requires NumPy 2.0 or newer, found 1.23.5")

sys.meta_path.insert(0, Refusal())
import vblake
"""
"""`import vblake` as where pip has installed the newest PyArrow beside NumPy 1."""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("vblake.open('.')", "ImportError: "),
        ("import vblake.sdk", "ImportError: "),
        ("sys.argv = ['vblake', 'verify']; from assets.__main__ import main; main()", "error: "),
    ],
)
def test_a_pyarrow_that_does_not_go_with_numpy(lake: Path, code: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NUMPY_1 + code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"VBLAKE_LAKE": str(lake)},
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"{says}pyarrow requires NumPy 2.0 or newer, found 1.23.5. "
        'Install an older PyArrow: pip install "pyarrow<23"'
    )


def test_an_ingest_in_a_folder_that_has_folders_of_the_same_names(
    sample_bucket: Path, tmp_path: Path
) -> None:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong folder')")
    arguments = ["ingest", "--source", str(sample_bucket), "--lake", "lake", "--tables", "licks"]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "vblake"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert "the wrong folder" not in done.stderr
    assert done.returncode == 0


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version("vblake")
    assert citation["license"] == "BSD-3-Clause"
