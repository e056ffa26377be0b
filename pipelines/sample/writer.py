"""Writes one NWB file in the released layout."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.sample import nwb_extensions as ext
from pipelines.sample.behavior import STIMULUS_HZ
from pipelines.sample.design import Plane, Scale, plane_groups
from pipelines.sample.draft import Draft, save
from pipelines.sample.nwb_behavior import add_behavior
from pipelines.sample.nwb_libraries import pynwb
from pipelines.sample.nwb_ophys import add_ophys
from pipelines.sample.physiology import Image, Recording, Rois
from pipelines.sample.simulate import SessionData

SYNTHETIC = "SYNTHETIC DATA, simulated by vblake: no animal was recorded."
# Fixed, so that the same seed gives the same bytes.
_FILE_DATE = datetime(2023, 9, 1, 12, tzinfo=UTC)
_DESCRIPTION = (
    "{warning} A model mouse licks for water when a visual stimulus changes: stage {stage} of the "
    "change detection task, flashes of 250 ms with 500 ms of gray between them, or gratings "
    "without gray in the first stages."
)


def write_behavior_file(path: Path, data: SessionData, scale: Scale, *, legacy: bool) -> None:
    """Writes the file of a session without imaging; `legacy` selects the layout before 1.1.0."""
    draft = _start(
        data, str(data.session.behavior_session_id), ["visual", "behavior", "task"], legacy
    )
    metadata = ext.container_class(ext.BEHAVIOR, "BehaviorMetadata", legacy)
    draft.nwb.add_lab_meta_data(metadata(name="metadata", **_behavior_metadata(data, legacy)))
    add_behavior(draft, data, scale)
    save(path, draft)


def write_experiment_file(
    path: Path,
    data: SessionData,
    plane: Plane,
    rois: Rois,
    recording: Recording,
    images: Mapping[str, Image],
    targeted_depth: int,
    scale: Scale,
    *,
    legacy: bool,
) -> None:
    """Writes the file of one imaging plane, including the behaviour of its session.

    Args:
        path: the file.
        data: the session.
        plane: the experiment.
        rois: its cells.
        recording: its traces.
        images: name -> average and maximum projection and mask image, (height, width).
        targeted_depth: mean depth of the container, um.
        scale: shapes.
        legacy: the layout before 1.1.0.
    """
    keywords = ["2-photon", "calcium imaging", "visual cortex", "behavior", "task"]
    draft = _start(data, str(plane.experiment_id), keywords, legacy)
    height, width = rois.masks.shape[1:]
    group = plane.container.plane_group
    own: dict[str, Any] = {
        "field_of_view_height": height,
        "field_of_view_width": width,
        "imaging_depth": plane.imaging_depth,
        "imaging_plane_group": -1 if group is None else group,
        "imaging_plane_group_count": plane_groups(data.session),
        "ophys_experiment_id": plane.experiment_id,
        "ophys_session_id": data.session.ophys_session_id,
    }
    if legacy:
        own["experiment_container_id"] = plane.container.container_id
    else:
        own |= {
            "ophys_container_id": plane.container.container_id,
            "targeted_imaging_depth": targeted_depth,
        }
    metadata = ext.container_class(ext.BEHAVIOR, "OphysBehaviorMetadata", legacy)
    draft.nwb.add_lab_meta_data(
        metadata(name="metadata", **_behavior_metadata(data, legacy), **own)
    )
    add_behavior(draft, data, scale)
    add_ophys(draft, data.session, plane, rois, recording, images)
    save(path, draft)


def _start(data: SessionData, identifier: str, keywords: list[str], legacy: bool) -> Draft:
    """Starts an NWB file with its general part and subject."""
    session, mouse = data.session, data.session.mouse
    subject = ext.container_class(ext.BEHAVIOR, "BehaviorSubject", legacy)
    return Draft(
        pynwb.NWBFile(
            session_description=session.session_type,
            identifier=identifier,
            session_start_time=session.acquired,
            file_create_date=_FILE_DATE,
            institution="none (simulated)",
            keywords=keywords,
            experiment_description=_DESCRIPTION.format(
                warning=SYNTHETIC, stage=session.session_type
            ),
            subject=subject(
                age=f"P{session.age_in_days}D",
                description="A simulated visual behavior subject",
                driver_line=sorted(mouse.driver_lines),
                genotype=mouse.genotype,
                reporter_line=mouse.reporter_line,
                sex=mouse.sex,
                species="Mus musculus",
                subject_id=str(mouse.mouse_id),
            ),
        ),
        legacy,
    )


def _behavior_metadata(data: SessionData, legacy: bool) -> dict[str, Any]:
    session = data.session
    code = hashlib.blake2b(str(session.behavior_session_id).encode(), digest_size=16).digest()
    metadata: dict[str, Any] = {
        "behavior_session_id": session.behavior_session_id,
        "behavior_session_uuid": str(uuid.UUID(bytes=code, version=4)),
        "equipment_name": session.equipment,
        "session_type": session.session_type,
        "stimulus_frame_rate": STIMULUS_HZ,
    }
    return metadata if legacy else metadata | {"project_code": session.mouse.project_code}
