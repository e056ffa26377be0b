"""Being asked to stop, and readers of the output that go away."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders.command import COMMAND, Started, start
from builders.fixtures import Figure, Ingest

from pipelines.check.lake import verify
from pipelines.lake.store import LocalStore
from schemas.checks import Level

SOON = 30
"""Seconds after which a process that was asked to stop hangs, even on a busy machine."""


def converting(bucket: Path, lake: Path) -> Started:
    """An ingest that has converted a file and has others before it."""
    running = start("ingest", "--source", bucket, "--lake", lake, "--workers", "2")
    running.wait_for("[1/")
    return running


def check_whole(lake: Path) -> None:
    assert [p for p in verify(LocalStore(lake)) if p.level is Level.ERROR] == []


def test_an_ingest_that_is_stopped_at_any_moment_says_so_and_goes_on_from_there(
    sample_bucket: Path,
    tmp_path: Path,
    run_ingest: Ingest,
    soak: bool,
    seed: int,
    figure: Figure,
) -> None:
    cases, stopped = 30 if soak else 2, 0
    for case in range(cases):
        rng = random.Random(f"{seed} {case}")
        number = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        lake = tmp_path / f"lake{case}"
        if case == 0:  # surely in the midst of it
            running = converting(sample_bucket, lake)
        else:
            running = start("ingest", "--source", sample_bucket, "--lake", lake, "--workers", "1")
            running.wait_for("to convert")
            time.sleep(rng.uniform(0, 4))
        # The whole group gets it from a terminal and from some schedulers.
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if rng.random() < 0.5 else os.kill)(running.process.pid, number)
        code = running.end(SOON)
        text = "\n".join(running.said)
        done = running.said[-1].startswith("Next: ")
        # After its last line, nothing keeps a signal from ending the process.
        assert code in ((0, -number) if done else (128 + number,)), (seed, case, text)
        assert "Traceback" not in text, (seed, case)
        word = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
        line = (
            rf"error: {word}: (\d+ of \d+ files are in the lake(?:, \d+ more converted)?|.+); "
            "the same command goes on from there"
        )
        assert done or re.fullmatch(line, running.said[-1]), (seed, case, text)
        run_ingest(sample_bucket, lake)
        check_whole(lake)
        shutil.rmtree(lake)
        stopped += not done
    assert stopped
    figure(
        f"signals: {stopped} of {cases} ingests stopped at a random moment (the others were done), "
        "each with its line; all were completed"
    )


def test_workers_end_with_an_ingest_that_is_killed(sample_bucket: Path, tmp_path: Path) -> None:
    running = converting(sample_bucket, tmp_path / "lake")
    os.kill(running.process.pid, signal.SIGKILL)
    assert running.end(SOON) == -signal.SIGKILL


# --- the handler itself

PROGRAM = """
import sys, time
from pipelines.cli import interrupt
from pipelines.cli.app import main
interrupt._PATIENCE, interrupt._SAME = {patience}, {same}
def work():
    interrupt.tell(lambda: 'half is done')
    try:
        print('ready', flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print('stopping', flush=True)
        time.sleep({cleaning})
        print('clean', flush=True)
        raise SystemExit(interrupt.exit_code())
main(work)
"""


def program(
    *, patience: float = 60.0, same: float = 60.0, cleaning: float = 0.0, **options: object
) -> Started:
    code = PROGRAM.format(patience=patience, same=same, cleaning=cleaning)
    running = start("-c", code, program=[sys.executable], **options)
    running.wait_for("ready")
    return running


def test_a_second_signal_ends_at_once() -> None:
    running = program(same=0.0, cleaning=60)
    running.process.send_signal(signal.SIGINT)
    running.wait_for("stopping")
    latest = time.monotonic() + SOON
    while running.process.poll() is None and time.monotonic() < latest:
        running.process.send_signal(signal.SIGINT)  # one that is noticed with the first is the same
        time.sleep(0.05)
    assert running.end(SOON) == 130
    assert running.said == ["ready", "stopping", "error: interrupted: half is done"]


def test_a_signal_that_has_no_effect_ends_after_a_while() -> None:
    running = program(patience=0.2, cleaning=60)
    running.process.send_signal(signal.SIGTERM)
    assert running.end(SOON) == 143
    assert running.said == ["ready", "stopping", "error: stopped by SIGTERM: half is done"]


def test_signals_to_process_and_group_are_one() -> None:
    # `timeout`, Slurm and others do that.
    running = program(cleaning=2)
    os.kill(running.process.pid, signal.SIGTERM)
    running.wait_for("stopping")
    time.sleep(0.2)  # two that come at the very same time are one in any case
    os.killpg(running.process.pid, signal.SIGTERM)
    assert running.end(SOON) == 143
    assert running.said == ["ready", "stopping", "clean"]


def test_a_signal_that_is_ignored_from_the_start_stays_so() -> None:
    # As under nohup, or in the background of a script.
    running = program(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    running.process.send_signal(signal.SIGTERM)
    assert running.end(SOON) == 143
    assert running.said[-1] == "clean"


# --- other commands


def test_a_query_that_is_stopped_leaves_nothing_behind(good: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    # More than fits DuckDB's memory, so that it has files of its own.
    query = (
        "SELECT count(*) FROM (SELECT DISTINCT a.range, b.range, hash(a.range, b.range) "
        "FROM range(100_000) a, range(100_000) b)"
    )
    environment = os.environ | {"TMPDIR": str(temporary)}
    out = tmp_path / "out.csv"
    running = start("sql", "--lake", good, "-o", out, query, env=environment)
    until = time.monotonic() + SOON
    while not (tmp_path / ".out.csv.part").exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    running.process.send_signal(signal.SIGTERM)
    assert running.end(SOON) == 143
    assert running.said == ["error: stopped by SIGTERM"]
    assert [p.name for p in tmp_path.rglob("*")] == ["tmp"]


@pytest.mark.parametrize(
    "args", [["sql", "--format", "csv", "FROM running_speed"], ["status"], ["verify", "--quick"]]
)
def test_a_reader_that_goes_away_ends_the_command_quietly(
    sample_lake: Path, tmp_path: Path, args: list[str]
) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, *args, "--lake", sample_lake]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False, env=environment
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    assert [*tmp_path.iterdir()] == []
