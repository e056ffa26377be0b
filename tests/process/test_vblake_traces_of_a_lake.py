"""Traces that are read from a lake."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from vblake.traces import read_traces


def _experiment(lake: Path) -> tuple[int, int]:
    sql = f"SELECT ophys_experiment_id, count(*) FROM '{lake}/dff_traces/**/*.parquet' GROUP BY 1 ORDER BY 1 LIMIT 1"
    found = duckdb.execute(sql).fetchone()
    assert found is not None
    return found


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
    [("licks", "has no folder per experiment"), ("motion_correction", "is not a table of traces")],
)
def test_no_table_of_traces(sample_lake: Path, table: str, problem: str) -> None:
    experiment, _ = _experiment(sample_lake)
    assert _message(sample_lake, experiment, table).startswith(f"{table} {problem}")


def test_no_such_column(sample_lake: Path) -> None:
    experiment, _ = _experiment(sample_lake)
    message = _message(sample_lake, experiment, "events", "dff")
    assert message == "events has no column 'dff' of traces. Use events or filtered_events."
