"""The recipes of docs/cookbook: questions with their answers in SQL or Python, one file each.

    python -m benchmarks.cookbook LAKE [NUMBER ...]     prints the answers of a lake

A file starts with a comment: the title, then what else there is to say. Recipes in Python leave the
result in `answer`. The lake and the ids in recipes are those of `make demo`; `ids_of` finds the ids
of another lake to put in their place.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vblake

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "cookbook"

MOUSE, SESSION, EXPERIMENT, CELL = "402448", "802082008", "802088043", "1082080038"
"""What the recipes call a mouse, session, experiment and cell: those of the lake of `make demo`."""

_LAKE = '"demo/lake"'

_IDS = """
SELECT mouse_id, behavior_session_id, ophys_experiment_id, min(cell_roi_id)
FROM cell_specimens
WHERE behavior_session_id IN (SELECT behavior_session_id FROM eye_tracking)
    AND behavior_session_id IN (SELECT behavior_session_id FROM licks)
GROUP BY ALL ORDER BY ALL LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A question and its answer.

    Attributes:
        number: that of the file's name.
        title: the question in a few words.
        notes: what else there is to say; may be empty.
        language: `sql` or `python`.
        code: the query, or the lines of Python.
    """

    number: int
    title: str
    notes: str
    language: str
    code: str

    def run(self, lake: vblake.Lake, ids: dict[str, str] | None = None) -> Any:
        """The answer: a Polars frame, or what the lines of Python leave in `answer`.

        Args:
            lake: the lake to ask.
            ids: by id of the recipe, the id to put in its place.
        """
        code = self.code
        for ours, theirs in (ids or {}).items():
            code = code.replace(ours, theirs)
        if self.language == "sql":
            return lake.sql(code).pl()
        names: dict[str, Any] = {}
        exec(compile(code.replace(_LAKE, repr(lake.root)), self.title, "exec"), names)
        return names["answer"]


def read_recipe(file: Path) -> Recipe:
    """Reads the file of a recipe."""
    mark = "--" if file.suffix == ".sql" else "#"
    text = file.read_text(encoding="utf-8").strip()
    found = re.match(rf"(?:{mark}.*\n)+", text)
    if found is None:
        raise ValueError(f"{file} has no title. Start it with a comment: {mark} Title")
    title, *notes = [line.removeprefix(mark).strip() for line in found[0].splitlines()]
    language = "sql" if mark == "--" else "python"
    code = text[found.end() :].strip()
    return Recipe(int(file.name[:2]), title, " ".join(notes), language, code)


def recipes() -> list[Recipe]:
    """All recipes in order."""
    return [read_recipe(f) for f in sorted(FOLDER.glob("[0-9][0-9]-*.*"))]


def ids_of(lake: vblake.Lake) -> dict[str, str]:
    """Ids of the lake by those that the recipes use.

    Raises:
        LookupError: no session of the lake has cells, licks and eye tracking.
    """
    row = lake.sql(_IDS).fetchone()
    if row is None:
        raise LookupError(f"No session of {lake.root} has cells, licks and eye tracking.")
    return dict(zip((MOUSE, SESSION, EXPERIMENT, CELL), map(str, row), strict=True))


def main() -> None:
    """Prints the answers of a lake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lake", metavar="LAKE", help="folder of the lake")
    parser.add_argument("numbers", type=int, nargs="*", metavar="NUMBER", help="recipes [all]")
    options = parser.parse_args()
    with vblake.open(options.lake) as lake:
        ids = ids_of(lake)
        for recipe in recipes():
            if not options.numbers or recipe.number in options.numbers:
                print(f"{recipe.number}. {recipe.title}", recipe.run(lake, ids), "", sep="\n")


if __name__ == "__main__":
    main()
