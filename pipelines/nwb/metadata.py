"""Reads the metadata of sessions and experiments, and the parameters of the task."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines.nwb.cells import CELL_TABLE
from pipelines.nwb.recording import METADATA, TASK, Recording, Rows
from schemas.casts import Ragged, Values

_SUBJECT = "/general/subject"
_PLANE = f"{CELL_TABLE}/imaging_plane"
FRAME_RATE = f"{_PLANE}/imaging_rate"

# The reporter line names the indicator. The released reader ignores the `indicator` of the plane.
_INDICATORS = {"GCaMP6f": "GCaMP6f", "GC6f": "GCaMP6f", "GCaMP6s": "GCaMP6s"}


def age_in_days(age: str) -> int | None:
    """Days from text like P213D; None for other text (unknown ages are written as `null`).

    >>> age_in_days("P213D")
    213
    """
    digits = re.search(r"\d+", age) if age.startswith("P") else None
    return int(digits.group()) if digits else None


def cre_line(genotype: str) -> str | None:
    """First allele of a genotype, without /wt; None if the genotype has only one.

    >>> cre_line("Sst-IRES-Cre/wt;Ai148(TIT2L-GC6f-ICL-tTA2)/wt")
    'Sst-IRES-Cre'
    """
    first, separator, _ = genotype.partition(";")
    return first.replace("/wt", "") if separator else None


def image_set_of(session_type: str) -> str | None:
    """The image set that a session type names; None if it names neither images nor gratings.

    >>> image_set_of("OPHYS_1_images_A"), image_set_of("TRAINING_1_gratings")
    ('images_A', 'gratings')
    """
    parts = session_type.split("_")
    if len(parts) > 3 and parts[2] == "images":
        return f"images_{parts[3]}"
    return "gratings" if len(parts) > 2 and parts[2] == "gratings" else None


def _one_row(values: dict[str, Any]) -> Rows:
    row: dict[str, Values] = {k: v if isinstance(v, Ragged) else [v] for k, v in values.items()}
    return Rows(row, 1)


def _behavior(recording: Recording) -> dict[str, Any]:
    hdf = recording.hdf
    genotype = hdf.read_string(f"{_SUBJECT}/genotype")
    lines = hdf.attribute_strings(_SUBJECT, "driver_line")
    return {
        "equipment_name": hdf.attribute_string(METADATA, "equipment_name"),
        "sex": hdf.read_string(f"{_SUBJECT}/sex"),
        "age_in_days": age_in_days(hdf.read_string(f"{_SUBJECT}/age")),
        "stimulus_frame_rate": hdf.attribute(METADATA, "stimulus_frame_rate"),
        "session_type": recording.session_type,
        "date_of_acquisition": hdf.read_string("/session_start_time"),
        "reporter_line": hdf.attribute_string(_SUBJECT, "reporter_line"),
        "cre_line": cre_line(genotype),
        "behavior_session_uuid": _uuid(recording),
        "driver_line": sorted(lines) if lines is not None else None,
        # For files written before the attribute existed, the released reader returns this text.
        "project_code": hdf.attribute(METADATA, "project_code", "Not Available"),
        "full_genotype": genotype,
    }


def _uuid(recording: Recording) -> str | None:
    """The session's UUID in canonical form."""
    text = recording.hdf.attribute_string(METADATA, "behavior_session_uuid")
    try:
        return None if text == "None" else str(uuid.UUID(text))
    except ValueError as error:
        found = repr(text)
        raise recording.hdf.error(
            f"{METADATA}@behavior_session_uuid",
            "a value is no UUID",
            expected="a UUID or None",
            found=found,
        ) from error


def behavior_metadata(recording: Recording) -> Iterator[Rows]:
    """The behaviour metadata dictionary, one row."""
    yield _one_row(_behavior(recording))


def indicator(reporter_line: str) -> str | None:
    """The calcium indicator that a reporter line names.

    >>> indicator("Ai148(TIT2L-GC6f-ICL-tTA2)")
    'GCaMP6f'
    """
    return next((name for part, name in _INDICATORS.items() if part in reporter_line), None)


