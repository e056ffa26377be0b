"""Which function reads which table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pipelines.nwb import (
    annotations,
    cells,
    eye_tracking,
    metadata,
    performance,
    presentations,
    responses,
    templates,
    traces,
    trials,
)
from pipelines.nwb import behavior_series as series
from pipelines.nwb.recording import Recording, Rows

Reader = Callable[[Recording], Iterator[Rows]]

READERS: Mapping[str, Reader] = {
    function.__name__: function
    for function in (
        metadata.behavior_metadata,
        metadata.experiment_metadata,
        trials.trials,
        presentations.stimulus_presentations,
        templates.stimulus_templates,
        metadata.task_parameters,
        performance.rolling_performance,
        series.licks,
        series.rewards,
        series.running_speed,
        series.raw_running_speed,
        series.running_acquisition,
        series.stimulus_timestamps,
        eye_tracking.eye_tracking,
        eye_tracking.eye_tracking_rig_geometry,
        performance.performance_metrics,
        annotations.presentation_annotations,
        cells.cell_specimens,
        cells.roi_masks,
        traces.dff_traces,
        traces.corrected_fluorescence_traces,
        traces.events,
        traces.demixed_traces,
        traces.neuropil_traces,
        traces.ophys_timestamps,
        cells.motion_correction,
        cells.projections,
        presentations.presentation_frames,
        responses.stimulus_responses,
        responses.mean_responses,
    )
}
"""Readers by table. Each yields the rows of one file, without the keys."""
