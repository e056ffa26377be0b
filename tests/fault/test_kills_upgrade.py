"""Killed upgrades: readers of the catalog see one release or the other, and the next command goes on or undoes it."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from builders.cli import output
from builders.fixtures import Figure
from builders.killing import Command, run
from builders.lakes import behavior_file, file_key
from builders.releases import revise, write_release
from builders.states import Seen, by_catalog, by_glob

from pipelines.check.lake import verify
from pipelines.ingest import ingest
from pipelines.lake.generations import kept
from pipelines.lake.marker import read_marker
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.checks import Level

PHASES = ("publication", "catalog")
TABLES = (
    *("trials", "stimulus_presentations", "running_speed", "stimulus_templates"),
    *("cell_specimens", "dff_traces"),
)


@dataclass(frozen=True)
class World:
    """A lake with release 1.1.0, the bucket with 1.2.0, and what each release looks like.

    Attributes:
        bucket: the source, with both releases.
        lake: with 1.1.0.
        old, new: what readers see of each.
        lines: how many lines an upgrade executes, by phase.
        upgraded: the lake after the upgrade.
        session: one whose files the lake has.
    """

    bucket: Path
    lake: Path
    old: Seen
    new: Seen
    lines: dict[str, int]
    upgraded: Path
    session: int

    def command(self, lake: Path) -> Command:
        shutil.copytree(self.lake, lake)
        return Command(str(lake), str(self.bucket), None, (), workers=1)

    def release(self, seen: Seen, case: str) -> str:
        """Which release a reader saw; AssertionError if it is a mix."""
        differing = [t for t in seen if self.old[t] != self.new[t]]
        old = [t for t in differing if seen[t] == self.old[t]]
        new = [t for t in differing if seen[t] == self.new[t]]
        assert set(seen) == {t for t in seen if seen[t] in (self.old[t], self.new[t])}, case
        assert not (old and new), f"{case}: {old} are old, {new} are new"
        return "old" if old else "new"


@pytest.fixture(scope="module")
def world(sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("upgrades")
    bucket, lake = folder / "bucket", folder / "lake"
    shutil.copytree(sample_bucket, bucket)
    file = behavior_file(bucket)
    everything = prepare(IngestRequest(SourceSpec(str(bucket)), str(folder / "none"))).todo
    sessions = Counter(t.behavior_session_id for t in everything)
    session, _ = max(sessions.items(), key=lambda pair: (pair[1], pair[0]))
    first, *_, last = [t.file_key for t in everything if t.behavior_session_id == session]
    write_release(bucket, "1.0.9")
    write_release(bucket, "1.1.0", without=[last])
    chosen = Selection(behavior_sessions=(session, file_key(file)), tables=TABLES)
    ingest(prepare(IngestRequest(SourceSpec(str(bucket)), str(lake), selection=chosen, workers=0)))
    revise(file)
    write_release(bucket, "1.2.0", without=[first], base="1.0.9")
    upgraded = folder / "upgraded"
    made = World(bucket, lake, by_catalog(lake), {}, {}, upgraded, session)
    end = run(replace(made.command(upgraded), phase="all"), folder / "home")
    assert end.code == 0, end.output
    assert verify(LocalStore(upgraded)) == []
    return replace(made, new=by_catalog(upgraded), lines=json.loads(end.output))


def test_a_killed_upgrade_is_finished_or_undone_by_the_next_command(
    world: World, tmp_path: Path, soak: bool, seed: int, figure: Figure
) -> None:
    kills = 60 if soak else 6
    states, killed = Counter[str](), 0
    for number in count():
        rng = random.Random(f"{seed}-{number}")
        lake, phase = tmp_path / f"lake-{number}", PHASES[number % 3 % 2]
        # The last lines are those that make the lake the new generation.
        line = round(world.lines[phase] * (1 - rng.random() ** 2)) or 1
        end = run(replace(world.command(lake), phase=phase, line=line), tmp_path / "home")
        case = f"seed {seed}, upgrade {number}, killed before {end.where} ({phase} {line})"
        assert end.code in (0, -9), f"{case}: {end.output}"
        killed += end.code != 0
        states[world.release(by_catalog(lake), case)] += 1
        # Once it is decided, any command finishes the upgrade, and an ingest of everything goes on
        # to what the lake never had.
        if not _is_decided(LocalStore(lake)) and rng.random() < 0.5:
            assert run(Command(str(lake), str(world.bucket), None, ()), tmp_path / "home").code == 0
            assert world.release(by_catalog(lake), case) == "new"
        else:
            output("catalog", "--lake", lake)
        seen = by_catalog(lake)
        world.release(seen, case)
        assert seen == by_glob(lake), case
        assert [str(p) for p in verify(LocalStore(lake)) if p.level is Level.ERROR] == [], case
        assert not list(lake.glob("_generations/*/_building.json")), case
        shutil.rmtree(lake)
        if killed == kills:
            break
    figure(
        f"upgrades: {kills} killed with seed {seed}, after which readers saw the old release "
        f"{states['old']} times and the new one {states['new']} times; 0 mixed, 0 not made good"
    )


def _is_decided(store: LocalStore) -> bool:
    """Whether the lake is the next generation, or about to become it."""
    marker = read_marker(store)
    assert marker is not None
    return max({marker.generation, *kept(store)}) > 1


@pytest.mark.parametrize("action", ["rollback", "remove"])
def test_a_killed_rollback_or_removal_is_finished_or_undone_by_the_next_command(
    world: World, action: str, tmp_path: Path, soak: bool, seed: int, figure: Figure
) -> None:
    start = world.upgraded if action == "rollback" else world.lake
    changed = replace(world, lake=start, old=by_catalog(start))
    sessions = () if action == "rollback" else (world.session,)

    def command(name: str, **moment: Any) -> Command:
        copy = changed.command(tmp_path / name)
        return replace(copy, action=action, sessions=sessions, **moment)

    end = run(command("done", phase="all"), tmp_path / "home")
    assert end.code == 0, end.output
    changed = replace(changed, new=by_catalog(tmp_path / "done"), lines=json.loads(end.output))
    states, kills = Counter[str](), 20 if soak else 3
    for number in range(kills):
        rng = random.Random(f"{seed}-{action}-{number}")
        # Most lines give the next generation its files; the last ones make the lake become it.
        line = round(changed.lines["publication"] * (1 - rng.random() ** 2)) or 1
        killed = command(f"lake-{number}", phase="publication", line=line)
        end = run(killed, tmp_path / "home")
        case = f"seed {seed}, {action} {number}, killed before {end.where} ({line})"
        assert end.code == -9, f"{case}: {end.output}"
        lake = Path(killed.lake)
        states[changed.release(by_catalog(lake), case)] += 1
        output("catalog", "--lake", lake)
        if changed.release(by_catalog(lake), case) == "old":
            again = run(replace(killed, phase="", line=0), tmp_path / "home")
            assert again.code == 0, f"{case}: {again.output}"
        seen = by_catalog(lake)
        assert changed.release(seen, case) == "new"
        assert seen == by_glob(lake), case
        assert [str(p) for p in verify(LocalStore(lake)) if p.level is Level.ERROR] == [], case
    figure(
        f"{action}: {kills} killed with seed {seed}, after which readers saw what was before "
        f"{states['old']} times and what comes after {states['new']} times; 0 mixed"
    )


def test_readers_of_the_catalog_never_see_a_mix_of_releases(world: World, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    command, seen = world.command(lake), Counter[str]()

    def look() -> bool:
        seen[world.release(by_catalog(lake), f"answer {seen.total()}")] += 1
        return False

    assert run(command, tmp_path / "home", look).code == 0
    look()
    assert seen["old"]
    assert seen["new"]
