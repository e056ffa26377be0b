"""Behaviour tables: trials, stimuli and performance."""

from __future__ import annotations

from typing import Any

from schemas.checks import (
    Clock,
    ascending,
    finite,
    in_clock,
    in_set,
    not_before,
    one_true,
    whole_image,
)
from schemas.model import Column, Storage, Subject, Table, Type, column, documented
from schemas.tables.keys import BEHAVIOR_KEYS, TO_BEHAVIOR_SESSION, TO_EACH_TRIAL, TO_TRIAL

_T = "/intervals/trials"
_FORMULA = "docs/formulas.md"


def _trial(
    name: str, type_: Type, description: str, unit: str | None = None, **flags: Any
) -> Column:
    return documented(name, type_, description, unit, f"{_T}/{name}", **flags)


def _outcome(name: str, description: str) -> Column:
    return _trial(name, Type.BOOL, description, required=True)


_TRIALS_ID = documented(
    "trials_id",
    Type.INT64,
    "Trial number, counted from 0 in each session, aborted trials included.",
    source=f"{_T}/id",
    required=True,
)

TRIALS = Table(
    name="trials",
    description="Trials of the change detection task, with images, licks, reward and outcome. "
    "Exactly one outcome is true.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        _TRIALS_ID,
        _trial("start_time", Type.FLOAT64, "Start of the trial.", "s", required=True),
        _trial("stop_time", Type.FLOAT64, "End of the trial.", "s", required=True),
        _trial("initial_image_name", Type.STRING, "Image shown at the start of the trial."),
        _trial(
            "change_image_name",
            Type.STRING,
            "Image shown after the change; the initial image if there was no change.",
        ),
        documented(
            "stimulus_change",
            Type.BOOL,
            "Whether the image really changed (go and auto-rewarded trials).",
            source=f"{_T}/is_change or stimulus_change",
            required=True,
            alias="is_change",
        ),
        _trial(
            "change_time",
            Type.FLOAT64,
            "Time of the change or sham change on the monitor; NULL if there was none.",
            "s",
            optional=True,
        ),
        _outcome("go", "Whether this was a go trial: a change, not aborted, not auto-rewarded."),
        _outcome("catch", "Whether this was a catch trial: a sham change, not aborted."),
        documented(
            "lick_times",
            Type.LIST_FLOAT64,
            "Times of the licks up to the start of the next trial; empty if there were none.",
            "s",
            f"{_T}/lick_times by lick_times_index; rebuilt from licks where the index is missing",
            required=True,
        ),
        _trial(
            "response_time",
            Type.FLOAT64,
            "Time of the first lick of the trial; NULL if it was aborted or had no lick.",
            "s",
        ),
        _trial(
            "response_latency",
            Type.FLOAT64,
            "Time from the change to the first lick; NULL if the trial was aborted or had no lick "
            "(the files hold +inf).",
            "s",
            optional=True,
        ),
        _trial("reward_time", Type.FLOAT64, "Time of the reward; NULL if there was none.", "s"),
        _trial(
            "reward_volume", Type.FLOAT64, "Volume of water given in the trial, 0 if none.", "mL"
        ),
        _outcome("hit", "Outcome: go trial with a lick in the response window."),
        _outcome("false_alarm", "Outcome: catch trial with a lick in the response window."),
        _outcome("miss", "Outcome: go trial without a lick in the response window."),
        _outcome("correct_reject", "Outcome: catch trial without a lick in the response window."),
        _outcome("aborted", "Outcome: the mouse licked before the scheduled change."),
        _outcome("auto_rewarded", "Outcome: a free reward was given; neither hit nor miss."),
        _trial(
            "change_frame",
            Type.INT64,
            "Stimulus frame of the change or sham change; NULL if there was none.",
            "frame",
            sentinels=(-99,),
        ),
        _trial("trial_length", Type.FLOAT64, "Duration of the trial: stop_time - start_time.", "s"),
    ),
    primary_key=("behavior_session_id", "trials_id"),
    order=("behavior_session_id", "trials_id"),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    checks=(
        one_true("hit", "false_alarm", "miss", "correct_reject", "aborted", "auto_rewarded"),
        ascending("start_time"),
        not_before("stop_time", "start_time"),
        in_clock("change_frame", Clock.STIMULUS),
        finite("lick_times"),
    ),
)

_P = "/intervals/*_presentations"


def _shown(
    name: str, type_: Type, description: str, unit: str | None = None, **flags: Any
) -> Column:
    return documented(name, type_, description, unit, f"{_P}/{name}", **flags)


def _newer(
    name: str, type_: Type, description: str, unit: str | None = None, **flags: Any
) -> Column:
    """A column that older releases lack and the released reader does not compute."""
    return column(name, type_, description, unit, f"{_P}/{name}", optional=True, **flags)


