"""Traces as arrays and event-triggered averages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vblake.around import SignalAround, around_signal
from vblake.files import Files
from vblake.lists import read_lists, read_matrix
from vblake.traces import Traces, event_triggered_average


def _signal(clock: np.ndarray, values: np.ndarray, times: list[float]) -> SignalAround:
    events = np.array(times, dtype=np.float64)
    return around_signal("pupil_area", "px^2", clock, values, events, 0.1, 0.2, "drop")


def _ramp(n_cells: int = 2, n_frames: int = 100, rate: float = 10.0) -> Traces:
    values = np.arange(n_frames, dtype=np.float64) + 1000 * np.arange(n_cells)[:, np.newaxis]
    return Traces(np.arange(n_cells), np.arange(n_frames) / rate, values)


def test_average_of_a_ramp() -> None:
    average = event_triggered_average(_ramp(), np.array([2.0, 4.0]), before_s=0.2, after_s=0.3)
    assert average.n_events == 2
    np.testing.assert_allclose(average.seconds, [-0.2, -0.1, 0.0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(average.mean[0], [28, 29, 30, 31, 32, 33])
    np.testing.assert_array_equal(average.mean[1], average.mean[0] + 1000)


def test_sample_zero_is_the_first_frame_at_or_after_the_event() -> None:
    average = event_triggered_average(_ramp(), np.array([1.01]), before_s=0, after_s=0)
    np.testing.assert_array_equal(average.mean, [[11.0], [1011.0]])


def test_events_at_the_ends_are_left_out() -> None:
    average = event_triggered_average(
        _ramp(), np.array([-5.0, 0.0, 0.5, 9.8, 50.0]), before_s=0.1, after_s=0.2
    )
    assert average.n_events == 1
    np.testing.assert_array_equal(average.mean[0], [4, 5, 6, 7])


def test_a_nan_stays_in_its_samples() -> None:
    traces = _ramp(1)
    traces.values[0, 51] = np.nan
    average = event_triggered_average(traces, np.array([3.0, 5.0]), before_s=0, after_s=0.2)
    np.testing.assert_array_equal(np.isnan(average.mean[0]), [False, True, False])


def test_equals_the_plain_definition() -> None:
    random = np.random.default_rng(3)
    traces = Traces(
        np.arange(3), np.cumsum(random.normal(1 / 31, 1e-4, 500)), random.normal(size=(3, 500))
    )
    times = random.uniform(-1, 18, 60)
    average = event_triggered_average(traces, times, before_s=0.5, after_s=1.0)
    before, after = int(np.sum(average.seconds < 0)), int(np.sum(average.seconds > 0))
    assert (before, after) == (15, 30)  # the median period of this clock is a little over 1/31 s
    windows = []
    for time in times:
        frame = int(np.sum(traces.timestamps < time))
        if frame - before >= 0 and frame + after < 500:
            windows.append(traces.values[:, frame - before : frame + after + 1])
    assert average.n_events == len(windows)
    np.testing.assert_allclose(average.mean, np.mean(windows, axis=0), rtol=1e-12, atol=1e-15)


def test_no_event_in_the_recording() -> None:
    with pytest.raises(
        ValueError,
        match=r"None of 2 events has its window of 1 s before to 1 s after it within the recording\.",
    ):
        event_triggered_average(_ramp(), np.array([-10.0, 99.0]), before_s=1, after_s=1)


@pytest.mark.parametrize(("before", "after"), [(-0.1, 1), (1, -0.1), (float("nan"), 1)])
def test_negative_window(before: float, after: float) -> None:
    with pytest.raises(ValueError, match="Both must be at least 0"):
        event_triggered_average(_ramp(), np.array([5.0]), before, after)


def test_a_signal_is_interpolated_to_steps_from_each_event() -> None:
    clock = np.arange(100) / 10
    around = _signal(clock, clock**2, [2.0, 4.03, -1.0, 9.85, np.nan])
    np.testing.assert_allclose(around.seconds, [-0.1, 0, 0.1, 0.2])
    np.testing.assert_allclose(around.times, [2.0, 4.03])
    np.testing.assert_allclose(around.values[0], [1.9**2, 4, 2.1**2, 2.2**2])
    np.testing.assert_allclose(around.values[1, 1], 0.7 * 4.0**2 + 0.3 * 4.1**2)


def test_a_signal_is_nan_in_gaps_and_blinks_and_its_mean_leaves_them_out() -> None:
    clock = np.delete(np.arange(100) / 10, [20, 21])
    values = np.ones(98)
    values[[50, 51]] = np.nan  # 5.2 and 5.3 s
    around = _signal(clock, values, [1.95, 5.0, 8.0])
    missing = [[False, True, True, True], [False, False, False, True], [False] * 4]
    np.testing.assert_array_equal(np.isnan(around.values), missing)
    np.testing.assert_array_equal(around.mean(), [1, 1, 1, 1])
    at_its_edges = _signal(clock, values, [2.2])
    np.testing.assert_array_equal(np.isnan(at_its_edges.values[0]), [True, False, False, False])


def _lists(folder: Path, values: list[list[int | None]], rows: int) -> str:
    path = str(folder / "lists.parquet")
    table = pa.table({"id": list(range(len(values))), "x": pa.array(values, pa.list_(pa.uint8()))})
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_lists_become_a_matrix_whatever_the_row_groups(tmp_path: Path, rows: int) -> None:
    values: list[list[int | None]] = [[3 * row, 1, row] for row in range(9)]
    matrix = read_matrix(Files(str(tmp_path)), _lists(tmp_path, values, rows), "x")
    assert matrix.dtype == np.uint8
    assert matrix.flags.writeable
    np.testing.assert_array_equal(matrix, np.array(values))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_lists_become_arrays_of_their_own_with_nan_for_null(tmp_path: Path, rows: int) -> None:
    values = [[0.5 * row, None if row == 2 else 1.0, np.inf] for row in range(5)]
    path = str(tmp_path / "lists.parquet")
    pq.write_table(pa.table({"x": values}), path, row_group_size=rows)
    usual = pa.default_memory_pool().backend_name
    (arrays,) = read_lists(Files(str(tmp_path)), path, "x")
    assert pa.default_memory_pool().backend_name == usual
    arrays[0][:] = -1  # Writable, and no other array changes.
    expected = np.array([[-1.0, -1.0, -1.0], *values[1:]], dtype=np.float64)
    np.testing.assert_array_equal(np.stack(arrays), expected)


def test_lists_of_different_lengths_are_no_matrix(tmp_path: Path) -> None:
    path = _lists(tmp_path, [[1, 2], [3]], 1)
    with pytest.raises(ValueError, match="row 1 has 1 items, where 2 are expected"):
        read_matrix(Files(str(tmp_path)), path, "x")
