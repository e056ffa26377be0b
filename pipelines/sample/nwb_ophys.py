"""The part of a file that only imaging planes have: cells, traces, events, projections, motion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipelines.sample import nwb_extensions as ext
from pipelines.sample.design import Plane, Session
from pipelines.sample.draft import Blocks, Draft, vectors
from pipelines.sample.nwb_libraries import common, hdf5, pynwb
from pipelines.sample.physiology import STATED_RATE, Image, Recording, Rois
from pipelines.sample.tables import Columns

_BLOCK_ROWS = 4_096  # 3 MB for 93 cells
_RESOLUTION = 7.8125e-05  # 0.78 um pixels; the attribute is in mm/10, despite its description
_ROI_DESCRIPTIONS = {
    "cell_specimen_id": "Unified id of segmented cell across experiments (after cell matching)",
    "height": "Height of ROI in pixels",
    "mask_image_plane": (
        "Which image plane an ROI resides on. Overlapping ROIs are stored on different mask image "
        "planes."
    ),
    "max_correction_down": "Max motion correction in down direction in pixels",
    "max_correction_left": "Max motion correction in left direction in pixels",
    "max_correction_right": "Max motion correction in right direction in pixels",
    "max_correction_up": "Max motion correction in up direction in pixels",
    "valid_roi": "Indicates if cell classification found the ROI to be a cell or not",
    "width": "Width of ROI in pixels",
    "x": "x position of ROI in Image Plane in pixels (top left corner)",
    "y": "y position of ROI in Image Plane in pixels (top left corner)",
}


def add_ophys(
    draft: Draft,
    session: Session,
    plane: Plane,
    rois: Rois,
    recording: Recording,
    images: Mapping[str, Image],
) -> None:
    """Adds the imaging plane and `/processing/ophys`. The session's device must exist already."""
    nwb = draft.nwb
    height, width = rois.masks.shape[1:]
    structure = plane.container.structure
    imaging_plane = nwb.create_imaging_plane(
        name="imaging_plane_1",
        optical_channel=pynwb.ophys.OpticalChannel(
            name="channel_1", description="2P Optical Channel", emission_lambda=520.0
        ),
        description=(
            f"({width}, {height}) field of view in {structure} at depth {plane.imaging_depth} um"
        ),
        device=nwb.devices[session.equipment],
        excitation_lambda=910.0,
        imaging_rate=STATED_RATE[session.rig],
        indicator="GCaMP6f",
        location=structure,
    )
    module = nwb.create_processing_module("ophys", "Ophys processing module")
    table = _cell_table(rois, imaging_plane, draft.legacy)
    segmentation = pynwb.ophys.ImageSegmentation(name="image_segmentation")
    segmentation.add_plane_segmentation(table)
    module.add(segmentation)
    _add_traces(draft, module, table, recording)
    pictures = [
        pynwb.image.GrayscaleImage(
            name=name,
            data=values,
            resolution=_RESOLUTION,
            description=f"{name} image at pixels/cm resolution",
        )
        for name, values in images.items()
    ]
    module.add(pynwb.base.Images(name="images", images=pictures))
    for axis, shift in (("x", recording.motion_x), ("y", recording.motion_y)):
        name = f"ophys_motion_correction_{axis}"
        module.add(
            pynwb.TimeSeries(
                name=name, data=shift, unit="pixels", timestamps=recording.timestamps.copy()
            )
        )


def _cell_table(rois: Rois, imaging_plane: Any, legacy: bool) -> Any:
    """Makes the cell_specimen_table, with masks that cover the full frame."""
    n = len(rois.cell_roi_id)
    # Whole numbers, which releases before 1.1.0 stored as floats.
    pixel = np.float64 if legacy else np.int64
    columns: Columns = {
        "cell_specimen_id": rois.cell_specimen_id,
        "height": rois.height,
        "mask_image_plane": rois.mask_image_plane,
        **{
            f"max_correction_{side}": np.full(n, pixels)
            for side, pixels in rois.max_correction.items()
        },
        "valid_roi": rois.valid,
        "width": rois.width,
        "x": rois.x.astype(pixel),
        "y": rois.y.astype(pixel),
    }
    masks = common.VectorData(
        name="image_mask", description="Image masks for each ROI", data=rois.masks
    )
    return pynwb.ophys.PlaneSegmentation(
        name="cell_specimen_table",
        description="Segmented rois",
        imaging_plane=imaging_plane,
        id=common.ElementIdentifiers(name="id", data=rois.cell_roi_id),
        columns=[*vectors(columns, _ROI_DESCRIPTIONS, ""), masks],
        colnames=[*columns, "image_mask"],
    )


def _trace_blocks(recording: Recording, interface: str) -> Blocks:
    def blocks() -> Iterator[tuple[slice, Any]]:
        frames = len(recording.timestamps)
        for low in range(0, frames, _BLOCK_ROWS):
            rows = slice(low, min(low + _BLOCK_ROWS, frames))
            yield rows, recording.block(interface, rows)

    return blocks


def _add_traces(draft: Draft, module: Any, table: Any, recording: Recording) -> None:
    shape = recording.dff.shape
    region = table.create_roi_table_region(
        region=list(range(shape[1])), description="segmented cells labeled by cell_specimen_id"
    )

    def add(kind: str, interface: str) -> Any:
        path = f"/processing/ophys/{interface}/traces/data"
        values = draft.later(path, shape, np.float64, _trace_blocks(recording, interface))
        times = recording.timestamps.copy()
        parent = getattr(pynwb.ophys, kind)(name=interface)
        # The parent joins the module first, since a series may only refer to cells of its own file.
        module.add(parent)
        parent.add_roi_response_series(
            pynwb.ophys.RoiResponseSeries(
                name="traces", data=values, unit="NA", rois=region, timestamps=times
            )
        )
        return parent

    # dff comes first and holds the region; the other series link to it.
    add("DfOverF", "dff")
    corrected = add("Fluorescence", "corrected_fluorescence")
    if not draft.legacy:
        for name, values in (("r", recording.r), ("RMSE", recording.rmse)):
            # One value per cell, in a type made for one per frame: the release stores the cells'
            # numbers as times.
            dummy = np.arange(shape[1], dtype=np.float64)
            corrected.add_roi_response_series(
                pynwb.ophys.RoiResponseSeries(
                    name=name, data=values, unit="NA", rois=region, timestamps=dummy
                )
            )
        add("Fluorescence", "demixed_trace")
        add("Fluorescence", "neuropil_trace")

    detection = ext.container_class(ext.EVENTS, "OphysEventDetection", draft.legacy)
    cells = table.create_roi_table_region(
        region=recording.event_rois.tolist(), description="Cells with detected events"
    )
    module.add(
        detection(
            data=hdf5.H5DataIO(recording.events, compression="gzip", compression_opts=4),
            unit="N/A",
            rois=cells,
            timestamps=recording.timestamps.copy(),
            lambdas=recording.lambdas,
            noise_stds=recording.noise_stds,
        )
    )
