"""Every recipe of the cookbook, and every query for language models, runs on the sample lake."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import vblake
from benchmarks.cookbook import FOLDER, Recipe, ids_of, recipes
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec

BY_NAME = "stimulus_responses"


@pytest.fixture(scope="module")
def lake_with_responses(
    sample_lake: Path, sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The sample lake, and the table that some recipes need, ingested as they say."""
    folder = tmp_path_factory.mktemp("responses") / "lake"
    shutil.copytree(sample_lake, folder)
    selection = Selection(tables=(BY_NAME,))
    source = SourceSpec(str(sample_bucket))
    ingest(prepare(IngestRequest(source, str(folder), selection=selection, workers=0)))
    return folder


@pytest.mark.parametrize("recipe", recipes(), ids=lambda r: f"{r.number}. {r.title}")
def test_a_recipe_has_an_answer(recipe: Recipe, request: pytest.FixtureRequest) -> None:
    needs = BY_NAME in recipe.code
    assert needs == (f"vblake ingest --tables {BY_NAME}" in recipe.notes)
    with vblake.open(
        request.getfixturevalue("lake_with_responses" if needs else "sample_lake")
    ) as lake:
        answer = recipe.run(lake, ids_of(lake))
        assert len(answer) > 0


@pytest.mark.parametrize("page", ["llms.txt", "skill/SKILL.md"])
def test_the_queries_for_language_models_run(page: str, sample_lake: Path) -> None:
    text = (FOLDER.parent / page).read_text(encoding="utf-8")
    queries = re.findall(r"^ *```sql\n(.*?)^ *```", text, re.M | re.S)
    assert len(queries) >= {"llms.txt": 12}.get(page, 4)
    with vblake.open(sample_lake) as lake:
        for query in queries:
            for ours, theirs in ids_of(lake).items():
                query = query.replace(ours, theirs)
            answer = lake.sql(query).pl()
            assert len(answer) > 0 or "_held_back" in query, query


def test_the_page_names_the_conditions_of_mean_responses(sample_lake: Path) -> None:
    text = (FOLDER.parent / "llms.txt").read_text(encoding="utf-8")
    values = " | ".join(re.findall(r"^\* condition[^:]*: (.*)$", text, re.M))
    with vblake.open(sample_lake) as lake:
        found = lake.sql("""
            SELECT condition_set FROM mean_responses UNION
            SELECT condition FROM mean_responses WHERE condition_set IN ('kinds', 'outcomes')
        """).fetchall()
    assert {name for (name,) in found} <= set(re.split(r" (?:\([^)]*\) )?\| ", values))
