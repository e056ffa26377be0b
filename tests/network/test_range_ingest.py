"""Ingests from a bucket that counts: equal to those from a folder, and without needless bytes."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pytest
from builders.lakes import behavior_file, contents, edit, experiment_file, file_key, query
from servers.s3 import BUCKET, Counters, S3Server

from pipelines.ingest import MouseReport, ingest, prepare
from pipelines.nwb import prefetch as needs
from pipelines.nwb.readers import READERS
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source import range_file as ranges
from pipelines.source.base import SourceSpec
from pipelines.source.range_file import merged

NOT_IMAGES = tuple(name for name in READERS if name != "stimulus_templates")


@pytest.fixture
def server(sample_bucket: Path) -> Iterator[S3Server]:
    with S3Server(sample_bucket) as running:
        yield running


@contextmanager
def spread_out() -> Generator[None]:
    """Scales all distances to the sample's small files, so that they are fetched like real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "BLOCK", 4 << 10)
        patch.setattr(ranges, "BEFORE", 512)
        patch.setattr(ranges, "GAP", 2 << 10)
        patch.setattr(needs, "_NEAR", 16 << 10)
        patch.setattr(needs, "_INTERVALS", ("/intervals", 8 << 10, 64 << 10))
        patch.setattr(needs, "_SMALL", 1 << 10)
        patch.setattr(needs, "_INDEX", 32 << 10)
        yield


@pytest.fixture
def spread() -> Iterator[None]:
    with spread_out():
        yield


@pytest.fixture(scope="module")
def counted(sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counters]:
    """A lake of everything but images, fetched in small pieces, and the requests for it."""
    lake = tmp_path_factory.mktemp("counted") / "lake"
    with S3Server(sample_bucket) as server, spread_out():
        assert errors(run(server, lake, tables=NOT_IMAGES)) == []
    return lake, server.counters


def run(
    server: S3Server, lake: Path, *, workers: int = 0, attempts: int = 2, **more: Any
) -> list[MouseReport]:
    """An ingest over S3. What a request does not know by name is what is selected."""
    own = {k: more.pop(k) for k in ("verify_hash", "force") if k in more}
    source = SourceSpec(f"s3://{BUCKET}", server.url, attempts=attempts)
    return ingest(
        prepare(
            IngestRequest(source, str(lake), selection=Selection(**more), workers=workers, **own)
        )
    )


def errors(reports: list[MouseReport]) -> list[str]:
    return [str(entry.error) for report in reports for entry in report.quarantined]


def of_files(counts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in counts.items() if key.endswith(".nwb")}


def moved(lake: Path) -> dict[str, int]:
    """Bytes fetched by object, as the ledger has them."""
    return {
        str(key): int(n)
        for key, n in query(
            lake, "SELECT object_key, bytes_fetched FROM source_files WHERE status = 'ingested'"
        )
    }


def pinned(bucket: Path) -> dict[str, str]:
    """Version ids by key, from the manifest."""
    (path,) = (bucket / "visual-behavior-ophys/manifests").glob("*.json")
    entries = json.loads(path.read_text())["data_files"].values()
    return {e["url"].split(".com/")[1]: e["version_id"] for e in entries}


def test_an_ingest_over_s3_equals_one_from_a_folder(
    server: S3Server, sample_lake: Path, tmp_path: Path
) -> None:
    assert errors(run(server, tmp_path / "lake")) == []
    assert contents(tmp_path / "lake") == contents(sample_lake)
    assert (
        server.counters.requests["get"] < 10
    )  # the manifest and the project tables; no NWB file as a whole
    assert server.counters.requests["refused"] == 0


def test_the_ledger_has_the_bytes_that_were_moved_and_none_twice(
    counted: tuple[Path, Counters], sample_bucket: Path
) -> None:
    lake, counters = counted
    sent = of_files(counters.bytes_sent)
    assert sent == moved(lake)
    assert len(sent) == len(pinned(sample_bucket))
    for key, asked in of_files(counters.ranges).items():
        assert sum(b - a for a, b in asked) == sum(b - a for a, b in merged(asked)) == sent[key]
        assert sent[key] < (sample_bucket / key).stat().st_size
    # The size is asked for once.
    assert counters.requests["head"] == len(counters.versions)


