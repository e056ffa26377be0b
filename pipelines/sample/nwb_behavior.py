"""The part of a file that every session has: stimulus, task, running, licks, rewards and eye."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines.sample import nwb_extensions as ext
from pipelines.sample.behavior import reward_volume
from pipelines.sample.body import EYE, REFLECTION, EyeTracking
from pipelines.sample.design import Scale
from pipelines.sample.draft import Blocks, Draft, vectors
from pipelines.sample.nwb_libraries import common, pynwb
from pipelines.sample.simulate import SessionData
from pipelines.sample.stimulus import Clock, ImageSet, template_images
from pipelines.sample.tables import (
    Columns,
    Presentations,
    Ragged,
    gray_and_movie,
    legacy_presentations,
    lick_times,
    shown_images,
    task_parameters,
    task_presentations,
    trial_columns,
)

_COLUMN_DESCRIPTIONS = {
    "start_time": "Start time of epoch, in seconds",
    "stop_time": "Stop time of epoch, in seconds",
    "stimulus_block": "Index of contiguous presentations of one stimulus type",
    "stimulus_name": "Name of stimulus",
    "orientation": "Orientation of stimulus",
    "phase": "Phase of grating stimulus",
    "spatial_frequency": "Spatial frequency of stimulus",
}
_ENCODER_SUPPLY = (
    "The theoretical maximum voltage that the running wheel encoder reaches before it wraps "
    "around, about 5 V"
)


def add_behavior(draft: Draft, data: SessionData, scale: Scale) -> None:
    """Adds everything that sessions with and without imaging have in common."""
    nwb, session, run, clock = draft.nwb, data.session, data.run, data.clock
    maker = "Mesoscope" if session.rig == "mesoscope" else "Scientifica"
    nwb.create_device(
        name=session.equipment, description=f"Allen Brain Observatory - {maker} 2P Rig"
    )
    if maker == "Scientifica":
        # The release has the attribute, which pynwb deprecates.
        draft.attributes[f"/general/devices/{session.equipment}"] = {"manufacturer": maker}
    parameters = task_parameters(session, run, data.image_set, reward_volume(session))
    if draft.legacy:
        del parameters["stimulus_name"]
    task = ext.container_class(ext.BEHAVIOR, "BehaviorTaskParameters", draft.legacy)
    nwb.add_lab_meta_data(task(name="task_parameters", **parameters))

    module = nwb.create_processing_module("stimulus", "Stimulus Times processing")
    stimulus_clock = pynwb.TimeSeries(
        name="timestamps", data=clock.times, unit="s", timestamps=clock.times
    )
    module.add(stimulus_clock)
    _add_running(nwb, data)
    if run.licks.size:
        module = nwb.create_processing_module("licking", "Licking behavior processing module")
        times = clock.times[run.licks]
        description = "Timestamps and stimulus presentation frame indices for lick events"
        module.add(
            pynwb.TimeSeries(
                name="licks", data=run.licks, unit="N/A", timestamps=times, description=description
            )
        )
    if run.reward_frames.size:
        module = nwb.create_processing_module("rewards", "Licking behavior processing module")
        times = clock.times[run.reward_frames]
        module.add(
            pynwb.TimeSeries(name="volume", data=run.reward_volumes, unit="mL", timestamps=times)
        )
        module.add(
            pynwb.TimeSeries(
                name="autorewarded", data=run.reward_auto, unit="mL", timestamps=times.copy()
            )
        )
    if data.eye is not None:
        _add_eye(draft, data.eye, session.equipment)
    # Releases before 1.1.0 stored no picture of the gratings.
    if not (draft.legacy and data.image_set.name == "grating"):
        _add_templates(draft, data, scale)

    trials = trial_columns(run, clock, list(data.image_set.images), legacy=draft.legacy)
    nwb.trials = _trials_table(trials, lick_times(run, clock))
    if draft.legacy:
        groups = legacy_presentations(session, run, clock, data.image_set)
    else:
        groups = [task_presentations(session, run, clock, data.image_set)]
        groups += gray_and_movie(scale, clock) if session.has_movie else []
    for group in groups:
        nwb.add_time_intervals(_presentations_table(group, clock, stimulus_clock))


def _add_running(nwb: Any, data: SessionData) -> None:
    """Adds the wheel's five series, each with its own copy of the stimulus clock."""
    running, times = data.running, data.clock.times
    signal = "Voltage signal from the running wheel encoder"
    for name, values, text in (
        ("v_in", running.v_in, _ENCODER_SUPPLY),
        ("v_sig", running.v_sig, signal),
    ):
        nwb.add_acquisition(
            pynwb.TimeSeries(
                name=name, data=values, unit="V", timestamps=times.copy(), description=text
            )
        )
    module = nwb.create_processing_module("running", "Running speed processing module")
    for name, values in (("speed", running.speed), ("speed_unfiltered", running.speed_unfiltered)):
        module.add(pynwb.TimeSeries(name=name, data=values, unit="cm/s", timestamps=times.copy()))
    text = "Running wheel angular change, computed during data collection"
    module.add(
        pynwb.TimeSeries(
            name="dx", data=running.dx, unit="cm", timestamps=times.copy(), description=text
        )
    )


