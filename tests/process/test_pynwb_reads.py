"""pynwb as an independent reader of the reference files: what it gives is what the readers deliver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from builders.mini import BEHAVIOR_FILE, EXPERIMENT_FILE, MINI
from builders.nwb import columns
from pynwb import NWBHDF5IO, NWBFile

from pipelines.nwb.recording import Recording, open_recording

pytestmark = [
    # The release's writer describes devices as NWB 2.7 does; later pynwb has another place for the manufacturer.
    pytest.mark.filterwarnings("ignore:The 'manufacturer' field is deprecated:DeprecationWarning"),
    # The files carry the schemas they were written with; older hdmf says that it keeps the ones it has loaded.
    pytest.mark.filterwarnings("ignore:Ignoring (the following )?cached namespace:UserWarning"),
]


def opened(key: str) -> Iterator[tuple[NWBFile, Recording]]:
    path = MINI / "bucket" / key
    with (
        NWBHDF5IO(str(path), "r", load_namespaces=True) as io,
        open_recording(path, path.name) as recording,
    ):
        yield io.read(), recording


@pytest.fixture(scope="module")
def behavior() -> Iterator[tuple[NWBFile, Recording]]:
    yield from opened(BEHAVIOR_FILE)


@pytest.fixture(scope="module")
def experiment() -> Iterator[tuple[NWBFile, Recording]]:
    yield from opened(EXPERIMENT_FILE)


@pytest.fixture(params=["behavior", "experiment"])
def both(request: pytest.FixtureRequest) -> tuple[NWBFile, Recording]:
    return request.getfixturevalue(request.param)


def nulls(values: Any) -> list[Any]:
    """NaN and infinities as None, everything as Python values."""
    array = np.asarray(values)
    items = array.tolist()
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in items]


def test_licks_and_rewards(both: tuple[NWBFile, Recording]) -> None:
    nwb, recording = both
    licks = nwb.processing["licking"]["licks"]
    assert columns("licks", recording) == {
        "timestamps": licks.timestamps[:].tolist(),
        "frame": licks.data[:].tolist(),
    }
    rewards = nwb.processing["rewards"]
    assert columns("rewards", recording) == {
        "volume": rewards["volume"].data[:].tolist(),
        "timestamps": rewards["autorewarded"].timestamps[:].tolist(),
        "autorewarded": rewards["autorewarded"].data[:].tolist(),
    }


def test_running_and_the_clock(both: tuple[NWBFile, Recording]) -> None:
    nwb, recording = both
    for table, name in (("running_speed", "speed"), ("raw_running_speed", "speed_unfiltered")):
        series = nwb.processing["running"][name]
        assert np.nanmean(series.data[:]) > -1  # not flipped
        assert columns(table, recording) == {
            "timestamps": series.timestamps[:].tolist(),
            "speed": nulls(series.data[:]),
        }
    clock = nwb.processing["stimulus"]["timestamps"].timestamps[:].tolist()
    assert columns("stimulus_timestamps", recording) == {"timestamps": [clock]}


def test_trials(both: tuple[NWBFile, Recording]) -> None:
    nwb, recording = both
    table = nwb.trials
    got = columns("trials", recording)
    assert got.pop("trials_id") == list(table.id[:])
    assert got.pop("lick_times") == [list(map(float, row)) for row in table["lick_times"][:]]
    assert got.pop("stimulus_change") == list(table["is_change"][:])
    assert got.pop("change_frame") == [
        None if v == -99 else v for v in table["change_frame"][:].tolist()
    ]
    for name, values in got.items():
        assert values == nulls(table[name][:]), name
    assert set(got) | {"lick_times", "is_change", "change_frame"} == set(table.colnames)


STORED = (
    "stimulus_block",
    "stimulus_block_name",
    "duration",
    "start_time",
    "stop_time",
    "start_frame",
    "end_frame",
    "active",
    "stimulus_name",
)


def test_presentations(both: tuple[NWBFile, Recording]) -> None:
    nwb, recording = both
    groups = [group for name, group in nwb.intervals.items() if name.endswith("_presentations")]
    got = columns("stimulus_presentations", recording)
    order = np.argsort(np.concatenate([group["start_time"][:] for group in groups]), kind="stable")
    assert len(order) == len(got["start_time"])
    for name in STORED:
        stored = np.concatenate([np.asarray(group[name][:]) for group in groups])[order]
        assert got[name] == nulls(stored), name
    for name in ("image_name", "omitted", "is_image_novel", "image_index", "trials_id"):
        stored = [
            v
            for group in groups
            for v in (
                np.asarray(group[name][:]).tolist()
                if name in group.colnames
                else [None] * len(group)
            )
        ]
        rows = [stored[i] for i in order]
        assert got[name] == [None if v in (-99, None) or v != v else v for v in rows], name


def test_traces_and_events(experiment: tuple[NWBFile, Recording]) -> None:
    nwb, recording = experiment
    ophys = nwb.processing["ophys"]
    rois = ophys["image_segmentation"]["cell_specimen_table"]
    by_id = {int(i): row for row, i in enumerate(rois.id[:]) if rois["valid_roi"][row]}
    for table, interface, name in (
        ("dff_traces", "dff", "dff"),
        ("corrected_fluorescence_traces", "corrected_fluorescence", "corrected_fluorescence"),
        ("demixed_traces", "demixed_trace", "demixed_trace"),
        ("neuropil_traces", "neuropil_trace", "neuropil_trace"),
    ):
        series = ophys[interface]["traces"]
        got = columns(table, recording)
        assert got["cell_roi_id"] == sorted(by_id), table
        for roi, trace in zip(got["cell_roi_id"], got[name], strict=True):
            assert (
                np.array(trace).tobytes()
                == np.ascontiguousarray(series.data[:, by_id[roi]]).tobytes()
            ), table
    assert columns("ophys_timestamps", recording)["timestamps"] == [
        ophys["dff"]["traces"].timestamps[:].tolist()
    ]
    detection = ophys["event_detection"]
    column_of = {int(rois.id[row]): column for column, row in enumerate(detection.rois.data[:])}
    got = columns("events", recording)
    assert got["cell_roi_id"] == sorted(set(column_of) & set(by_id))
    for i, roi in enumerate(got["cell_roi_id"]):
        assert got["events"][i] == detection.data[:, column_of[roi]].tolist()
        assert got["lambda"][i] == detection.lambdas[column_of[roi]]
        assert got["noise_std"][i] == detection.noise_stds[column_of[roi]]


def test_cells(experiment: tuple[NWBFile, Recording]) -> None:
    nwb, recording = experiment
    rois = nwb.processing["ophys"]["image_segmentation"]["cell_specimen_table"]
    got = columns("cell_specimens", recording)
    rows = [row for row in np.argsort(rois.id[:]) if rois["valid_roi"][row]]
    assert got["cell_roi_id"] == [int(rois.id[row]) for row in rows]
    assert got["cell_specimen_id"] == [
        None if not v > 0 else int(v) for v in (rois["cell_specimen_id"][row] for row in rows)
    ]
    assert got["roi_mask"] == [np.flatnonzero(rois["image_mask"][row]).tolist() for row in rows]
    for name in ("x", "y", "width", "height", "mask_image_plane", "max_correction_up"):
        assert got[name] == [rois[name][row] for row in rows], name


def test_metadata(experiment: tuple[NWBFile, Recording]) -> None:
    nwb, recording = experiment
    plane = nwb.processing["ophys"]["image_segmentation"]["cell_specimen_table"].imaging_plane
    got = {name: value for name, (value,) in columns("experiment_metadata", recording).items()}
    stored = nwb.lab_meta_data["metadata"]
    assert got["ophys_frame_rate"] == plane.imaging_rate
    assert got["targeted_structure"] == plane.location
    assert got["emission_lambda"] == plane.optical_channel[0].emission_lambda
    assert got["excitation_lambda"] == plane.excitation_lambda
    assert got["experiment_container_id"] == stored.ophys_container_id
    for name in (
        "imaging_depth",
        "targeted_imaging_depth",
        "field_of_view_width",
        "imaging_plane_group",
        "session_type",
        "project_code",
    ):
        assert got[name] == getattr(stored, name), name
    assert got["full_genotype"] == nwb.subject.genotype
    assert got["driver_line"] == sorted(nwb.subject.driver_line)
    assert got["date_of_acquisition"] == nwb.session_start_time
