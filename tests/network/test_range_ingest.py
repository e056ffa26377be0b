"""Ingests from a bucket that counts: equal to those from a folder, and without needless bytes."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
from builders import faulty
from builders.cli import output, refusal, run
from builders.lakes import behavior_file, contents, edit, experiment_file, file_key, query
from builders.network import ingest_from, quarantined, small_distances
from servers.s3 import BUCKET, Counters, Fault, RequestInfo, S3Server

from pipelines.convert.file import convert_file, fetch_ahead
from pipelines.convert.pool import converting
from pipelines.convert.staged import ConvertSettings, FileResult
from pipelines.ingest import ingest
from pipelines.nwb.readers import READERS
from pipelines.prepare import prepare
from pipelines.release.selection import FileTask, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from pipelines.source.range_file import merged

NOT_IMAGES = tuple(name for name in READERS if name != "stimulus_templates")


@pytest.fixture
def server(sample_bucket: Path) -> Iterator[S3Server]:
    with S3Server(sample_bucket) as running:
        yield running


@pytest.fixture(scope="module")
def counted(sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counters]:
    """A lake of everything but images, fetched in small pieces, and the requests for it."""
    lake = tmp_path_factory.mktemp("counted") / "lake"
    with S3Server(sample_bucket) as server, pytest.MonkeyPatch.context() as patch:
        small_distances(patch)
        ingest_from(source(server), lake, selection=Selection(tables=NOT_IMAGES))
    assert quarantined(lake) == {}
    return lake, server.counters


def source(server: S3Server) -> SourceSpec:
    return SourceSpec(f"s3://{BUCKET}", server.url, attempts=2)


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
    ingest_from(source(server), tmp_path / "lake")
    assert contents(tmp_path / "lake") == contents(sample_lake)


def test_the_ledger_has_the_bytes_that_were_moved_and_none_twice(
    counted: tuple[Path, Counters], sample_bucket: Path
) -> None:
    lake, counters = counted
    sent = of_files(counters.bytes_sent)
    assert sent == moved(lake)
    assert {key: counters.versions[key] for key in sent} == {
        key: {version} for key, version in pinned(sample_bucket).items()
    }
    for key, asked in of_files(counters.ranges).items():
        assert sum(b - a for a, b in asked) == sum(b - a for a, b in merged(asked)) == sent[key]
        assert sent[key] < (sample_bucket / key).stat().st_size
    # The size of a file is asked for once.
    assert counters.requests["head"] == len(sent)


def test_one_small_table_moves_little(
    server: S3Server, sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_distances(monkeypatch)
    key = file_key(experiment_file(sample_bucket, 0))
    selection = Selection(experiments=(key,), tables=("trials",))
    ingest_from(source(server), tmp_path / "lake", selection=selection)
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
            speed = h5["processing/running/speed/data"].id
            # Blocks of metadata reach a little into what lies beside it.
            start = speed.get_offset() + 4096
            stop = speed.get_offset() + speed.get_storage_size() - 4096
        assert stop > start
        assert not [(a, b) for a, b in counters.ranges[key] if a < stop and b > start]


def test_a_mirror_without_versions_is_read_by_the_hashes_of_the_manifest(
    bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    later = experiment_file(bucket, 0)
    with edit(later) as h5:
        h5["/processing/running/speed/data"][0] += 1
    with S3Server(bucket, versioned=False) as server:
        command = (
            "plan",
            "--source",
            f"s3://{BUCKET}",
            "--endpoint-url",
            server.url,
            "--lake",
            "x",
        )
        assert "with --ignore-versions, or read from the released" in refusal(*command, code=1)
        planned = run(*command, "--json", "--ignore-versions")
        assert planned.stderr == (
            f"warning: s3://{BUCKET} is read without versions: each file is fetched whole, and must "
            "have the hash that the manifest pins\n"
        )
        ingest_from(replace(source(server), ignore_versions=True), tmp_path / "lake")
    ((_, (error, _)),) = quarantined(tmp_path / "lake").items()
    assert later.name in error
    assert "expected BLAKE2b-512" in error
    rows = (
        "SELECT COLUMNS(*)::VARCHAR FROM running_speed WHERE behavior_session_id NOT IN "
        "(SELECT behavior_session_id FROM ophys_experiments "
        f"WHERE ophys_experiment_id = {file_key(later)}) ORDER BY ALL"
    )
    assert query(tmp_path / "lake", rows) == query(sample_lake, rows)


def test_verify_hash_fetches_whole_objects_and_checks_them(
    bucket: Path, sample_lake: Path, tmp_path: Path
) -> None:
    damaged = behavior_file(bucket, 0)
    with edit(damaged) as h5:
        h5["/processing/running/speed/data"][0] += 1
    name = str(damaged.relative_to(bucket))
    with S3Server(bucket) as server:
        selection = Selection(tables=("trials", "ophys_timestamps"))
        ingest_from(source(server), tmp_path / "lake", selection=selection, verify_hash=True)
        sent = of_files(server.counters.bytes_sent)
    ((key, (error, _)),) = quarantined(tmp_path / "lake").items()
    assert key == name
    assert "the content is not what the manifest pins" in error
    ledger = moved(tmp_path / "lake")
    assert ledger == {key: (bucket / key).stat().st_size for key in pinned(bucket) if key != name}
    assert {key: n for key, n in sent.items() if key != name} == ledger
    assert not list((tmp_path / "lake").rglob("whole.nwb"))


class _EnoughError(Exception):
    pass


def test_the_next_file_is_fetched_while_the_worker_converts_another(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.convert.pool._convert_file", faulty.convert)
    request = IngestRequest(source(server), str(tmp_path / "lake"))
    first, second, third = prepare(request).todo[:3]
    server.reset_counters()
    tasks = [replace(first, tables=faulty.WAITS), second, third]
    settings = ConvertSettings(request.source, tmp_path, verify_hash=False)
    with suppress(_EnoughError), converting(tasks, settings, 1, ahead=1):
        latest = time.monotonic() + 60
        while not (
            list(tmp_path.glob("worker-*")) and server.counters.ranges.get(second.object.key)
        ):
            assert time.monotonic() < latest, server.counters.ranges
            time.sleep(0.05)
        raise _EnoughError
    assert third.object.key not in server.counters.ranges


def test_what_goes_wrong_while_a_file_is_fetched_ahead_is_in_its_result(
    server: S3Server, tmp_path: Path
) -> None:
    request = IngestRequest(source(server), str(tmp_path / "lake"))
    good = prepare(request).todo[0]
    gone = replace(good, object=replace(good.object, version_id="none"))
    settings = ConvertSettings(request.source, tmp_path, verify_hash=False)
    expected = {task: convert_file(task, settings) for task in (good, gone)}
    assert expected[gone].error
    assert not expected[good].error
    for task in (gone, good):
        fetch_ahead(task, settings)
    for task, result in expected.items():
        later = convert_file(task, settings)
        same = replace(later, folder=result.folder, seconds=result.seconds)
        assert same == result


_HOLD_A_TURN = """
import sys, time
from pathlib import Path
from pipelines.convert.open_file import _turn_to_fetch
turn = _turn_to_fetch(Path(sys.argv[1]), 1)
print("taken", flush=True)
time.sleep(600)
"""


def test_a_process_that_is_killed_while_it_fetches_leaves_its_turn_to_others(
    server: S3Server, tmp_path: Path
) -> None:
    request = IngestRequest(source(server), str(tmp_path / "lake"))
    tasks = prepare(request).todo[:3]
    settings = ConvertSettings(request.source, tmp_path, verify_hash=False)
    command = [sys.executable, "-c", _HOLD_A_TURN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        with converting(tasks, settings, 1, ahead=1) as results:
            holder.kill()
            assert [result.error for result in results] == [None] * 3


def test_a_file_that_is_replaced_while_it_waits_for_its_turn_fails_alone(
    server: S3Server, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_distances(monkeypatch)
    request = IngestRequest(source(server), str(tmp_path / "lake"), workers=0)
    unlucky = prepare(request).todo[1]

    def replaced(request: RequestInfo, _: int) -> Fault | None:
        return Fault(replaced=True) if request.key == unlucky.object.key else None

    def wait_for_turn(task: FileTask, settings: ConvertSettings) -> FileResult:
        if task == unlucky:
            with (settings.staging / "fetching-0").open("wb") as turn, monkeypatch.context() as own:
                fcntl.flock(turn, fcntl.LOCK_EX)

                def while_it_waits(_: float) -> None:
                    server.faults = replaced
                    fcntl.flock(turn, fcntl.LOCK_UN)

                own.setattr("pipelines.convert.open_file.time.sleep", while_it_waits)
                fetch_ahead(task, settings, turns=1)
        return convert_file(task, settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.convert.pool._convert_file", wait_for_turn)
        ingest(prepare(request))
    assert server.faults, "it has waited"
    ((key, (error, _)),) = quarantined(tmp_path / "lake").items()
    assert key == unlucky.object.key
    assert key in error
    assert "another version" in error
    output("verify", "--lake", tmp_path / "lake")  # raises if it finds an error
    server.faults = None
    ingest(prepare(request))
    assert contents(tmp_path / "lake") == contents(sample_lake)