def _add_eye(draft: Draft, eye: EyeTracking, equipment: str) -> None:
    """Adds eye tracking and rig geometry. Other series link to the clock of the eye's series."""
    series = ext.container_class(ext.EYE, "EllipseSeries", draft.legacy)
    tracking = ext.container_class(ext.EYE, "EllipseEyeTracking", draft.legacy)
    blink = eye.likely_blink
    fitted: dict[str, Any] = {}
    for name in sorted(eye.ellipses, key=lambda name: name != EYE):
        ellipse = eye.ellipses[name]
        # From 1.1.0 on, eye and pupil are stored without the fits made during blinks.
        blank = blink & (not draft.legacy and name != REFLECTION)
        fitted[name] = series(
            name=name,
            data=ellipse.center,
            reference_frame="nose",
            area=np.where(blink, np.nan, ellipse.area),
            area_raw=ellipse.area,
            width=np.where(blank, np.nan, ellipse.width),
            height=np.where(blank, np.nan, ellipse.height),
            angle=np.where(blank, np.nan, ellipse.angle),
            timestamps=fitted[EYE] if fitted else eye.timestamps,
        )
    flags = pynwb.TimeSeries(
        name="likely_blink", data=blink, unit="N/A", timestamps=fitted[EYE], description="blinks"
    )
    draft.nwb.add_acquisition(tracking(name="EyeTracking", likely_blink=flags, **fitted))
    rig = ext.container_class(ext.BEHAVIOR, "OphysEyeTrackingRigMetadata", draft.legacy)
    geometry = {
        "monitor_position": [118.6, 86.2, 31.6],
        "camera_position": [130.0, 0.0, 0.0],
        "led_position": [265.1, -39.3, 1.0],
        "monitor_rotation": [0.0, 0.0, 0.0],
        "camera_rotation": [0.0, 0.0, 13.1],
    }
    units = {
        f"{name}__unit_of_measurement": "mm" if name.endswith("position") else "deg"
        for name in geometry
    }
    values = {name: np.array(value) for name, value in geometry.items()}
    module = draft.nwb.create_processing_module(
        "eye_tracking_rig_metadata", "Eye tracking rig metadata module"
    )
    module.add(rig(name="eye_tracking_rig_metadata", equipment=equipment, **values, **units))


