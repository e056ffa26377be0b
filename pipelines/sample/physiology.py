"""Cells of an imaging plane: their places, their tuning, and the traces that their events cause.

The model gives each line the character that the field reports. Excitatory (Slc17a7) cells respond
to images and, strongly, to changes among novel images. Vip cells are quiet to familiar images and
ramp up to omissions. Sst cells respond to familiar images but not to novel ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sample.behavior import TaskRun
from pipelines.sample.body import slow_noise
from pipelines.sample.design import Plane, Scale, Session, rng_for
from pipelines.sample.stimulus import Clock, FloatArray, image_set_of

Image = NDArray[np.uint8] | NDArray[np.int64]

# The files state rounded rates; the clocks tick at the true ones.
STATED_RATE = {"scientifica": 31.0, "mesoscope": 11.0}
TRUE_RATE = {"scientifica": 30.994, "mesoscope": 10.704}


@dataclass(frozen=True)
class Drive:
    """Chance of a calcium event at an image, at a change, in each of 3 bins after an omission."""

    image: float
    change: float
    omission: float


DRIVES: dict[tuple[str, str], Drive] = {
    ("Slc17a7-IRES2-Cre", "Familiar"): Drive(0.06, 0.22, 0.01),
    ("Slc17a7-IRES2-Cre", "Novel 1"): Drive(0.14, 0.60, 0.01),
    ("Slc17a7-IRES2-Cre", "Novel >1"): Drive(0.09, 0.38, 0.01),
    ("Vip-IRES-Cre", "Familiar"): Drive(0.01, 0.04, 0.55),
    ("Vip-IRES-Cre", "Novel 1"): Drive(0.18, 0.34, 0.12),
    ("Vip-IRES-Cre", "Novel >1"): Drive(0.04, 0.10, 0.42),
    ("Sst-IRES-Cre", "Familiar"): Drive(0.28, 0.36, 0.02),
    ("Sst-IRES-Cre", "Novel 1"): Drive(0.05, 0.10, 0.02),
    ("Sst-IRES-Cre", "Novel >1"): Drive(0.17, 0.24, 0.02),
}
SPONTANEOUS_HZ = 0.02
PASSIVE_GAIN = 0.7


@dataclass(frozen=True)
class Rois:
    """The cell_specimen_table of a plane; arrays are (n_roi,) unless stated otherwise.

    Unmatched cells have a `cell_specimen_id` of -1 (int64) or NaN (float64): the release has both.
    Boxes are in whole pixels, `masks` is (n_roi, height, width).
    """

    cell_roi_id: NDArray[np.int64]
    cell_specimen_id: NDArray[np.int64] | FloatArray
    cell: NDArray[np.int64]
    valid: NDArray[np.bool_]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    mask_image_plane: NDArray[np.int64]
    max_correction: dict[str, float]
    masks: NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """Traces of a plane, time x roi.

    `events` and `dff` are (n_frames, n_roi) in dF/F. F0 is `baseline` (n_roi,) * `drift`
    (n_frames,). The other traces are derived in blocks of rows by `block`, since each has 100 MB at
    real scale.
    """

    timestamps: FloatArray
    dff: FloatArray
    events: FloatArray
    event_rois: NDArray[np.int64]
    lambdas: FloatArray
    noise_stds: FloatArray
    baseline: FloatArray
    drift: FloatArray
    neuropil_gain: FloatArray
    neuropil: FloatArray
    r: FloatArray
    rmse: FloatArray
    motion_x: NDArray[np.int64]
    motion_y: NDArray[np.int64]

    def block(self, name: str, rows: slice) -> FloatArray:
        """Returns rows of a derived trace, (n_rows, n_roi).

        corrected_fluorescence is F0 (1 + dF/F) and neuropil_trace the surround. demixed_trace is
        corrected + r * neuropil: the relation that neuropil correction inverts.
        """
        if name == "dff":
            return self.dff[rows]
        if name == "neuropil_trace":
            return self.neuropil[rows, None] * self.neuropil_gain
        corrected = self.baseline * self.drift[rows, None] * (1 + self.dff[rows])
        if name == "demixed_trace":
            corrected += self.r * self.neuropil_gain * self.neuropil[rows, None]
        return corrected


def _draw_masks(
    centers: FloatArray, radii: FloatArray, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Elliptical masks (n, height, width), and their boxes (n, 4): x, y, width, height."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    masks = np.zeros((len(centers), *shape), dtype=bool)
    boxes = np.zeros((len(centers), 4), dtype=np.int64)
    for row, (center, radius) in enumerate(zip(centers, radii, strict=True)):
        (cy, cx), (ry, rx) = np.rint(center), radius
        masks[row] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        rows = np.flatnonzero(masks[row].any(axis=1))
        columns = np.flatnonzero(masks[row].any(axis=0))
        boxes[row] = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    return masks, boxes


def _unmatched(n_cells: int) -> int:
    return 1 + n_cells // 8 if n_cells < 16 else n_cells // 12


def _container_cells(
    session: Session, plane: Plane, scale: Scale, seed: int
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Makes radii, centres and specimen ids of a container's cells, the same in each session."""
    n = scale.cells[session.rig]
    container = plane.container
    home = rng_for(seed, session.mouse.number, 1000 + container.number)
    shape = scale.fov[session.rig]
    low, high = scale.cell_radius
    radii = home.uniform(low, high, size=(n, 2))
    centers = home.uniform(high + 1, np.array(shape) - high - 2, size=(n, 2))
    specimen = (
        1_300_000_000
        + 1_000_000 * session.mouse.number
        + 10_000 * container.number
        + 40 * np.arange(n)
    )
    specimen += home.integers(0, 40, size=n)
    return radii, centers, specimen