def experiment_metadata(recording: Recording) -> Iterator[Rows]:
    """The experiment metadata dictionary, one row."""
    hdf = recording.hdf
    values = _behavior(recording)
    container = hdf.attribute(METADATA, "ophys_container_id", None)
    groups = hdf.attribute_integer(METADATA, "imaging_plane_group_count")
    roi_count = len(hdf.read_numbers(f"{CELL_TABLE}/id"))
    cells = hdf.read_numbers(f"{CELL_TABLE}/cell_specimen_id", rows=roi_count)
    values |= {
        "indicator": indicator(values["reporter_line"]),
        "emission_lambda": hdf.read_number(f"{_PLANE}/{_channel(recording)}/emission_lambda"),
        "excitation_lambda": hdf.read_number(f"{_PLANE}/excitation_lambda"),
        "experiment_container_id": hdf.attribute(METADATA, "experiment_container_id")
        if container is None
        else container,
        "field_of_view_height": hdf.attribute(METADATA, "field_of_view_height"),
        "field_of_view_width": hdf.attribute(METADATA, "field_of_view_width"),
        "imaging_depth": hdf.attribute(METADATA, "imaging_depth"),
        "targeted_imaging_depth": hdf.attribute(METADATA, "targeted_imaging_depth", None),
        # Single planes are stored as group -1 of 1.
        "imaging_plane_group": hdf.attribute(METADATA, "imaging_plane_group")
        if groups > 1
        else None,
        "imaging_plane_group_count": groups if groups > 1 else 0,
        "ophys_frame_rate": frame_rate(recording),
        "targeted_structure": hdf.read_string(f"{_PLANE}/location"),
        "roi_count": roi_count,
        "unmatched_roi_count": np.count_nonzero((cells == -1) | np.isnan(cells)),
    }
    yield _one_row(values)


def _channel(recording: Recording) -> str:
    channels = [
        name
        for name in recording.hdf.members(_PLANE)
        if recording.hdf.has(f"{_PLANE}/{name}/emission_lambda")
    ]
    if len(channels) != 1:
        raise recording.hdf.error(
            f"{_PLANE}/*/emission_lambda",
            "no single optical channel",
            expected="one",
            found=str(len(channels)),
        )
    return channels[0]


def frame_rate(recording: Recording) -> float:
    """Imaging rate of the plane, Hz."""
    return recording.hdf.read_number(FRAME_RATE)


def task_parameters(recording: Recording) -> Iterator[Rows]:
    """The task's parameters, one row."""
    hdf = recording.hdf
    session_type = hdf.attribute_string(TASK, "session_type")
    image_set = image_set_of(session_type)
    if image_set is None:
        recording.known_defect(
            "session-type-without-images", f"session type {session_type} names no image set"
        )
    plain = (
        "auto_reward_volume",
        "n_stimulus_frames",
        "omitted_flash_fraction",
        "reward_volume",
        "stimulus",
        "stimulus_distribution",
        "stimulus_duration_sec",
        "task",
    )
    yield _one_row(
        {
            **{name: hdf.attribute(TASK, name) for name in plain},
            "session_type": session_type,
            "stimulus_name": hdf.attribute(TASK, "stimulus_name", None),
            "image_set": image_set,
            **{
                name: durations(recording, name)
                for name in ("blank_duration_sec", "response_window_sec")
            },
        }
    )


def durations(recording: Recording, name: str) -> list[float]:
    """Reads a pair of durations, which files store as text, in seconds.

    Raises:
        DataError: the attribute is missing, or not two numbers.
    """
    values: list[Any] = np.atleast_1d(recording.hdf.attribute(TASK, name)).tolist()
    try:
        seconds = [float(v) for v in values]
    except (TypeError, ValueError):
        seconds = []
    if len(seconds) != 2:
        raise recording.hdf.error(
            f"{TASK}@{name}",
            "not a pair of durations",
            expected="two texts like 0.5",
            found=repr(values),
        )
    return seconds
