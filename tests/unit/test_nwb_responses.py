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
    trials_of,
    whole_file,
    without,
)

from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import open_recording
from pipelines.nwb.responses import listen
from pipelines.nwb.windows import WindowMeans, window_weights
from schemas import TABLES
from schemas.casts import conform

RESPONSES = Path(__file__).parents[3] / "shared" / "reference" / "responses"
FILES = {
    p.stem.rpartition("_")[2]: p
    for p in (RESPONSES.parent / "bucket").rglob("behavior_ophys_experiment_*.nwb")
}
TRACES: tuple[str, ...] = ("dff", "events", "filtered_events")
SHOWN = f"/intervals/{IMAGES}_presentations"
OUTCOMES = ["correct reject", "hit", "miss"]
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


def test_windows_count_the_same_wherever_the_recording_ends() -> None:
    rng = np.random.default_rng(5)
    for frames in range(8, 90, 3):
        times = np.arange(frames) * 0.1
        start = np.arange(-0.2, times[-1] + 0.5, 0.33)
        grids = [np.linspace(low, low + 0.5, 26) for low in (0.0, -0.5)]
        weights = [window_weights(start, times, grid) for grid in grids]
        traces = rng.standard_normal((2, frames))
        want = [np.sum(weight * traces[:, rows], axis=1) for rows, weight in weights]
        np.testing.assert_allclose(WindowMeans(weights, frames).of(traces), want, atol=1e-12)


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
    assert opened.warnings[-1].startswith(
        "stimulus_responses: responses in events and filtered_events are NULL: file"
    )


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
    assert read("mean_responses", gray).num_rows == 0
    one = content | {f"{SHOWN}/stimulus_block_name": ["gray"] * 5 + ["change_detection_behavior"]}
    assert columns("stimulus_responses", one)["stimulus_presentations_id"] == [6] * 3
    assert columns("mean_responses", one)["n"] == [1] * 15
    no_cell = content | {f"{CELLS}/valid_roi": np.zeros(4, dtype=bool)}
    assert read("stimulus_responses", no_cell).num_rows == 0
    assert read("mean_responses", no_cell).num_rows == 0
    assert read("stimulus_responses", whole_file())["dff_response"].null_count == 18  # 0.5 s


def test_what_is_read_for_other_tables_is_not_read_again() -> None:
    content = imaged()
    opened = recording(content)
    listen(opened, ("stimulus_responses", "mean_responses"))
    traces = [read(name, opened) for name in ("dff_traces", "events")]
    for path in (f"{OPHYS}/dff/traces/data", f"{OPHYS}/event_detection/data"):
        del opened.hdf.h5[path]
    for name in ("stimulus_responses", "mean_responses"):
        assert read(name, opened) == read(name, content)
    assert traces == [read(name, content) for name in ("dff_traces", "events")]


def test_presentations_that_cannot_be_read_cost_no_traces() -> None:
    opened = recording(without(imaged(), f"{SHOWN}/start_time"))
    listen(opened, ("stimulus_responses", "mean_responses"))
    assert read("dff_traces", opened).num_rows == 3


