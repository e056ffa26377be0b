"""Files over the workers of a Dask scheduler."""

from __future__ import annotations

from pathlib import Path

from builders.lakes import query

from pipelines.ingest import ingest, prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec


def test_a_lake_made_by_dask_workers_is_the_same(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        request = IngestRequest(
            SourceSpec(str(sample_bucket)),
            str(tmp_path / "lake"),
            selection=Selection(tables=("trials", "dff_traces")),
            dask=cluster.scheduler_address,
        )
        reports = ingest(prepare(request))
    assert not [e for r in reports for e in r.quarantined]
    for table in ("trials", "dff_traces"):
        rows = f"SELECT COLUMNS(*)::VARCHAR FROM {table} ORDER BY ALL"
        assert query(tmp_path / "lake", rows) == query(sample_lake, rows)
