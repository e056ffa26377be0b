"""Traces, events and their filter, the imaging clock."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from builders.nwb import (
    CELLS,
    FRAMES,
    NAME,
    NAN,
    OPHYS,
    Content,
    column,
    columns,
    experiment_file,
    problem,
    recording,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.nwb import by_cell
from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from pipelines.nwb.traces import filter_weights
from schemas.errors import DataError

EVENTS = f"{OPHYS}/event_detection"
TRACES = {
    "dff_traces": ("dff", "dff", 1000.0),
    "corrected_fluorescence_traces": ("corrected_fluorescence", "corrected_fluorescence", 2000.0),
    "demixed_traces": ("demixed_trace", "demixed_trace", 3000.0),
    "neuropil_traces": ("neuropil_trace", "neuropil_trace", 4000.0),
}


def ramp(base: float, roi: int) -> list[float]:
    return [base + 10 * frame + roi for frame in range(FRAMES)]


@pytest.mark.parametrize("table", TRACES)
def test_a_row_per_valid_cell_by_its_id(table: str) -> None:
    _, name, base = TRACES[table]
    got = columns(table, experiment_file())
    assert got["cell_roi_id"] == [901, 903, 904]
    assert got["cell_specimen_id"] == [8001, 8003, None]
    assert got[name] == [ramp(base, 1), ramp(base, 0), ramp(base, 3)]


@pytest.mark.parametrize("missing", ["r", "RMSE"])
def test_without_one_of_r_and_rmse_there_is_neither(missing: str) -> None:
    got = columns(
        "corrected_fluorescence_traces",
        without(experiment_file(), f"{OPHYS}/corrected_fluorescence/{missing}"),
    )
    assert got["r"] == got["RMSE"] == [None] * 3


def test_releases_before_1_1_0_have_neither_demixed_nor_neuropil() -> None:
    old = without(experiment_file(), f"{OPHYS}/demixed_trace", f"{OPHYS}/neuropil_trace")
    assert column("demixed_traces", old, "demixed_trace") == []
    assert column("neuropil_traces", old, "neuropil_trace") == []


def test_batches_of_cells() -> None:
    """Cells come by id, 16 in a batch, wherever the file has them."""
    n = 50
    content = experiment_file()
    content |= {
        path: np.resize(v, (n, *v.shape[1:]))
        for path, v in content.items()
        if path.startswith(f"{CELLS}/") and isinstance(v, np.ndarray)
    }
    ids = np.random.default_rng(0).permutation(n) + 1
    data = 1000.0 * np.arange(FRAMES)[:, None] + ids
    content |= {f"{CELLS}/id": ids, f"{CELLS}/valid_roi": ids % 5 != 0}
    for group in (f"{OPHYS}/dff/traces", EVENTS):
        content |= {f"{group}/data": data, f"{group}/rois": np.arange(n)}
    content |= {f"{EVENTS}/lambdas": ids / 8, f"{EVENTS}/noise_stds": ids / 16}
    kept = [i for i in range(1, n + 1) if i % 5]
    got = columns("dff_traces", content)
    assert got["cell_roi_id"] == kept
    assert got["dff"] == [[1000.0 * frame + i for frame in range(FRAMES)] for i in kept]
    assert [rows.count for rows in READERS["dff_traces"](recording(content))] == [16, 16, 8]
    found = columns("events", content)
    assert found["cell_roi_id"] == kept
    assert found["events"] == got["dff"]
    assert found["lambda"] == [i / 8 for i in kept]


def test_the_clock_may_go_on_after_the_traces() -> None:
    clock = np.arange(FRAMES + 2) / 8
    content = experiment_file() | {f"{OPHYS}/dff/traces/timestamps": clock}
    assert column("ophys_timestamps", content, "timestamps") == [clock.tolist()]
    assert len(column("dff_traces", content, "dff")[0]) == FRAMES
    assert len(column("events", content, "events")[0]) == FRAMES


def test_a_clock_that_is_too_short() -> None:
    content = experiment_file() | {f"{OPHYS}/dff/traces/timestamps": np.arange(FRAMES - 1) / 8}
    expected = f"file {NAME}, column {OPHYS}/dff/traces/data: traces and clock do not match; expected at most 4 frames, and some; found 5 frames"
    for table in ("dff_traces", "events", "ophys_timestamps"):
        assert problem(table, content) == expected


def test_traces_and_rois_must_match() -> None:
    at = f"{OPHYS}/dff/traces"
    fewer = experiment_file() | {f"{at}/data": np.zeros((FRAMES, 3))}
    assert problem("dff_traces", fewer) == (
        f"file {NAME}, column {at}/data: traces and ROIs do not match; expected 4 columns, one per ROI; found shape (5, 3)"
    )
    swapped = experiment_file() | {f"{at}/rois": np.array([1, 0, 2, 3])}
    assert problem("dff_traces", swapped) == (
        f"file {NAME}, column {at}/rois: traces are not in the order of the ROI table; expected 0 to 3; found another order"
    )


@pytest.mark.parametrize("in_memory", [by_cell.IN_MEMORY, 0])
@pytest.mark.parametrize("storage", [{}, {"chunks": (700, 3), "compression": "gzip"}])
@pytest.mark.parametrize("dtype", ["<f8", ">f4"])
def test_traces_by_cell_in_memory_and_through_a_file(
    in_memory: int,
    storage: dict[str, Any],
    dtype: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_cell, "IN_MEMORY", in_memory)
    values = np.random.default_rng(1).normal(size=(2100, 7)).astype(dtype)
    values[5, 4] = math.nan
    file = h5py.File("memory", "w", driver="core", backing_store=False)
    file.create_dataset("x", data=values, **storage)
    for chosen in (np.array([6, 0, 4, 5, 1]), np.arange(7), np.array([], dtype=int)):
        with by_cell.by_cell(Recording(HdfFile(file, NAME), tmp_path), "/x", chosen) as traces:
            for part in (slice(0, 2), slice(2, 5), slice(0, 5)):
                found = traces(part)
                expected = values[:, chosen[part]].T
                assert found.flags.c_contiguous
                assert found.dtype == expected.dtype
                assert found.tobytes() == expected.tobytes()
    assert not list(tmp_path.iterdir())


def test_events() -> None:
    got = columns("events", experiment_file())
    w = [float(x) for x in filter_weights(11.0)]
    assert got["cell_roi_id"] == [901, 903, 904]
    assert got["cell_specimen_id"] == [8001, 8003, None]
    assert got["lambda"] == [0.2, 0.1, 0.4]
    assert got["noise_std"] == [0.02, 0.01, 0.04]
    assert got["events"] == [[0.0, 2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5]
    assert got["filtered_events"] == [
        [0.0, 2 * w[0], 2 * w[1], 2 * w[2], 2 * w[3]],
        w[:5],
        [0.0] * 5,
    ]


@settings(max_examples=30)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(0, 100)), min_size=1, max_size=60),
    st.sampled_from([11.0, 31.0, 9.5]),
)
def test_filtered_events_are_an_explicit_sum(trace: list[float], rate: float) -> None:
    n = len(trace)
    content = experiment_file() | {"/general/optophysiology/imaging_plane_1/imaging_rate": rate}
    data = np.zeros((n, 4))
    data[:, 1] = trace
    content |= {
        f"{EVENTS}/data": data,
        f"{OPHYS}/dff/traces/data": np.zeros((n, 4)),
        f"{OPHYS}/dff/traces/timestamps": np.arange(n) / 8,
    }
    got = columns("events", content)
    w = filter_weights(rate)
    expected = [sum(trace[t - k] * w[k] for k in range(min(t + 1, 20))) for t in range(n)]
    assert got["filtered_events"][0] == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert [len(row) for row in got["filtered_events"]] == [n] * 3
    assert got["filtered_events"][1] == [0.0] * n


@pytest.mark.parametrize("rate", [np.nan, np.inf, 0.0, -11.0])
def test_events_cannot_be_filtered_without_a_frame_rate(rate: float) -> None:
    content = experiment_file() | {"/general/optophysiology/imaging_plane_1/imaging_rate": rate}
    with pytest.raises(DataError, match=f"imaging_rate.*a positive number.*found {rate}"):
        columns("events", content)


def subset(of: list[int], **changed: Any) -> Content:
    """Events of some ROIs only, column k of the ROI in row of[k] of the table."""
    n = len(of)
    own = {
        "data": np.tile(np.arange(n) + 1.0, (FRAMES, 1)),
        "rois": np.array(of, dtype=np.int64),
        "lambdas": np.arange(n) / 8,
        "noise_stds": np.arange(n) / 16,
        **changed,
    }
    return experiment_file() | {f"{EVENTS}/{name}": value for name, value in own.items()}


def test_events_of_some_cells_in_another_order() -> None:
    # Row 3 is ROI 904, row 2 the invalid 902, row 1 ROI 901; 903 has no events.
    got = columns("events", subset([3, 2, 1]))
    assert got["cell_roi_id"] == [901, 904]
    assert got["lambda"] == [2 / 8, 0.0]
    assert got["noise_std"] == [2 / 16, 0.0]
    assert [row[0] for row in got["events"]] == [3.0, 1.0]


def test_events_of_no_cell() -> None:
    for content in (subset([]), subset([2])):
        assert columns("events", content)["cell_roi_id"] == []


def test_a_cell_without_lambda_or_noise_is_left_out() -> None:
    # pandas' dropna in the released reader, which runs wherever a valid cell has any missing value.
    lambdas = subset([0, 1, 2, 3], lambdas=np.array([0.5, NAN, NAN, 0.5]))
    assert columns("events", lambdas)["cell_roi_id"] == [903, 904]
    noise = subset([1, 3], noise_stds=np.array([0.5, NAN]))
    assert columns("events", noise)["cell_roi_id"] == [901]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (
            {"rois": np.array([0.5, 1])},
            "/rois: events refer to ROIs that do not exist; expected integers from 0 to 3; found float64 from 0.5 to 1.0",
        ),
        (
            {"noise_stds": np.zeros(1)},
            "/noise_stds: lengths disagree; expected 2 rows; found 1 rows",
        ),
    ],
)
def test_events_that_do_not_fit(changed: dict[str, Any], text: str) -> None:
    assert problem("events", subset([0, 1], **changed)) == f"file {NAME}, column {EVENTS}{text}"
