"""Answers a question of docs/cookbook with the released SDK: a loop over the NWB files.

`python sdk_questions.py NUMBER FILE ...`. Imports are measured apart.
"""

import json
import sys
import time
from pathlib import Path

_STARTED, _USED = time.perf_counter(), time.process_time()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from allensdk.brain_observatory.behavior.behavior_ophys_experiment import BehaviorOphysExperiment  # noqa: E402
from allensdk.brain_observatory.behavior.behavior_session import BehaviorSession  # noqa: E402


def _opened(file: Path):
    kind = BehaviorOphysExperiment if "experiment" in file.name else BehaviorSession
    return kind.from_nwb_path(str(file))


def _windows(values, clock, times, before, after):
    """Values at the samples from `before` to `after` each time: times x samples."""
    period = np.median(np.diff(clock))
    lags = np.arange(-round(before / period), round(after / period) + 1)
    at = np.searchsorted(clock, times)[:, None] + lags
    return values[..., at[((at >= 0) & (at < len(clock))).all(axis=1)]]


def hit_rates(files):
    """1: hit rate by pair of images, over all sessions."""
    trials = pd.concat(_opened(file).trials for file in files)
    return trials[trials.go].groupby(["initial_image_name", "change_image_name"]).hit.mean()


def running_around_licks(files):
    """3: of the first session, as the recipe."""
    session = _opened(files[0])
    running = session.running_speed
    return _windows(
        running.speed.values, running.timestamps.values, session.licks.timestamps, 2, 2
    ).mean(axis=0)


def dff_around_omissions(files):
    """5: mean over cells and omissions, for each experience level."""
    means = {}
    for file in files:
        if "experiment" in file.name:
            plane = _opened(file)
            shown = plane.stimulus_presentations
            times = shown[shown.omitted.fillna(False).astype(bool)].start_time
            dff = np.vstack(plane.dff_traces.dff)
            means[file.name] = _windows(dff, plane.ophys_timestamps, times, 1, 2).mean(axis=(0, 1))
    return means


def correlation(files):
    """10: of the first plane."""
    plane = _opened(next(f for f in files if "experiment" in f.name))
    return np.corrcoef(np.vstack(plane.dff_traces.dff))


def hits_and_misses(files):
    """12: mean in the 0.5 s after changes with hit and with miss, for each cell."""
    means = []
    for file in files:
        if "experiment" in file.name:
            plane = _opened(file)
            dff, trials = np.vstack(plane.dff_traces.dff), plane.trials
            for outcome in ("hit", "miss"):
                times = trials[trials.go & trials[outcome]].change_time
                means.append(_windows(dff, plane.ophys_timestamps, times, 0, 0.5).mean(axis=(1, 2)))
    return means


QUESTIONS = {
    1: hit_rates,
    3: running_around_licks,
    5: dff_around_omissions,
    10: correlation,
    12: hits_and_misses,
}


def main() -> None:
    """Runs the script."""
    number, files = int(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    started, used = time.perf_counter(), time.process_time()
    QUESTIONS[number](files)
    facts = {"s": time.perf_counter() - started, "cpu_s": time.process_time() - used}
    print(json.dumps(facts | {"start_s": started - _STARTED, "start_cpu_s": used - _USED}))


if __name__ == "__main__":
    main()
