"""`lake.session`, `lake.experiment` and `lake.around`, on a lake that was ingested."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from builders.fixtures import Ingest

import vblake
from schemas import TABLES


@pytest.fixture
def opened(sample_lake: Path) -> Iterator[vblake.Lake]:
    with vblake.open(sample_lake) as lake:
        yield lake


@pytest.fixture
def experiment(opened: vblake.Lake) -> vblake.Experiment:
    ids = opened.scan("dff_traces").select("ophys_experiment_id").first().collect()
    return opened.experiment(ids.item())


def test_tables_are_attributes(opened: vblake.Lake, experiment: vblake.Experiment) -> None:
    session = opened.session(experiment.behavior_session_id)
    own = opened.scan("trials").filter(behavior_session_id=session.behavior_session_id).collect()
    assert session.trials.equals(own)
    assert experiment.trials.equals(own)
    assert experiment.motion_correction.height == len(experiment.ophys_timestamps)
    planes = session.cell_specimens["ophys_experiment_id"].unique().to_list()
    assert experiment.ophys_experiment_id in planes


def test_every_table_of_recordings_is_an_attribute(experiment: vblake.Experiment) -> None:
    keys = {"behavior_session_id", "ophys_experiment_id"}
    tables = [name for name, table in TABLES.items() if keys & {c.name for c in table.columns}]
    assert set(tables) <= set(dir(experiment))
    tables = [name for name in tables if not TABLES[name].by_name_only]
    arrays = {"events", "roi_masks", "stimulus_timestamps", "ophys_timestamps"}
    for name in set(tables) - arrays - {"behavior_sessions", "ophys_sessions"}:
        frame = getattr(experiment, name)
        key = "behavior_session_id" if name != "ophys_cells" else "ophys_experiment_id"
        assert set(frame[key]) <= {getattr(experiment, key)}, name


def test_unknown_attribute(experiment: vblake.Experiment) -> None:
    with pytest.raises(
        AttributeError, match=r"^This experiment has no 'trails'\. Did you mean 'trials'\?$"
    ):
        _ = experiment.trails


@pytest.mark.parametrize(
    ("what", "table", "column", "units"),
    [
        ("dff", "dff_traces", "dff", "dF/F"),
        ("corrected_fluorescence", "corrected_fluorescence_traces", None, "a.u."),
        ("events", "events", "events", "dF/F"),
        ("filtered_events", "events", "filtered_events", "dF/F"),
    ],
)
def test_traces(
    experiment: vblake.Experiment, what: str, table: str, column: str | None, units: str
) -> None:
    array = getattr(experiment, what)
    rows = experiment.table(table)
    assert (array.dims, array.name, array.attrs) == (("cell", "time"), what, {"units": units})
    assert array["time"].attrs == {"units": "s"}
    np.testing.assert_array_equal(array["time"], experiment.ophys_timestamps)
    for row in rows.iter_rows(named=True):
        one = array.sel(cell=row["cell_roi_id"])
        np.testing.assert_array_equal(one, row[column or what])
        specimen = one["cell_specimen_id"].item()
        assert specimen == row["cell_specimen_id"] or row["cell_specimen_id"] is None


def test_images(experiment: vblake.Experiment) -> None:
    image = experiment.max_projection
    masks = experiment.roi_masks
    row = experiment.projections.filter(image_name="max_projection").row(0, named=True)
    assert image.dims == ("y", "x")
    np.testing.assert_array_equal(image.values.ravel(), row["pixels"])
    assert image["x"].values[1] == row["spacing_x"]
    np.testing.assert_array_equal(masks.any("cell"), experiment.segmentation_mask_image == 1)
    assert masks.sizes["cell"] == experiment.cell_specimens.height


def test_around_has_the_windows_and_their_mean(
    opened: vblake.Lake, experiment: vblake.Experiment
) -> None:
    changes = experiment.stimulus_presentations.filter(pl.col("is_change"))["start_time"]
    around = opened.around("dff", experiment, changes, before=0.5, after=1, outside="drop")
    windows = around.load()
    assert windows.shape == around.shape
    assert windows.dims == ("cell", "event", "time")
    np.testing.assert_allclose(around.mean(), windows.mean("event"), rtol=1e-12, atol=1e-15)
    dff = experiment.dff
    first = dff.isel(time=slice(int(np.sum(dff["time"].values < changes[0])), None))
    kept = windows.sel(event=changes[0], time=0)
    np.testing.assert_array_equal(kept, first.isel(time=0))
    with pytest.raises(ValueError, match=r"load\(\)\.mean"):
        around.mean("cell")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("what", "table", "column", "units"),
    [
        ("running_speed", "running_speed", "speed", "cm/s"),
        ("pupil_area", "eye_tracking", "pupil_area", "px^2"),
        ("pupil_width", "eye_tracking", "pupil_width", "px"),
    ],
)
def test_signals_around_presentations(
    opened: vblake.Lake,
    experiment: vblake.Experiment,
    what: str,
    table: str,
    column: str,
    units: str,
) -> None:
    shown = experiment.stimulus_presentations.drop_nulls("start_time")[10:20]
    ids, starts = shown["stimulus_presentations_id"], shown["start_time"]
    around = opened.around(what, experiment, presentations=ids, before=0.5, after=0.5)
    windows = around.load()
    assert (windows.dims, windows.name) == (("event", "time"), what)
    assert windows.attrs == {"units": units, "events": 10}
    assert windows["time"].attrs["units"] == windows["event"].attrs["units"] == "s"
    rows = experiment.table(table)
    clock, values = rows["timestamps"].to_numpy(), rows[column].to_numpy()
    wanted = starts.to_numpy()[:, np.newaxis] + windows["time"].values
    found = ~np.isnan(windows.values)
    assert found.mean() > 0.5
    plain = np.interp(wanted, clock, values)
    np.testing.assert_allclose(windows.values[found], plain[found], rtol=1e-12)
    session = opened.around(what, experiment.behavior_session_id, starts, 0.5, 0.5)
    np.testing.assert_array_equal(session.load(), windows)
    np.testing.assert_array_equal(around.mean(), windows.mean("event"))


def test_around_takes_times_or_presentations(
    opened: vblake.Lake, experiment: vblake.Experiment
) -> None:
    with pytest.raises(TypeError, match="either times or presentations"):
        opened.around("dff", experiment)
    with pytest.raises(LookupError, match=r"has no stimulus presentation 99999\. It has \d+, see"):
        opened.around("dff", experiment, presentations=[99999])
    with pytest.raises(LookupError, match=r"Give one of lake\.experiment\(id\)"):
        opened.around("dff", opened.session(experiment.behavior_session_id), [1.0])


def test_an_event_outside_of_the_recording(
    opened: vblake.Lake, experiment: vblake.Experiment
) -> None:
    clock = experiment.ophys_timestamps
    times = [float(clock[100]), 1e6]
    with pytest.raises(ValueError) as raised:
        opened.around("dff", experiment, times, before=1, after=0)
    assert str(raised.value) == (
        "1 of 2 events do not have their window of 1 s before to 0 s after within the recording "
        f"({clock[0]:.3f} s to {clock[-1]:.3f} s), the first is that at 1000000.000 s. Leave them "
        "out with outside='drop', or check that the times are seconds on the lake's clock."
    )
    assert opened.around("dff", experiment, times, outside="drop").shape[1] == 1


@pytest.mark.parametrize("times", [[], [-5.0, 1e6]])
def test_no_event_in_the_recording(
    opened: vblake.Lake, experiment: vblake.Experiment, times: list[float]
) -> None:
    with pytest.raises(ValueError, match=rf"^None of {len(times)} events has its window of 1 s"):
        opened.around("dff", experiment, times, outside="drop")


def test_unknown_traces(opened: vblake.Lake, experiment: vblake.Experiment) -> None:
    with pytest.raises(LookupError, match=r"There is no 'df'\. Use dff, .* pupil_width\."):
        opened.around("df", experiment, [1.0])


def test_a_session_that_the_lake_does_not_hold(lake: Path) -> None:
    with vblake.open(lake) as opened:
        ledger = opened.scan("source_files").filter(file_kind="behavior_session").collect()
        mouse, session = ledger.select("mouse_id", "behavior_session_id").row(0)
    shutil.rmtree(lake / "source_files" / f"mouse_id={mouse}")
    with vblake.open(lake) as opened, pytest.raises(LookupError) as raised:
        opened.session(session)
    assert str(raised.value) == (
        f"{lake.resolve()}: behaviour session {session} is not in the lake yet. "
        f"Use `vblake ingest --lake {lake.resolve()} --behavior-session {session}`."
    )


def test_what_was_not_ingested(sample_bucket: Path, tmp_path: Path, run_ingest: Ingest) -> None:
    lake = tmp_path / "lake"
    run_ingest(sample_bucket, lake, tables=("trials",))
    with vblake.open(lake) as opened:
        one = opened.scan("ophys_experiments").first().collect().row(0, named=True)
        experiment = opened.experiment(one["ophys_experiment_id"])
        session = opened.session(one["behavior_session_id"])
        assert not experiment.trials.is_empty()
        assert (session.holds("trials"), session.holds("licks")) == (True, False)
        reads = {
            "dff_traces": (experiment, lambda: experiment.dff),
            "projections": (experiment, lambda: experiment.max_projection),
            "experiment_metadata": (experiment, lambda: experiment.metadata),
            "licks": (session, lambda: session.licks),
            "stimulus_timestamps": (session, lambda: session.stimulus_timestamps),
            "eye_tracking": (session, lambda: opened.around("pupil_area", session, [1.0])),
        }
        for table, (recording, read) in reads.items():
            name, option = f"experiment {one['ophys_experiment_id']}", "--experiment"
            if recording is session:
                name, option = (
                    f"behaviour session {session.behavior_session_id}",
                    "--behavior-session",
                )
            with pytest.raises(LookupError) as raised:
                read()
            number = name.rsplit(" ", 1)[1]
            assert str(raised.value) == (
                f"{lake} has no {table} of {name}: it was not ingested. "
                f"Use `vblake ingest --lake {lake} {option} {number} --tables {table}`."
            )
        with pytest.raises(LookupError, match=r"It has it as ophys_experiment_id\.$"):
            opened.session(one["ophys_experiment_id"])


def test_a_lake_without_traces(lake: Path, experiment: vblake.Experiment) -> None:
    shutil.rmtree(lake / "dff_traces")
    with vblake.open(lake) as opened, pytest.raises(LookupError) as raised:
        _ = opened.experiment(experiment.ophys_experiment_id).dff
    one = experiment.ophys_experiment_id
    assert str(raised.value) == (
        f"{lake.resolve()} has no dff_traces. Ingest them with "
        f"`vblake ingest --experiment {one} --tables dff_traces`."
    )
