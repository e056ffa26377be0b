"""Ranks, types and lengths that are not as declared."""

from __future__ import annotations

import h5py
import numpy as np

from builders.damage.model import (
    CELLS,
    CLOCK,
    CLOCKED,
    DFF,
    EXPERIMENT,
    META,
    OPHYS,
    RUNNING,
    TRIALS,
    kind,
    link,
    put,
    replace,
)

# --- rank, type, length ------------------------------------------------------------------------------------------------------------

RANK = ("a dataset has another rank",)
kind(
    "speed in two dimensions",
    replace(f"{RUNNING}/data", lambda v: v[:, None]),
    "running_speed",
    f"{RUNNING}/data",
    *RANK,
    "1 dimensions",
    r"shape \(\d+, 1\)",
)
kind(
    "dF/F in one dimension",
    replace(f"{DFF}/data", lambda v: v[:, 0]),
    "dff_traces",
    f"{DFF}/data",
    *RANK,
    "2 dimensions",
    r"shape \(\d+,\)",
    file=EXPERIMENT,
)
kind(
    "masks in two dimensions",
    replace(f"{CELLS}/image_mask", lambda v: v[0]),
    "cell_specimens",
    f"{CELLS}/image_mask",
    *RANK,
    "3 dimensions",
    r"shape \(\d+, \d+\)",
    file=EXPERIMENT,
)
kind(
    "a scalar instead of a column",
    replace(f"{TRIALS}/hit", lambda v: v[0]),
    "trials",
    f"{TRIALS}/hit",
    *RANK,
    "1 dimensions",
    r"shape \(\)",
)
NUMBERS = ("values are not numbers", "a numeric dataset")
kind(
    "numbers as text",
    replace(f"{TRIALS}/start_time", lambda v: [str(x) for x in v]),
    "trials",
    f"{TRIALS}/start_time",
    *NUMBERS,
    "dtype object",
)
kind(
    "speed as a compound",
    replace(f"{RUNNING}/data", lambda v: v.astype([("x", "f8")])),
    "running_speed",
    f"{RUNNING}/data",
    *NUMBERS,
    "dtype .*x.*",
)
kind(
    "references instead of numbers",
    replace(f"{TRIALS}/hit", lambda v: np.full(len(v), h5py.Reference(), h5py.ref_dtype)),
    "trials",
    f"{TRIALS}/hit",
    *NUMBERS,
    "dtype object",
)
kind(
    "text as numbers",
    replace(f"{TRIALS}/initial_image_name", lambda v: np.zeros(len(v))),
    "trials",
    f"{TRIALS}/initial_image_name",
    "values are not text",
    "a text dataset",
    "dtype float64",
)
kind(
    "a data type instead of a dataset",
    link(CLOCK, np.dtype("f8")),
    CLOCKED,
    CLOCK,
    "a dataset is missing",
    "a dataset",
    "a data type",
)
kind(
    "a group instead of a dataset",
    lambda h5: (h5.__delitem__(CLOCK), h5.create_group(CLOCK))[0],
    CLOCKED,
    CLOCK,
    "a dataset is missing",
    "a dataset",
    "a group",
)
kind(
    "an attribute without a value",
    replace(f"{META}@session_type", lambda _: h5py.Empty("f8")),
    "behavior_metadata",
    f"{META}@session_type",
    "an attribute cannot be read",
    "readable data",
    "float64 of shape None",
)
kind(
    "an id as text",
    replace(f"{META}@behavior_session_id", str),
    None,
    f"{META}@behavior_session_id",
    "a value is not an integer",
    "an integer",
    r"'\d+'",
)
kind(
    "half a frame",
    replace("/processing/licking/licks/data", lambda v: v + 0.5),
    "licks",
    "frame",
    r"a value does not fit its declared type BIGINT (row 0)",
    "a whole number .*",
    r"\d+\.5",
)
kind(
    "2 for true",
    replace(f"{TRIALS}/hit", lambda v: np.full(len(v), 2)),
    "trials",
    "hit",
    r"a value does not fit its declared type BOOLEAN (row 0)",
    "true, false, 0, 1 or no value",
    "2",
)
kind(
    "text that is not UTF-8",
    put(f"{TRIALS}/initial_image_name", 0, b"im\xff"),
    "trials",
    "initial_image_name",
    "a value does not fit its declared type VARCHAR (row 0)",
    "text in UTF-8",
    ".*xff.*",
)
LENGTHS = ("lengths disagree",)
kind(
    "a time too few",
    replace(f"{RUNNING}/timestamps", lambda v: v[:-1]),
    "running_speed",
    f"{RUNNING}/data",
    *LENGTHS,
    r"\d+ rows",
    r"\d+ rows",
)
kind(
    "a trial too few",
    replace(f"{TRIALS}/go", lambda v: v[:-1]),
    "trials",
    f"{TRIALS}/go",
    *LENGTHS,
    r"\d+ rows",
    r"\d+ rows",
)
kind(
    "a truth value per ROI too few",
    replace(f"{CELLS}/valid_roi", lambda v: v[:-1]),
    "cell_specimens",
    f"{CELLS}/valid_roi",
    *LENGTHS,
    r"\d+ rows",
    r"\d+ rows",
    file=EXPERIMENT,
)
kind(
    "clock shorter than traces",
    replace(f"{DFF}/timestamps", lambda v: v[:-9]),
    "dff_traces",
    f"{DFF}/data",
    "traces and clock do not match",
    r"at most \d+ frames, and some",
    r"\d+ frames",
    file=EXPERIMENT,
)
kind(
    "traces of other lengths",
    replace(f"{OPHYS}/corrected_fluorescence/traces/data", lambda v: v[:-1]),
    "corrected_fluorescence_traces",
    f"{OPHYS}/corrected_fluorescence/traces/data",
    "traces differ in length",
    r"\d+ frames, as dF/F has",
    r"shape .*",
    file=EXPERIMENT,
)
kind(
    "three coordinates of the eye",
    replace("/acquisition/EyeTracking/pupil_tracking/data", lambda v: np.hstack((v, v[:, :1]))),
    "eye_tracking",
    "/acquisition/EyeTracking/pupil_tracking/data",
    "a dataset has another shape",
    r"\(\d+, 2\)",
    r"\(\d+, 3\)",
    file=EXPERIMENT,
)
RAGGED = (
    "a ragged index is damaged",
    r"integers that ascend to the number of items, \d+",
    r"\w+ from .*",
)
INDEX = f"{TRIALS}/lick_times_index"
kind("a ragged index that decreases", put(INDEX, 0, 200), "trials", INDEX, *RAGGED, file=EXPERIMENT)
kind("a ragged index that overruns", put(INDEX, -1, 250), "trials", INDEX, *RAGGED, file=EXPERIMENT)
kind(
    "a ragged index that ends early",
    replace(INDEX, lambda v: v // 2),
    "trials",
    INDEX,
    *RAGGED,
    file=EXPERIMENT,
)
kind(
    "a ragged index of floats",
    replace(INDEX, lambda v: v.astype("f8")),
    "trials",
    INDEX,
    *RAGGED,
    file=EXPERIMENT,
)
