"""Files over the workers of a Dask scheduler, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from builders.lakes import experiment_file, query
from servers.moto import moto

from pipelines.catalog.connect import connect
from pipelines.convert import cluster, cluster_worker
from pipelines.convert.fingerprint import fingerprint
from pipelines.convert.staged import ConvertSettings
from pipelines.convert.worker import BYTES_PER_WORKER
from pipelines.ingest import MouseReport, ingest
from pipelines.lake.store import S3Store
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.errors import ClusterError, UsageError
from vblake.s3_client import open_bucket

ROOT = Path(__file__).parents[2]
TABLES = ("trials", "dff_traces", "stimulus_templates")


@contextmanager
def _cluster(workers: int, **options: Any) -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
        silence_logs=100,
        **options,
    ) as made:
        yield made


def _ingest(source: Path, lake: str | Path, address: str, **options: Any) -> list[MouseReport]:
    request = IngestRequest(
        SourceSpec(str(source)),
        str(lake),
        selection=Selection(tables=TABLES),
        dask=address,
        **options,
    )
    return ingest(prepare(request))


def _same(lake: Any, other: Path) -> None:
    for table in TABLES:
        rows = f"SELECT COLUMNS(*)::VARCHAR FROM {table} ORDER BY ALL"
        assert lake(rows) == query(other, rows), table


def test_a_lake_made_by_dask_workers_that_are_killed_is_the_same(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _cluster(2) as made:
        killed: list[int] = []
        brought = cluster._brought  # pyright: ignore[reportPrivateUsage]

        def and_kill(*arguments: Any) -> Any:
            if len(killed) < 2:  # nannies start others
                pids = [n.pid for n in made.workers.values() if n.pid and n.pid not in killed]
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)
            return brought(*arguments)

        monkeypatch.setattr(cluster, "_brought", and_kill)
        reports = _ingest(sample_bucket, tmp_path / "lake", made.scheduler_address)
    assert len(killed) == 2
    assert not [e for r in reports for e in r.quarantined]
    _same(lambda rows: query(tmp_path / "lake", rows), sample_lake)


def test_a_file_that_kills_workers_costs_itself_only(sample_bucket: Path, tmp_path: Path) -> None:
    deadly = experiment_file(sample_bucket)
    preload = tmp_path / "preload.py"
    preload.write_text(
        "import functools, os, signal\n"
        "import pipelines.convert.file as file\n"
        "def deadly(convert, task, settings):\n"
        f"    if task.object.key.endswith({deadly.name!r}):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return convert(task, settings)\n"
        "file.convert_file = functools.partial(deadly, file.convert_file)\n"
    )
    at_once = {"allowed_failures": 0}
    with _cluster(2, preload=[str(preload)], scheduler_kwargs=at_once) as made:
        reports = _ingest(sample_bucket, tmp_path / "lake", made.scheduler_address)
    (lost,) = [e for r in reports for e in r.quarantined]
    assert str(lost.object_key).endswith(deadly.name)
    assert str(lost.error).startswith(f"file {lost.object_key}: Dask workers died while they read")


_FAULTS = r"""
import functools, sys, threading
import pipelines.convert.file as file

