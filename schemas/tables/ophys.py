"""Ophys tables: cells, traces, events, motion and images, keyed by `ophys_experiment_id`.

They hold valid ROIs only, except for `roi_masks`.
"""

from __future__ import annotations

from schemas.checks import Clock, all_true, ascending, per_frame, pixels, whole_image
from schemas.model import Column, Encoding, Storage, Subject, Table, Type, column, documented
from schemas.tables.keys import (
    CELL_ROI_ID,
    CELL_SPECIMEN_ID,
    OPHYS_FOREIGN_KEYS,
    OPHYS_KEYS,
    TO_EACH_CELL,
    TO_RELEASED_CELL,
)

_O = "/processing/ophys"
_C = "cell_specimen_table"
_CELL_KEYS = (*OPHYS_KEYS, CELL_ROI_ID, CELL_SPECIMEN_ID)
_CELL_PRIMARY_KEY = ("ophys_experiment_id", "cell_roi_id")


def _pixels(name: str, type_: Type, description: str) -> Column:
    return documented(name, type_, description, "px", f"{_C}/{name}")


def _roi_columns(valid_roi: Column) -> tuple[Column, ...]:
    """The columns of the ROI table of a file."""
    return (
        *_CELL_KEYS,
        _pixels("height", Type.INT64, "Height of the ROI's bounding box."),
        documented(
            "mask_image_plane",
            Type.INT64,
            "Mask plane; overlapping ROIs lie on different mask planes.",
            source=f"{_C}/mask_image_plane",
        ),
        _pixels("max_correction_down", Type.FLOAT64, "Largest downward motion correction."),
        _pixels("max_correction_left", Type.FLOAT64, "Largest motion correction to the left."),
        _pixels("max_correction_right", Type.FLOAT64, "Largest motion correction to the right."),
        _pixels("max_correction_up", Type.FLOAT64, "Largest upward motion correction."),
        valid_roi,
        _pixels("width", Type.INT64, "Width of the ROI's bounding box."),
        _pixels("x", Type.FLOAT64, "Left edge of the ROI's bounding box."),
        _pixels("y", Type.FLOAT64, "Top edge of the ROI's bounding box."),
        column(
            "field_of_view_height",
            Type.INT64,
            "Height of the mask image.",
            "px",
            f"{_C}/image_mask, shape",
            required=True,
        ),
        column(
            "field_of_view_width",
            Type.INT64,
            "Width of the mask image.",
            "px",
            f"{_C}/image_mask, shape",
            required=True,
        ),
        documented(
            "roi_mask",
            Type.LIST_UINT32,
            "Pixels of the ROI in ascending order: y * field_of_view_width + x.",
            "px",
            f"{_C}/image_mask, flat indices of true",
            required=True,
        ),
    )


def _valid_roi(description: str) -> Column:
    return documented("valid_roi", Type.BOOL, description, source=f"{_C}/valid_roi", required=True)


_MASK = pixels("roi_mask", "field_of_view_height", "field_of_view_width")

CELL_SPECIMENS = Table(
    name="cell_specimens",
    description="Valid ROIs of each experiment, with position, shape and matched cell.",
    subject=Subject.OPHYS,
    storage=Storage.MOUSE,
    columns=_roi_columns(_valid_roi("Always true, since invalid ROIs are left out.")),
    primary_key=_CELL_PRIMARY_KEY,
    order=_CELL_PRIMARY_KEY,
    foreign_keys=(*OPHYS_FOREIGN_KEYS, TO_RELEASED_CELL),
    checks=(all_true("valid_roi"), _MASK),
)

ROI_MASKS = Table(
    name="roi_masks",
    description="All ROIs of each experiment, those included that are not valid, with position, "
    "shape and mask.",
    subject=Subject.OPHYS,
    storage=Storage.MOUSE,
    columns=_roi_columns(
        _valid_roi("Whether the ROI counts as a cell; cell_specimens has these only.")
    ),
    primary_key=_CELL_PRIMARY_KEY,
    order=_CELL_PRIMARY_KEY,
    foreign_keys=OPHYS_FOREIGN_KEYS,
    checks=(_MASK,),
    by_name_only=True,
)


