"""Responses of cells to presentations, computed from traces, clock and presentations."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.checks import of_length
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
_CONDITIONS = "docs/formulas.md, mean_responses"
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
    by_name_only=True,
)

TIME_BASE_LENGTH = 91
"""Items of a mean trace: -1 to 2 s at 30 Hz, both ends."""


def _condition_columns() -> tuple[Column, ...]:
    return (
        column(
            "condition_set",
            Type.STRING,
            "Use one, as they overlap: kinds, images, outcomes, kinds by engagement, images by "
            "engagement.",
            source=_CONDITIONS,
            required=True,
        ),
        column(
            "condition",
            Type.STRING,
            "Name in words: image, change, repeat or omission, engaged or disengaged, or outcome.",
            source=_CONDITIONS,
            required=True,
        ),
        column("image_name", Type.STRING, "Image shown; NULL for all images.", source=_CONDITIONS),
        column(
            "is_change",
            Type.BOOL,
            "Whether these are changes of the image.",
            source=_CONDITIONS,
            required=True,
        ),
        column(
            "omitted",
            Type.BOOL,
            "Whether these are omissions.",
            source=_CONDITIONS,
            required=True,
        ),
        column(
            "engaged",
            Type.BOOL,
            "Whether the mouse was engaged, as in presentation_annotations; NULL for all.",
            source=_CONDITIONS,
        ),
        column(
            "outcome",
            Type.STRING,
            "Of the trial: hit, miss, false alarm or correct reject; NULL for all.",
            source=_CONDITIONS,
        ),
        column(
            "n",
            Type.INT64,
            "Presentations averaged: those recorded from -1 to 2 s around their start; may be 0.",
            source=_CONDITIONS,
            required=True,
        ),
    )


def _statistics(name: str) -> Iterator[Column]:
    texts = {
        "mean": f"Mean of {name}_response of stimulus_responses.",
        "sem": f"Standard error of {name}_mean; NULL if n is 1.",
        "baseline": f"Mean of {name}_baseline of stimulus_responses.",
    }
    for statistic, text in texts.items():
        yield column(f"{name}_{statistic}", Type.FLOAT32, text, "dF/F", _CONDITIONS)
    text = f"Mean {name} from -1 to 2 s around the start at 30 Hz: 91 items, the 31st at 0 s."
    yield column(f"{name}_trace", Type.LIST_FLOAT32, text, "dF/F", _CONDITIONS)


MEAN_RESPONSES = Table(
    name="mean_responses",
    description="Mean response and trace of each cell in conditions of the task; use one "
    "condition_set, since sets overlap.",
    subject=Subject.OPHYS,
    storage=Storage.EXPERIMENT,
    columns=(
        *_KEYS,
        *_condition_columns(),
        *_statistics("dff"),
        *_statistics("filtered_events"),
    ),
    primary_key=("ophys_experiment_id", "cell_roi_id", "condition"),
    order=("ophys_experiment_id", "condition_set", "condition", "cell_roi_id"),
    foreign_keys=(*OPHYS_FOREIGN_KEYS, TO_EACH_CELL),
    encoding=Encoding.RESPONSES,
    checks=(
        of_length("dff_trace", TIME_BASE_LENGTH),
        of_length("filtered_events_trace", TIME_BASE_LENGTH),
    ),
    derived_from=("dff_traces", "ophys_timestamps", "presentation_annotations"),
)

RESPONSE_TABLES = (STIMULUS_RESPONSES, MEAN_RESPONSES)