def test_objects_are_asked_for_in_the_version_that_the_manifest_pins(
    server: S3Server, sample_bucket: Path, tmp_path: Path
) -> None:
    run(server, tmp_path / "lake", tables=("trials", "ophys_timestamps"))
    versions = of_files(server.counters.versions)
    assert versions == {
        key: {version} for key, version in pinned(sample_bucket).items() if key in versions
    }
    assert len(versions) > 5


def test_a_newer_object_of_the_same_name_is_not_read(
    bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    """The manifest speaks of a version; what was put there later is another file."""
    newer = behavior_file(bucket, 1)
    key = str(newer.relative_to(bucket))
    old = newer.with_name("old")
    old.write_bytes(newer.read_bytes())
    with edit(newer) as h5:
        h5["/processing/running/speed/data"][:] = 0
    with S3Server(
        bucket, versions={key: {pinned(bucket)[key]: old.relative_to(bucket), "later": key}}
    ) as server:
        chosen = {"behavior_sessions": (file_key(newer),), "tables": ("running_speed",)}
        assert errors(run(server, tmp_path / "lake", **chosen)) == []
    where = f"WHERE behavior_session_id = {file_key(newer)}"
    for lake in (tmp_path / "lake", sample_lake):
        assert query(
            lake, f"SELECT count(*) > 100 AND max(abs(speed)) > 0 FROM running_speed {where}"
        ) == [(True,)]
    rows = f"SELECT COLUMNS(*)::VARCHAR FROM running_speed {where} ORDER BY ALL"
    assert query(tmp_path / "lake", rows) == query(sample_lake, rows)


def test_one_small_table_moves_little(
    server: S3Server, sample_bucket: Path, tmp_path: Path, spread: None
) -> None:
    key = file_key(experiment_file(sample_bucket, 0))
    assert errors(run(server, tmp_path / "lake", experiments=(key,), tables=("trials",))) == []
    ((name, sent),) = of_files(server.counters.bytes_sent).items()
    assert file_key(Path(name)) == key
    assert sent < (sample_bucket / name).stat().st_size / 8
    assert len(server.counters.ranges[name]) <= 40
    assert query(tmp_path / "lake", "SELECT count(*) > 10 FROM trials") == [(True,)]


def test_further_planes_are_not_asked_for_behavior(
    counted: tuple[Path, Counters], sample_bucket: Path
) -> None:
    """The behaviour of a session comes from one file and is not fetched from its other planes."""
    lake, counters = counted
    planes = query(
        lake,
        "SELECT object_key FROM source_files WHERE file_kind = 'ophys_experiment' AND NOT gives_behavior",
    )
    assert planes
    for (key,) in planes:
        with h5py.File(sample_bucket / key) as h5:
            series = [
                h5[p]
                for p in (
                    "acquisition/EyeTracking/pupil_tracking/data",
                    "processing/running/speed/data",
                )
            ]
            # Blocks of metadata reach a little into what lies beside it.
            inner = [
                (d.id.get_offset() + 4096, d.id.get_offset() + d.id.get_storage_size() - 4096)
                for d in series
            ]
        assert all(stop > start for start, stop in inner)
        assert not [
            (a, b)
            for a, b in counters.ranges[key]
            for start, stop in inner
            if a < stop and b > start
        ]


def test_verify_hash_fetches_whole_objects_and_checks_them(
    bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    damaged = behavior_file(bucket, 0)
    with edit(damaged) as h5:
        h5["/processing/running/speed/data"][0] += 1
    name = str(damaged.relative_to(bucket))
    with S3Server(bucket) as server:
        tables = ("trials", "ophys_timestamps")
        found = errors(run(server, tmp_path / "lake", verify_hash=True, tables=tables))
        sent = of_files(server.counters.bytes_sent)
    assert len(found) == 1
    assert damaged.name in found[0]
    assert "the content is not what the manifest pins" in found[0]
    ledger = moved(tmp_path / "lake")
    assert ledger == {key: (bucket / key).stat().st_size for key in pinned(bucket) if key != name}
    assert {key: n for key, n in sent.items() if key != name} == ledger
    assert not list((tmp_path / "lake").rglob("whole.nwb"))
    rows = f"SELECT COLUMNS(*)::VARCHAR FROM trials WHERE behavior_session_id <> {file_key(damaged)} ORDER BY ALL"
    assert query(tmp_path / "lake", rows) == query(sample_lake, rows)
