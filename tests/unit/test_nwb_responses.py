"""Responses of cells to presentations, against a literal copy of what the package does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders.nwb import (
    CELLS,
    IMAGES,
    OPHYS,
    Content,
    columns,
    read,
    recording,
    whole_file,
    without,
)

from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import open_recording
from pipelines.nwb.responses import listen
from schemas import TABLES
from schemas.casts import conform

RESPONSES = Path(__file__).parents[3] / "shared" / "reference" / "responses"
FILES = {
    p.stem.rpartition("_")[2]: p
    for p in (RESPONSES.parent / "bucket").rglob("behavior_ophys_experiment_*.nwb")
}
TRACES: tuple[str, ...] = ("dff", "events", "filtered_events")
SHOWN = f"/intervals/{IMAGES}_presentations"
STARTS = (1.25, 2.25, 3.25, 4.25, 8.25, 12.25)


def imaged(first: float = 0.0, last: float = 16.0) -> Content:
    """The whole file, with an uneven imaging clock that spans the task, and noise as traces."""
    rng = np.random.default_rng(3)
    steps = rng.uniform(0.08, 0.12, 400)
    times = first + np.cumsum(steps)
    times = times[times < last]
    content = whole_file()
    for path, value in content.items():
        if path.startswith(OPHYS) and path.endswith("/timestamps"):
            content[path] = times
        elif path.startswith(OPHYS) and path.endswith("/data") and np.ndim(value) == 2:
            content[path] = rng.standard_normal((len(times), value.shape[1]))
    return content


def expected(times: Any, trace: Any, start: float, cells: int, low: float, high: float) -> float:
    """As brain_observatory_utilities 0.5.1 computes it: the clocks of all cells in a row give the
    rate, at which the trace is interpolated within 3 s."""
    step = np.diff(np.tile(times, cells)).mean()
    count = int(6 / step)
    grid = np.linspace(-3, -3 + count * step, count + 1)
    near = (times >= start - 3) & (times <= start + 3)
    trace = np.interp(grid, times[near] - start, trace[near])
    return float(trace[(grid >= low) & (grid <= high)].mean())


def test_each_response_is_that_of_the_package() -> None:
    content = imaged()
    got = columns("stimulus_responses", content)
    assert got["cell_roi_id"] == [901] * 6 + [903] * 6 + [904] * 6
    assert got["cell_specimen_id"] == [8001] * 6 + [8003] * 6 + [None] * 6
    assert got["stimulus_presentations_id"] == [1, 2, 3, 4, 5, 6] * 3
    times = content[f"{OPHYS}/dff/traces/timestamps"]
    tables = {name: read("dff_traces" if name == "dff" else "events", content) for name in TRACES}
    for name, table in tables.items():
        for kind, low, high in (("response", 0.0, 0.5), ("baseline", -0.5, 0.0)):
            want = [
                expected(times, np.array(trace), start, 3, low, high)
                for trace in table.column(name).to_pylist()
                for start in STARTS
            ]
            assert got[f"{name}_{kind}"] == pytest.approx(want, rel=1e-6)


def test_windows_that_the_recording_does_not_cover_are_null() -> None:
    got = columns("stimulus_responses", imaged(first=1.0, last=12.5))
    for name in TRACES:
        assert [v is None for v in got[f"{name}_response"][:6]] == [False] * 5 + [True]
        assert [v is None for v in got[f"{name}_baseline"][:6]] == [True] + [False] * 5


def test_a_sample_that_is_no_number_costs_its_own_windows_only() -> None:
    content = imaged()
    times = content[f"{OPHYS}/dff/traces/timestamps"]
    before = columns("stimulus_responses", content)
    content[f"{OPHYS}/dff/traces/data"][np.searchsorted(times, 2.5), 1] = np.nan  # ROI 901
    got = columns("stimulus_responses", content)
    assert got["dff_response"][1] is None
    for name in ("dff_response", "dff_baseline"):
        kept = [n for n, value in enumerate(got[name]) if value is not None]
        assert set(range(18)) - set(kept) <= {1}
        assert [got[name][n] for n in kept] == pytest.approx([before[name][n] for n in kept])


def test_without_events_their_columns_are_null() -> None:
    opened = recording(without(imaged(), f"{OPHYS}/event_detection"))
    got = columns("stimulus_responses", opened)
    assert None not in got["dff_response"]
    assert got["events_response"] == got["filtered_events_baseline"] == [None] * 18
    assert opened.warnings[-1].startswith("responses in events and filtered_events are NULL: file")


def test_a_cell_without_events_has_responses_in_dff_only() -> None:
    content = imaged()
    content[f"{OPHYS}/event_detection/lambdas"] = np.array([0.1, np.nan, 0.3, 0.4])
    got = columns("stimulus_responses", content)
    assert [v is None for v in got["events_response"]] == [True] * 6 + [False] * 12
    assert None not in got["dff_response"]


def test_few_rows() -> None:
    content = imaged()
    gray = content | {f"{SHOWN}/stimulus_block_name": ["gray"] * 6}
    assert read("stimulus_responses", gray).num_rows == 0
    one = content | {f"{SHOWN}/stimulus_block_name": ["gray"] * 5 + ["change_detection_behavior"]}
    assert columns("stimulus_responses", one)["stimulus_presentations_id"] == [6] * 3
    no_cell = content | {f"{CELLS}/valid_roi": np.zeros(4, dtype=bool)}
    assert read("stimulus_responses", no_cell).num_rows == 0
    assert read("stimulus_responses", whole_file())["dff_response"].null_count == 18  # 0.5 s


def test_what_is_read_for_other_tables_is_not_read_again() -> None:
    content = imaged()
    opened = recording(content)
    listen(opened)
    traces = [read(name, opened) for name in ("dff_traces", "events")]
    for path in (f"{OPHYS}/dff/traces/data", f"{OPHYS}/event_detection/data"):
        del opened.hdf.h5[path]
    assert read("stimulus_responses", opened) == read("stimulus_responses", content)
    assert traces == [read(name, content) for name in ("dff_traces", "events")]


def test_presentations_that_cannot_be_read_cost_no_traces() -> None:
    opened = recording(without(imaged(), f"{SHOWN}/start_time"))
    listen(opened)
    assert read("dff_traces", opened).num_rows == 3


@pytest.mark.parametrize("experiment", sorted(FILES))
def test_the_reference(experiment: str) -> None:
    table, keys = TABLES["stimulus_responses"], ["cell_specimen_id", "stimulus_presentations_id"]
    ids = dict.fromkeys(("behavior_session_id", "ophys_session_id", "ophys_experiment_id"), 1)
    with open_recording(FILES[experiment], "file") as opened:
        batches = [
            conform(table, {**ids, **rows.columns}, rows.count)
            for rows in READERS[table.name](opened)
        ]
    got = pl.concat([pl.DataFrame(pl.from_arrow(batch)) for batch in batches])
    for name in TRACES:
        want = pl.read_parquet(RESPONSES / experiment / f"stimulus_response_{name}.parquet")
        both = want.with_columns(pl.col(keys[0]).cast(pl.Int64)).join(got, keys, "full")
        assert both.height == want.height == got.height
        for theirs, ours in (("mean_response", "response"), ("baseline_response", "baseline")):
            # What is smaller is 0 in single precision.
            assert both[f"{name}_{ours}"].to_list() == pytest.approx(
                both[theirs].to_list(), rel=1e-6, abs=1e-37
            )
