"""The four NWB extensions of the released files, declared for hdmf, and a type map with them.

The structures follow the specifications cached in the released files; the wording is our own. The
release changed ndx-aibs-behavior-ophys between its data releases without changing the version of
the extension, so there are two variants here too.
"""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.sample.nwb_libraries import build, pynwb

Spec = dict[str, Any]

BEHAVIOR = "ndx-aibs-behavior-ophys"
TEMPLATE = "ndx-aibs-stimulus-template"
EYE = "ndx-ellipse-eye-tracking"
EVENTS = "ndx-aibs-ophys-event-detection"


def _attributes(**fields: tuple[str, str]) -> list[Spec]:
    return [{"name": name, "dtype": dtype, "doc": doc} for name, (dtype, doc) in fields.items()]


def _task_attributes(legacy: bool) -> list[Spec]:
    task = _attributes(
        auto_reward_volume=("float", "Volume of a reward given without a response, mL"),
        n_stimulus_frames=("int", "Number of monitor frames on which a stimulus was drawn"),
        omitted_flash_fraction=(
            "float",
            "Fraction of flashes that were left out; NaN where none could be",
        ),
        reward_volume=("float", "Volume of an earned reward, mL"),
        session_type=("text", "Stage of the task"),
        stimulus=("text", "Kind of stimulus: images or grating"),
        stimulus_distribution=("text", "Distribution from which change times were drawn"),
        stimulus_duration_sec=(
            "float",
            "Duration of a presentation, s; NaN where it lasts until the next",
        ),
        task=("text", "Name of the task"),
    )
    blank = "Lower and upper bound of the gray interval between presentations, s"
    window = "Window after a change in which a lick is a response, s"
    for name, doc in (("blank_duration_sec", blank), ("response_window_sec", window)):
        task.append({"name": name, "dtype": "text", "shape": [2], "doc": doc})
    if not legacy:
        task += _attributes(stimulus_name=("text", "Name of the stimulus set"))
    return task


def _behavior_attributes(legacy: bool) -> list[Spec]:
    metadata = {
        "behavior_session_id": ("int", "Id of the behaviour session"),
        "behavior_session_uuid": ("text", "Id of the session in the training system"),
        "equipment_name": ("text", "Name of the rig"),
        "session_type": ("text", "Stage of the task"),
        "stimulus_frame_rate": ("float", "Frame rate of the monitor, Hz"),
    }
    if not legacy:
        metadata["project_code"] = ("text", "Project the session belongs to")
    return _attributes(**metadata)


def _ophys_attributes(legacy: bool) -> list[Spec]:
    ophys = {
        "field_of_view_height": ("int", "Height of the imaging plane, px"),
        "field_of_view_width": ("int", "Width of the imaging plane, px"),
        "imaging_depth": ("int", "Depth of the imaging plane below the surface of the cortex, um"),
        "imaging_plane_group": (
            "int",
            "Group of planes imaged at the same moment; -1 if planes are not grouped",
        ),
        "imaging_plane_group_count": (
            "int",
            "Number of plane groups in the session; 0 if planes are not grouped",
        ),
        "ophys_experiment_id": ("int", "Id of the experiment: one imaging plane in one session"),
        "ophys_session_id": ("int", "Id of the imaging session"),
    }
    container = ("int", "Id of the container: the experiments of one field of view")
    if legacy:
        return _attributes(**ophys, experiment_container_id=container)
    depth = ("int", "Mean depth of the container's experiments, um")
    return _attributes(**ophys, ophys_container_id=container, targeted_imaging_depth=depth)


def _rig_datasets() -> list[Spec]:
    return [
        {
            "name": f"{thing}_{kind}",
            "dtype": "float",
            "dims": [3],
            "shape": [None],
            "doc": f"{kind} of the {thing}: x, y, z",
            "attributes": _attributes(unit_of_measurement=("text", "Unit of the values")),
        }
        for thing, kind in (
            ("camera", "rotation"),
            ("camera", "position"),
            ("led", "position"),
            ("monitor", "position"),
            ("monitor", "rotation"),
        )
    ]


def _behavior_groups(legacy: bool) -> list[Spec]:
    driver: Spec = {
        "name": "driver_line",
        "dtype": "text",
        "shape": [None],
        "doc": "Driver lines of the animal",
    }
    if not legacy:
        driver["required"] = False
    reporter = _attributes(reporter_line=("text", "Reporter line of the animal"))
    behavior = _behavior_attributes(legacy)
    return [
        _group(
            "BehaviorTaskParameters",
            "LabMetaData",
            "Parameters of the change detection task",
            attributes=_task_attributes(legacy),
        ),
        _group("BehaviorSubject", "Subject", "The animal", attributes=[driver, *reporter]),
        _group(
            "BehaviorMetadata",
            "LabMetaData",
            "Metadata of a behaviour session",
            attributes=behavior,
        ),
        _group(
            "OphysBehaviorMetadata",
            "BehaviorMetadata",
            "Metadata of a behaviour session and one of its imaging planes",
            attributes=[*behavior, *_ophys_attributes(legacy)],
        ),
        _group(
            "OphysEyeTrackingRigMetadata",
            "NWBDataInterface",
            "Geometry of the eye tracking rig",
            attributes=_attributes(equipment=("text", "Name of the rig")),
            datasets=_rig_datasets(),
        ),
    ]