def test_each_mean_is_over_the_presentations_of_its_condition() -> None:
    content = imaged()
    got = columns("mean_responses", content)
    places = {  # of the presentations: im065, im077 (change), omission, im077 twice, im065 (change)
        "change": [1, 5],
        "im065 change": [5],
        "im065 repeat": [0],
        "im077 change": [1],
        "im077 repeat": [3, 4],
        "omission": [2],
        "repeat": [0, 3, 4],
    }
    images, kinds = [n for n in places if "im" in n], ["change", "omission", "repeat"]
    named = [
        name
        for of in (images, kinds)
        for state in ("", " engaged")
        for name in (n + state for n in of)
    ]
    named += OUTCOMES
    assert got["condition"] == [name for name in named for _ in range(3)]
    assert got["cell_roi_id"] == [901, 903, 904] * len(named)
    one = {name: 3 * place for place, name in enumerate(named)}
    parts = ("condition_set", "image_name", "is_change", "omitted", "engaged", "n")
    for name, want in {
        "change": ("kinds", None, True, False, None, 2),
        "omission engaged": ("kinds by engagement", None, False, True, True, 1),
        "im077 repeat": ("images", "im077", False, False, None, 2),
        "im065 change engaged": ("images by engagement", "im065", True, False, True, 1),
        "hit": ("outcomes", None, True, False, None, 1),
    }.items():
        assert tuple(got[part][one[name]] for part in parts) == want

    times = content[f"{OPHYS}/dff/traces/timestamps"]
    single = columns("stimulus_responses", content)
    for name in ("dff", "filtered_events"):
        table = "dff_traces" if name == "dff" else "events"
        for cell, trace in enumerate(read(table, content).column(name).to_pylist()):
            for condition, of in places.items():
                row = one[condition] + cell
                values = np.array(single[f"{name}_response"][cell * 6 : cell * 6 + 6])[of]
                before = np.array(single[f"{name}_baseline"][cell * 6 : cell * 6 + 6])[of]
                assert got[f"{name}_mean"][row] == pytest.approx(values.mean(), rel=1e-5)
                assert got[f"{name}_baseline"][row] == pytest.approx(before.mean(), rel=1e-5)
                if len(of) > 1:
                    error = values.std(ddof=1) / np.sqrt(len(of))
                    assert got[f"{name}_sem"][row] == pytest.approx(error, rel=1e-5)
                else:
                    assert got[f"{name}_sem"][row] is None
                want_trace = np.mean([around(times, trace, STARTS[n]) for n in of], axis=0)
                assert got[f"{name}_trace"][row] == pytest.approx(want_trace.tolist(), rel=1e-6)


def around(times: Any, trace: Any, start: float) -> Any:
    """The trace around a presentation at 30 Hz, interpolated within the window as in the package."""
    near = (times >= start - 1) & (times <= start + 2)
    return np.interp(np.linspace(-1, 2, 91), times[near] - start, np.array(trace)[near])


def test_presentations_near_the_ends_of_the_recording_are_in_no_mean() -> None:
    got = columns("mean_responses", imaged(first=0.5, last=14.0))  # 1.25 and 12.25 are too near
    counts = dict(zip(got["condition"], got["n"], strict=True))
    once, twice = ({name for name, n in counts.items() if n == of} for of in (1, 2))
    assert {name for name in once if "engaged" not in name} == {
        "change",
        "correct reject",
        "hit",
        "im077 change",
        "omission",
    }
    assert {name for name in twice if "engaged" not in name} == {"im077 repeat", "repeat"}
    empty = got["condition"].index("im065 change")
    assert counts["im065 change"] == counts["im065 repeat"] == 0
    assert got["dff_mean"][empty] is got["dff_sem"][empty] is got["dff_trace"][empty] is None
    nothing = columns("mean_responses", whole_file())  # half a second was recorded
    assert (nothing["n"], nothing["dff_trace"]) == (
        [0] * len(nothing["n"]),
        [None] * len(nothing["n"]),
    )


def test_a_gap_in_the_clock_is_bridged() -> None:
    content = imaged()
    times = content[f"{OPHYS}/dff/traces/timestamps"]
    kept = (times < 2.5) | (times > 3.9)
    for path, value in content.items():
        if path.startswith(OPHYS) and np.shape(value)[:1] == times.shape:
            content[path] = value[kept]
    got = columns("mean_responses", content)
    trace = columns("dff_traces", content)["dff"][0]
    want = around(times[kept], trace, 2.25)
    row = got["condition"].index("im077 change")
    assert got["dff_trace"][row] == pytest.approx(want.tolist(), rel=1e-6)


