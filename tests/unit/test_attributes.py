"""Every attribute of the released reader has a row in `docs/tables.md`, and a table that has it."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from schemas import TABLES
from schemas.attributes import BEHAVIOR_SESSION, OPHYS_EXPERIMENT
from schemas.dictionary import attribute_status

TRUTH = Path(__file__).parents[3] / "shared" / "reference" / "truth"

# What list_data_attributes_and_methods() of AllenSDK 2.16.2 returns.
OF_SESSION = """behavior_session_id eye_tracking eye_tracking_rig_geometry get_performance_metrics
    get_reward_rate get_rolling_performance_df licks metadata raw_running_speed rewards running_speed
    stimulus_presentations stimulus_templates stimulus_timestamps task_parameters trials"""
OF_EXPERIMENT = f"""{OF_SESSION} average_projection cell_specimen_table corrected_fluorescence_traces
    demixed_traces dff_traces events get_cell_specimen_ids get_cell_specimen_indices get_dff_traces
    get_segmentation_mask_image max_projection motion_correction neuropil_traces ophys_experiment_id
    ophys_session_id ophys_timestamps roi_masks segmentation_mask_image
    update_targeted_imaging_depth"""

SESSION = {a.name.removesuffix("()"): a for a in BEHAVIOR_SESSION}
EXPERIMENT = SESSION | {a.name.removesuffix("()"): a for a in OPHYS_EXPERIMENT}
READERS = {"behavior_session": SESSION, "behavior_ophys_experiment": EXPERIMENT}


def test_every_attribute_has_a_row() -> None:
    internal = {"_running_acquisition"}
    assert set(SESSION) - internal == set(OF_SESSION.split())
    assert set(EXPERIMENT) - internal == set(OF_EXPERIMENT.split())


def test_only_what_gives_no_data_has_no_table() -> None:
    missing = {a.name for a in EXPERIMENT.values() if attribute_status(a) == "not in the lake"}
    assert missing == {"update_targeted_imaging_depth()"}


# What the truth calls by another name than the reader, and what the reader has wrong.
FILES = {
    "performance_metrics": "get_performance_metrics",
    "rolling_performance_df": "get_rolling_performance_df",
    "reward_rate": "get_reward_rate",
    "running_acquisition_internal": "_running_acquisition",
    "neuropil_traces_internal": "neuropil_traces",
}
NOT_THEIRS = {"neuropil_traces": {"demixed_trace"}}


def values_of(schema: dict[str, Any]) -> set[str]:
    """The names of a frame's index and columns, or of a dictionary's items."""
    index = schema.get("index", {}).get("name")
    return {*schema.get("columns", ()), *schema.get("items", ()), *([index] if index else ())}


@pytest.mark.skipif(not TRUTH.exists(), reason=f"no reference beside the repository: {TRUTH}")
@pytest.mark.parametrize("kind", READERS)
def test_the_tables_have_every_column_and_item(kind: str) -> None:
    missing: set[str] = set()
    for path in TRUTH.glob(f"{kind}/*/frame_schema.json"):
        for file, schema in json.loads(path.read_text()).items():
            name = FILES.get(file, file.removesuffix("_with_invalid"))
            columns = chain.from_iterable(TABLES[t] for t in READERS[kind][name].tables)
            known = set(chain.from_iterable((c.name, c.alias) for c in columns))
            lost = values_of(schema) - known - NOT_THEIRS.get(file, set())
            missing |= {f"{name}: {column}" for column in lost}
    assert missing == set()