def make_rois(session: Session, plane: Plane, scale: Scale, seed: int) -> Rois:
    """Makes the ROIs of one experiment: most match cells of its container, some are unmatched or
    invalid.

    Cells of a container keep place, shape and specimen id over sessions; their ROI ids are new in
    each.
    """
    n = scale.cells[session.rig]
    container = plane.container
    shape = scale.fov[session.rig]
    high = scale.cell_radius[1]
    radii, centers, specimen = _container_cells(session, plane, scale, seed)
    own = rng_for(seed, session.mouse.number, session.number, 10 + container.number)
    cell = own.permutation(n)
    unmatched = 0 if plane.id_flavour == "all matched" else _unmatched(n)
    valid = np.ones(n, dtype=bool)
    valid[n - plane.invalid_rois :] = False
    ids: NDArray[np.int64] | FloatArray = specimen[cell].astype(np.int64)
    lacking = np.arange(n) >= n - plane.invalid_rois - unmatched
    # Cells without a match were found in this session only, so they lie elsewhere.
    centers = centers[cell]
    if unmatched:
        centers[lacking] = own.uniform(
            high + 1, np.array(shape) - high - 2, size=(int(lacking.sum()), 2)
        )
        ids = (
            np.where(lacking, np.nan, ids)
            if plane.id_flavour == "nan"
            else np.where(lacking, -1, ids)
        )
        cell = np.where(lacking, n + np.arange(n), cell)
    roi_ids = (
        1_080_000_000
        + 1_000_000 * session.mouse.number
        + 20_000 * session.number
        + 2_000 * container.number
    )
    roi_ids = roi_ids + np.sort(own.choice(2_000, size=n, replace=False))
    # Invalid and unmatched ROIs lie scattered in the file, not at its end.
    order = own.permutation(n)
    radii = radii[np.minimum(cell, n - 1)]
    masks, boxes = _draw_masks(centers[order], radii[order], shape)
    return Rois(
        cell_roi_id=roi_ids,
        cell_specimen_id=ids[order],
        cell=cell[order],
        valid=valid[order],
        x=boxes[:, 0].copy(),
        y=boxes[:, 1].copy(),
        width=boxes[:, 2].copy(),
        height=boxes[:, 3].copy(),
        mask_image_plane=own.integers(0, 2, size=n),
        max_correction={
            side: float(own.integers(3, 25)) for side in ("down", "left", "right", "up")
        },
        masks=masks,
    )


def _tuning(session: Session, plane: Plane, cell: int, seed: int) -> FloatArray:
    """Relative response of a cell to each image, (n_images,), mean 1; the same in every session."""
    set_number = 0 if session.image_set == "images_A" else 1
    rng = rng_for(seed, session.mouse.number, 2000 + plane.container.number, set_number, cell)
    weights = rng.gamma(0.7, 1.0, size=len(image_set_of(session).images)) + 0.05
    return weights / weights.mean()


def _calcium_kernel(rate: float) -> FloatArray:
    """dF/F after an event at `rate` Hz: a fast rise and a slow decay, with a peak of 1."""
    lag = np.arange(int(4.0 * rate)) / rate
    kernel = (1 - np.exp(-lag / 0.06)) * np.exp(-lag / 0.45)
    return kernel / kernel.max()


