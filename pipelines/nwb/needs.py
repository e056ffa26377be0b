"""Which bytes of a file each table is read from.

A dataset that is missing here costs requests, never a value: the readers then get its bytes block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import h5py
import numpy as np

from pipelines.nwb.cells import CELL_TABLE
from pipelines.nwb.hdf5 import HdfFile
from pipelines.nwb.recording import OPHYS
from pipelines.ranges import Range, RangeFile

_TRIALS = ("/intervals/trials/*",)
_CELL_IDS = (f"{CELL_TABLE}/id", f"{CELL_TABLE}/valid_roi", f"{CELL_TABLE}/cell_specimen_id")
_OPHYS_CLOCK = f"{OPHYS}/dff/traces/timestamps"
_EYE = "/acquisition/EyeTracking"

NEEDS: Mapping[str, tuple[str, ...]] = {
    "trials": _TRIALS,
    "stimulus_templates": ("/stimulus/templates/*/data", "/stimulus/templates/*/unwarped", "/stimulus/templates/*/control_description"),
    "stimulus_presentations": ("/intervals/*_presentations/*",),
    "rolling_performance": _TRIALS,
    "performance_metrics": (*_TRIALS, "/processing/rewards/*/*"),
    "licks": ("/processing/licking/licks/*",),
    "rewards": ("/processing/rewards/*/*",),
    "running_speed": ("/processing/running/speed/*",),
    "raw_running_speed": ("/processing/running/speed_unfiltered/*",),
    "stimulus_timestamps": ("/processing/stimulus/timestamps/timestamps",),
    "eye_tracking": (
        f"{_EYE}/eye_tracking/timestamps",
        *(f"{_EYE}/*_tracking/{n}" for n in ("data", "width", "height", "angle", "area_raw")),
    ),
    "cell_specimens": (f"{CELL_TABLE}/*",),
    "dff_traces": (*_CELL_IDS, _OPHYS_CLOCK, f"{OPHYS}/dff/traces/*"),
    "corrected_fluorescence_traces": (*_CELL_IDS, _OPHYS_CLOCK, f"{OPHYS}/corrected_fluorescence/*/data"),
    "events": (*_CELL_IDS, _OPHYS_CLOCK, *(f"{OPHYS}/event_detection/{n}" for n in ("data", "rois", "lambdas", "noise_stds"))),
    "demixed_traces": (*_CELL_IDS, _OPHYS_CLOCK, f"{OPHYS}/demixed_trace/traces/data"),
    "neuropil_traces": (*_CELL_IDS, _OPHYS_CLOCK, f"{OPHYS}/neuropil_trace/traces/data"),
    "ophys_timestamps": (_OPHYS_CLOCK,),
    "motion_correction": (f"{OPHYS}/ophys_motion_correction_[xy]/data",),
    "projections": (*_CELL_IDS, f"{OPHYS}/images/average_image", f"{OPHYS}/images/max_projection", f"{CELL_TABLE}/image_mask"),
}
"""Patterns of the datasets each table is read from, a part of the path at a time. Metadata tables read attributes and scalars only."""

_NEVER_READ = ("tags", "tags_index", "timeseries", "timeseries_index", "is_change", "flashes_since_change")
"""Members of presentation groups that are ignored or recomputed."""

_HEAP_COLLECTION = 64 << 10
"""Size to which HDF5 grows a collection of texts unless a single text is larger; what lies beyond is read by block."""


def _expand(hdf: HdfFile, pattern: str) -> list[str]:
    """Paths in the file that a pattern matches."""
    paths = [""]
    for part in pattern.strip("/").split("/"):
        if any(c in part for c in "*?["):
            paths = [f"{p}/{name}" for p in paths for name in hdf.members(p or "/") if fnmatchcase(name, part)]
        else:
            paths = [f"{p}/{part}" for p in paths]
    return paths


def _used(path: str) -> bool:
    group, _, name = path.rpartition("/")
    return not (group.endswith("_presentations") and name in _NEVER_READ)


def datasets(hdf: HdfFile, table: str) -> list[h5py.Dataset]:
    """The datasets of a file that a table is read from."""
    paths = [path for pattern in NEEDS.get(table, ()) for path in _expand(hdf, pattern) if _used(path)]
    found = (hdf.find(path) for path in paths)
    return [node for node in found if isinstance(node, h5py.Dataset)]


def byte_ranges(dataset: h5py.Dataset) -> Iterator[Range]:
    """Where a dataset's data lies in the file: its extent, or its chunks; for text, the references to it."""
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is not None:
            yield offset, offset + dataset.id.get_storage_size()
        return
    for index in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(index)
        if chunk.byte_offset is not None:
            yield chunk.byte_offset, chunk.byte_offset + chunk.size


def _text_ranges(dataset: h5py.Dataset, file: RangeFile) -> Iterator[Range]:
    """Where the texts lie that a dataset of variable-length text refers to: collections of the global heap.

    A reference is length (4 bytes), address of the collection (8), number in it (4); little-endian, as HDF5 has them on file.
    """
    for start, stop in byte_ranges(dataset):
        references = np.frombuffer(file.peek(start, stop), dtype=[("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
        for address in np.unique(references["address"]).tolist():
            if address:
                yield address, address + _HEAP_COLLECTION


def prefetch(hdf: HdfFile, tables: Sequence[str], file: RangeFile) -> None:
    """Announces to the file what these tables will be read from, in their order."""
    found = {table: datasets(hdf, table) for table in tables}
    texts = [d for ds in found.values() for d in ds if h5py.check_string_dtype(d.dtype) is not None and d.shape]
    file.prefetch([r for d in texts for r in byte_ranges(d)], keep=True)
    file.prefetch([r for d in texts for r in _text_ranges(d, file)], keep=True)
    for ds in found.values():
        file.prefetch([r for d in ds for r in byte_ranges(d)])
