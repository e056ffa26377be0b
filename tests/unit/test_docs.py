"""The pages name files, links, commands and options that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from builders.mini import BEHAVIOR_FILE, EXPERIMENT_FILE, MINI

from assets.commands import cli
from docs.site.er_diagram import er_diagram
from docs.site.llms import llms_txt

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

FILE = re.compile(
    r"(?<![\w/])(?:schemas|pipelines|assets|vblake|tests|benchmarks|docs)/[\w./*{}-]*\w"
)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]+)?\)")
RESULTS = "benchmarks/results/"
"""What the benchmarks write; not in the repository."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in FILE.findall(text) if not any(ROOT.glob(name))]
    for target, anchor in LINK.findall(text):
        linked = page.parent / target if target else page
        if not linked.exists() or (anchor and anchor[1:] not in _anchors(linked)):
            missing.append(target + anchor)
    assert [name for name in missing if not name.startswith(RESULTS)] == []


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_commands_and_options_of_the_pages_exist() -> None:
    """The page on building a lake lists all commands."""
    pages = (ROOT / name for name in ("README.md", "docs/start.md", "docs/building.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    commands = cast(Any, typer.main.get_command(cli.app)).commands
    options = {
        name for c in commands.values() for p in c.params for name in (*p.opts, *p.secondary_opts)
    }
    assert set(re.findall(r"`vblake ([a-z]+)", text)) == set(commands)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= options


def test_the_script_for_files_from_dandi_gives_them_their_released_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = {
        "sub-1_ses-20200101T120000_image.nwb": BEHAVIOR_FILE,
        "sub-1_ses-20200102T120000_obj-1x_image+ophys.nwb": EXPERIMENT_FILE,
    }
    mouse = tmp_path / "source/000711/sub-1"
    mouse.mkdir(parents=True)
    for name, key in released.items():
        shutil.copy(MINI / "bucket" / key, mouse / name)
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/dandi.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec(script, {})
    for name, key in released.items():
        assert (tmp_path / "source" / key).samefile(mouse / name)


def test_the_diagram_of_the_tables_is_that_of_the_declarations() -> None:
    drawn = (ROOT / "docs/images/tables.svg").read_text(encoding="utf-8")
    assert drawn == er_diagram(), "run `make docs`"


def test_every_page_is_in_the_navigation() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    named = {
        re.sub(r".*<(.*)>", r"\1", line)
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)
        for line in tree.splitlines()
    }
    assert {page.stem for page in PAGES} - {"README", "index"} <= named, "at the end of the page"


def test_the_page_for_language_models_is_that_of_the_declarations() -> None:
    page = (ROOT / "docs/llms.txt").read_text(encoding="utf-8")
    assert page == llms_txt(), "run `make docs`"
