"""Commands that build lakes say how to install what they need before they do anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.cli import refusal

from pipelines.cli import extras


@pytest.fixture
def without_build(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "typer>=0.12",
        'no-such-package>=1; extra == "build"',
        'numpy>=1.26; extra == "build"',
    ]
    monkeypatch.setattr(extras, "requires", lambda _: declared)


@pytest.mark.usefixtures("without_build")
@pytest.mark.parametrize("command", ["plan", "sample"])
def test_building_without_its_packages(command: str, tmp_path: Path) -> None:
    options = {"plan": ("--lake", tmp_path / "new"), "sample": ("--out", tmp_path / "new")}
    assert refusal(command, *options[command], code=1) == (
        "error: This command builds lakes and needs packages that are not installed "
        '(no-such-package). Install them with: pip install "vblake[build]"'
    )
    assert not (tmp_path / "new").exists()


def test_with_its_packages() -> None:
    extras.require_build()