STIMULUS_PRESENTATIONS = Table(
    name="stimulus_presentations",
    description="Every presentation of a session in time order: flashes, omissions, gray screen, "
    "movie frames, receptive-field stimuli.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        documented(
            "stimulus_presentations_id",
            Type.INT64,
            "Presentation number in time order, counted from 0 in each session.",
            source="row number by start_time",
            required=True,
        ),
        _newer("stimulus_block", Type.INT64, "Block of one kind of stimulus, counted from 0."),
        _newer(
            "stimulus_block_name",
            Type.STRING,
            "Name of the block; contains change_detection in the rows of the task.",
        ),
        _shown(
            "image_index",
            Type.INT64,
            "Number of the image in its set; omissions have the number after the last; NULL for "
            "gray screen and movie.",
            sentinels=(-99,),
        ),
        _shown(
            "image_name",
            Type.STRING,
            "Image shown; `omitted` for omissions; NULL for gray screen and movie.",
        ),
        documented(
            "image_set",
            Type.STRING,
            "Image set, as in stimulus_templates; `omitted`, no set, for omissions; NULL for gray "
            "screen and movie.",
            source=f"{_P}/image_set, else the template whose name starts with stimulus_name",
        ),
        documented(
            "index",
            Type.INT64,
            "Running number that the release gives, else the row number.",
            source=f"{_P}/index, else row number",
        ),
        _newer(
            "movie_frame_index",
            Type.INT64,
            "Frame of the natural movie; NULL elsewhere.",
            "frame",
            sentinels=(-99,),
        ),
        _newer(
            "movie_repeat",
            Type.INT64,
            "Repeat of the natural movie, counted from 0; NULL elsewhere.",
            sentinels=(-99,),
        ),
        _shown("duration", Type.FLOAT64, "Duration on the monitor; 0.25 s for omissions.", "s"),
        _shown(
            "start_time",
            Type.FLOAT64,
            "Start on the monitor, including the monitor's delay.",
            "s",
            required=True,
        ),
        _shown(
            "stop_time",
            Type.FLOAT64,
            "End on the monitor, including the monitor's delay.",
            "s",
            alias="end_time",
        ),
        _shown("start_frame", Type.INT64, "First stimulus frame.", "frame"),
        _shown(
            "end_frame",
            Type.INT64,
            "Stimulus frame of the end; NULL for omissions in older releases.",
            "frame",
        ),
        column(
            "is_change",
            Type.BOOL,
            "Whether the image differs from the previous one, ignoring omissions.",
            source=f"{_FORMULA}, is_change",
            required=True,
        ),
        _newer(
            "is_image_novel",
            Type.BOOL,
            "Whether the image was new to the mouse in this session; NULL if there is no image.",
        ),
        _shown(
            "omitted", Type.BOOL, "Whether the flash was omitted; NULL for gray screen and movie."
        ),
        column(
            "flashes_since_change",
            Type.INT64,
            "Flashes since the last change, not counting omissions; keeps growing after the task.",
            source=f"{_FORMULA}, flashes_since_change",
            required=True,
        ),
        column(
            "trials_id",
            Type.INT64,
            "Trial that started last before the presentation; NULL outside the trials.",
            source=f"{_P}/trials_id, else {_FORMULA}, trials_id",
            sentinels=(-99,),
        ),
        column(
            "active",
            Type.BOOL,
            "Whether the presentation belongs to the task.",
            source=f"{_P}/active, else {_FORMULA}, active",
        ),
        column(
            "is_sham_change",
            Type.BOOL,
            "Whether this flash is the sham change of a catch trial.",
            source=f"{_P}/is_sham_change, else {_FORMULA}, is_sham_change",
            optional=True,
        ),
        _newer(
            "stimulus_name",
            Type.STRING,
            "Stimulus: name of the image set up to its first dot, grating, movie or spontaneous.",
        ),
        _newer("orientation", Type.FLOAT64, "Orientation of a grating.", "deg"),
        _newer("phase", Type.FLOAT64, "Phase of a grating, in the stimulus program's own unit."),
        _newer("spatial_frequency", Type.FLOAT64, "Spatial frequency of a grating.", "cycles/deg"),
        _newer("temporal_frequency", Type.FLOAT64, "Temporal frequency of a grating.", "Hz"),
        _newer("contrast", Type.FLOAT64, "Contrast of a grating."),
        _newer("position_x", Type.FLOAT64, "Horizontal position of a patch on the monitor.", "deg"),
        _newer("position_y", Type.FLOAT64, "Vertical position of a patch on the monitor.", "deg"),
        _newer("color", Type.FLOAT64, "Gray level of a full-field flash: -1 black, 1 white."),
        _newer(
            "stimulus_index",
            Type.INT64,
            "Kind of receptive-field stimulus: 0 patches of grating, 1 full-field flashes.",
            sentinels=(-99,),
        ),
        _newer("repeat", Type.INT64, "Repeat of a stimulus, counted from 0.", sentinels=(-99,)),
        _newer("rewarded", Type.BOOL, "Whether the mouse was rewarded during the presentation."),
    ),
    primary_key=("behavior_session_id", "stimulus_presentations_id"),
    order=("behavior_session_id", "stimulus_presentations_id"),
    foreign_keys=(TO_BEHAVIOR_SESSION, TO_TRIAL),
    checks=(
        ascending("start_time"),
        in_clock("start_frame", Clock.STIMULUS),
        in_set("image_name", "image_set"),
    ),
)

