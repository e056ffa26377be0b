"""The mouse's body: running on the wheel, and the eye that the camera sees.

All times are in s; arrays have one sample per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sample.behavior import TaskRun
from pipelines.sample.stimulus import Clock, FloatArray

# A 6.5 inch wheel, with the mouse at 2/3 of its radius.
WHEEL_CM_PER_DEGREE = 2 * np.pi * 5.5036 / 360
EYE, PUPIL, REFLECTION = "eye_tracking", "pupil_tracking", "corneal_reflection_tracking"


@dataclass(frozen=True)
class Running:
    """Wheel signals, each (n_stimulus_frames,).

    Speeds are in cm/s, `dx` in degrees since the last frame, voltages of the encoder in V.
    """

    speed: FloatArray
    speed_unfiltered: FloatArray
    dx: NDArray[np.float32]
    v_sig: FloatArray
    v_in: FloatArray


@dataclass(frozen=True)
class Ellipse:
    """A fitted ellipse over (n,) camera frames.

    `center` is (n, 2). It and the half axes are in px, `angle` is in rad, `area` in px^2.
    """

    center: FloatArray
    width: FloatArray
    height: FloatArray
    angle: FloatArray
    area: FloatArray


@dataclass(frozen=True)
class EyeTracking:
    """Ellipses per series, as fitted (nothing blanked), and the frames likely to be blinks."""

    timestamps: FloatArray
    ellipses: dict[str, Ellipse]
    likely_blink: NDArray[np.bool_]


def slow_noise(times: FloatArray, step: float, rng: np.random.Generator) -> FloatArray:
    """Gaussian noise, linear between knots every `step` s, with a standard deviation near 1."""
    knots = np.arange(times[0] - step, times[-1] + 2 * step, step)
    return np.interp(times, knots, rng.normal(size=len(knots)))


def _bumps(times: FloatArray, events: FloatArray, rise: float, decay: float) -> FloatArray:
    """Sum of bumps of height near 1, one starting at each event (s), with time constants in s."""
    result = np.zeros_like(times)
    for event in events:
        low, high = np.searchsorted(times, [event, event + 6 * decay])
        t = times[low:high] - event
        result[low:high] += (1 - np.exp(-t / rise)) * np.exp(-t / decay)
    return result


def run_wheel(run: TaskRun, clock: Clock, rng: np.random.Generator) -> Running:
    """Running speed: fast between trials, slower where the mouse licks, two seconds' stop at
    rewards.
    """
    times = clock.times
    stops = np.clip(1.6 * _bumps(times, times[run.reward_frames] - 0.3, 0.15, 1.6), 0, 1)
    licking = np.clip(0.4 * _bumps(times, times[run.licks], 0.1, 0.5), 0, 0.5)
    cruise = 28 + 7 * slow_noise(times, 8.0, rng) + 3 * slow_noise(times, 0.8, rng)
    true = np.maximum(cruise, 1.0) * (1 - stops) * (1 - licking)
    raw = true + rng.normal(0, 0.8, size=len(times))
    # The release filters at 10 Hz; this Hann window passes about as much.
    window = np.hanning(9)
    filtered = np.asarray(
        np.convolve(np.pad(raw, 4, mode="edge"), window / window.sum(), mode="valid"), np.float64
    )
    steps = np.diff(times, prepend=times[0] - 1 / 60)
    degrees = raw * steps / WHEEL_CM_PER_DEGREE
    voltage = (rng.uniform(0, 5) + np.cumsum(degrees) / 360 * 5) % 5.0
    supply = 4.98 + np.rint(rng.normal(0, 0.4, size=len(times))) * 0.00129
    return Running(filtered, raw, degrees.astype(np.float32), voltage, supply)


def likely_blinks(eye_area: FloatArray, pupil_area: FloatArray) -> NDArray[np.bool_]:
    """Likely blinks by the release's rule, (n,).

    A frame counts if an area is missing or more than 3 standard deviations from the mean, and so do
    two frames on either side.
    """
    bad = np.isnan(eye_area) | np.isnan(pupil_area)
    for area in (eye_area, pupil_area):
        finite = area[~np.isnan(area)]
        bad |= np.abs(area - finite.mean()) / finite.std() > 3.0
    wide = bad.copy()
    for shift in (1, 2):
        wide[shift:] |= bad[:-shift]
        wide[:-shift] |= bad[shift:]
    return wide


def track_eye(run: TaskRun, clock: Clock, rate: float, rng: np.random.Generator) -> EyeTracking:
    """Eye, pupil and corneal reflection at `rate` Hz.

    The pupil dilates after rewards; in blinks the fit is lost.
    """
    start, stop = clock.times[0] - 0.8, clock.times[-1] + 0.6
    n = int((stop - start) * rate)
    times = start + np.arange(n) / rate + rng.normal(0, 1e-4, size=n)
    rewarded = clock.times[run.reward_frames]
    radius = (
        38
        + 3 * slow_noise(times, 12.0, rng)
        + 9 * _bumps(times, rewarded, 0.7, 2.5)
        + rng.normal(0, 0.3, n)
    )
    gaze = np.stack([4 * slow_noise(times, 3.0, rng), 3 * slow_noise(times, 4.0, rng)], axis=1)

    lost = np.zeros(n, dtype=bool)
    squeezed = np.zeros(n, dtype=bool)
    for blink in np.flatnonzero(rng.random(n) < 0.15 / rate):
        length = max(1, int(rng.uniform(0.08, 0.3) * rate))
        lost[blink : blink + length] = True
        squeezed[max(0, blink - 1) : blink] = True
        squeezed[blink + length : blink + length + 1] = True

    def ellipse(
        center: tuple[float, float],
        follow: float,
        width: FloatArray,
        height: FloatArray,
        *,
        round_area: bool,
    ) -> Ellipse:
        middle = np.array(center) + follow * gaze + rng.normal(0, 0.3, size=(n, 2))
        middle[lost] = np.nan
        wide, high = np.where(lost, np.nan, width), np.where(lost, np.nan, height)
        angle = np.where(lost, np.nan, 0.1 * slow_noise(times, 5.0, rng) + rng.normal(0, 0.01, n))
        # The pupil counts as a circle seen at an angle, so its area follows from the larger axis.
        area = np.pi * np.maximum(wide, high) ** 2 if round_area else np.pi * wide * high
        return Ellipse(middle, wide, high, angle, area)

    lid = np.where(squeezed, 0.35, 1.0)
    eye = ellipse(
        (340, 270),
        0.1,
        155 + rng.normal(0, 0.6, n),
        lid * (139 + rng.normal(0, 0.6, n)),
        round_area=False,
    )
    pupil = ellipse(
        (333, 268), 1.0, radius * 1.04, radius * (0.95 + rng.normal(0, 0.005, n)), round_area=True
    )
    spot = ellipse(
        (317, 286), 0.2, 8 + rng.normal(0, 0.3, n), 9.3 + rng.normal(0, 0.3, n), round_area=False
    )
    return EyeTracking(
        times, {EYE: eye, PUPIL: pupil, REFLECTION: spot}, likely_blinks(eye.area, pupil.area)
    )
