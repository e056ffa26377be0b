"""The change detection task and the mouse that performs it, in stimulus frames.

Flashes come every 45 frames (250 ms image, 500 ms gray). A trial starts with a flash, and its
change falls on a flash drawn from a geometric distribution. A lick before the change aborts the
trial, and the next flash starts a new one. Licks 150 to 750 ms after the change are responses. One
in eight trials is a catch trial, whose image does not change. The first few trials give the reward
for free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sample.design import Scale, Session

FLASH_FRAMES = 45
IMAGE_FRAMES = 15
STIMULUS_HZ = 60.0
MIN_CHANGE_FLASH, MAX_CHANGE_FLASH, CHANGE_P = 3, 11, 0.35
CATCH_FRACTION = 1 / 8
OMITTED_FRACTION = 0.05
AUTO_REWARD_VOLUME = 0.005  # mL

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Flashes:
    """One entry per presentation of the task, in time order; all arrays (n_flashes,).

    `start` and `end` are frames. `image` indexes the session's images; omitted flashes keep the
    image that would have been shown.
    """

    start: IntArray
    end: IntArray
    image: IntArray
    omitted: BoolArray
    changed: BoolArray


@dataclass(frozen=True)
class Trials:
    """One entry per trial; all arrays (n_trials,), in frames of the stimulus clock.

    `change` is -99 where there was none. Each trial has exactly one of six outcomes: hit, miss,
    false alarm, correct reject, aborted, auto-rewarded.
    """

    start: IntArray
    stop: IntArray
    change: IntArray
    initial_image: IntArray
    change_image: IntArray
    catch: BoolArray
    aborted: BoolArray
    auto_rewarded: BoolArray
    responded: BoolArray

    @property
    def is_change(self) -> BoolArray:
        """The image changed: go and auto-rewarded trials."""
        return (self.change >= 0) & ~self.catch

    @property
    def go(self) -> BoolArray:
        """A change the mouse could earn a reward for."""
        return ~self.aborted & ~self.catch & ~self.auto_rewarded


@dataclass(frozen=True)
class TaskRun:
    """The task's events: flashes and trials, frames of licks and rewards, volumes in mL."""

    flashes: Flashes
    trials: Trials
    licks: IntArray
    reward_frames: IntArray
    reward_volumes: NDArray[np.float64]
    reward_auto: BoolArray


@dataclass(frozen=True)
class Rates:
    """Probabilities of a response to a change, to a sham change, and of a lick in a flash before
    it.
    """

    hit: float
    false_alarm: float
    early: float


# As in the release, training is worst, familiar images best, and the first session with new images
# in between.
_RATES = {
    "Training": Rates(0.45, 0.30, 0.05),
    "Familiar": Rates(0.84, 0.14, 0.03),
    "Novel 1": Rates(0.58, 0.24, 0.04),
    "Novel >1": Rates(0.74, 0.18, 0.035),
}
_LINE_EFFECT = {"Slc17a7-IRES2-Cre": 0.0, "Vip-IRES-Cre": 0.04, "Sst-IRES-Cre": -0.04}


def rates_of(session: Session) -> Rates:
    """The mouse's response probabilities in this session; all zero if it watches passively."""
    if session.passive:
        return Rates(0.0, 0.0, 0.0)
    base = _RATES[session.experience_level]
    shift = session.mouse.skill + _LINE_EFFECT[session.mouse.cre_line]
    return Rates(
        float(np.clip(base.hit + shift, 0.05, 0.95)),
        float(np.clip(base.false_alarm - 0.5 * shift, 0.02, 0.9)),
        base.early,
    )


def reward_volume(session: Session) -> float:
    """Volume of an earned reward in mL, as the stages set it."""
    if session.session_type.startswith("TRAINING_0"):
        return 0.005
    return (
        0.01
        if session.session_type.startswith(("TRAINING_1", "TRAINING_2", "TRAINING_3"))
        else 0.007
    )


def flash_count(session: Session, scale: Scale) -> int:
    """Number of flashes of the session's task."""
    if session.has_movie:
        return scale.flashes
    return (
        scale.autoreward_flashes
        if session.session_type.startswith("TRAINING_0")
        else scale.training_flashes
    )


