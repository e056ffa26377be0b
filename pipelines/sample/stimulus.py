"""The monitor: image sets and their pictures, the stimulus clock, a session's presentations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.sample.behavior import FLASH_FRAMES, STIMULUS_HZ, TaskRun, flash_count
from pipelines.sample.design import Scale, Session

FloatArray = NDArray[np.float64]
MOVIE_FRAME_FRAMES = 2  # a movie at 30 Hz on a monitor at 60 Hz


@dataclass(frozen=True)
class ImageSet:
    """The images of a session.

    `name` is the spelling of templates and of `image_set`, `stimulus_name` that of presentations.
    """

    name: str
    stimulus_name: str
    images: tuple[str, ...]


IMAGE_SETS = {
    "images_A": ImageSet(
        "Natural_Images_Lum_Matched_set_training_2017.07.14",
        "Natural_Images_Lum_Matched_set_training_2017",
        ("im061", "im062", "im063", "im065", "im066", "im069", "im077", "im085"),
    ),
    "images_B": ImageSet(
        "Natural_Images_Lum_Matched_set_ophys_6_2017.07.14",
        "Natural_Images_Lum_Matched_set_ophys_6_2017",
        ("im000", "im031", "im035", "im045", "im054", "im073", "im075", "im106"),
    ),
    "gratings": ImageSet(
        "grating", "grating", ("gratings_0.0", "gratings_90.0", "gratings_180.0", "gratings_270.0")
    ),
}


@dataclass(frozen=True)
class Clock:
    """The stimulus computer's clock.

    `times[k]` is the time of frame k in s, without the monitor delay `delay` (s).
    """

    times: FloatArray
    delay: float
    first_flash: int
    task_end: int
    movie_start: int

    def shown(self, frames: NDArray[np.int64]) -> FloatArray:
        """Returns the times (s) at which the given frames reached the mouse's eye."""
        return self.times[frames] + self.delay


def make_clock(session: Session, scale: Scale, rng: np.random.Generator) -> Clock:
    """Makes the session's clock. Frames last 1/60 s with 0.1 ms of jitter; a few are dropped.

    In sessions with a movie the first image comes after 285 s, because readers recognise the
    initial gray screen by it: in real sessions after five minutes of gray, in tiny ones through an
    offset of the clock. Other sessions start at 0.
    """
    task = flash_count(session, scale) * FLASH_FRAMES
    if session.has_movie:
        first = scale.gray_frames
        gray_after = scale.gray_frames - 45
        movie = first + task + gray_after
        total = (
            movie
            + scale.movie_repeats * scale.movie_frames * MOVIE_FRAME_FRAMES
            + scale.tail_frames
        )
        offset = (
            (285.0 - first / STIMULUS_HZ + rng.uniform(2, 8))
            if scale.name == "tiny"
            else rng.uniform(5, 12)
        )
        if scale.name == "real" and not session.planes:
            offset = 0.0
    else:
        first, offset = 2, 0.0
        movie = total = first + task + scale.tail_frames
    steps = rng.normal(1 / STIMULUS_HZ, 1e-4, size=total)
    steps[rng.random(total) < 2e-4] += 1 / STIMULUS_HZ
    steps[0] = 0.0
    delay = 0.0361 if session.rig == "mesoscope" else 0.0211
    return Clock(offset + np.cumsum(steps), delay, first, first + task, movie)


def image_set_of(session: Session) -> ImageSet:
    """Returns the images that the session shows."""
    return IMAGE_SETS[session.image_set]


def is_static_grating(session: Session) -> bool:
    """Whether each grating stays until the next, without gray between: in TRAINING_0 and
    TRAINING_1.
    """
    return session.session_type.startswith(("TRAINING_0", "TRAINING_1"))


@lru_cache(maxsize=16)
def _texture(name: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A smooth random picture, (height, width), 0 to 255, determined by its name: all files share
    it.
    """
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    rng = np.random.default_rng(seed)
    picture = np.zeros(shape, dtype=np.float32)
    for cells, weight in ((5, 1.0), (11, 0.6), (23, 0.3)):
        across = cells * 8 // 5
        knots = rng.normal(size=(cells, across))
        rows: FloatArray = np.linspace(0.0, cells - 1.0, shape[0], dtype=np.float64)
        columns: FloatArray = np.linspace(0.0, across - 1.0, shape[1], dtype=np.float64)
        lines: list[FloatArray] = [
            np.interp(columns, np.arange(across, dtype=np.float64), row) for row in knots
        ]
        wide = np.stack(lines)
        low = np.minimum(rows.astype(np.int64), cells - 2)
        part = (rows - low)[:, None]
        picture += (weight * ((1 - part) * wide[low] + part * wide[low + 1])).astype(np.float32)
    # Equal mean and contrast for all images: "Lum_Matched".
    matched = 127 + 45 * (picture - picture.mean()) / picture.std()
    return np.rint(np.clip(matched, 0, 255)).astype(np.uint8)


def _grating(degrees: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A square-wave grating of 0.04 cycles per degree on a monitor 120 degrees wide; 0 or 255."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    angle = np.deg2rad(degrees)
    cycles = 0.04 * 120 / shape[1] * (x * np.cos(angle) + y * np.sin(angle)) + 0.25
    return np.where(np.sin(2 * np.pi * cycles) >= 0, 255, 0).astype(np.uint8)


def template_images(
    image_set: ImageSet, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Yields (warped uint8, unwarped float64) of each image, both (height, width).

    One at a time, since a real set has 166 MB. Natural images are NaN in `unwarped` where the
    curved screen does not show them; gratings have no such border.
    """
    height, width = shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    outside = np.abs(y) > 0.55 + 0.35 * (1 - x**2)
    rows = np.clip(((1 + y * (0.75 + 0.2 * x**2)) / 2 * height).astype(np.int32), 0, height - 1)
    columns = np.clip(((1 + x * (0.85 + 0.1 * y**2)) / 2 * width).astype(np.int32), 0, width - 1)
    for name in image_set.images:
        if name.startswith("gratings_"):
            flat = _grating(float(name.removeprefix("gratings_")), shape)
            yield flat[rows, columns], flat.astype(np.float64)
        else:
            flat = _texture(name, shape)
            yield flat[rows, columns], np.where(outside, np.nan, flat)


def static_epochs(run: TaskRun) -> NDArray[np.int64]:
    """Numbers of the flashes that show a new static grating: the first flash and every change."""
    return np.flatnonzero(run.flashes.changed | (np.arange(len(run.flashes.start)) == 0))