_S = "/stimulus/templates/<image_set>"

STIMULUS_TEMPLATES = Table(
    name="stimulus_templates",
    description="The images of each image set, stored once per set in row-major order: pixel (y, "
    "x) is element y * width + x.",
    subject=Subject.STIMULUS,
    storage=Storage.IMAGE_SET,
    columns=(
        column(
            "image_set",
            Type.STRING,
            "Image set, taken from the folder name.",
            source="/stimulus/templates",
            required=True,
        ),
        documented(
            "image_name",
            Type.STRING,
            "Name of the image.",
            source=f"{_S}/control_description",
            required=True,
        ),
        column(
            "height", Type.INT64, "Height of both arrays.", "px", f"{_S}/data, shape", required=True
        ),
        column(
            "width", Type.INT64, "Width of both arrays.", "px", f"{_S}/data, shape", required=True
        ),
        documented(
            "warped",
            Type.LIST_UINT8,
            "Image as sent to the monitor, warped to correct for the close viewing distance.",
            "gray level",
            f"{_S}/data",
            required=True,
        ),
        documented(
            "unwarped",
            Type.LIST_FLOAT64,
            "Image as the mouse sees it; NaN outside of the visible part.",
            "gray level",
            f"{_S}/unwarped",
            required=True,
        ),
    ),
    primary_key=("image_set", "image_name"),
    order=("image_name",),
    checks=(whole_image("warped"), whole_image("unwarped")),
)

_K = "/general/task_parameters"


def _parameter(name: str, type_: Type, description: str, unit: str | None = None) -> Column:
    return documented(name, type_, description, unit, f"{_K}@{name}")


TASK_PARAMETERS = Table(
    name="task_parameters",
    description="Settings of the task, one row per session.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        _parameter("auto_reward_volume", Type.FLOAT64, "Volume of a free reward.", "mL"),
        _parameter(
            "blank_duration_sec",
            Type.LIST_FLOAT64,
            "Shortest and longest gray time between flashes.",
            "s",
        ),
        column(
            "image_set",
            Type.STRING,
            "Image set that the session type names: images_A and so on, or gratings; NULL if it "
            "names none.",
            source="third and fourth part of session_type",
        ),
        _parameter("n_stimulus_frames", Type.INT64, "Stimulus frames shown.", "frame"),
        _parameter(
            "omitted_flash_fraction",
            Type.FLOAT64,
            "Probability of an omission; NULL if the task had none.",
        ),
        _parameter(
            "response_window_sec",
            Type.LIST_FLOAT64,
            "Start and end of the response window after a change.",
            "s",
        ),
        _parameter("reward_volume", Type.FLOAT64, "Volume of an earned reward.", "mL"),
        _parameter("session_type", Type.STRING, "Stage of the task."),
        _parameter("stimulus", Type.STRING, "Kind of stimulus: images or grating."),
        _parameter(
            "stimulus_distribution",
            Type.STRING,
            "Distribution of the change times: exponential or geometric.",
        ),
        _parameter(
            "stimulus_duration_sec",
            Type.FLOAT64,
            "Duration of a flash; NULL for gratings that are shown continuously.",
            "s",
        ),
        column(
            "stimulus_name",
            Type.STRING,
            "Stimulus: name of the image set up to its first dot, or grating.",
            source=f"{_K}@stimulus_name",
            optional=True,
        ),
        _parameter("task", Type.STRING, "Kind of task: change detection."),
    ),
    primary_key=("behavior_session_id",),
    order=("behavior_session_id",),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
)


def _rate(name: str, description: str, formula: str, unit: str | None = None) -> Column:
    return documented(name, Type.FLOAT64, description, unit, f"{_FORMULA}, {formula}")