class _Even:
    """Bernoulli draws whose running frequency stays close to p: an additive golden-ratio sequence.

    Independent draws would make the hit rate of a tiny session (a dozen trials) mere noise, and its
    rank among the sessions an accident.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._at = float(rng.random())

    def draw(self, p: float) -> bool:
        self._at = (self._at + 0.6180339887498949) % 1.0
        return self._at < p


def run_task(
    session: Session, scale: Scale, first_frame: int, n_images: int, rng: np.random.Generator
) -> TaskRun:
    """Simulates the session's task.

    Args:
        session: the mouse and the stage.
        scale: session lengths.
        first_frame: stimulus frame of the first flash.
        n_images: images in the set; image numbers are 0..n_images-1.
        rng: the session's own generator.
    """
    n = flash_count(session, scale)
    game = _Game(session, scale, first_frame, n, n_images, rng)
    while game.play_trial():
        pass
    starts = first_frame + FLASH_FRAMES * np.arange(n, dtype=np.int64)
    omitted = np.zeros(n, dtype=bool)
    if session.has_omissions:
        # Never the change nor the flash before it, as in the task. Exactly 5 %, so that a tiny
        # session has some.
        free = np.flatnonzero(~game.protected)
        omitted[rng.choice(free, size=round(OMITTED_FRACTION * n), replace=False)] = True
    columns = [np.array(column) for column in zip(*game.rows, strict=True)]
    return TaskRun(
        Flashes(starts, starts + IMAGE_FRAMES, game.image, omitted, game.changed),
        Trials(*columns),
        np.array(sorted(set(game.licks)), dtype=np.int64),
        np.array([r[0] for r in game.rewards], dtype=np.int64),
        np.array([r[1] for r in game.rewards], dtype=np.float64),
        np.array([r[2] for r in game.rewards], dtype=bool),
    )


class _Game:
    """A task in progress: the flashes decided so far, and the trials, licks and rewards."""

    def __init__(
        self,
        session: Session,
        scale: Scale,
        first_frame: int,
        n: int,
        n_images: int,
        rng: np.random.Generator,
    ) -> None:
        self._first_frame, self._n_images, self._rng = first_frame, n_images, rng
        self._passive = session.passive
        self._post_change = scale.post_change_flashes
        self._rates = rates_of(session)
        self._volume = reward_volume(session)
        always_free = session.session_type.startswith("TRAINING_0")
        self._free_trials = (
            n if always_free else 0 if session.passive else scale.auto_rewarded_trials
        )
        self._hits, self._alarms, self._catches = _Even(rng), _Even(rng), _Even(rng)
        self.image = np.zeros(n, dtype=np.int64)
        self.changed = np.zeros(n, dtype=bool)
        self.protected = np.zeros(n, dtype=bool)
        self.protected[0] = True
        self.rows: list[tuple[int, int, int, int, int, bool, bool, bool, bool]] = []
        self.licks: list[int] = []
        self.rewards: list[tuple[int, float, bool]] = []
        self._current = int(rng.integers(n_images))
        self._flash = self._completed = 0

    def play_trial(self) -> bool:
        """Plays one trial; False if no trial fits into the remaining flashes."""
        rng, flash = self._rng, self._flash
        change_at = flash + min(
            MIN_CHANGE_FLASH + int(rng.geometric(CHANGE_P)) - 1, MAX_CHANGE_FLASH
        )
        if change_at + self._post_change >= len(self.image):
            self.image[flash:] = self._current
            return False
        early = np.flatnonzero(rng.random(change_at - flash) < self._rates.early)
        if early.size:
            self._abort(int(early[0]))
        else:
            self._complete(change_at)
        return True

    def _frame(self, flash: int) -> int:
        return self._first_frame + flash * FLASH_FRAMES

    def _abort(self, early: int) -> None:
        """The mouse licks `early` flashes into the trial, before the change."""
        start, current = self._frame(self._flash), self._current
        lick = start + early * FLASH_FRAMES + int(self._rng.integers(6, 29))
        self.licks += _bout(lick, 2, self._rng)
        stop = self.licks[-1] + 6
        self.rows.append((start, stop, -99, current, current, False, True, False, False))
        next_flash = self._flash + early + 1
        self.image[self._flash : next_flash] = current
        self._flash = next_flash

    def _complete(self, change_at: int) -> None:
        """The trial reaches its change, or its sham change, at flash `change_at`."""
        free = self._completed < self._free_trials
        catch = not free and self._catches.draw(CATCH_FRACTION)
        current = self._current
        target = current if catch else _other(current, self._n_images, self._rng)
        last, change = change_at + self._post_change, self._frame(change_at)
        responded = self._respond(change, catch=catch, free=free)
        start, stop = self._frame(self._flash), self._frame(last) - 15
        self.rows.append((start, stop, change, current, target, catch, False, free, responded))
        self.image[self._flash : change_at] = current
        self.image[change_at:last] = target
        self.changed[change_at] = not catch
        self.protected[change_at - 1 : change_at + 1] = True
        self._current, self._flash, self._completed = target, last, self._completed + 1

    def _respond(self, change: int, *, catch: bool, free: bool) -> bool:
        """Whether the mouse licks in the response window; adds its licks and rewards."""
        rng = self._rng
        responded = not self._passive and (
            bool(rng.random() < 0.85)
            if free
            else self._alarms.draw(self._rates.false_alarm)
            if catch
            else self._hits.draw(self._rates.hit)
        )
        if free:
            self.rewards.append((change + 8, AUTO_REWARD_VOLUME, True))
        if responded:
            # 250 to 680 ms after the change: in the response window with or without monitor delay.
            lick = change + int(np.clip(rng.normal(25 if not catch else 30, 5), 15, 40))
            if not catch and not free:
                self.rewards.append((lick + 1, self._volume, False))
            self.licks += _bout(lick, 3 if catch else 7, rng)
        elif not self._passive and rng.random() < 0.1:
            # A late lick, beyond the window: the trial stays a miss or a correct reject.
            self.licks += _bout(change + int(rng.integers(52, 70)), 1, rng)
        return responded


def _bout(first: int, most: int, rng: np.random.Generator) -> list[int]:
    """At most `most` licks at 6 to 8 Hz, starting at `first`."""
    gaps = rng.integers(8, 11, size=int(rng.integers(1, most + 1)) - 1)
    return [first, *(first + np.cumsum(gaps)).tolist()]


def _other(current: int, n_images: int, rng: np.random.Generator) -> int:
    """Another image; of four gratings, one at a right angle (even and odd numbers are 90 degrees
    apart).
    """
    if n_images == 4:
        return int((current + 1 + 2 * rng.integers(2)) % 4)
    return int((current + 1 + rng.integers(n_images - 1)) % n_images)
