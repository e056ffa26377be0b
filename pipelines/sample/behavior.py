"""The change detection task and the mouse that plays it: flashes, trials, licks and rewards, in stimulus frames.

Flashes come every 45 frames (250 ms image, 500 ms gray). A trial starts with a flash; its change falls on a flash drawn
from a geometric distribution; a lick before it aborts the trial and the next flash starts a new one; licks 150 to 750
ms after it are responses. One in eight trials is a catch trial, whose image does not change. The first few trials give
the reward for free.
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

    `start` and `end` are frames. `image` indexes the session's images; `omitted` flashes keep the image that would have
    been shown.
    """

    start: IntArray
    end: IntArray
    image: IntArray
    omitted: BoolArray
    changed: BoolArray


@dataclass(frozen=True)
class Trials:
    """One entry per completed trial; all arrays (n_trials,), frames on the stimulus clock, -99 for no change.

    Exactly one of the six outcomes (hit, miss, false alarm, correct reject, aborted, auto-rewarded) holds for each
    trial.
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
    """What happened between the first flash and the last: `licks`, `reward_frames` are frames, `reward_volumes` mL."""

    flashes: Flashes
    trials: Trials
    licks: IntArray
    reward_frames: IntArray
    reward_volumes: NDArray[np.float64]
    reward_auto: BoolArray


@dataclass(frozen=True)
class Rates:
    """Probabilities of a response to a change, to a sham change, and of an early lick in a flash before it."""

    hit: float
    false_alarm: float
    early: float


# Training is worst, familiar images best, the first session with new images in between: the order the release shows.
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

    With independent draws a tiny session's hit rate (a dozen trials) would be noise, and its rank among sessions an
    accident.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._at = float(rng.random())

    def draw(self, p: float) -> bool:
        self._at = (self._at + 0.6180339887498949) % 1.0
        return self._at < p


def run_task(
    session: Session, scale: Scale, first_frame: int, n_images: int, rng: np.random.Generator
) -> TaskRun:
    """Simulate the session's task.

    Args:
        session: who plays which stage.
        scale: session lengths.
        first_frame: stimulus frame of the first flash.
        n_images: images in the set; image numbers are 0..n_images-1.
        rng: the session's own generator.
    """
    n = flash_count(session, scale)
    rates = rates_of(session)
    always_free = session.session_type.startswith("TRAINING_0")
    free_trials = n if always_free else 0 if session.passive else scale.auto_rewarded_trials
    volume = reward_volume(session)
    hits, alarms, catches = _Even(rng), _Even(rng), _Even(rng)

    image = np.zeros(n, dtype=np.int64)
    changed = np.zeros(n, dtype=bool)
    protected = np.zeros(n, dtype=bool)
    protected[0] = True
    rows: list[tuple[int, int, int, int, int, bool, bool, bool, bool]] = []
    licks: list[int] = []
    rewards: list[tuple[int, float, bool]] = []
    current = int(rng.integers(n_images))
    flash = completed = 0
    while True:
        change_at = flash + min(
            MIN_CHANGE_FLASH + int(rng.geometric(CHANGE_P)) - 1, MAX_CHANGE_FLASH
        )
        last = change_at + scale.post_change_flashes
        if last >= n:
            break
        start = first_frame + flash * FLASH_FRAMES
        early = np.flatnonzero(rng.random(change_at - flash) < rates.early)
        if early.size:
            lick = start + int(early[0]) * FLASH_FRAMES + int(rng.integers(6, 29))
            licks += _bout(lick, 2, rng)
            next_flash = flash + int(early[0]) + 1
            rows.append((start, licks[-1] + 6, -99, current, current, False, True, False, False))
            image[flash:next_flash] = current
            flash = next_flash
            continue
        free = completed < free_trials
        catch = not free and catches.draw(CATCH_FRACTION)
        target = current if catch else _other(current, n_images, rng)
        change = first_frame + change_at * FLASH_FRAMES
        stop = first_frame + last * FLASH_FRAMES - 15
        responded = not session.passive and (
            bool(rng.random() < 0.85)
            if free
            else alarms.draw(rates.false_alarm)
            if catch
            else hits.draw(rates.hit)
        )
        if free:
            rewards.append((change + 8, AUTO_REWARD_VOLUME, True))
        if responded:
            # 250 to 680 ms after the change: inside the response window, both with and without the monitor delay.
            lick = change + int(np.clip(rng.normal(25 if not catch else 30, 5), 15, 40))
            if not catch and not free:
                rewards.append((lick + 1, volume, False))
            licks += _bout(lick, 3 if catch else 7, rng)
        elif not session.passive and rng.random() < 0.1:
            # A late lick: response_latency beyond the window, and still a miss or a correct reject.
            licks += _bout(change + int(rng.integers(52, 70)), 1, rng)
        rows.append((start, stop, change, current, target, catch, False, free, responded))
        image[flash:change_at] = current
        image[change_at:last] = target
        changed[change_at] = not catch
        protected[change_at - 1 : change_at + 1] = True
        current, flash, completed = target, last, completed + 1
    image[flash:] = current

    starts = first_frame + FLASH_FRAMES * np.arange(n, dtype=np.int64)
    omitted = np.zeros(n, dtype=bool)
    if session.has_omissions:
        # Never the change nor the flash before it, as in the task; exactly 5 %, so that a tiny session has some.
        omitted[
            rng.choice(np.flatnonzero(~protected), size=round(OMITTED_FRACTION * n), replace=False)
        ] = True
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return TaskRun(
        Flashes(starts, starts + IMAGE_FRAMES, image, omitted, changed),
        Trials(*columns),
        np.array(sorted(set(licks)), dtype=np.int64),
        np.array([r[0] for r in rewards], dtype=np.int64),
        np.array([r[1] for r in rewards], dtype=np.float64),
        np.array([r[2] for r in rewards], dtype=bool),
    )


def _bout(first: int, most: int, rng: np.random.Generator) -> list[int]:
    """Licks at 6 to 8 Hz from `first` on, at most `most` of them."""
    gaps = rng.integers(8, 11, size=int(rng.integers(1, most + 1)) - 1)
    return [first, *(first + np.cumsum(gaps)).tolist()]


def _other(current: int, n_images: int, rng: np.random.Generator) -> int:
    """Another image; with gratings (4 orientations, even and odd numbers 90 degrees apart) one at a right angle."""
    if n_images == 4:
        return int((current + 1 + 2 * rng.integers(2)) % 4)
    return int((current + 1 + rng.integers(n_images - 1)) % n_images)
