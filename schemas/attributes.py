"""What the released reader (AllenSDK 2.16.2) offers of a file, and where the lake has it. No I/O.

The names are those that its `list_data_attributes_and_methods` returns; methods end in `()`. The
internal `_running_acquisition`, which it does not list, is added.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute or method of the released reader.

    Attributes:
        name: its name.
        tables: tables of the lake that have its values; none if it gives no data of a file.
        note: where the lake differs from the reader beyond the rules for all tables.
    """

    name: str
    tables: tuple[str, ...]
    note: str = ""


_LIST = "a list instead of an array"
_PROJECTION = "one row per image, `pixels` row by row"
_SEGMENTATION = f"{_PROJECTION}; the valid ROIs, as in the reader"

BEHAVIOR_SESSION: tuple[Attribute, ...] = (
    Attribute("_running_acquisition", ("running_acquisition",), "internal in the reader"),
    Attribute("behavior_session_id", ("behavior_metadata",), "a key of all tables of a file"),
    Attribute("eye_tracking", ("eye_tracking",)),
    Attribute(
        "eye_tracking_rig_geometry",
        ("eye_tracking_rig_geometry",),
        "no row where the dictionary is empty",
    ),
    Attribute(
        "get_performance_metrics()",
        ("performance_metrics",),
        "with the reader's default of 2 rewards per minute for engaged trials",
    ),
    Attribute("get_reward_rate()", ("rolling_performance",), "column `reward_rate`"),
    Attribute("get_rolling_performance_df()", ("rolling_performance",)),
    Attribute("licks", ("licks",)),
    Attribute("metadata", ("behavior_metadata",), "a row instead of a dictionary"),
    Attribute("raw_running_speed", ("raw_running_speed",)),
    Attribute("rewards", ("rewards",)),
    Attribute("running_speed", ("running_speed",)),
    Attribute(
        "stimulus_presentations",
        ("stimulus_presentations",),
        "with `image_set` and `index`, which the reader hides",
    ),
    Attribute(
        "stimulus_templates",
        ("stimulus_templates",),
        "once per image set, row by row; no file holds the frames of the movie",
    ),
    Attribute("stimulus_timestamps", ("stimulus_timestamps",), _LIST),
    Attribute("task_parameters", ("task_parameters",), "a row instead of a dictionary"),
    Attribute("trials", ("trials",)),
)
"""Attributes of `BehaviorSession`, which `BehaviorOphysExperiment` has too."""

OPHYS_EXPERIMENT: tuple[Attribute, ...] = (
    Attribute("average_projection", ("projections",), _PROJECTION),
    Attribute(
        "cell_specimen_table",
        ("cell_specimens", "roi_masks"),
        "`roi_mask` as pixel numbers; `roi_masks` has the ROIs of `exclude_invalid_rois=False`",
    ),
    Attribute("corrected_fluorescence_traces", ("corrected_fluorescence_traces",)),
    Attribute("demixed_traces", ("demixed_traces",)),
    Attribute("dff_traces", ("dff_traces",)),
    Attribute("events", ("events",)),
    Attribute("get_cell_specimen_ids()", ("cell_specimens",), "column `cell_specimen_id`"),
    Attribute("get_cell_specimen_indices()", ("cell_specimens",), "row numbers, by any query"),
    Attribute("get_dff_traces()", ("dff_traces", "ophys_timestamps")),
    Attribute("get_segmentation_mask_image()", ("projections",), _SEGMENTATION),
    Attribute("max_projection", ("projections",), _PROJECTION),
    Attribute("metadata", ("experiment_metadata",), "a row instead of a dictionary"),
    Attribute("motion_correction", ("motion_correction",)),
    Attribute(
        "neuropil_traces",
        ("neuropil_traces",),
        "the neuropil's; by mistake, the reader returns the demixed traces",
    ),
    Attribute(
        "ophys_experiment_id", ("experiment_metadata",), "a key of all tables of an experiment"
    ),
    Attribute("ophys_session_id", ("experiment_metadata",), "a key of all tables of an experiment"),
    Attribute("ophys_timestamps", ("ophys_timestamps",), _LIST),
    Attribute(
        "roi_masks",
        ("cell_specimens", "roi_masks"),
        "the reader has the valid ROIs, `roi_masks` all of them; `roi_mask` as pixel numbers",
    ),
    Attribute("segmentation_mask_image", ("projections",), _SEGMENTATION),
    Attribute(
        "update_targeted_imaging_depth()", (), "gives no data: asks a database of the institute"
    ),
)
"""Attributes of `BehaviorOphysExperiment` beyond those, or with other values."""
