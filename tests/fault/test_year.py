"""A year in a lab, drawn by seed: each week something happens to the source or the lake, then the schedule ticks."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from builders.bucket import Row, manifest_key
from builders.fixtures import Figure
from builders.killing import Command, run
from builders.lab import Lab, no_work, open_lab
from builders.lakes import file_key, query
from builders.machine import small_disk
from builders.releases import revise, write_release
from builders.states import Seen, Units, by_catalog, by_glob
from servers.chaos import ANY, BODY, DEFINITE, LISTING
from servers.s3 import BUCKET, Fault, RequestInfo

from assets.schedules import update
from pipelines.check.lake import verify
from pipelines.cli.options import IngestOptions
from pipelines.ingest import ingest
from pipelines.lake import generations
from pipelines.lake.ledger import Status, read_ledger
from pipelines.lake.leftovers import clean
from pipelines.lake.marker import Marker, read_marker
from pipelines.next_generation import roll_back
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.remove import plan_removal, remove
from schemas import TABLES, Subject
from schemas.checks import Level
from schemas.errors import UsageError

LEDGER = "source_files"
PASSING = {"slow": Fault(stall_s=0.05)} | {n: f for n, f in ANY.items() if n != "stall"} | BODY
ROOM = 1 << 30
"""Bytes of the disk."""


class Trouble:
    """A source that fails: now and then, always at one file, or altogether."""

    def __init__(self, rng: random.Random, keys: list[str]) -> None:
        self._rng = rng
        self._rate, self._key = rng.choice([(0.01, ""), (1.0, ""), (1.0, rng.choice(keys))])
        self._fault = rng.choice([None, *(PASSING | DEFINITE).values()])

    def __call__(self, request: RequestInfo, _: int) -> Fault | None:
        if self._key not in ("", request.key) or self._rng.random() >= self._rate:
            return None
        if request.kind == "list":
            return self._rng.choice(list((ANY | LISTING).values()))
        return self._fault or self._rng.choice(list(PASSING.values()))


class Source:
    """A bucket in which releases appear. It keeps all versions of its objects.

    Attributes:
        releases: their versions; each has files that are new, changed, damaged or gone.
    """

    def __init__(self, lab: Lab, rng: random.Random) -> None:
        self._lab, self._rng = lab, rng
        self.releases: list[str] = []
        self._gone: set[int] = set()
        self._whole: dict[Path, bytes] = {}
        self._planes: dict[str, list[int]] = {}
        write_release(lab.bucket, "1.0.0", edit=self._note_planes)  # all that there is
        (lab.bucket / manifest_key("1.1.0")).unlink()
        self._keep("1.0.0")

    def _note_planes(self, tables: dict[str, list[Row]]) -> None:
        for row in tables["ophys_experiment_table"]:
            planes = self._planes.setdefault(row["ophys_session_id"], [])
            planes.append(int(row["ophys_experiment_id"]))

    @property
    def files(self) -> list[Path]:
        """The data files."""
        return sorted(self._lab.bucket.glob("*/behavior_*/*.nwb"))

    def publish(self) -> None:
        """A release appears."""
        edit: Callable[[dict[str, list[Row]]], object] = no_other_rows
        for change in self._rng.sample(("files", "files", "gone", "back", "rows", "damage"), 2):
            some = self._rng.sample(self.files, 2)
            if change == "files":
                for file in some:
                    self._mend(file)
                    revise(file)
            elif change == "gone":
                self._gone.update(file_key(file) for file in some)
            elif change == "back":
                self._gone.clear()
            elif change == "rows":
                edit = other_rig
            else:
                whole = self._whole.setdefault(some[0], some[0].read_bytes())
                some[0].write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
        self._gone -= set(self._last_planes())
        version = f"1.{len(self.releases) + 1}.0"
        write_release(self._lab.bucket, version, without=self._gone, base="1.0.0", edit=edit)
        self._keep(version)
        for file in [f for f in self._whole if self._rng.random() < 0.7]:
            self._mend(file)  # for the next release
        self.releases.append(version)

    def _mend(self, file: Path) -> None:
        if file in self._whole:
            file.write_bytes(self._whole.pop(file))

    def _last_planes(self) -> Iterator[int]:
        """A plane of each session that would have none left."""
        for planes in self._planes.values():
            if self._gone.issuperset(planes):
                yield planes[0]

    def _keep(self, version: str) -> None:
        """Keeps the objects of a release, whatever becomes of the files in the bucket."""
        manifest = json.loads((self._lab.bucket / manifest_key(version)).read_text())
        for entry in (*manifest["metadata_files"].values(), *manifest["data_files"].values()):
            key = urlsplit(entry["url"]).path.lstrip("/")
            kept = self._lab.versions.setdefault(key, {})
            copy = self._lab.folder / "versions" / entry["version_id"]
            if entry["version_id"] not in kept:
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(self._lab.bucket / key, copy)
            kept.pop(entry["version_id"], None)
            kept[entry["version_id"]] = copy  # the last one is the newest


def no_other_rows(tables: dict[str, list[Row]]) -> None:
    """Leaves the rows as they are."""


def other_rig(tables: dict[str, list[Row]]) -> None:
    """Corrects the rig of all recordings."""
    for name in ("behavior_session_table", "ophys_session_table", "ophys_experiment_table"):
        for row in tables[name]:
            row["equipment_name"] = "MESO.9"


@dataclass
class Year:
    """A lab's year, and what its lake has to be.

    Attributes:
        lab: the lab.
        rng: draws what happens.
        resize: gives the disk of the lake another size; None where that is not allowed.
        fresh: by release, what a lake looks like that is made from it afresh.
        bad: releases with files that cannot be read.
        seen: what readers saw last.
        complete: whether that was all of the release.
        was: what readers saw of each generation.
        happened: how often what happened.
        story: all that happened, for a failure's message.
    """

    lab: Lab
    source: Source
    rng: random.Random
    resize: Callable[[int], None] | None
    fresh: dict[str, Seen] = field(default_factory=dict[str, Seen])
    bad: set[str] = field(default_factory=set[str])
    seen: Seen = field(default_factory=dict[str, Units])
    complete: bool = True
    was: dict[int, Seen] = field(default_factory=dict[int, Seen])
    happened: Counter[str] = field(default_factory=Counter[str])
    story: list[str] = field(default_factory=list[str])

    # --- what happens -------------------------------------------------------------------------

    def begin(self) -> None:
        """The first release is ingested."""
        self.source.publish()
        with self.lab.serving():
            self.lab.upgrade_by_hand()
        self._look()
        self.complete = self._differing(self.source.releases[-1]) == []
        assert self.complete

    def end(self) -> None:
        """All goes well again, with a last release."""
        self.source.publish()
        self.lab.patch.setenv("VBLAKE_RELEASE", "latest")
        for _ in range(2):  # what was removed comes back after the upgrade
            self.tick(None)
        assert self._differing(self.source.releases[-1]) == [], self.story

    def week(self) -> None:
        """Something happens, and then the schedule ticks."""
        if self.rng.random() < 0.35:
            self.source.publish()
            self._note("release")
        faults: Trouble | None = None
        match self.rng.randrange(12):
            case 0 | 1:
                self._kill()
            case 2:
                self._roll_back()
            case 3:
                self._remove()
            case 4:
                self._note("pin")
                self.lab.patch.setenv("VBLAKE_RELEASE", self.rng.choice(self.source.releases))
            case 5:
                self._note("latest")
                self.lab.patch.setenv("VBLAKE_RELEASE", "latest")
            case 6:
                self._note("busy")
                self.lab.busy = self.rng.choice([self.lab.upgrade_by_hand, no_work])
            case 7:
                self._note("clean")
                clean(self.lab.store, remove=True)
                self.was.clear()
            case 8 if self.resize is not None:
                self._note("full disk")
                return self._full_disk(self.resize)
            case 9 | 10:
                self._note("faults")
                keys = [str(f.relative_to(self.lab.bucket)) for f in self.source.files]
                faults = Trouble(self.rng, keys)
            case _:
                pass
        self.tick(faults)

    def _note(self, event: str, details: str = "") -> None:
        self.happened[event] += 1
        self.story.append(f"{event} {details}")

    def _kill(self) -> None:
        """An upgrade by hand is killed, if there is still something to do at that moment."""
        store = self.lab.store
        self.source.publish()
        with self.lab.serving() as server:
            lake, bucket = str(store.folder), f"s3://{BUCKET}"
            command = Command(lake, bucket, server.url, (), dagster=True, workers=1)
            home = self.lab.folder / "home"
            if self.rng.random() < 0.5:
                requests = 1 + self.rng.randrange(150)
                end = run(command, home, lambda: server.counters.requests.total() > requests)
            else:
                phase = self.rng.choice(("publication", "catalog"))
                line = 1 + int(self.rng.expovariate(3e-4))
                end = run(replace(command, dagster=False, phase=phase, line=line), home)
        assert end.code in (0, -9, 3), end.output
        self._note("kill" if end.code == -9 else "no kill", end.where)
        marker = self._marker()
        now = by_catalog(store.folder)
        releases = {marker.release, *(m.release for m in generations.kept(store).values())}
        assert any(not self._strange(now, r) for r in releases), self.story
        generations.settle(store)
        self._look()

    def _roll_back(self) -> None:
        self._note("rollback")
        marker = self._marker()
        if marker.previous not in generations.kept(self.lab.store):
            with pytest.raises(UsageError):
                roll_back(self.lab.store)
            return
        roll_back(self.lab.store)
        self._look()
        assert self.seen == self.was.get(marker.previous, self.seen), self.story

    def _remove(self) -> None:
        held = sorted({entry.mouse_id for entry in read_ledger(self.lab.store).values()})
        if not held:
            return
        self._note("removal")
        mouse = self.rng.choice(held)
        remove(self.lab.store, plan_removal(self.lab.store, Selection(mice=(mouse,))))
        left = query(self.lab.store.folder, "SELECT DISTINCT mouse_id FROM source_files")
        assert sorted(left) == [(other,) for other in held if other != mouse], self.story
        self._look()
        self.complete = False

    def _full_disk(self, resize: Callable[[int], None]) -> None:
        used = sum(p.lstat().st_blocks for p in self.lab.store.folder.rglob("*")) * 512
        resize(used + self.rng.randrange(1 << 21))
        try:
            self.tick(None, healthy=False)
        finally:
            resize(ROOM)

    # --- what has to be -----------------------------------------------------------------------

    def tick(self, faults: Trouble | None, *, healthy: bool = True) -> None:
        """The schedule ticks; the lake is then right."""
        lab, before, was_complete = self.lab, self._marker(), self.complete
        target, older = self._target(), self.seen
        lab.faults, busy = faults, lab.busy
        waits = len(lab.waits)
        done = lab.run(update.job_name).success
        lab.faults = None
        if busy:
            assert len(lab.waits) > waits, self.story
        if not healthy and self.resize:
            self.resize(ROOM)
        generations.settle(lab.store)
        marker = self._look()
        self._note("done" if done else "failed", f"{before.release} to {marker.release}")
        upgraded = marker.generation != before.generation
        self._check_losses(older, marker)
        if not healthy or faults is not None:
            assert marker.release in (before.release, target), self.story
            self.complete &= not upgraded
            return
        assert marker.release == target, self.story
        assert done == (target not in self._bad()), self.story
        if not upgraded or (was_complete and before.release not in self.bad):
            assert self._differing(target) == [], self.story
            self.complete = True

    def _target(self) -> str:
        """The release that a tick brings."""
        asked = self._asked()
        marker = self._marker()
        if asked == "latest" or (asked is None and marker.follows_latest):
            return self.source.releases[-1]
        return asked or marker.release

    def _asked(self) -> str | None:
        return IngestOptions.from_settings({}).release

    def _marker(self) -> Marker:
        marker = read_marker(self.lab.store)
        assert marker is not None
        return marker

    def _bad(self) -> set[str]:
        for release in self.source.releases:
            self._fresh(release)
        return self.bad

    def _fresh(self, release: str) -> Seen:
        if release not in self.fresh:
            lake = self.lab.folder / "fresh"
            with self.lab.serving():
                options = IngestOptions.from_settings({"lake": str(lake), "release": release})
                reports = ingest(prepare(replace(options.request(), workers=0)))
            self.fresh[release] = by_glob(lake)
            assert self.fresh[release] == by_catalog(lake)
            if any(report.quarantined for report in reports):
                self.bad.add(release)
            shutil.rmtree(lake)
        return self.fresh[release]

    def _look(self) -> Marker:
        """What readers see now, which must be whole and of one release."""
        lake, marker = self.lab.store.folder, self._marker()
        self.seen = self.was[marker.generation] = by_catalog(lake)
        assert self.seen == by_glob(lake), self.story
        problems = [str(p) for p in verify(self.lab.store) if p.level is Level.ERROR]
        assert problems == [], self.story
        assert self._strange(self.seen, marker.release) == [], self.story
        return marker

    def _strange(self, seen: Seen, release: str) -> list[object]:
        """What is not of a release, by table and unit. The ledger of a file that failed differs."""
        fresh = self._fresh(release)
        return [
            (table, unit)
            for table, units in seen.items()
            for unit, digest in units.items()
            if table != LEDGER and fresh[table].get(unit) != digest
        ]

    def _differing(self, release: str) -> list[str]:
        fresh = self._fresh(release)
        return [table for table in TABLES if self.seen[table] != fresh[table]]

    def _check_losses(self, older: Seen, marker: Marker) -> None:
        """Nothing goes that is the same in the release, unless its file is damaged."""
        fresh, ledger = self._fresh(marker.release), read_ledger(self.lab.store).values()
        failed = [entry for entry in ledger if entry.status is not Status.INGESTED]
        units = {e.behavior_session_id for e in failed} | {e.ophys_experiment_id for e in failed}
        lost = [
            (table, unit)
            for table, before in older.items()
            if table != LEDGER and TABLES[table].subject is not Subject.STIMULUS
            for unit, digest in before.items()
            if fresh[table].get(unit) == digest != self.seen[table].get(unit)
            if unit not in units
        ]
        assert lost == [], self.story


@pytest.fixture
def year(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> Iterator[Year]:
    shutil.copytree(sample_bucket, tmp_path / "bucket")
    rng = random.Random(seed)
    with open_lab(tmp_path, monkeypatch) as lab, ExitStack() as stack:
        resize = None
        with suppress(pytest.skip.Exception):  # it is not allowed to mount a disk
            resize = stack.enter_context(small_disk(tmp_path / "lake", ROOM))
        yield Year(lab, Source(lab, rng), rng, resize)


def test_a_lake_is_current_and_right_all_year(
    year: Year, soak: bool, seed: int, figure: Figure
) -> None:
    year.begin()
    weeks = 52 if soak else 3
    for _ in range(weeks):
        year.week()
    year.end()
    events = ", ".join(f"{name} {times}" for name, times in sorted(year.happened.items()))
    figure(f"{weeks} weeks with seed {seed} ({events}): 0 wrong states")
