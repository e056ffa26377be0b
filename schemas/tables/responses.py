"""Responses of cells to presentations, computed from traces, clock and presentations."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.model import Column, Encoding, Storage, Subject, Table, Type, column
from schemas.tables.keys import (
    CELL_ROI_ID,
    CELL_SPECIMEN_ID,
    OPHYS_FOREIGN_KEYS,
    OPHYS_KEYS,
    TO_EACH_CELL,
    TO_PRESENTATION,
)

_FORMULA = "docs/formulas.md, stimulus_responses"
_KEYS = (*OPHYS_KEYS, CELL_ROI_ID, CELL_SPECIMEN_ID)
_TRACES = {
    "dff": ("dF/F", "outside of the recording"),
    "events": ("events", "outside of the recording, and for cells without events"),
    "filtered_events": (
        "filtered events",
        "outside of the recording, and for cells without events",
    ),
}


def _means() -> Iterator[Column]:
    for name, (of, null) in _TRACES.items():
        for kind, window in (("response", "0.5 s after"), ("baseline", "0.5 s before")):
            text = f"Mean {of} in the {window} start_time; NULL {null}."
            yield column(f"{name}_{kind}", Type.FLOAT32, text, "dF/F", _FORMULA)


STIMULUS_RESPONSES = Table(
    name="stimulus_responses",
    description="Mean trace of each cell after and before each presentation of the task, in single "
    "precision.",
    subject=Subject.OPHYS,
    storage=Storage.EXPERIMENT,
    columns=(
        *_KEYS,
        column(
            "stimulus_presentations_id",
            Type.INT64,
            "Presentation, as in stimulus_presentations; those of the task only.",
            source="stimulus_presentations.stimulus_presentations_id",
            required=True,
        ),
        *_means(),
    ),
    primary_key=("ophys_experiment_id", "cell_roi_id", "stimulus_presentations_id"),
    order=("ophys_experiment_id", "cell_roi_id", "stimulus_presentations_id"),
    foreign_keys=(
        *OPHYS_FOREIGN_KEYS,
        TO_EACH_CELL,
        TO_PRESENTATION,
    ),
    encoding=Encoding.RESPONSES,
    derived_from=("dff_traces", "ophys_timestamps"),
)

RESPONSE_TABLES = (STIMULUS_RESPONSES,)