def test_cells_without_events_have_no_mean_of_them() -> None:
    content = imaged()
    content[f"{OPHYS}/event_detection/lambdas"] = np.array([0.1, np.nan, 0.3, 0.4])
    got = columns("mean_responses", content)
    for statistic in ("mean", "sem", "baseline", "trace"):
        values = got[f"filtered_events_{statistic}"]
        assert values[::3] == [None] * (14 + len(OUTCOMES))
        assert values[1::3] != [None] * (14 + len(OUTCOMES))
    assert None not in got["dff_trace"]


def test_without_change_times_nothing_is_said_of_engagement() -> None:
    opened = recording(without(imaged(), "/intervals/trials/change_time"))
    got = columns("mean_responses", opened)
    assert set(got["condition_set"]) == {"kinds", "images"}
    assert read("stimulus_responses", opened).num_rows == 18


def test_without_trials_there_are_no_outcomes() -> None:
    empty = trials_of([], [], [], []) | {
        f"/intervals/trials/{name}": np.empty(0, dtype="S1")
        for name in ("initial_image_name", "change_image_name")
    }
    got = columns("mean_responses", imaged() | empty)
    assert set(got["condition_set"]) == {"kinds", "images"}
    assert columns("presentation_annotations", imaged() | empty)["engaged"] == [None] * 6


def reference(table: str, experiment: str) -> pl.DataFrame:
    ids = dict.fromkeys(("behavior_session_id", "ophys_session_id", "ophys_experiment_id"), 1)
    with open_recording(FILES[experiment], "file") as opened:
        batches = [
            conform(TABLES[table], {**ids, **rows.columns}, rows.count)
            for rows in READERS[table](opened)
        ]
    return pl.concat([pl.DataFrame(pl.from_arrow(batch)) for batch in batches])


def responses_of(experiment: str, name: str) -> pl.DataFrame:
    found = pl.read_parquet(RESPONSES / experiment / f"{name}.parquet")
    return found.with_columns(pl.col("cell_specimen_id").cast(pl.Int64))


@pytest.mark.parametrize("experiment", sorted(FILES))
def test_the_reference(experiment: str) -> None:
    keys = ["cell_specimen_id", "stimulus_presentations_id"]
    got = reference("stimulus_responses", experiment)
    for name in TRACES:
        want = responses_of(experiment, f"stimulus_response_{name}")
        both = want.join(got, keys, "full")
        assert both.height == want.height == got.height
        for theirs, ours in (("mean_response", "response"), ("baseline_response", "baseline")):
            # What is smaller is 0 in single precision.
            assert both[f"{name}_{ours}"].to_list() == pytest.approx(
                both[theirs].to_list(), rel=1e-6, abs=1e-37
            )


@pytest.mark.parametrize("experiment", sorted(FILES))
def test_means_of_the_reference(experiment: str) -> None:
    shown = pl.read_parquet(RESPONSES / experiment / "annotated_presentations.parquet")
    got = reference("mean_responses", experiment)
    at_30_hz = responses_of(experiment, "stimulus_response_dff_30hz")
    single = responses_of(experiment, "stimulus_response_dff")
    for (condition,), rows in got.group_by("condition"):
        first = rows.row(0, named=True)
        parts = ("image_name", "is_change", "omitted", "engaged")
        chosen = shown.filter(
            pl.col(name) == first[name] for name in parts if first[name] is not None
        )
        if first["outcome"] is not None:
            chosen = chosen.filter(pl.col(first["outcome"].replace(" ", "_")).cast(pl.Boolean))
        assert rows["n"].to_list() == [chosen.height] * rows.height
        of = chosen.select("stimulus_presentations_id")
        for cell, trace, mean in rows["cell_specimen_id", "dff_trace", "dff_mean"].iter_rows():
            own = at_30_hz.filter(pl.col("cell_specimen_id") == cell).join(of, of.columns)
            want = np.mean(own["trace"].to_list(), axis=0)
            assert trace == pytest.approx(want.tolist(), rel=1e-6), condition
            values = single.filter(pl.col("cell_specimen_id") == cell).join(of, of.columns)
            assert mean == pytest.approx(values["mean_response"].mean(), rel=1e-6)