def _traces(
    name: str,
    description: str,
    *columns: Column,
    encoding: Encoding = Encoding.SIGNAL,
    by_name_only: bool = False,
) -> Table:
    return Table(
        name=name,
        description=description,
        subject=Subject.OPHYS,
        storage=Storage.EXPERIMENT,
        columns=(*_CELL_KEYS, *columns),
        primary_key=_CELL_PRIMARY_KEY,
        order=_CELL_PRIMARY_KEY,
        foreign_keys=(*OPHYS_FOREIGN_KEYS, TO_EACH_CELL),
        encoding=encoding,
        checks=tuple(per_frame(Clock.OPHYS, c.name) for c in columns if c.type.is_list),
        by_name_only=by_name_only,
    )


DFF_TRACES = _traces(
    "dff_traces",
    "dF/F of each cell, one list per cell, on the clock of ophys_timestamps.",
    documented(
        "dff",
        Type.LIST_FLOAT64,
        "Fluorescence relative to its baseline.",
        "dF/F",
        f"{_O}/dff/traces/data[:, cell]",
        required=True,
    ),
)

CORRECTED_FLUORESCENCE_TRACES = _traces(
    "corrected_fluorescence_traces",
    "Fluorescence after demixing and neuropil subtraction, one list per cell. Releases before "
    "1.1.0 hold a wrong trace.",
    documented(
        "corrected_fluorescence",
        Type.LIST_FLOAT64,
        "Corrected fluorescence.",
        "a.u.",
        f"{_O}/corrected_fluorescence/traces/data[:, cell]",
        required=True,
    ),
    column(
        "r",
        Type.FLOAT64,
        "Neuropil contamination ratio used for the correction.",
        source=f"{_O}/corrected_fluorescence/r/data[cell]",
        optional=True,
    ),
    column(
        "RMSE",
        Type.FLOAT64,
        "Error of the neuropil fit.",
        "a.u.",
        f"{_O}/corrected_fluorescence/RMSE/data[cell]",
        optional=True,
    ),
)

EVENTS = _traces(
    "events",
    "Detected calcium events, one list per cell. Cells without event detection are missing.",
    documented(
        "events",
        Type.LIST_FLOAT64,
        "Event magnitude, 0 between events.",
        "dF/F",
        f"{_O}/event_detection/data[:, cell]",
        required=True,
    ),
    documented(
        "filtered_events",
        Type.LIST_FLOAT64,
        "Events smoothed with a causal half-Gaussian of 20 frames.",
        "dF/F",
        "docs/formulas.md, filtered events",
        required=True,
    ),
    documented(
        "lambda",
        Type.FLOAT64,
        "Regularisation parameter of the event detection.",
        source=f"{_O}/event_detection/lambdas[cell]",
    ),
    documented(
        "noise_std",
        Type.FLOAT64,
        "Standard deviation of the noise of the trace.",
        "dF/F",
        f"{_O}/event_detection/noise_stds[cell]",
    ),
    encoding=Encoding.EVENTS,
)

DEMIXED_TRACES = _traces(
    "demixed_traces",
    "Fluorescence after demixing of overlapping ROIs, before neuropil subtraction.",
    column(
        "demixed_trace",
        Type.LIST_FLOAT64,
        "Demixed fluorescence.",
        "a.u.",
        f"{_O}/demixed_trace/traces/data[:, cell]",
        required=True,
    ),
    by_name_only=True,
)

NEUROPIL_TRACES = _traces(
    "neuropil_traces",
    "Fluorescence of the neuropil around each cell; the released property returns demixed traces.",
    column(
        "neuropil_trace",
        Type.LIST_FLOAT64,
        "Neuropil fluorescence.",
        "a.u.",
        f"{_O}/neuropil_trace/traces/data[:, cell]",
        required=True,
    ),
    by_name_only=True,
)