ROLLING_PERFORMANCE = Table(
    name="rolling_performance",
    description="Performance around each trial. Aborted trials have only a reward rate.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        _TRIALS_ID,
        _rate(
            "reward_rate",
            "Rate of trials with a lick in the response window, over 25 trials before and 25 "
            "after.",
            "reward rate",
            "1/min",
        ),
        column(
            "engaged",
            Type.BOOL,
            "Whether reward_rate is above 2 per minute; false where it is NULL.",
            source=f"{_FORMULA}, performance metrics",
            required=True,
        ),
        _rate(
            "hit_rate_raw",
            "Fraction of go trials that were hits, over the last 100 trials that were not aborted.",
            "hit rate",
        ),
        _rate("hit_rate", "The raw hit rate, kept at least 1/(2N) away from 0 and 1.", "hit rate"),
        _rate(
            "false_alarm_rate_raw",
            "Fraction of catch trials that were false alarms, over the last 100 trials that were "
            "not aborted.",
            "false alarm rate",
        ),
        _rate(
            "false_alarm_rate",
            "The raw false alarm rate, kept at least 1/(2N) away from 0 and 1.",
            "false alarm rate",
        ),
        _rate(
            "rolling_dprime",
            "Sensitivity d' from hit_rate and false_alarm_rate; 0 in passive sessions.",
            "d prime",
        ),
    ),
    primary_key=("behavior_session_id", "trials_id"),
    order=("behavior_session_id", "trials_id"),
    foreign_keys=(TO_BEHAVIOR_SESSION, TO_EACH_TRIAL),
)


def _count(name: str, description: str, source: str, alias: str | None = None) -> Column:
    return documented(name, Type.INT64, description, source=source, required=True, alias=alias)


def _metric(name: str, description: str, source: str, unit: str | None = None) -> Column:
    return documented(name, Type.FLOAT64, description, unit, source)


PERFORMANCE_METRICS = Table(
    name="performance_metrics",
    description="Performance of each session. Engaged means that reward_rate is above 2 per minute "
    "(docs/formulas.md).",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        *BEHAVIOR_KEYS,
        _count("trial_count", "Number of trials, including aborted ones.", "count(trials)"),
        _count("go_trial_count", "Go trials.", "sum(go)"),
        _count("catch_trial_count", "Catch trials.", "sum(catch)"),
        _count("hit_trial_count", "Hits.", "sum(hit)"),
        _count("miss_trial_count", "Misses.", "sum(miss)"),
        _count("false_alarm_trial_count", "False alarms.", "sum(false_alarm)"),
        _count("correct_reject_trial_count", "Correct rejections.", "sum(correct_reject)"),
        _count(
            "auto_rewarded_trial_count",
            "Trials with a free reward.",
            "sum(auto_rewarded)",
            "auto_reward_count",
        ),
        _count(
            "rewarded_trial_count",
            "Trials with an earned reward.",
            "sum(hit)",
            "earned_reward_count",
        ),
        _count("total_reward_count", "Rewards, free and earned.", "count(rewards)"),
        _metric(
            "total_reward_volume",
            "Volume of water given, free and earned.",
            "sum(rewards.volume)",
            "mL",
        ),
        _metric("maximum_reward_rate", "Highest reward_rate.", "max(reward_rate)", "1/min"),
        _count("engaged_trial_count", "Trials while engaged.", "count(reward_rate > 2)"),
        _metric("mean_hit_rate", "Mean of hit_rate.", "mean(hit_rate)"),
        _metric("mean_hit_rate_uncorrected", "Mean of hit_rate_raw.", "mean(hit_rate_raw)"),
        _metric(
            "mean_hit_rate_engaged", "Mean of hit_rate while engaged.", "mean(hit_rate), engaged"
        ),
        _metric("mean_false_alarm_rate", "Mean of false_alarm_rate.", "mean(false_alarm_rate)"),
        _metric(
            "mean_false_alarm_rate_uncorrected",
            "Mean of false_alarm_rate_raw.",
            "mean(false_alarm_rate_raw)",
        ),
        _metric(
            "mean_false_alarm_rate_engaged",
            "Mean of false_alarm_rate while engaged.",
            "mean(false_alarm_rate), engaged",
        ),
        _metric("mean_dprime", "Mean of rolling_dprime.", "mean(rolling_dprime)"),
        _metric(
            "mean_dprime_engaged",
            "Mean of rolling_dprime while engaged.",
            "mean(rolling_dprime), engaged",
        ),
        _metric("max_dprime", "Highest rolling_dprime.", "max(rolling_dprime)"),
        _metric(
            "max_dprime_engaged",
            "Highest rolling_dprime while engaged.",
            "max(rolling_dprime), engaged",
        ),
    ),
    primary_key=("behavior_session_id",),
    order=("behavior_session_id",),
    foreign_keys=(TO_BEHAVIOR_SESSION,),
    derived_from=("trials", "rewards"),
)

TASK_TABLES = (
    TRIALS,
    STIMULUS_PRESENTATIONS,
    STIMULUS_TEMPLATES,
    TASK_PARAMETERS,
    ROLLING_PERFORMANCE,
)
