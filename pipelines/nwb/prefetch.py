"""Which bytes of a remote file each table is read from.

A path that is missing here costs requests, never a value: the readers then fetch it block by block.
A damaged file does not fail here either: the reader that reaches the damage reports it, as it does
for a local file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from pipelines.nwb.cells import CELL_TABLE
from pipelines.nwb.eye_tracking import RIG
from pipelines.nwb.hdf5.errors import HdfError, h5py, hdf5_errors
from pipelines.nwb.hdf5.headers import Tails, load_tree
from pipelines.nwb.hdf5.storage import STRING_REFERENCE, is_variable_string
from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.recording import METADATA, OPHYS, TASK, Recording
from pipelines.nwb.templates import images_in_order, sampled_lines
from pipelines.source.range_file import BLOCK, GAP, Range, RangeFile, merged
from schemas.errors import DataError

_TRIALS = ("/intervals/trials/*",)
_PRESENTATIONS = "/intervals/*_presentations/*"
_REWARDS = ("/processing/rewards/*/*",)
_CELL_IDS = (f"{CELL_TABLE}/id", f"{CELL_TABLE}/valid_roi", f"{CELL_TABLE}/cell_specimen_id")
_STIMULUS_CLOCK = "/processing/stimulus/timestamps/timestamps"
_OPHYS_CLOCK = f"{OPHYS}/dff/traces/timestamps"
_TRACES = (*_CELL_IDS, _OPHYS_CLOCK, f"{OPHYS}/dff/traces")
_PLANES = "/general/optophysiology"
_EVENTS = (
    *_TRACES,
    f"{_PLANES}/*/imaging_rate",
    f"{CELL_TABLE}/imaging_plane",
    *(f"{OPHYS}/event_detection/{n}" for n in ("data", "rois", "lambdas", "noise_stds")),
)
_SHOWN = (*_TRIALS, _PRESENTATIONS)
_RESPONSES = (*_SHOWN, f"{OPHYS}/dff/traces/*", *_EVENTS)
_EYE = "/acquisition/EyeTracking"
_EYE_DATA = (
    f"{_EYE}/eye_tracking/timestamps",
    *(f"{_EYE}/*_tracking/{n}" for n in ("data", "width", "height", "angle", "area_raw")),
)
_SUBJECT = (METADATA, "/general/subject/*", "/session_start_time")

_IDS = ("/general/subject/subject_id", METADATA)
"""Tells which session the file is of; read whatever the tables."""

_IMAGES = "stimulus_templates"

PATHS: Mapping[str, tuple[str, ...]] = {
    "behavior_metadata": _SUBJECT,
    "experiment_metadata": (
        *_SUBJECT,
        f"{CELL_TABLE}/id",
        f"{CELL_TABLE}/cell_specimen_id",
        f"{CELL_TABLE}/imaging_plane",
        f"{_PLANES}/*/*",
        "/general/devices/*",
        f"{_PLANES}/*/*/emission_lambda",
    ),
    "trials": _TRIALS,
    "stimulus_presentations": _SHOWN,
    _IMAGES: (
        "/stimulus/templates/*/data",
        "/stimulus/templates/*/unwarped",
        "/stimulus/templates/*/control_description",
    ),
    "task_parameters": (TASK,),
    "rolling_performance": _TRIALS,
    "performance_metrics": (*_TRIALS, *_REWARDS),
    "licks": ("/processing/licking/licks/*",),
    "rewards": _REWARDS,
    "running_speed": ("/processing/running/speed/*", _STIMULUS_CLOCK),
    "raw_running_speed": ("/processing/running/speed_unfiltered/*", _STIMULUS_CLOCK),
    "running_acquisition": ("/processing/running/dx/*", "/acquisition/v_*/data"),
    "stimulus_timestamps": (_STIMULUS_CLOCK,),
    "eye_tracking": _EYE_DATA,
    "eye_tracking_rig_geometry": (f"{RIG}/*",),
    "presentation_annotations": (
        *_SHOWN,
        *_REWARDS,
        "/processing/licking/licks/*",
        "/processing/running/speed/*",
        f"{_EYE}/eye_tracking/timestamps",
        f"{_EYE}/pupil_tracking/width",
        f"{_EYE}/*_tracking/area_raw",
    ),
    "cell_specimens": (f"{CELL_TABLE}/*",),
    "roi_masks": (f"{CELL_TABLE}/*",),
    "dff_traces": (*_TRACES, f"{OPHYS}/dff/traces/*"),
    "corrected_fluorescence_traces": (*_TRACES, f"{OPHYS}/corrected_fluorescence/*/data"),
    "events": _EVENTS,
    "stimulus_responses": _RESPONSES,
    "mean_responses": _RESPONSES,
    "demixed_traces": (*_TRACES, f"{OPHYS}/demixed_trace/traces/data"),
    "neuropil_traces": (*_TRACES, f"{OPHYS}/neuropil_trace/traces/data"),
    "ophys_timestamps": (_OPHYS_CLOCK,),
    "motion_correction": (f"{OPHYS}/ophys_motion_correction_[xy]/data",),
    "projections": (
        *_CELL_IDS,
        f"{OPHYS}/images/average_image",
        f"{OPHYS}/images/max_projection",
        f"{CELL_TABLE}/image_mask",
    ),
    "presentation_frames": (*_SHOWN, _OPHYS_CLOCK),
}
"""The groups and datasets that each table is read from, as patterns that match one member at a
time. For a group, its attributes are meant."""

_NEVER_READ = (
    "tags",
    "tags_index",
    "timeseries",
    "timeseries_index",
    "is_change",
    "flashes_since_change",
)
"""Members of presentation groups that are ignored or recomputed."""

_INTERVALS = ("/intervals", 512 << 10, 4 << 20)
"""The tables in this group are fetched together with what lies between them up to 4 MB, and half a
megabyte of the last. Their headers are scattered over 5 MB, of which 4 are needed. Fetched one
after the other, as each names the next, they take a second at 30 ms a request."""

_SMALL = 64 << 10
"""Datasets up to this size stay in memory: they lie together in clusters, and some serve several
tables."""

_HEAP_COLLECTION = 64 << 10
"""Size to which HDF5 grows a collection of strings unless a single string is larger; what lies
beyond is read by block."""


def _fits(path: str, pattern: str) -> bool:
    """Whether a pattern matches a path, or a part of it a name.

    `*` cannot match a `/` if both have as many. Most have no `*`, and need not be compiled.
    """
    return path == pattern or (
        ("*" in pattern or "[" in pattern)
        and path.count("/") == pattern.count("/")
        and fnmatchcase(path, pattern)
    )


def _tails(patterns: Iterable[str]) -> Tails:
    """Returns patterns as what is looked for below the root."""
    return frozenset(tuple(p.strip("/").split("/")) for p in patterns)


def _wanted(path: str, names: Iterable[str], tails: Tails) -> dict[str, Tails]:
    """Returns which members of a group patterns match, and what is left of these below each."""
    if path.endswith("_presentations"):
        names = [name for name in names if name not in _NEVER_READ]
    found = {n: frozenset(tail[1:] for tail in tails if tail and _fits(n, tail[0])) for n in names}
    return {name: rest for name, rest in found.items() if rest}


def _beside(path: str, headers: list[Range]) -> list[Range]:
    """Returns what is fetched together with the headers of the members of a group."""
    folder, last, gap = _INTERVALS
    return merged(((start, start + last) for start, _ in headers), gap) if path == folder else []


def find_datasets(hdf: HdfFile, patterns: Iterable[str]) -> dict[str, Any]:
    """Returns the datasets that patterns match, as in `PATHS`, by path."""
    found: dict[str, Any] = {}
    level = {"": _tails(patterns)}
    while level:
        below = {
            f"{path}/{name}": rest
            for path, tails in level.items()
            for name, rest in _wanted(path, hdf.members(path), tails).items()
        }
        level = {}
        for path, tails in below.items():
            node = hdf.find(path)
            if isinstance(node, h5py.Dataset) and () in tails:
                found[path] = node
            elif isinstance(node, h5py.Group) and any(tails):
                level[path] = tails
    return found


def byte_ranges(dataset: Any) -> list[Range]:
    """Where a dataset's data lies in the file: its extent, or its chunks.

    Of strings of variable length, these are the references to them.
    """
    with hdf5_errors():
        if dataset.chunks is None:
            offset = dataset.id.get_offset()
            return [] if offset is None else [(offset, offset + dataset.id.get_storage_size())]
        chunks: list[Range] = []
        # Not get_chunk_info(number), which walks the index from its start for every chunk.
        dataset.id.chunk_iter(
            lambda chunk: chunks.append((chunk.byte_offset, chunk.byte_offset + chunk.size))
        )
        return chunks


def has_plain_references(dataset: Any) -> bool:
    """Whether a dataset's data is references to strings, uncompressed."""
    with hdf5_errors():
        return is_variable_string(dataset) and not dataset.id.get_create_plist().get_nfilters()


