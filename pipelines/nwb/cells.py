"""ROIs of an imaging plane, its images and its motion correction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.nwb.recording import OPHYS, Recording, Rows
from schemas.casts import NDArray, Ragged, Values

CELL_TABLE = f"{OPHYS}/image_segmentation/cell_specimen_table"
_IMAGES = f"{OPHYS}/images"

# The attribute holds a tenth of the pixel size in mm, contrary to its description.
_MM_PER_RESOLUTION = 10

_PLAIN = (
    "cell_specimen_id",
    "height",
    "mask_image_plane",
    "max_correction_down",
    "max_correction_left",
    "max_correction_right",
    "max_correction_up",
    "valid_roi",
    "width",
    "x",
    "y",
)


@dataclass(frozen=True)
class Cells:
    """The ROI table of a plane.

    Attributes:
        roi_ids: cell_roi_id of every ROI, valid or not, in file order, shape (n_roi,).
        valid: rows of the valid ROIs, ascending by cell_roi_id, shape (n_valid,).
        specimen_ids: cell_specimen_id of the valid ROIs, in the order of `valid`; -1 or NaN where
            the ROI was not matched to a cell.
    """

    roi_ids: NDArray
    valid: NDArray
    specimen_ids: NDArray


def read_cells(recording: Recording) -> Cells:
    """Reads the ids of all ROIs, and which of them are valid.

    Raises:
        DataError: the plane has no ROI, or an id repeats.
    """
    hdf = recording.hdf
    ids = hdf.read_numbers(f"{CELL_TABLE}/id")
    if not len(ids):
        raise hdf.error(
            f"{CELL_TABLE}/id",
            "the plane has no ROI",
            expected="at least one",
            found="an empty table",
        )
    if len(np.unique(ids)) != len(ids):
        raise hdf.error(
            f"{CELL_TABLE}/id",
            "an ROI id repeats",
            expected="unique ids",
            found=f"{len(ids)} ids, {len(np.unique(ids))} different",
        )
    valid = np.flatnonzero(hdf.read_numbers(f"{CELL_TABLE}/valid_roi", rows=len(ids)) == 1)
    valid = valid[np.argsort(ids[valid], kind="stable")]
    return Cells(
        ids, valid, hdf.read_numbers(f"{CELL_TABLE}/cell_specimen_id", rows=len(ids))[valid]
    )


@dataclass(frozen=True)
class Masks:
    """Masks of all ROIs, in file order, as flat row-major pixel indices; field of view in px."""

    pixels: list[NDArray]
    height: int
    width: int


def read_masks(recording: Recording) -> Masks:
    """The pixels of each ROI, valid or not."""
    roi_count = len(recording.once(read_cells).roi_ids)
    path = f"{CELL_TABLE}/image_mask"
    _, height, width = recording.hdf.numeric_dataset(path, ndim=3, rows=roi_count).shape
    # One mask at a time: all masks of a plane take 50 MB and more, their true pixels some 100 kB.
    masks = (recording.hdf.read_part(path, (row,)) for row in range(roi_count))
    pixels = [np.flatnonzero(mask).astype(np.uint32) for mask in masks]
    return Masks(pixels, int(height), int(width))


def _rois(recording: Recording, rows: NDArray) -> Rows:
    """Some rows of the ROI table."""
    roi_count = len(recording.once(read_cells).roi_ids)
    sources = {"cell_roi_id": "id", **{name: name for name in _PLAIN}}
    values: dict[str, Values] = {
        name: recording.hdf.read_numbers(f"{CELL_TABLE}/{source}", rows=roi_count)[rows]
        for name, source in sources.items()
    }
    masks = recording.once(read_masks)
    values |= {
        "roi_mask": [masks.pixels[row] for row in rows],
        "field_of_view_height": masks.height,
        "field_of_view_width": masks.width,
    }
    return Rows(values, len(rows))


def cell_specimens(recording: Recording) -> Iterator[Rows]:
    """Valid ROIs, ascending by cell_roi_id."""
    yield _rois(recording, recording.once(read_cells).valid)


def roi_masks(recording: Recording) -> Iterator[Rows]:
    """All ROIs, ascending by cell_roi_id."""
    yield _rois(recording, np.argsort(recording.once(read_cells).roi_ids, kind="stable"))


def _spacing(recording: Recording, image: str) -> float | None:
    path = f"{_IMAGES}/{image}"
    resolution: Any = recording.hdf.attribute(path, "resolution", None)
    if resolution is None:
        return None
    if np.ndim(resolution) or np.asarray(resolution).dtype.kind not in "iuf":
        raise recording.hdf.error(
            f"{path}@resolution",
            "a value is not a number",
            expected="a number",
            found=repr(resolution),
        )
    # Multiplied in the attribute's own dtype, as the released reader does.
    return float(resolution * _MM_PER_RESOLUTION)


def projections(recording: Recording) -> Iterator[Rows]:
    """The three images of the plane.

    The segmentation is made from the masks of the valid ROIs, as in the released reader.
    """
    masks = recording.once(read_masks)
    segmentation = np.zeros(masks.height * masks.width, dtype=np.float32)
    for row in recording.once(read_cells).valid:
        segmentation[masks.pixels[row]] = 1
    stored = {"average_projection": "average_image", "max_projection": "max_projection"}
    images = {
        name: recording.hdf.read_numbers(f"{_IMAGES}/{source}", ndim=2)
        for name, source in stored.items()
    }
    images["segmentation_mask_image"] = segmentation.reshape(masks.height, masks.width)
    sources = {**stored, "segmentation_mask_image": "max_projection"}
    flat = [image.reshape(-1) for image in images.values()]
    offsets = np.concatenate(([0], np.cumsum([len(f) for f in flat])))
    spacing = [_spacing(recording, source) for source in sources.values()]
    values: dict[str, Values] = {
        "image_name": list(images),
        "height": np.array([image.shape[0] for image in images.values()]),
        "width": np.array([image.shape[1] for image in images.values()]),
        "spacing_x": spacing,
        "spacing_y": spacing,
        "pixels": Ragged(np.concatenate(flat), offsets),
    }
    yield Rows(values, len(images))


def motion_correction(recording: Recording) -> Iterator[Rows]:
    """Shift of each imaging frame in pixels."""
    x = recording.hdf.read_numbers(f"{OPHYS}/ophys_motion_correction_x/data")
    y = recording.hdf.read_numbers(f"{OPHYS}/ophys_motion_correction_y/data", rows=len(x))
    yield Rows(
        {"frame": np.arange(len(x)), "x": x.astype(np.float64), "y": y.astype(np.float64)}, len(x)
    )
