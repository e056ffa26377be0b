"""Ingests killed at any moment leave a correct older or newer state, and the next run goes on."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from builders.fixtures import Figure
from builders.killing import Command, run
from builders.states import Reference, by_glob
from servers.s3 import BUCKET, S3Server

from pipelines.ingest import ingest
from pipelines.lake.ledger import Ledger, read_ledger
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.selection import FileTask, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.layout import MARKER, STAGING

STARTS = ("nothing", "a mouse without one of its sessions", "everything, converted again")
NOTHING, PART, WHOLE = STARTS

WAYS = ("requests", "publication", "catalog", "command")
"""How the moment is chosen, in turn: so many requests to the server, or a line of the code that
publishes tables or makes the catalog. `command` is `vblake ingest`, Dagster
included, killed at a request; the others are the same ingest without Dagster, which starts sooner.
"""
LINES = ("publication", "catalog")


@dataclass(frozen=True)
class World:
    """The bucket behind its server, the lakes to start from, and the lake that each is to become."""

    bucket: Path
    server: S3Server
    folder: Path
    tasks: tuple[FileTask, ...]
    starts: dict[str, Path]
    reference: Reference
    requests: dict[str, int] = field(default_factory=dict[str, int])
    lines: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])

    @property
    def sessions(self) -> set[int]:
        return {t.behavior_session_id for t in self.tasks}

    def command(self, start: str, lake: Path, *, remote: bool) -> Command:
        """The ingest that makes one of `starts` the whole lake."""
        if start in self.starts:
            shutil.copytree(self.starts[start], lake)
        source, endpoint = (
            (f"s3://{BUCKET}", self.server.url) if remote else (str(self.bucket), None)
        )
        return Command(str(lake), source, endpoint, tuple(self.sessions), force=start == WHOLE)


def _ingest(source: SourceSpec, lake: Path, sessions: set[int]) -> None:
    ingest(
        prepare(
            IngestRequest(
                source, str(lake), selection=Selection(behavior_sessions=tuple(sessions)), workers=0
            )
        )
    )


def _session(tasks: tuple[FileTask, ...], mouse: int, planes: int) -> int:
    """A session of a mouse with so many planes; none if it was not imaged."""
    found: dict[int, int] = {}
    for task in tasks:
        if task.mouse_id == mouse:
            found[task.behavior_session_id] = found.get(task.behavior_session_id, 0) + (
                task.ophys_experiment_id is not None
            )
    return next(session for session, imaged in found.items() if imaged == planes)


@pytest.fixture(scope="module")
def world(sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, local = tmp_path_factory.mktemp("kills"), SourceSpec(str(sample_bucket))
    with S3Server(sample_bucket, latency=0.005) as server:
        everything = prepare(IngestRequest(local, str(folder / "none"))).todo
        first, second = sorted({t.mouse_id for t in everything})
        added = _session(everything, first, 2)
        sessions = {added, _session(everything, first, 0), _session(everything, second, 1)}
        tasks = tuple(t for t in everything if t.behavior_session_id in sessions)
        starts = {PART: folder / "part", WHOLE: folder / "whole"}
        _ingest(local, starts[PART], sessions - {added})
        _ingest(local, starts[WHOLE], sessions)
        made = World(sample_bucket, server, folder, tasks, starts, Reference.of(starts[WHOLE]))
        for number, start in enumerate(STARTS):
            lake = folder / f"undisturbed-{number}"
            end = run(
                replace(made.command(start, lake, remote=False), phase="all"), folder / "home"
            )
            assert end.code == 0, end.output
            made.lines[start] = json.loads(end.output)
            made.reference.check(lake, made.reference.seen)
        assert run(made.command(NOTHING, folder / "remote", remote=True), folder / "home").code == 0
        requests = server.counters.requests.total()
        for start, share in ((NOTHING, 1.0), (PART, 2 / len(tasks)), (WHOLE, 1.0)):
            made.requests[start] = int(requests * share)
        yield made


def _finished(world: World, lake: Path) -> tuple[Ledger, Ledger, set[str]]:
    """Returns what a killed ingest had done.

    That is the ledger, its entries of files that had been converted again (`--force`), and the keys
    of objects that had been converted and are not in the ledger.
    """
    store = LocalStore(lake)
    ledger = read_ledger(store) if (lake / MARKER).exists() else {}
    done = {e.file_key for e in ledger.values()}
    converted = {p.parent.name.partition("-")[0] for p in (lake / STAGING).glob("*/result.json")}
    staged = {
        t.object.key
        for t in world.tasks
        if f"{t.kind.value}_{t.file_key}" in converted and t.file_key not in done
    }
    republished = {
        identity: e
        for identity, e in ledger.items()
        if f"{e.file_kind.value}_{e.file_key}" in converted
    }
    return ledger, republished, staged


def _complete(world: World, lake: Path) -> None:
    """The next run completes the lake; what was finished is neither fetched nor noted again."""
    ledger, republished, staged = _finished(world, lake)
    world.server.reset_counters()
    _ingest(SourceSpec(f"s3://{BUCKET}", world.server.url), lake, world.sessions)
    fetched = {key for key in world.server.counters.versions if key.endswith(".nwb")}
    done = {e.object_key for e in ledger.values()}
    assert not fetched & done, "objects in the ledger were fetched again"
    assert not fetched & staged, "objects that had been converted were fetched again"
    after = read_ledger(LocalStore(lake))
    # What a killed `--force` had converted again is published by this run, at another time.
    known = {
        i: replace(after[i], ingested_at=e.ingested_at, bytes_fetched=e.bytes_fetched)
        if i in republished
        else after[i]
        for i, e in ledger.items()
    }
    assert known == ledger
    world.reference.check(lake, world.reference.seen)
    assert not (lake / STAGING).exists()


def _kill(world: World, number: int, seed: int, folder: Path) -> bool:
    """One kill, what it leaves, and the run after it; returns whether the ingest was killed."""
    rng = random.Random(f"{seed}-{number}")
    start, way = rng.choice(STARTS), WAYS[number % len(WAYS)]
    lake = folder / "lake"
    command = world.command(start, lake, remote=way not in LINES)
    older = by_glob(lake) if start != NOTHING else None
    world.server.reset_counters()
    case = f"seed {seed}, kill {number}, starting from {start}, by {way}"
    last = rng.randint(1, world.lines[start][way] if way in LINES else world.requests[start])
    if way in LINES:
        command = replace(command, phase=way, line=last)
    else:
        command = replace(command, dagster=way == "command")

    def moment() -> bool:
        return way not in LINES and world.server.counters.requests.total() >= last

    end = run(command, folder / "home", moment)
    try:
        assert end.code in (0, -9), end.output
        world.reference.check(lake, older)
        _complete(world, lake)
    except Exception as error:
        error.add_note(f"{case}, {end.where}")
        raise
    shutil.rmtree(lake)
    return end.code != 0


def test_a_killed_ingest_leaves_a_correct_state_and_the_next_run_completes_it(
    world: World, tmp_path: Path, soak: bool, seed: int, figure: Figure
) -> None:
    kills = 100 if soak else 5
    killed = Counter[str]()
    for number in count():
        # An ingest that had ended before its moment came was not killed.
        killed[WAYS[number % len(WAYS)]] += _kill(world, number, seed, tmp_path)
        if killed.total() == kills:
            break
    shown = ", ".join(f"{times} by {way}" for way, times in killed.most_common())
    figure(
        f"kills: {kills} ingests killed with seed {seed} ({shown}); 0 wrong states, "
        "0 wrong completions, 0 finished files fetched again"
    )
