"""`docs/llms.txt`: all that a language model needs to write correct queries, on one page.

    python -m docs.site.llms > docs/llms.txt

Tables, keys and macros come from the declarations, queries from the cookbook.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from benchmarks.cookbook import recipes
from pipelines.catalog.macros import MACROS, Macro
from schemas import SCHEMA_VERSION, TABLES
from schemas.model import Column, Table
from schemas.views import VIEWS, View

WORKED = (2, 3, 5, 6, 7, 8, 11, 12, 14, 15, 30, 34)
"""Numbers of the recipes that the page works out."""

_VOCABULARIES = {
    "cre_line": "Slc17a7-IRES2-Cre (excitatory) | Sst-IRES-Cre | Vip-IRES-Cre",
    "experience_level": "Training | Familiar | Novel 1 | Novel >1",
    "behavior_type": "active_behavior | passive_viewing",
    "session_type": "TRAINING_<0-5>_... | OPHYS_0_images_<A|B|G>_habituation | "
    "OPHYS_<1-6>_images_<A|B|G|H>, with _passive for 2 and 5",
    "session_number": "0-6: the number in OPHYS_<n>, NULL in training; 1-3 one image set, 4-6 another",
    "project_code": "VisualBehavior | VisualBehaviorTask1B | VisualBehaviorMultiscope | "
    "VisualBehaviorMultiscope4areasx2d",
    "targeted_structure": "VISp | VISl | VISal | VISam",
    "stimulus_block_name": "change_detection_behavior | change_detection_passive (both: active = "
    "true) | initial_gray_screen_5min | natural_movie_one | post_behavior_gray_screen_5min",
    "image_name in stimulus_presentations": "im000 ... | gratings_<0|90|180|270>.0 | omitted | NULL",
    "image_name in projections": "max_projection | average_projection | segmentation_mask_image",
    "condition_set": "kinds | images | outcomes | kinds by engagement | images by engagement (they "
    "overlap: filter on one)",
    "condition in kinds": "change | repeat | omission",
    "condition in outcomes": "hit | miss | false alarm | correct reject",
    "condition in images": "<image_name> change | <image_name> repeat",
    "condition by engagement": "the same, followed by engaged | disengaged",
}

_INTRODUCTION = f"""\
# vblake

> The Allen Institute's Visual Behavior 2P dataset as Parquet tables with a DuckDB catalog. Mice see
> flashed images (250 ms, every 750 ms), lick when the image changes, and are imaged with two photons.
> This page is all you need to write a query. Generated from the declarations, schema
> version {SCHEMA_VERSION}.

Dialect: DuckDB. Run SQL with `vblake sql --lake LAKE "..."`, `vblake.open(LAKE).sql("...").pl()`, or
`duckdb.connect("LAKE/catalog.duckdb", read_only=True)`. `vblake.open(LAKE).scan(table, mouse_id=...)`
is a Polars LazyFrame. Check your names with `DESCRIBE table`, `SELECT * FROM _columns`, `_joins`.

## Keys

mouse_id > behavior_session_id (an animal's time in the rig, imaged or not) > ophys_session_id (an
imaging session) > ophys_experiment_id (one imaging plane in one session) > cell_roi_id (an ROI in one
experiment). cell_specimen_id is a cell matched across sessions; NULL if it was not matched.
ophys_container_id is a plane imaged in several sessions.
trials_id and stimulus_presentations_id count from 0 in each behavior session.

## Rules

1. Join with USING and all ids that both tables have: behaviour tables (mouse_id,
   behavior_session_id), ophys tables also (ophys_session_id, ophys_experiment_id), and cell_roi_id,
   trials_id, stimulus_presentations_id where both have them. Leaving one out makes it ambiguous.
2. Other names that both tables have must be qualified: cell_specimen_id, is_change, image_name, ...
   In behavior_sessions and ophys_sessions, ophys_experiment_id is a list: never join on it there.
3. behavior_sessions, ophys_sessions, ophys_experiments and ophys_cells list the whole release, all
   other tables what was ingested. Line, experience, area and depth are in ophys_experiments and (but
   for area and depth) behavior_sessions. `cells` has them for each cell. Ingested planes are those of
   experiment_metadata, ingested sessions those of behavior_metadata (SEMI JOIN).
4. Filter on mouse_id or on ids of sessions and experiments: whole files are skipped then.
5. Prefer what is computed: annotated_presentations (behaviour in the 0.75 s from each flash on),
   mean_responses (of each cell in each condition: means in the 0.5 s after and before flashes, and
   traces from -1 to 2 s), stimulus_responses (the means for each flash). Only for other windows use dff_around,
   events_around, running_around, pupil_around. Never join traces to presentations by time.

## Traps

* A missing value is NULL, never NaN, -1, -99 or ''. response_latency is NULL without a lick.
* avg of a boolean needs a cast: avg(hit::INT) FILTER (go). A hit rate is over go trials, a
  false-alarm rate over catch trials; aborted and auto_rewarded trials are in neither.
* image_name = 'omitted' is an omission (omitted = true), not an image. Omissions are no changes.
* Traces are lists, one row per cell; list positions start at 1, frames at 0: dff[k + 1] is frame k.
  Views ..._long have a row per frame: use them with a filter on an experiment.
* stimulus_presentations also has gray screens and the movie: filter on active.
* Passive sessions show the task without a lick spout. active is true there, too, go trials are misses,
  and engaged is false: they distort rates, and means over misses. To leave them out, filter on
  behavior_type = 'active_behavior' of behavior_sessions or ophys_experiments.
* A session imaged in several planes has one set of behaviour rows but a row in ophys_experiments per
  plane: joining trials to ophys_experiments repeats the trials. Join behavior_sessions instead.
* An ROI is not a cell across sessions: count(DISTINCT cell_specimen_id) for cells, count(*) for ROIs.
* Times are seconds, each session on its own clock. date_of_acquisition orders sessions.
* stimulus_responses, demixed_traces and neuropil_traces are empty unless they were ingested by name:
  vblake ingest --tables stimulus_responses.
* Rows may be missing because a file broke a rule: SELECT * FROM _held_back.
"""


def _columns(columns: Iterable[Column]) -> str:
    return ", ".join(
        f"{c.name} {c.type.value}" + (f" [{c.unit}]" if c.unit else "")
        for c in columns
        if len(c.type.value) < 20  # the ledger's structures
    )


def _macro(macro: Macro) -> str:
    returned = f" Columns: {', '.join(c.name for c in macro)}." if macro.returns_table else ""
    return f"* {macro.signature}: {macro.description}{returned}"


def _entry(entry: Table | View) -> str:
    key = ", ".join(entry.primary_key) or "none; rows in order"
    return f"### {entry.name}\n{entry.description}\nKey: {key}.\n{_columns(entry)}\n"


def llms_txt() -> str:
    """Returns the page, which ends with a newline."""
    lines = [_INTRODUCTION, "## Vocabularies\n"]
    lines += [f"* {name}: {values}" for name, values in _VOCABULARIES.items()]
    lines += ["\n## Macros\n"]
    lines += map(_macro, MACROS.values())
    lines += ["\n## Tables\n", *map(_entry, TABLES.values())]
    lines += ["## Views\n", *map(_entry, VIEWS.values())]
    lines += ["## Worked queries\n", "Ids are those of the lake that `make demo` writes.\n"]
    for recipe in recipes():
        if recipe.number in WORKED:
            lines.append(f"### {recipe.title}\n```{recipe.language}\n{recipe.code}\n```\n")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(llms_txt())
