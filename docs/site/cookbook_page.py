"""The cookbook as a page: each recipe with its code, its answer on the demo lake, and a plot.

`docs.site.build` writes it; the recipes are in `docs/cookbook`, their plots in `docs.site.plots`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl

import vblake
from benchmarks.cookbook import Recipe, recipes
from docs.site.plots import PLOTS, draw

ROWS = 6
"""Rows of an answer that the page shows."""

_INTRODUCTION = """\
# Cookbook

{count} questions with their queries, and the answers of the synthetic lake that `make demo` writes.
The tests run each. The files are in `docs/cookbook`. Run those in SQL with `vblake sql` or
`vblake.open("demo/lake").sql(...)`; put your own ids in their place, or leave the conditions out.

"""


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        shown = [_value(item) for item in value[:3]]
        return f"[{', '.join(shown)}{', ...' if len(value) > 3 else ''}]"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M}"
    return str(value).replace("|", "\\|").replace("_", "\\_")


def _answer(answer: Any) -> str:
    """An answer in Markdown: a frame as a table of its first rows, all else as it prints."""
    if not isinstance(answer, pl.DataFrame):
        text = "\n".join(line[:100] for line in str(answer).splitlines()[:14])
        return f"```text\n{text}\n```\n"
    numbers = [kind.is_numeric() for kind in answer.dtypes]
    lines = [answer.columns, ["---:" if number else "---" for number in numbers]]
    lines += [[_value(v) for v in row] for row in answer.head(ROWS).rows()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    rows = f"{answer.height:,} rows" if answer.height != 1 else "1 row"
    more = f", the first {ROWS} shown" if answer.height > ROWS else ""
    return f"{table}\n\n{rows}{more}.\n"


def _section(recipe: Recipe, lake: vblake.Lake, images: Path) -> str:
    answer = recipe.run(lake)
    parts = [f"## {recipe.number}. {recipe.title}\n"]
    parts += [f"{recipe.notes}\n"] if recipe.notes else []
    parts.append(f"```{recipe.language}\n{recipe.code}\n```\n")
    parts.append(_answer(answer))
    if recipe.number in PLOTS:
        svg = draw(PLOTS[recipe.number], answer)
        (images / f"{recipe.number:02}.svg").write_text(svg, encoding="utf-8")
        parts.append(f"```{{raw}} html\n:file: {images.name}/{recipe.number:02}.svg\n```\n")
    return "\n".join(parts)


def write_cookbook(page: Path, lake: str) -> None:
    """Writes the page, and the plots beside it."""
    images = page.parent / "plots"
    images.mkdir()
    with vblake.open(lake) as opened:
        sections = [_section(recipe, opened, images) for recipe in recipes()]
    text = _INTRODUCTION.format(count=len(sections)) + "\n".join(sections)
    page.write_text(text, encoding="utf-8")