class Unpicklable(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()

class Panic(BaseException):
    pass

class Unreadable:
    def __reduce__(self):
        return (eval, ("1 / 0",))

def deeper():
    return deeper()

def fail(error):
    raise error

FAULTS = [
    deeper,
    lambda: fail(Unpicklable("first line\nsecond line")),
    lambda: fail(Panic("a library in Rust failed")),
    lambda: sys.exit(3),
    Unreadable,
    lambda: Unpicklable("returned"),
]

def faulty(convert, task, settings):
    name = task.object.key.rsplit("/", 1)[1]
    return FAULTS[NAMES.index(name)]() if name in NAMES else convert(task, settings)

file.convert_file = functools.partial(faulty, file.convert_file)
"""


def test_an_error_that_cannot_be_sent_costs_its_file_only(
    sample_bucket: Path, tmp_path: Path
) -> None:
    """Dask never reports some of them to the process that waits."""
    names = [experiment_file(sample_bucket, n).name for n in range(6)]
    preload = tmp_path / "preload.py"
    preload.write_text(f"NAMES = {names}\n{_FAULTS}")
    with _cluster(2, preload=[str(preload)]) as made:
        reports = _ingest(sample_bucket, tmp_path / "lake", made.scheduler_address)
    lost = {
        str(e.object_key).rsplit("/", 1)[1]: str(e.error) for r in reports for e in r.quarantined
    }
    assert lost.keys() == set(names)
    for name, said in zip(
        names,
        (
            "RecursionError: maximum recursion depth exceeded",
            "Unpicklable: first line",
            "Panic: a library in Rust failed",
            "SystemExit: 3",
            "ZeroDivisionError: division by zero",
            "TypeError: ",
        ),
        strict=True,
    ):
        assert f"{name}: vblake failed with {said}" in lost[name]
        assert "\n" not in lost[name]


def test_workers_hand_over_in_the_bucket_of_a_lake_in_s3(
    sample_bucket: Path, sample_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto() as (endpoint, client):
        client.create_bucket(
            Bucket="lab", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        settings = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "writer",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-west-2",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        open_bucket.cache_clear()
        with _cluster(2) as made:
            reports = _ingest(sample_bucket, "s3://lab/vb", made.scheduler_address)
        assert not [e for r in reports for e in r.quarantined]
        store = S3Store("s3://lab/vb")
        with connect(store) as con:
            _same(lambda rows: con.execute(rows).fetchall(), sample_lake)
        assert store.bucket.find("s3://lab/vb/_staging") == []
        open_bucket.cache_clear()


def test_a_scheduler_without_workers_and_none_at_all(
    sample_bucket: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _cluster(0) as made:
        address = made.scheduler_address
        with pytest.raises(ClusterError, match=r"has no workers, and none came within 0\.2 s\."):
            _ingest(sample_bucket, tmp_path / "lake", address, dask_wait_s=0.2)
    caplog.clear()
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    mute = socket.create_server(("127.0.0.1", 0))  # takes connections and says nothing
    other = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
    for wrong, error, text in (
        (other, ClusterError, "no Dask scheduler answers there within 0.5 s"),
        (free, ClusterError, "no Dask scheduler answers there within 0.5 s"),
        ("nonsense://x", UsageError, "this is no address of a Dask scheduler"),
    ):
        with pytest.raises(error, match=text):
            _ingest(sample_bucket, tmp_path / "lake", wrong)
    assert caplog.records == []
    mute.close()


@contextmanager
def _started(
    module: str, *arguments: object, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_workers_with_other_code_are_refused(sample_bucket: Path, tmp_path: Path) -> None:
    """A worker whose copy of vblake has one more line."""
    other = tmp_path / "other"
    for name in ("pipelines", "schemas", "vblake"):
        shutil.copytree(ROOT / name, other / name)
    with (other / "schemas" / "casts.py").open("a") as file:
        file.write("# one more line\n")
    environment = {"PYTHONPATH": str(other), "PYTHONSAFEPATH": "1"}
    with (
        _cluster(0) as made,
        _started("distributed.cli.dask_worker", made.scheduler_address, **environment),
        pytest.raises(ClusterError, match=r"run other code .*vblake's sources \w+ \(here"),
    ):
        _ingest(sample_bucket, tmp_path / "lake", made.scheduler_address)


def test_workers_that_do_not_see_the_lake_are_refused(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "answer_probe", _sees_another_folder)
    lake = tmp_path / "lake"
    with (
        _cluster(1) as made,
        pytest.raises(ClusterError, match=rf"do not both see {lake}/_staging, where converted"),
    ):
        _ingest(sample_bucket, lake, made.scheduler_address)


def _sees_another_folder(*_: object) -> str:
    return "probe-elsewhere"


def test_workers_that_join_later_are_asked_the_same(sample_bucket: Path, tmp_path: Path) -> None:
    request = IngestRequest(SourceSpec(str(sample_bucket)), str(tmp_path / "lake"))
    task = prepare(request).todo[0]
    settings = ConvertSettings(request.source, tmp_path, verify_hash=False)
    for code, text in (
        (fingerprint(), f"does not see {tmp_path} as this process does (it is not there)."),
        (fingerprint() | {"numpy": "1.0"}, "runs other code: numpy "),
    ):
        order = cluster_worker.Order(settings, None, "probe-of-this-run", code)
        sent = cluster_worker.convert_there(task, order)
        with pytest.raises(
            ClusterError, match=r"^Dask worker on .+: it has joined later and "
        ) as error:
            cluster._answer(sent, task, settings)  # pyright: ignore[reportPrivateUsage]
        assert text in str(error.value)


def test_a_scheduler_that_dies_is_one_line(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", note)
    with (
        _started("distributed.cli.dask_scheduler", *options) as scheduler,
        _started("distributed.cli.dask_worker", "--scheduler-file", note, "--no-dashboard"),
    ):
        while not note.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        brought = cluster._brought  # pyright: ignore[reportPrivateUsage]

        def and_kill(*arguments: Any) -> Any:
            scheduler.kill()
            return brought(*arguments)

        monkeypatch.setattr(cluster, "_brought", and_kill)
        address = json.loads(note.read_text())["address"]
        with pytest.raises(ClusterError, match=f"^--dask {address}: the Dask scheduler does not"):
            _ingest(sample_bucket, tmp_path / "lake", address, dask_wait_s=60)


def test_a_scheduler_that_dies_while_it_is_asked_is_one_line() -> None:
    class Client:
        status = "running"

        def nthreads(self) -> Any:
            raise OSError("Timed out trying to connect to tcp://127.0.0.1:8786 after 10 s")

    scheduler = cluster.Cluster("tcp://127.0.0.1:8786", lake=None, wait_s=60)
    with pytest.raises(ClusterError, match="the Dask scheduler does not answer any more"):
        cluster._await_workers(Client(), scheduler)  # pyright: ignore[reportPrivateUsage]


def test_files_in_flight_follow_threads_and_memory() -> None:
    class Client:
        def scheduler_info(self, n_workers: int) -> Any:
            workers = [(4, 2 * BYTES_PER_WORKER), (2, 0), (1, BYTES_PER_WORKER // 2)]
            return {
                "workers": {
                    n: {"nthreads": t, "memory_limit": m} for n, (t, m) in enumerate(workers)
                }
            }

    slots = cluster._slots  # pyright: ignore[reportPrivateUsage]
    assert slots(Client(), None) == 2 + 2 + 1
    assert slots(Client(), 3 * BYTES_PER_WORKER) == 3
    assert slots(Client(), 1) == 1