OPHYS_TIMESTAMPS = Table(
    name="ophys_timestamps",
    description="The imaging clock, one list per experiment. In SQL, `timestamps[k + 1]` is the "
    "time of imaging frame k.",
    subject=Subject.OPHYS,
    storage=Storage.EXPERIMENT,
    columns=(
        *OPHYS_KEYS,
        documented(
            "timestamps",
            Type.LIST_FLOAT64,
            "Time of each imaging frame.",
            "s",
            f"{_O}/dff/traces/timestamps",
            required=True,
        ),
    ),
    primary_key=("ophys_experiment_id",),
    order=("ophys_experiment_id",),
    foreign_keys=OPHYS_FOREIGN_KEYS,
    encoding=Encoding.SIGNAL,
    checks=(ascending("timestamps"),),
)

MOTION_CORRECTION = Table(
    name="motion_correction",
    description="Shift applied to each imaging frame.",
    subject=Subject.OPHYS,
    storage=Storage.EXPERIMENT,
    columns=(
        *OPHYS_KEYS,
        column(
            "frame",
            Type.INT64,
            "Imaging frame, counted from 0.",
            "frame",
            "row number",
            required=True,
        ),
        documented(
            "x",
            Type.FLOAT64,
            "Shift along x; whole pixels in all files seen so far.",
            "px",
            f"{_O}/ophys_motion_correction_x/data",
        ),
        documented(
            "y",
            Type.FLOAT64,
            "Shift along y; whole pixels in all files seen so far.",
            "px",
            f"{_O}/ophys_motion_correction_y/data",
        ),
    ),
    primary_key=("ophys_experiment_id", "frame"),
    order=("ophys_experiment_id", "frame"),
    foreign_keys=OPHYS_FOREIGN_KEYS,
    encoding=Encoding.SPARSE,
    checks=(per_frame(Clock.OPHYS),),
)

PROJECTIONS = Table(
    name="projections",
    description="Images of each field of view in row-major order: pixel (y, x) is element y * "
    "width + x.",
    subject=Subject.OPHYS,
    storage=Storage.EXPERIMENT,
    columns=(
        *OPHYS_KEYS,
        documented(
            "image_name",
            Type.STRING,
            "Name of the image: average_projection, max_projection or segmentation_mask_image.",
            source=f"{_O}/images",
            required=True,
        ),
        column(
            "height",
            Type.INT64,
            "Height of the image.",
            "px",
            f"{_O}/images/*, shape",
            required=True,
        ),
        column(
            "width", Type.INT64, "Width of the image.", "px", f"{_O}/images/*, shape", required=True
        ),
        column(
            "spacing_x", Type.FLOAT64, "Width of a pixel.", "mm", f"{_O}/images/*@resolution * 10"
        ),
        column(
            "spacing_y", Type.FLOAT64, "Height of a pixel.", "mm", f"{_O}/images/*@resolution * 10"
        ),
        documented(
            "pixels",
            Type.LIST_FLOAT32,
            "Gray levels; in the segmentation mask, 1 inside any valid ROI and 0 elsewhere.",
            "gray level",
            f"{_O}/images/*; segmentation: OR of the valid ROIs' masks",
            required=True,
        ),
    ),
    primary_key=("ophys_experiment_id", "image_name"),
    order=("ophys_experiment_id", "image_name"),
    foreign_keys=OPHYS_FOREIGN_KEYS,
    checks=(whole_image("pixels"),),
)

OPHYS_TABLES = (
    CELL_SPECIMENS,
    ROI_MASKS,
    DFF_TRACES,
    CORRECTED_FLUORESCENCE_TRACES,
    EVENTS,
    DEMIXED_TRACES,
    NEUROPIL_TRACES,
    OPHYS_TIMESTAMPS,
    MOTION_CORRECTION,
    PROJECTIONS,
)
