"""Reward rate, rolling performance and session metrics, bit for bit as in the released reader.

Formulas: docs/formulas.md. Arrays have one value per trial unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.nwb.behavior_series import read_rewards
from pipelines.nwb.metadata import durations
from pipelines.nwb.normal_quantile import normal_quantile
from pipelines.nwb.recording import Recording, Rows
from pipelines.nwb.trials import Trials, read_trials
from schemas.casts import NDArray, Ragged, Values

_FIRST_RATED_TRIAL = 10
_HALF_WINDOW = 25
_RESPONSE_WINDOW_END_S = 0.75
_ROLLING_TRIALS = 100
_DPRIME_LIMITS = (0.01, 0.99)
_ENGAGED_RATE = 2.0


def response_latencies(lick_times: Ragged, change_time: NDArray, window_start: float) -> NDArray:
    """Time from the change to the first lick after the start of the response window.

    +inf where there is no such lick.

    Args:
        lick_times: seconds, one list per trial.
        change_time: seconds, NaN where there was no change.
        window_start: first value of `response_window_sec`, seconds.
    """
    offsets = lick_times.offsets
    trial = np.repeat(np.arange(len(change_time)), np.diff(offsets))
    delay = lick_times.values - change_time[trial]
    latency = np.full(len(change_time), np.inf)
    late = np.flatnonzero(delay > window_start)[::-1]
    # Assigned from the last lick to the first, so that the first one stays.
    latency[trial[late]] = delay[late]
    return latency


def reward_rate(start_time: NDArray, latency: NDArray) -> NDArray:
    """Responses per minute in a window of 25 trials before and 25 after each trial.

    NaN for the first ten trials.

    Args:
        start_time: start of each trial, seconds.
        latency: from `response_latencies`.
    """
    n = len(start_time)
    rate = np.full(n, np.nan)
    trial = np.arange(_FIRST_RATED_TRIAL, n)
    if not len(trial):
        return rate
    first = np.maximum(0, trial - _HALF_WINDOW)
    last = np.minimum(trial + _HALF_WINDOW, n)
    responses = np.concatenate(([0], np.cumsum(latency < _RESPONSE_WINDOW_END_S)))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (
            (responses[last] - responses[first]) / (start_time[last - 1] - start_time[first]) * 60
        )
    rate[trial] = np.where(np.isinf(values), np.nan, values)
    return rate


def rolling_rate(yes: NDArray, no: NDArray) -> tuple[NDArray, NDArray]:
    """Share of `yes` among `yes` and `no` over the last 100 rows.

    Returns:
        The share, and the share clipped to [1/(2N), 1 - 1/(2N)], N being the rows that count.

    Args:
        yes: shape (n,) bool.
        no: shape (n,) bool.

    >>> raw, clipped = rolling_rate(np.array([True, True]), np.array([False, False]))
    >>> raw.tolist(), clipped.tolist()
    ([1.0, 1.0], [0.5, 0.75])
    """
    ends = np.arange(1, len(yes) + 1)
    starts = np.maximum(0, ends - _ROLLING_TRIALS)
    hits = np.concatenate(([0], np.cumsum(yes)))
    either = np.concatenate(([0], np.cumsum(yes | no)))
    total = (either[ends] - either[starts]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = (hits[ends] - hits[starts]) / total
        margin = 1 / (2 * total)
        corrected = np.minimum(np.maximum(raw, margin), 1 - margin)
    none = total == 0
    raw[none] = np.nan
    corrected[none] = np.nan
    return raw, corrected


def dprime(hit_rate: NDArray, false_alarm_rate: NDArray) -> NDArray:
    """Difference of the normal quantiles of the two rates, each clipped to [0.01, 0.99].

    >>> dprime(np.array([0.5]), np.array([0.5])).tolist()
    [0.0]
    """
    hit, alarm = (
        normal_quantile(np.clip(rate, *_DPRIME_LIMITS)) for rate in (hit_rate, false_alarm_rate)
    )
    return hit - alarm


def read_performance(recording: Recording) -> dict[str, NDArray]:
    """Computes the rates of `rolling_performance`, one value per trial."""
    table: Trials = recording.once(read_trials)
    window_start = durations(recording, "response_window_sec")[0]
    start_time = table.numbers("start_time")
    if "change_time" in table.columns:
        columns = {
            "reward_rate": reward_rate(
                start_time,
                response_latencies(table.lick_times, table.numbers("change_time"), window_start),
            )
        }
    else:
        columns = {"reward_rate": np.full(table.count, np.nan)}
    kept = table.numbers("aborted") == 0
    outcome = {
        name: table.numbers(name)[kept] == 1
        for name in ("hit", "miss", "false_alarm", "correct_reject")
    }
    hit_raw, hit = rolling_rate(outcome["hit"], outcome["miss"])
    alarm_raw, alarm = rolling_rate(outcome["false_alarm"], outcome["correct_reject"])
    volume = table.numbers("reward_volume")
    passive = bool(np.all(volume == 0)) and not len(table.lick_times.values)
    rates = {
        "hit_rate_raw": hit_raw,
        "hit_rate": hit,
        "false_alarm_rate_raw": alarm_raw,
        "false_alarm_rate": alarm,
        "rolling_dprime": np.zeros(len(hit)) if passive else dprime(hit, alarm),
    }
    for name, values in rates.items():
        columns[name] = np.full(table.count, np.nan)
        columns[name][kept] = values
    return columns


def rolling_performance(recording: Recording) -> Iterator[Rows]:
    """Performance around each trial."""
    table, columns = recording.once(read_trials), recording.once(read_performance)
    engaged = columns["reward_rate"] > _ENGAGED_RATE
    ids = table.numbers("trials_id")
    yield Rows({"trials_id": ids, "engaged": engaged, **columns}, table.count)


def mean(values: NDArray) -> float:
    """Mean without NaN, as in pandas.

    NaN becomes 0 in place, then follows NumPy's pairwise sum: another order of summation differs in
    the last bits.

    >>> mean(np.array([1.0, np.nan, 2.0]))
    1.5
    """
    present = ~np.isnan(values)
    count = int(present.sum())
    return float(np.where(present, values, 0.0).sum() / count) if count else np.nan


def largest(values: NDArray) -> float:
    """Maximum without NaN; NaN if there is no other value."""
    present = values[~np.isnan(values)]
    return float(present.max()) if len(present) else np.nan


def performance_metrics(recording: Recording) -> Iterator[Rows]:
    """The 23 figures of the session, in one row."""
    table = recording.once(read_trials)
    rolling = recording.once(read_performance)
    volume, _, _ = read_rewards(recording)
    engaged = rolling["reward_rate"] > _ENGAGED_RATE

    def total(name: str) -> int:
        return int((table.numbers(name) == 1).sum())

    values: dict[str, float] = {
        "trial_count": table.count,
        "go_trial_count": total("go"),
        "catch_trial_count": total("catch"),
        "hit_trial_count": total("hit"),
        "miss_trial_count": total("miss"),
        "false_alarm_trial_count": total("false_alarm"),
        "correct_reject_trial_count": total("correct_reject"),
        "auto_rewarded_trial_count": total("auto_rewarded"),
        "rewarded_trial_count": total("hit"),
        "total_reward_count": len(volume),
        "total_reward_volume": float(np.where(np.isnan(volume), 0.0, volume).sum()),
        "maximum_reward_rate": largest(rolling["reward_rate"]),
        "engaged_trial_count": int(engaged.sum()),
    }
    for rate in ("hit_rate", "false_alarm_rate"):
        values[f"mean_{rate}"] = mean(rolling[rate])
        values[f"mean_{rate}_uncorrected"] = mean(rolling[f"{rate}_raw"])
        values[f"mean_{rate}_engaged"] = mean(rolling[rate][engaged])
    sensitivity = rolling["rolling_dprime"]
    values |= {
        "mean_dprime": mean(sensitivity),
        "mean_dprime_engaged": mean(sensitivity[engaged]),
        "max_dprime": largest(sensitivity),
        "max_dprime_engaged": largest(sensitivity[engaged]),
    }
    row: dict[str, Values] = {name: np.array([value]) for name, value in values.items()}
    yield Rows(row, 1)
