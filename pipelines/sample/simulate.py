"""Simulates what all files of a session share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.sample.behavior import TaskRun, run_task
from pipelines.sample.body import EyeTracking, Running, run_wheel, track_eye
from pipelines.sample.design import Scale, Session, rng_for
from pipelines.sample.stimulus import Clock, ImageSet, image_set_of, make_clock


@dataclass(frozen=True)
class SessionData:
    """A session's behaviour on its stimulus clock. `eye` is None if the eye was not filmed."""

    session: Session
    image_set: ImageSet
    clock: Clock
    run: TaskRun
    running: Running
    eye: EyeTracking | None


def simulate_session(session: Session, scale: Scale, seed: int) -> SessionData:
    """Simulates clock, task, running and eye, each with its own random generator."""

    def rng(stream: int) -> np.random.Generator:
        return rng_for(seed, session.mouse.number, session.number, stream)

    image_set = image_set_of(session)
    clock = make_clock(session, scale, rng(2))
    run = run_task(session, scale, clock.first_flash, len(image_set.images), rng(3))
    eye = track_eye(run, clock, scale.eye_rates[session.rig], rng(5)) if session.has_eye else None
    return SessionData(session, image_set, clock, run, run_wheel(run, clock, rng(4)), eye)
