"""Readers and writers at once: every answer is that of a published state."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from builders.crowd import READERS, Published, Report, crowd, published_by_state, sessions_by_unit
from builders.fixtures import Figure
from builders.killing import Command
from builders.states import Reference, by_glob
from servers.s3 import BUCKET, S3Server

from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake import new_version as supersede
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES
from schemas.errors import LakeError
from schemas.layout import relative_path


def _ingest(bucket: Path, lake: Path, sessions: set[int], *, force: bool = False) -> None:
    request = IngestRequest(
        SourceSpec(str(bucket)),
        str(lake),
        selection=Selection(behavior_sessions=tuple(sessions)),
        force=force,
        workers=0,
    )
    ingest(prepare(request))


def _said(reports: list[Report]) -> str:
    again = sum((r.again for r in reports), Counter[str]())
    shown = ", ".join(f"{count} x {kind}" for kind, count in again.items()) or "none"
    return (
        f"{len(reports)} readers, {sum(r.answers for r in reports)} answers, asked again: {shown}"
    )


def _order(lake: Path, seed: int) -> list[int]:
    """Sessions in the order in which they are added; the first has planes, so no table is empty."""
    sessions = sessions_by_unit(lake)
    imaged = sorted(set(sessions["dff_traces"].values()) & set(sessions["eye_tracking"].values()))
    first = random.Random(seed).choice(imaged)
    others = sorted(set(sessions["source_files"].values()) - {first})
    random.Random(seed).shuffle(others)
    return [first, *others]


def test_every_answer_is_that_of_a_published_state(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, soak: bool, seed: int, figure: Figure
) -> None:
    ingests = 100 if soak else 6
    lake, store = tmp_path / "lake", LocalStore(tmp_path / "lake")
    order = _order(sample_lake, seed)
    states = [set(order[: n + 1]) for n in range(len(order))]
    published = published_by_state(by_glob(sample_lake), sessions_by_unit(sample_lake), states)
    _ingest(sample_bucket, lake, states[0])
    # A glob without any file is an error to every reader, so all look at tables that have one.
    published = {name: facts for name, facts in published.items() if store.files(name)}
    added = 0
    with crowd(lake, published, seed, pause=0.01 if soak else 0.15) as reports:
        for number in range(ingests):
            if number % 2 == 0 and added < len(states) - 1:
                added += 1
                _ingest(sample_bucket, lake, states[added])
            else:
                _ingest(sample_bucket, lake, {order[number % (added + 1)]}, force=True)
    assert [p for r in reports for p in r.problems] == []
    assert all(r.answers for r in reports)
    assert len(reports) == len(READERS)
    assert verify(store) == []
    if added == len(states) - 1:
        assert by_glob(lake) == by_glob(sample_lake)
    figure(
        f"crowd: {_said(reports)}; meanwhile {added} sessions added, {ingests - added} converted "
        f"again with --force, seed {seed}; 0 wrong answers, 0 other failures"
    )


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_is_replaced_again_and_again_reads_as_one_of_its_versions(
    sample_lake: Path,
    tmp_path: Path,
    soak: bool,
    seed: int,
    figure: Figure,
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readers open a file by name twice, for the footer and the data, which must be of one version.

    While earlier versions are kept in the file, no query fails; where they would be too large, a
    query may fail with a documented error.
    """
    if not kept:
        monkeypatch.setattr(supersede, "_KEPT", 0)
    lake, store, table = tmp_path / "lake", LocalStore(tmp_path / "lake"), TABLES["trials"]
    shutil.copytree(sample_lake, lake)
    mouse = min(int(path.split("=")[1].split("/")[0]) for path in store.files("trials"))
    path = relative_path(table, mouse_id=mouse)
    whole = pq.ParquetFile(lake / path).read()
    ids = sorted(set(whole.column("behavior_session_id").to_pylist()))
    versions = [tmp_path / "all.parquet", tmp_path / "half.parquet"]
    pq.write_table(whole, versions[0])
    pq.write_table(
        whole.filter(pc.is_in(whole.column("behavior_session_id"), pa.array(ids[::2]))), versions[1]
    )
    units = by_glob(lake)["trials"]
    others = frozenset(units) - set(ids)
    published = {
        "trials": Published(units, (others | set(ids), others | set(ids[::2])), grows=False)
    }
    store.staging.mkdir()
    replaced = 0
    with crowd(lake, published, seed) as reports:
        for replaced in range(1, (5000 if soak else 200) + 1):
            staged = shutil.copy(versions[replaced % 2], store.staging / "trials.parquet")
            store.publish(staged, path)
            staged.unlink(missing_ok=True)
            time.sleep(0.005)
    assert [p for r in reports for p in r.problems] == []
    assert all(r.answers for r in reports)
    assert not kept or not any(r.again for r in reports)
    figure(
        f"replaced files, earlier versions {'kept' if kept else 'not kept'}: {_said(reports)}; "
        f"one file replaced {replaced} times, seed {seed}; 0 wrong answers"
    )


# --- two writers -------------------------------------------------------------------------------------------------------------


def _start(server: S3Server, lake: Path, sessions: set[int], home: Path) -> subprocess.Popen[str]:
    process = Command(str(lake), f"s3://{BUCKET}", server.url, tuple(sessions)).start(home)
    latest = time.monotonic() + 60
    while not list((lake / "_staging").glob("*_*_*")):  # the workers are at it
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < latest
        time.sleep(0.01)
    return process


def test_a_second_ingest_says_who_writes_and_one_killed_frees_the_lake_at_once(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, seed: int
) -> None:
    lake, order = tmp_path / "lake", _order(sample_lake, seed)
    with S3Server(sample_bucket, latency=0.2) as server:
        process = _start(server, lake, set(order[:2]), tmp_path / "home")
        said = f"{lake} is being written to by another vblake process (pid {process.pid} on "
        with pytest.raises(LakeError, match=re.escape(said)):
            _ingest(sample_bucket, lake, {order[0]})
        # The process alone, as kill -9 does it: its workers are left to themselves for a moment.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _ingest(sample_bucket, lake, set(order[:2]))
        Reference.of(sample_lake).check(lake)
        assert verify(LocalStore(lake)) == []
        # All processes of the group hold the pipe; a worker that stayed would keep it open.
        process.communicate(timeout=60)
