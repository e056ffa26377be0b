"""Worker processes that die, never end, or lose the process they work for."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders import faulty

from pipelines.convert.file import convert_file
from pipelines.convert.pool import FilePool
from pipelines.convert.staged import ConvertSettings
from pipelines.convert.workers import processes
from pipelines.ingest import prepare
from pipelines.release.selection import FileTask, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.errors import SourceError


@pytest.fixture
def settings(sample_bucket: Path, tmp_path: Path) -> ConvertSettings:
    return ConvertSettings(
        SourceSpec(str(sample_bucket)),
        tmp_path,
        verify_hash=False,
    )


@pytest.fixture
def tasks(sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FileTask]:
    """Every file of the sample, trials only."""
    monkeypatch.setattr("pipelines.convert.pool._convert_file", faulty.convert)
    request = IngestRequest(
        SourceSpec(str(sample_bucket)),
        str(tmp_path / "lake"),
        selection=Selection(tables=("trials",)),
    )
    return list(prepare(request).todo)


def _as_here() -> dict[str, str]:
    """Environment of a process of its own that imports what this one can."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _errors(
    tasks: list[FileTask], settings: ConvertSettings, workers: int = 2
) -> dict[int, str | None]:
    with FilePool(settings, workers) as pool:
        return {r.task.file_key: r.error for r in pool.convert(tasks)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_its_worker_fails_alone(
    tasks: list[FileTask], settings: ConvertSettings, workers: int
) -> None:
    bad = replace(tasks[1], tables=faulty.DIES)
    errors = _errors([tasks[0], bad, *tasks[2:]], settings, workers)
    assert set(errors) == {t.file_key for t in tasks}
    assert [key for key, error in errors.items() if error] == [bad.file_key]
    assert (errors[bad.file_key] or "").startswith(
        f"file {bad.object.key}: the worker process died twice while reading it, the second time"
    )


def test_a_file_whose_worker_died_once_is_converted(
    tasks: list[FileTask], settings: ConvertSettings
) -> None:
    errors = _errors([replace(tasks[0], tables=faulty.DIES_ONCE), *tasks[1:]], settings)
    assert errors == {t.file_key: None for t in tasks}


def test_a_file_that_never_ends_is_stopped(
    tasks: list[FileTask], settings: ConvertSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.convert.workers._CPU_SECONDS", 3.0)
    endless = replace(tasks[0], tables=faulty.SPINS)
    errors = _errors([endless, *tasks[1:]], settings)
    assert [key for key, error in errors.items() if error] == [endless.file_key]
    assert "stopped because it did not come to an end" in (errors[endless.file_key] or "")


def test_a_worker_cannot_take_the_memory_of_the_machine(
    tasks: list[FileTask], settings: ConvertSettings
) -> None:
    greedy = replace(tasks[0], tables=faulty.EATS)
    assert _errors([greedy, *tasks[1:]], settings) == {
        **{t.file_key: None for t in tasks},
        greedy.file_key: "no more memory",
    }


def test_a_worker_refuses_pandas() -> None:
    with processes(1) as executor:
        assert executor.submit(faulty.arrow_array_without_pandas).result()


@pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="without glibc memory may go back"
)
def test_a_worker_keeps_the_memory_of_a_file_for_the_next() -> None:
    script = (
        "from builders import faulty\nfrom pipelines.convert.workers import processes\n"
        "with processes(1) as executor:\n    print(*executor.submit(faulty.faults, 8 << 20, 20, 3).result())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=_as_here(), capture_output=True, text=True, check=True
    )
    first, *further = map(int, done.stdout.split())
    assert first > 20 * max(further)


def test_workers_end_with_the_process_they_work_for(
    tasks: list[FileTask], settings: ConvertSettings, tmp_path: Path
) -> None:
    script = (
        "import pickle, sys\n"
        "import pipelines.convert.pool\nfrom builders import faulty\n"
        "pipelines.convert.pool._convert_file = faulty.convert\n"
        "tasks, settings = pickle.load(open(sys.argv[1], 'rb'))\n"
        "with pipelines.convert.pool.FilePool(settings, 2) as pool:\n    list(pool.convert(tasks))\n"
    )
    (tmp_path / "work.pickle").write_bytes(
        pickle.dumps(([replace(t, tables=faulty.WAITS) for t in tasks[:2]], settings))
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "work.pickle")], env=_as_here()
    )
    workers = _eventually(
        lambda: [int(p.name.split("-")[1]) for p in tmp_path.glob("worker-*")],
        lambda found: len(found) == 2,
    )
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert (
        _eventually(
            lambda: [w for w in workers if Path(f"/proc/{w}").exists()], lambda left: not left
        )
        == []
    )


def _eventually(look: Callable[[], list[int]], good: Callable[[list[int]], bool]) -> list[int]:
    """What there is to see once it is good, or after a minute."""
    found = look()
    for _ in range(600):
        if good(found):
            break
        time.sleep(0.1)
        found = look()
    return found


@pytest.fixture(scope="module")
def with_images(sample_bucket: Path) -> FileTask:
    """A file with an image set."""
    request = IngestRequest(
        SourceSpec(str(sample_bucket)),
        "nowhere",
        selection=Selection(tables=("stimulus_templates",)),
    )
    return prepare(request).todo[0]


def test_an_image_set_that_was_begun_on_is_not_converted_again(
    with_images: FileTask, settings: ConvertSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = convert_file(with_images, settings).image_signature
    assert signature
    with FilePool(settings, 1) as pool:
        pool.begin_templates(with_images, signature)
        monkeypatch.setattr(pool, "_local", lambda: pytest.fail("converted again"))
        staged, _ = pool.templates(with_images, signature)
    assert pq.ParquetFile(staged).metadata.num_rows > 0


def test_an_image_set_comes_from_another_file_where_the_first_fails(
    with_images: FileTask, settings: ConvertSettings
) -> None:
    gone = replace(
        with_images,
        file_key=1,
        object=replace(with_images.object, key="visual-behavior-ophys/gone.nwb"),
    )
    with FilePool(settings, 1) as pool:
        pool.begin_templates(gone, "the same")
        staged, _ = pool.templates(with_images, "the same")
        assert pq.ParquetFile(staged).metadata.num_rows > 0
        pool.begin_templates(gone, "the same")
        with pytest.raises(SourceError, match=r"gone\.nwb"):
            pool.templates(gone, "the same")