def string_ranges(dataset: Any, file: RangeFile) -> Iterator[Range]:
    """Where the strings lie that a dataset refers to: collections of the global heap."""
    for start, stop in byte_ranges(dataset):
        content = file.peek(start, stop)
        references = np.frombuffer(
            content, dtype=STRING_REFERENCE, count=len(content) // STRING_REFERENCE.itemsize
        )
        for address in np.unique(references["address"]).tolist():
            if address:
                yield address, address + _HEAP_COLLECTION


def _pixel_range(dataset: Any, first: int, count: int) -> Range:
    """Where lines of pixels lie, counted through all images; empty if they are not in one piece."""
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    if offset is None:
        return 0, 0
    size = dataset.shape[2] * dataset.dtype.itemsize
    return offset + first * size, offset + (first + count) * size


def load_metadata(file: RangeFile, tables: Sequence[str], *, signature: bool = False) -> None:
    """Fetches what HDF5 reads to find what the tables are read from, before it asks for it.

    Args:
        file: the file.
        tables: the tables.
        signature: as for `prefetch`.
    """
    load_tree(file, _tails(_patterns(tables, signature)), _wanted, _beside)


def _patterns(tables: Sequence[str], signature: bool) -> list[str]:
    return [*_IDS, *(p for t in (*tables, *([_IMAGES] if signature else ())) for p in PATHS[t])]