def _add_templates(draft: Draft, data: SessionData, scale: Scale) -> None:
    """Adds the template images and the redundant list of when each was shown."""
    images = data.image_set
    n, shape = len(images.images), scale.template_shape
    # The release's gratings have no hidden border and were stored as float32.
    unwarped = np.float32 if images.name == "grating" else np.float64
    path = f"/stimulus/templates/{images.name}"
    template = ext.container_class(ext.TEMPLATE, "StimulusTemplate", draft.legacy)(
        name=images.name,
        data=draft.later(f"{path}/data", (n, *shape), np.uint8, _image_blocks(images, shape, 0)),
        unwarped=draft.later(
            f"{path}/unwarped", (n, *shape), unwarped, _image_blocks(images, shape, 1)
        ),
        unit="NA",
        format="raw",
        timestamps=np.full(n, np.nan),
        control=np.arange(n, dtype=np.uint64),
        control_description=list(images.images),
    )
    draft.nwb.add_stimulus_template(template)
    index, times = shown_images(data.session, data.run, data.clock)
    # The release's series index a time series. pynwb refuses to make such series but can read them,
    # so it is told that it is reading.
    series = pynwb.image.IndexSeries.__new__(pynwb.image.IndexSeries, in_construct_mode=True)
    series.__init__(
        name=images.name, data=index, unit="N/A", indexed_timeseries=template, timestamps=times
    )
    draft.nwb.add_stimulus(series)


def _image_blocks(images: ImageSet, shape: tuple[int, int], which: int) -> Blocks:
    """Blocks of one image each, of the warped (0) or unwarped (1) templates."""

    def blocks() -> Iterator[tuple[slice, Any]]:
        for row, pair in enumerate(template_images(images, shape)):
            yield slice(row, row + 1), pair[which]

    return blocks


def _index_dtype(last: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type for indices up to `last`, as hdmf chooses; the release's files have all
    three.
    """
    return np.uint8 if last < 2**8 else np.uint16 if last < 2**16 else np.uint32


def _trials_table(columns: Columns, licks: Ragged) -> Any:
    """Makes `/intervals/trials`.

    For a session without licks, the release's writer stored one empty text in place of the times.
    """
    parts: list[Any] = []
    for vector in vectors(columns, _COLUMN_DESCRIPTIONS, "NOT IMPLEMENTED: {name}"):
        if vector.name != "lick_times":
            parts.append(vector)
            continue
        flat = licks.flat if licks.flat.size else [""]
        target = common.VectorData(name="lick_times", description=vector.description, data=flat)
        ends = licks.ends.astype(_index_dtype(int(licks.ends[-1])))
        parts += [common.VectorIndex(name="lick_times_index", data=ends, target=target), target]
    rows = common.ElementIdentifiers(name="id", data=np.arange(len(columns["start_time"])))
    text = "experimental trials"
    return pynwb.epoch.TimeIntervals(
        name="trials", description=text, id=rows, columns=parts, colnames=list(columns)
    )


def _presentations_table(group: Presentations, clock: Clock, stimulus_clock: Any) -> Any:
    """Makes one group with NWB's bookkeeping: a tag, and each row's slice of the stimulus clock."""
    start, stop = np.asarray(group.columns["start_time"]), np.asarray(group.columns["stop_time"])
    n = len(start)
    ends = np.arange(1, n + 1, dtype=_index_dtype(n))
    low, high = np.searchsorted(clock.times, start), np.searchsorted(clock.times, stop)
    stretches = [
        pynwb.base.TimeSeriesReference(int(a), int(b - a), stimulus_clock)
        for a, b in zip(low, high, strict=True)
    ]
    tags = common.VectorData(
        name="tags", description="user-defined tags", data=["stimulus_time_interval"] * n
    )
    text = "index into a TimeSeries object"
    series = pynwb.base.TimeSeriesReferenceVectorData(
        name="timeseries", description=text, data=stretches
    )
    bookkeeping: list[Any] = [
        common.VectorIndex(name="tags_index", data=ends, target=tags),
        tags,
        common.VectorIndex(name="timeseries_index", data=ends.copy(), target=series),
        series,
    ]
    return pynwb.epoch.TimeIntervals(
        name=group.name,
        description=group.description,
        id=common.ElementIdentifiers(name="id", data=np.arange(n)),
        columns=[*vectors(group.columns, _COLUMN_DESCRIPTIONS, "No description"), *bookkeeping],
        colnames=[*group.columns, "tags", "timeseries"],
    )
