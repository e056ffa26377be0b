"""Every recipe of the cookbook has an answer in the sample lake."""

from __future__ import annotations

from pathlib import Path

import pytest

import vblake
from benchmarks.cookbook import Recipe, ids_of, recipes


@pytest.mark.parametrize("recipe", recipes(), ids=lambda r: f"{r.number}. {r.title}")
def test_a_recipe_has_an_answer(recipe: Recipe, sample_lake: Path) -> None:
    with vblake.open(sample_lake) as lake:
        answer = recipe.run(lake, ids_of(lake))
        assert len(answer) > 0
