"""Two files of the reference through the whole ingest, and every value against what the released reader returns for them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders.lakes import query
from builders.mini import EXPERIMENT, SESSION, TRUTH, mini_bucket
from builders.truth import BEHAVIOR, OPHYS, ROIS, Comparison, same

import vblake
from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake.ledger import Status
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES, Subject

ALL_TABLES = tuple(name for name, table in TABLES.items() if table.subject is not Subject.LEDGER)

OF_SESSION = {
    *(*BEHAVIOR, "stimulus_timestamps", "performance_metrics", "task_parameters"),
    *("behavior_metadata", "stimulus_templates", "eye_tracking_rig_geometry"),
}
OF_EXPERIMENT = {
    *(*OF_SESSION, *OPHYS, *ROIS, "ophys_timestamps", "motion_correction"),
    *("experiment_metadata", "projections"),
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    source = mini_bucket().write(folder / "bucket")
    selection = Selection(tables=ALL_TABLES)
    request = IngestRequest(source.spec, str(folder / "lake"), selection=selection, workers=0)
    reports = ingest(prepare(request))
    entries = [entry for report in reports for entry in report.entries]
    assert {(entry.file_key, entry.status, entry.error) for entry in entries} == {
        (SESSION, Status.INGESTED, None),
        (EXPERIMENT, Status.INGESTED, None),
    }
    return folder / "lake"


def test_the_training_session_is_what_the_released_reader_returns(lake: Path) -> None:
    result = Comparison(lake, TRUTH / "behavior_session" / str(SESSION))
    assert result.differences == []
    # No eye was tracked, so there is no row to compare.
    assert {table for table, values in result.compared.items() if values} == OF_SESSION - {
        "eye_tracking",
        "eye_tracking_rig_geometry",
    }


def test_the_experiment_is_what_the_released_reader_returns(lake: Path) -> None:
    result = Comparison(lake, TRUTH / "behavior_ophys_experiment" / str(EXPERIMENT))
    assert result.differences == []
    assert {table for table, values in result.compared.items() if values} == OF_EXPERIMENT


DERIVED = ["rolling_performance", *(name for name, t in TABLES.items() if t.derived_from)]


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_table_alone_reads_its_inputs_without_publishing_them(
    lake: Path, tmp_path: Path, name: str
) -> None:
    bucket = SourceSpec(str(lake.parent / "bucket"))
    selection = Selection(tables=(name,))
    ingest(prepare(IngestRequest(bucket, str(tmp_path), selection=selection, workers=0)))
    project = {n for n, table in TABLES.items() if table.subject is Subject.PROJECT}
    found = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert found - {"_staging"} <= project | {name, "source_files"}
    every = f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL"
    rows = query(tmp_path, every)
    assert rows
    assert rows == query(lake, every)
    assert query(tmp_path, "FROM _held_back") == []
    assert verify(LocalStore(tmp_path)) == []


def test_the_comparison_allows_for_rounding_in_what_is_computed() -> None:
    assert same("filtered_events", [0.1 + 0.2, 0.0], [0.3, 0.0])
    assert not same("filtered_events", [0.3000001, 0.0], [0.3, 0.0])
    assert not same("filtered_events", [0.3], [0.3, 0.0])
    assert not same("events", [0.1 + 0.2], [0.3])
    assert not same("mean_dprime", None, 0.0)
    assert same("mean_dprime", None, float("nan"))
    assert not same("timestamps", [0.0], [-0.0])
    assert same("events", [float("nan")], [float("nan")])


def _frames_by_hand() -> tuple[dict[int, list[int | None]], dict[int, bool]]:
    """Onset and next onset of each presentation, and whether it is omitted, from the truth."""
    truth = TRUTH / "behavior_ophys_experiment" / str(EXPERIMENT)
    times = np.load(truth / "ophys_timestamps.npy").tolist()
    shown = pq.read_table(truth / "stimulus_presentations.parquet").to_pylist()
    onset = [
        next((k for k, time in enumerate(times) if time >= row["start_time"]), None)
        if row["start_time"] >= times[0]
        else None
        for row in shown
    ]
    ids = [row["stimulus_presentations_id"] for row in shown]
    frames = zip(onset, [*onset[1:], None], strict=True)
    omitted = {row["stimulus_presentations_id"]: row["omitted"] is True for row in shown}
    return {key: [*pair] for key, pair in zip(ids, frames, strict=True)}, omitted


def test_frames_of_presentations_and_the_example_of_the_page(lake: Path) -> None:
    frames, omitted = _frames_by_hand()
    sql = "SELECT stimulus_presentations_id, onset_frame, next_onset_frame FROM presentation_frames"
    assert {key: pair for key, *pair in query(lake, sql)} == frames

    page = (Path(__file__).parents[2] / "docs" / "formulas.md").read_text(encoding="utf-8")
    example, *_ = re.findall(r"```sql\n(.*?)```", page.partition("## presentation_frames")[2], re.S)
    truth = TRUTH / "behavior_ophys_experiment" / str(EXPERIMENT)
    expected = {
        (cell["cell_roi_id"], key): np.mean(cell["dff"][first:last])
        for cell in pq.read_table(truth / "dff_traces.parquet").to_pylist()
        for key, (first, last) in frames.items()
        if omitted[key]
    }
    got = {(cell, key): mean for cell, key, mean in query(lake, example)}
    assert len(got) > 0
    assert got == pytest.approx(expected, rel=1e-12)


FORMULAS = Path(__file__).parents[2] / "docs" / "formulas.md"
QUERIES = re.findall(r"```sql\n(.*?)```", FORMULAS.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("sql", QUERIES)
def test_the_queries_of_the_page_of_formulas_run(lake: Path, sql: str) -> None:
    assert query(lake, sql)


def test_means_by_condition_are_those_of_single_responses(lake: Path) -> None:
    per_image = query(
        lake,
        "SELECT cell_roi_id, image_name, is_change, count(*), avg(dff_response) "
        "FROM stimulus_responses JOIN stimulus_presentations "
        "USING (mouse_id, behavior_session_id, stimulus_presentations_id) "
        "WHERE NOT omitted GROUP BY ALL ORDER BY ALL",
    )
    means = query(
        lake,
        "SELECT cell_roi_id, image_name, is_change, n, dff_mean FROM mean_responses "
        "WHERE condition_set = 'images' ORDER BY ALL",
    )
    assert [row[:4] for row in per_image] == [row[:4] for row in means]
    assert [row[4] for row in per_image] == pytest.approx([row[4] for row in means], rel=1e-5)
    experiment = vblake.open(lake).experiment(EXPERIMENT)
    assert experiment.stimulus_responses.height == 8 * 120
    images = experiment.mean_responses.filter(condition_set="images")
    assert sorted(images["dff_mean"]) == sorted(row[4] for row in means)


def test_mean_traces_in_long_form(lake: Path) -> None:
    ((rows, first, last, same),) = query(
        lake,
        "SELECT count(*), min(time), max(time), count(*) FILTER (l.dff_trace = m.dff_trace[31]) "
        "FROM mean_responses_long l JOIN mean_responses m USING (cell_roi_id, condition) "
        "WHERE time = 0 OR time IN (-1, 2)",
    )
    ((means,),) = query(lake, "SELECT count(*) FROM mean_responses")
    assert (rows, first, last) == (3 * means, -1, 2)
    assert same >= means
