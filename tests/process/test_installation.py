"""What an installation gives: the command and the packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
    for name in ("pyproject.toml", "README.md", "assets", "pipelines", "schemas"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("vblake-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "schemas/__init__.py",
        "pipelines/ingest.py",
        "assets/__main__.py",
        "assets/cli.py",
        "pipelines/nwb/readers.py",
        "pipelines/sample/__init__.py",
    } <= set(names)
    assert not [n for n in names if n.startswith("tests/")]
    (entry,) = [n for n in names if n.endswith("entry_points.txt")]
    assert "vblake = assets.__main__:main" in zipfile.ZipFile(wheel).read(entry).decode()