def _group(new_type: str, base: str, doc: str, **members: Any) -> Spec:
    return {"neurodata_type_def": new_type, "neurodata_type_inc": base, "doc": doc, **members}


def _vector(name: str, doc: str) -> Spec:
    return {"name": name, "dtype": "float", "shape": [None], "doc": doc}


def _template_groups() -> list[Spec]:
    unwarped: Spec = {
        "name": "unwarped",
        "dtype": "float",
        "shape": [None, None, None],
        "doc": "The images before warping, NaN where the warped image does not show them",
    }
    doc = (
        "Images as shown, warped for a flat monitor close to the eye, and as they were before "
        "warping"
    )
    return [_group("StimulusTemplate", "ImageSeries", doc, datasets=[unwarped])]


def _eye_groups() -> list[Spec]:
    data: Spec = {
        "name": "data",
        "dtype": "numeric",
        "dims": ["num_times", "x, y"],
        "shape": [None, 2],
        "doc": "Centre of the ellipse at each time",
        "attributes": [
            {
                "name": "unit",
                "dtype": "text",
                "default_value": "meters",
                "required": False,
                "doc": "Unit of the values",
            },
        ],
    }
    series = _group(
        "EllipseSeries",
        "SpatialSeries",
        "An ellipse that moves over time",
        datasets=[
            data,
            _vector("area", "Area of the ellipse, NaN in likely blinks"),
            _vector("area_raw", "Area of the ellipse, blinks included"),
            _vector("width", "Half axis along the ellipse's first direction"),
            _vector("height", "Half axis along the ellipse's second direction"),
            _vector("angle", "Rotation of the ellipse, rad"),
        ],
    )
    members: list[Spec] = [
        {"name": name, "neurodata_type_inc": "EllipseSeries", "doc": doc}
        for name, doc in (
            ("eye_tracking", "The eye"),
            ("pupil_tracking", "The pupil"),
            ("corneal_reflection_tracking", "The reflection of the lamp on the cornea"),
        )
    ]
    members.append(
        {
            "name": "likely_blink",
            "neurodata_type_inc": "TimeSeries",
            "doc": "Whether the eye probably blinked",
        }
    )
    tracking = _group(
        "EllipseEyeTracking",
        "EyeTracking",
        "Ellipses fitted to frames of the eye camera",
        groups=members,
    )
    return [series, tracking | {"default_name": "EyeTracking"}]


def _event_groups() -> list[Spec]:
    datasets = [
        _vector("lambdas", "Weight of the penalty on events, per cell"),
        _vector("noise_stds", "Standard deviation of the noise, per cell"),
    ]
    events = _group(
        "OphysEventDetection",
        "RoiResponseSeries",
        "Events detected in dF/F traces",
        datasets=datasets,
    )
    return [events | {"name": "event_detection"}]


@lru_cache(maxsize=2)
def extended_type_map(legacy: bool) -> Any:
    """Returns the types of pynwb and of the extensions, current or `legacy`.

    The process-wide type map is not changed.
    """
    type_map = pynwb.get_type_map()
    contents = (
        (
            BEHAVIOR,
            "0.2.0",
            "extension",
            "Behaviour and imaging metadata",
            _behavior_groups(legacy),
        ),
        (TEMPLATE, "0.1.0", "extensions", "Stimulus images", _template_groups()),
        (EYE, "0.1.0", "extensions", "Elliptical eye tracking", _eye_groups()),
        (EVENTS, "0.1.0", "extensions", "Events detected in calcium traces", _event_groups()),
    )
    # hdmf reads extensions from files only. JSON is valid YAML.
    with tempfile.TemporaryDirectory() as folder:
        for name, version, suffix, doc, groups in contents:
            namespace: Spec = {
                "name": name,
                "version": version,
                "doc": doc,
                "author": "vblake sample (synthetic data)",
                "contact": "none",
                "schema": [{"namespace": "core"}, {"source": f"{name}.{suffix}.yaml"}],
            }
            Path(folder, f"{name}.{suffix}.yaml").write_text(json.dumps({"groups": groups}))
            path = Path(folder, f"{name}.namespace.yaml")
            path.write_text(json.dumps({"namespaces": [namespace]}))
            type_map.load_namespaces(str(path))
    return type_map


def build_manager(legacy: bool) -> Any:
    """A fresh build manager for one file."""
    return build.BuildManager(extended_type_map(legacy))


def container_class(namespace: str, name: str, legacy: bool) -> Any:
    """Returns the container class that hdmf generates for an extension type."""
    return extended_type_map(legacy).get_dt_container_cls(name, namespace)
