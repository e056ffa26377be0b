"""What happened at each presentation, and its imaging frames: computed from other tables."""

from __future__ import annotations

from dataclasses import replace

from schemas.checks import Clock, finite, in_clock, not_before
from schemas.model import Column, ForeignKey, Storage, Subject, Table, Type, column
from schemas.tables.keys import (
    BEHAVIOR_KEYS,
    OPHYS_FOREIGN_KEYS,
    OPHYS_KEYS,
    TO_BEHAVIOR_SESSION,
    TO_PRESENTATION,
)

_FORMULA = "docs/formulas.md, presentation_annotations"


def _note(name: str, type_: Type, description: str, unit: str | None = None) -> Column:
    return column(name, type_, description, unit, _FORMULA)


def _of_change(name: str, type_: Type, description: str, unit: str | None = None) -> Column:
    text = f"{description}; NULL where no trial has its change here."
    return column(name, type_, text, unit, f"trials.{name} of change_trials_id", optional=True)


def _if_recorded(name: str, description: str, unit: str | None = None) -> Column:
    return column(name, Type.FLOAT64, description, unit, _FORMULA, optional=True)


_PRESENTATION = TO_PRESENTATION.columns
_PRESENTATION_ID = column(
    "stimulus_presentations_id",
    Type.INT64,
    "Presentation, as in stimulus_presentations; those of the task only.",
    source="stimulus_presentations.stimulus_presentations_id",
    required=True,
)

PRESENTATION_ANNOTATIONS = Table(
    name="presentation_annotations",
    description="What happened at each presentation of the task, named as in "
    "brain_observatory_utilities: licks, running, pupil.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        _PRESENTATION_ID,
        _note("licked", Type.BOOL, "Whether the mouse licked within 0.75 s after the start."),
        _note("licks", Type.LIST_FLOAT64, "Times of these licks; empty if there were none.", "s"),
        _note("first_lick_time", Type.FLOAT64, "Time of the first of them.", "s"),
        _note("lick_latency", Type.FLOAT64, "Time from the start to the first lick.", "s"),
        _note("rewarded", Type.BOOL, "Whether a reward came within 0.75 s after the start."),
        _if_recorded("mean_running_speed", "Mean running_speed in the 0.75 s.", "cm/s"),
        *(
            _if_recorded(
                f"mean_pupil_{size}",
                f"Mean pupil {size} in the 0.75 s over that in the gray screen before the task; "
                "NULL without either.",
            )
            for size in ("width", "area")
        ),
        column(
            "change_trials_id",
            Type.INT64,
            "Trial whose change or sham change is nearest, within 0.5 s; NULL if there is none.",
            source=_FORMULA,
            optional=True,
        ),
        _of_change("change_time", Type.FLOAT64, "Time of the change or sham change", "s"),
        _of_change("go", Type.BOOL, "Whether this is the change of a go trial"),
        _of_change("catch", Type.BOOL, "Whether this is the sham change of a catch trial"),
        _of_change("auto_rewarded", Type.BOOL, "Whether the trial had a free reward"),
        _of_change("hit", Type.BOOL, "Whether the trial was a hit"),
        _of_change("miss", Type.BOOL, "Whether the trial was a miss"),
        _of_change("false_alarm", Type.BOOL, "Whether the trial was a false alarm"),
        _of_change("correct_reject", Type.BOOL, "Whether the trial was a correct rejection"),
        _of_change("response_time", Type.FLOAT64, "Time of the first lick of the trial", "s"),
        _of_change("reward_time", Type.FLOAT64, "Time of the reward of the trial", "s"),
        _of_change("reward_volume", Type.FLOAT64, "Volume of water given in the trial", "mL"),
        _note("time_from_last_change", Type.FLOAT64, "Time since the last change started.", "s"),
        _note("time_from_last_lick", Type.FLOAT64, "Time since the last lick.", "s"),
        _note("time_from_last_reward", Type.FLOAT64, "Time since the last reward.", "s"),
        _note("time_from_last_omitted", Type.FLOAT64, "Time since the last omission.", "s"),
        _note(
            "stimulus_count_within_trial",
            Type.INT64,
            "Number of the presentation in its trial, counted from 0.",
        ),
        _note("previous_image_name", Type.STRING, "Image or omission before; NULL at first."),
        _note(
            "previous_response_on_trial",
            Type.BOOL,
            "Whether the mouse licked at an earlier presentation of the trial.",
        ),
        _note(
            "previous_change_on_trial",
            Type.BOOL,
            "Whether an earlier presentation of the trial was a change.",
        ),
        _note(
            "could_change",
            Type.BOOL,
            "Whether the image could change here: fifth or later in the trial, no lick or change "
            "before, no omission.",
        ),
        _note("pre_change", Type.BOOL, "Whether the next presentation is a change."),
        _note("pre_omitted", Type.BOOL, "Whether the next presentation is omitted."),
        _note("post_omitted", Type.BOOL, "Whether the last presentation was omitted."),
        _note("lick_on_next_flash", Type.BOOL, "Whether the mouse licked at the next one."),
        _if_recorded(
            "reward_rate",
            "Reward rate of the next trial with a change; NULL in the first ten trials.",
            "1/min",
        ),
        column(
            "engaged",
            Type.BOOL,
            "Whether reward_rate is above 2 per minute; true in the first ten trials.",
            source=_FORMULA,
            optional=True,
        ),
        _note("epoch", Type.INT64, "Ten minutes of the task each, counted from 0."),
    ),
    primary_key=_PRESENTATION,
    order=_PRESENTATION,
    foreign_keys=(
        TO_BEHAVIOR_SESSION,
        TO_PRESENTATION,
        ForeignKey(
            ("behavior_session_id", "change_trials_id"),
            "trials",
            ("behavior_session_id", "trials_id"),
        ),
    ),
    checks=(finite("licks"),),
    derived_from=("licks", "rewards"),
)

_FRAME = "docs/formulas.md, presentation_frames"

PRESENTATION_FRAMES = Table(
    name="presentation_frames",
    description="Imaging frames of each presentation. In SQL, `dff[onset_frame + 1 : "
    "next_onset_frame]` is the trace until the next one.",
    subject=Subject.OPHYS,
    storage=Storage.MOUSE,
    columns=(
        *OPHYS_KEYS,
        replace(_PRESENTATION_ID, description="Presentation, as in stimulus_presentations."),
        column(
            "onset_frame",
            Type.INT64,
            "First imaging frame at or after start_time, counted from 0; NULL where the "
            "presentation starts outside of the recording.",
            "frame",
            _FRAME,
        ),
        column(
            "next_onset_frame",
            Type.INT64,
            "onset_frame of the next presentation; NULL for the last one.",
            "frame",
            _FRAME,
        ),
    ),
    primary_key=("ophys_experiment_id", "stimulus_presentations_id"),
    order=("ophys_experiment_id", "stimulus_presentations_id"),
    foreign_keys=(*OPHYS_FOREIGN_KEYS, TO_PRESENTATION),
    checks=(
        in_clock("onset_frame", Clock.OPHYS),
        in_clock("next_onset_frame", Clock.OPHYS),
        not_before("next_onset_frame", "onset_frame"),
    ),
    derived_from=("ophys_timestamps",),
)
