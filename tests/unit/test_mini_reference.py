"""Two files of the reference through the whole ingest, and every value against what the released reader returns for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.mini import EXPERIMENT, SESSION, TRUTH, mini_bucket
from builders.truth import BEHAVIOR, OPHYS, ROIS, Comparison, same

from pipelines.ingest import ingest, prepare
from pipelines.lake.ledger import Status
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
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


def test_the_comparison_allows_for_rounding_in_what_is_computed() -> None:
    assert same("filtered_events", [0.1 + 0.2, 0.0], [0.3, 0.0])
    assert not same("filtered_events", [0.3000001, 0.0], [0.3, 0.0])
    assert not same("filtered_events", [0.3], [0.3, 0.0])
    assert not same("events", [0.1 + 0.2], [0.3])
    assert not same("mean_dprime", None, 0.0)
    assert same("mean_dprime", None, float("nan"))
    assert not same("timestamps", [0.0], [-0.0])
    assert same("events", [float("nan")], [float("nan")])
