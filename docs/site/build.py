"""Builds the docs site: stages the pages, makes the generated ones, runs Sphinx strictly.

    python -m docs.site.build LAKE          `make docs`; the site is in build/site

Pages lie in `docs/`, some at the root of the repository. They are staged in `build/docs`, where
links between them are made to fit; a link to a file that is no page becomes plain text. A broken
link or heading is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs.site.cookbook_page import write_cookbook

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
STAGE, SITE = ROOT / "build" / "docs", ROOT / "build" / "site"

AT_THE_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages that GitHub wants at the root of the repository."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)")


def staged_text(page: Path) -> str:
    """Returns the text of a page with its links as they have to be in the site."""

    def link(found: re.Match[str]) -> str:
        label, target, anchor = found[1], found[2], found[3] or ""
        file = Path(os.path.normpath(page.parent / target))
        if not file.exists():
            raise SystemExit(f"{page.relative_to(ROOT)}: the link to {target} leads nowhere.")
        if file.parent == ROOT and file.name in AT_THE_ROOT:
            return f"[{label}]({file.name}{anchor})"
        if file == ROOT / "README.md":
            return f"[{label}](index.md{anchor})"
        if file.is_relative_to(DOCS) and file.suffix == ".md":
            return f"[{label}]({file.relative_to(DOCS)}{anchor})"
        if file == DOCS / "llms.txt":
            return found[0]
        if file == DOCS / "cookbook":
            return f"[{label}](cookbook.md)"
        return label

    return _LINK.sub(link, page.read_text(encoding="utf-8"))


def stage() -> None:
    """Copies pages, images and settings to `build/docs`."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(DOCS / "site", STAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(DOCS / "images", STAGE / "images")
    shutil.copy(DOCS / "llms.txt", STAGE)
    for page in [*DOCS.glob("*.md"), *(ROOT / name for name in AT_THE_ROOT)]:
        (STAGE / page.name).write_text(staged_text(page), encoding="utf-8")


def main() -> None:
    """Builds the site from the lake that `make demo` writes; the exit code is Sphinx's."""
    (lake,) = sys.argv[1:]
    stage()
    write_cookbook(STAGE / "cookbook.md", lake)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html"]
    status = subprocess.run([*command, str(STAGE), str(SITE)], check=False).returncode
    if not status:
        print(f"The site is in {(SITE / 'index.html').relative_to(ROOT)}.")
    sys.exit(status)


if __name__ == "__main__":
    main()
