"""Traces as arrays and event-triggered averages."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from vblake.traces import Traces, event_triggered_average, read_traces


def _ramp(n_cells: int = 2, n_frames: int = 100, rate: float = 10.0) -> Traces:
    values = np.arange(n_frames, dtype=np.float64) + 1000 * np.arange(n_cells)[:, np.newaxis]
    return Traces(np.arange(n_cells), np.arange(n_frames) / rate, values)


def _experiment(lake: Path) -> tuple[int, int]:
    sql = f"SELECT ophys_experiment_id, count(*) FROM '{lake}/dff_traces/**/*.parquet' GROUP BY 1 ORDER BY 1 LIMIT 1"
    found = duckdb.sql(sql).fetchone()
    assert found is not None
    return found


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


def test_read_traces_returns_what_the_lake_holds(sample_lake: Path) -> None:
    experiment, n_cells = _experiment(sample_lake)
    traces = read_traces(sample_lake, experiment)
    assert traces.values.shape == (n_cells, len(traces.timestamps))
    sql = f"SELECT cell_roi_id, dff FROM '{sample_lake}/dff_traces/**/*.parquet' WHERE ophys_experiment_id = ? ORDER BY cell_roi_id"
    for row, (roi, dff) in enumerate(duckdb.execute(sql, [experiment]).fetchall()):
        assert traces.cell_roi_id[row] == roi
        np.testing.assert_array_equal(traces.values[row], dff)


def test_read_filtered_events(sample_lake: Path) -> None:
    experiment, _ = _experiment(sample_lake)
    plain = read_traces(sample_lake, experiment, "events")
    filtered = read_traces(sample_lake, experiment, "events", "filtered_events")
    assert plain.values.shape == filtered.values.shape
    assert not np.array_equal(plain.values, filtered.values)


def _message(lake: Path, *arguments: int | str) -> str:
    with pytest.raises(LookupError) as raised:
        read_traces(lake, *arguments)  # pyright: ignore[reportArgumentType]
    return str(raised.value)


def test_experiment_that_the_lake_does_not_hold(sample_lake: Path) -> None:
    experiment, _ = _experiment(sample_lake)
    assert _message(sample_lake, int(f"{experiment}9")) == (
        f"{sample_lake.resolve()} has no dff_traces of experiment {experiment}9. "
        f"Did you mean '{experiment}'? Otherwise ingest it with "
        f"`vblake ingest --experiment {experiment}9`."
    )


def test_no_such_table(sample_lake: Path) -> None:
    experiment, _ = _experiment(sample_lake)
    message = _message(sample_lake, experiment, "dff_trace")
    assert message.endswith("has no table 'dff_trace'. Did you mean 'dff_traces'?")


@pytest.mark.parametrize(
    ("table", "problem"),
    [("licks", "has no file per experiment"), ("motion_correction", "is not a table of traces")],
)
def test_no_table_of_traces(sample_lake: Path, table: str, problem: str) -> None:
    experiment, _ = _experiment(sample_lake)
    assert _message(sample_lake, experiment, table).startswith(f"{table} {problem}")


def test_no_such_column(sample_lake: Path) -> None:
    experiment, _ = _experiment(sample_lake)
    message = _message(sample_lake, experiment, "events", "dff")
    assert message == "events has no column 'dff' of traces. Use events or filtered_events."