def prefetch(
    recording: Recording, tables: Sequence[str], file: RangeFile, *, signature: bool = False
) -> None:
    """Announces to the file what will be read from it.

    Args:
        recording: the open file.
        tables: the tables, in the order in which they will be read.
        file: what the recording was opened from.
        signature: whether the digest of the image set will be read after the tables.

    Raises:
        SourceError: the metadata cannot be fetched.
    """
    with suppress(DataError, HdfError):  # the reader that reaches the damage reports it
        _announce(recording, tables, file, signature)


def _announce(
    recording: Recording, tables: Sequence[str], file: RangeFile, signature: bool
) -> None:
    datasets = find_datasets(recording.hdf, _patterns(tables, signature))
    extents = {path: merged(byte_ranges(dataset)) for path, dataset in datasets.items()}
    strings = [path for path, dataset in datasets.items() if has_plain_references(dataset)]
    small = {
        path
        for path, ranges in extents.items()
        if path in strings or sum(b - a for a, b in ranges) <= _SMALL
    }
    file.load([r for path in small for r in extents[path]], gap=BLOCK)
    file.load([r for path in strings for r in string_ranges(datasets[path], file)], gap=GAP)
    for table in tables:
        own = [
            path
            for path in extents
            if path not in small and any(_fits(path, pattern) for pattern in PATHS[table])
        ]
        file.prefetch([r for path in own for r in extents[path]])
    if signature:
        file.prefetch(
            [
                _pixel_range(line.dataset, line.image * line.dataset.shape[1] + line.line, 1)
                for line in sampled_lines(recording)
            ]
        )


def prefetch_images(recording: Recording) -> None:
    """Announces that all images will be read, which few files of an image set are asked for."""
    if (file := recording.remote) is None:
        return
    with suppress(DataError, HdfError):  # the reader that reaches the damage reports it
        for image, datasets in images_in_order(recording):
            for dataset in datasets:
                height = dataset.shape[1]
                file.prefetch([_pixel_range(dataset, image * height, height)])