def _event_times(
    session: Session,
    tuning: FloatArray,
    run: TaskRun,
    clock: Clock,
    times: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """When (s) a cell of this tuning has calcium events: after images, omissions and at random."""
    drive = DRIVES[session.mouse.cre_line, session.experience_level]
    gain = PASSIVE_GAIN if session.passive else 1.0
    flashes = run.flashes
    onset = clock.shown(flashes.start)
    shown = ~flashes.omitted
    strength = np.where(flashes.changed, drive.change, drive.image)
    chance = strength * tuning[flashes.image] * shown * gain
    hits = onset[rng.random(len(onset)) < chance]
    moments: list[FloatArray] = [hits + 0.08 + rng.exponential(0.06, size=len(hits))]
    omissions = onset[flashes.omitted]
    for offset in (0.05, 0.3, 0.55):
        ramp = drive.omission * gain * (0.5 + offset)
        hits: FloatArray = omissions[rng.random(len(omissions)) < ramp]
        moments.append(hits + offset + rng.uniform(0, 0.2, size=len(hits)))
    span = float(times[-1] - times[0])
    moments.append(times[0] + span * rng.random(size=rng.poisson(SPONTANEOUS_HZ * span)))
    return np.concatenate(moments)


def record(
    session: Session, plane: Plane, rois: Rois, run: TaskRun, clock: Clock, seed: int
) -> Recording:
    """Simulates a plane: events caused by the task, dF/F as their response plus noise, motion."""
    rng = rng_for(seed, session.mouse.number, session.number, 50 + plane.container.number)
    rate = TRUE_RATE[session.rig]
    n = len(rois.cell_roi_id)
    # Imaging starts before the monitor and outlasts it. Planes of a group share the microscope's
    # clock except for the flyback.
    start, stop = clock.times[0] - 1.1 + 0.02 * plane.container.number, clock.times[-1] + 1.0
    frames = int((stop - start) * rate)
    times = start + np.arange(frames) / rate + rng.normal(0, 5e-5, size=frames)

    noise = rng.uniform(0.03, 0.09, size=n)
    events = np.zeros((frames, n))
    dff = np.empty((frames, n))
    kernel = _calcium_kernel(rate)
    for column, cell in enumerate(rois.cell):
        moments = _event_times(
            session, _tuning(session, plane, int(cell), seed), run, clock, times, rng
        )
        at = np.searchsorted(times, moments)
        at = at[at < frames]
        trace = np.zeros(frames)
        np.add.at(trace, at, 0.15 + rng.exponential(0.25, size=len(at)))
        events[:, column] = trace
        response = np.convolve(trace, kernel)[:frames]
        dff[:, column] = response + rng.normal(0, noise[column], size=frames)

    event_rois = np.arange(n)
    if plane.events_subset:
        event_rois = np.flatnonzero(np.arange(n) % 4 != 1)
    walk = np.clip(np.rint(1.5 * slow_noise(times, 0.5, rng)), -6, 6).astype(np.int64)
    sway = np.clip(np.rint(1.5 * slow_noise(times, 0.5, rng)), -6, 6).astype(np.int64)
    return Recording(
        timestamps=times,
        dff=dff,
        events=events[:, event_rois] if plane.events_subset else events,
        event_rois=event_rois,
        lambdas=(noise * rng.uniform(8, 14, size=n))[event_rois],
        noise_stds=noise[event_rois],
        baseline=rng.uniform(100, 400, size=n),
        drift=1 + 0.03 * slow_noise(times, 20.0, rng),
        neuropil_gain=rng.uniform(40, 120, size=n),
        neuropil=1 + 0.05 * slow_noise(times, 3.0, rng),
        r=rng.uniform(0.2, 0.9, size=n),
        rmse=rng.uniform(0.01, 0.2, size=n),
        motion_x=walk,
        motion_y=sway,
    )


def projections(rois: Rois, seed: int, experiment_id: int) -> dict[str, Image]:
    """Returns average and maximum projection (uint8) and the union of all masks (int64, 0 or 1).

    Each is (height, width).
    """
    rng = rng_for(seed, experiment_id)
    shape = rois.masks.shape[1:]
    texture = rng.normal(size=shape)
    for axis in (0, 1):
        texture = texture + np.roll(texture, 1, axis) + np.roll(texture, -1, axis)
    background = 40 + 5 * texture / texture.std()
    glow = np.zeros(shape)
    for mask, brightness in zip(
        rois.masks, rng.uniform(40, 110, size=len(rois.masks)), strict=True
    ):
        glow[mask] += brightness
    brightest = 1.6 * background + glow + 6 * rng.normal(size=shape)
    return {
        "average_image": np.clip(background + 0.5 * glow, 0, 255).astype(np.uint8),
        "max_projection": np.clip(brightest, 0, 255).astype(np.uint8),
        "segmentation_mask_image": np.any(rois.masks, axis=0).astype(np.int64),
    }
