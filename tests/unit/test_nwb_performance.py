"""Reward rate, rolling performance and session metrics against loops row by row (docs/formulas.md)."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from builders.nwb import (
    INF,
    NAN,
    OUTCOMES,
    TRIALS,
    Content,
    column,
    columns,
    metadata,
    recording,
    series,
    trials_of,
    without,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.nwb.performance import read_performance

REWARDS = "/processing/rewards"


def session(
    outcomes: list[str],
    start: list[float],
    change: list[float],
    licks: list[list[float]],
    **changed: Any,
) -> Content:
    return metadata() | series() | trials_of(outcomes, start, change, licks, **changed)


def passive(n: int = 12, **changed: Any) -> Content:
    start = [5.0 * i for i in range(n)]
    outcomes = ["miss" if i % 3 else "correct_reject" for i in range(n)]
    return without(session(outcomes, start, [s + 2 for s in start], [[]] * n, **changed), REWARDS)


def test_a_passive_session_has_a_dprime_of_zero() -> None:
    got = columns("rolling_performance", passive(4))
    assert got["rolling_dprime"] == [0.0] * 4
    assert got["hit_rate"] == [None, 0.5, 0.25, 0.25]
    assert got["false_alarm_rate"] == [0.5, 0.5, 0.5, 0.25]
    assert column("rolling_performance", passive(), "reward_rate") == [None] * 10 + [0.0, 0.0]
    metrics = columns("performance_metrics", passive())
    for name in ("total_reward_volume", "mean_dprime", "max_dprime", "engaged_trial_count"):
        assert metrics[name] == [0.0]
    assert metrics["max_dprime_engaged"] == [None]


def test_licks_without_rewards_are_not_passive() -> None:
    content = session(["correct_reject"] * 2, [0.0, 5.0], [2.0, 7.0], [[], [5.5]])
    assert column("rolling_performance", content, "rolling_dprime") == [None, None]


def test_no_trials() -> None:
    content = metadata() | series() | trials_of([], [], [], [])
    content |= {
        f"{TRIALS}/{name}": np.empty(0, dtype="S1")
        for name in ("initial_image_name", "change_image_name")
    }
    assert columns("rolling_performance", content)["trials_id"] == []
    assert columns("performance_metrics", content)["trial_count"] == [0]


def test_performance_metrics() -> None:
    n = 12
    outcomes = ["hit", "miss", "aborted", "false_alarm", "correct_reject", "auto_rewarded"] * 2
    start = [10.0 * i for i in range(n)]
    licks = [
        [s + 2.5] if o in ("hit", "false_alarm", "auto_rewarded") else []
        for s, o in zip(start, outcomes, strict=True)
    ]
    change = [NAN if o == "aborted" else s + 2 for s, o in zip(start, outcomes, strict=True)]
    content = session(outcomes, start, change, licks) | {
        f"{REWARDS}/volume/data": np.array([0.005, 0.005, 0.007, NAN]),
        f"{REWARDS}/autorewarded/data": np.array([False, False, True, True]),
        f"{REWARDS}/autorewarded/timestamps": np.arange(4.0),
    }
    # Six responses in 110 s for trials 10 and 11.
    rate = 6 / 110.0 * 60
    # Kept rows: hit, miss, fa, cr, auto, hit, miss, fa, cr, auto.
    hit_raw = [1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 2 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2]
    hit = [1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 2 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2]
    alarm_raw = [NAN, NAN, 1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 2 / 3, 1 / 2, 1 / 2]
    alarm = [NAN, NAN, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 2 / 3, 1 / 2, 1 / 2]
    quantile = statistics.NormalDist().inv_cdf(2 / 3)
    close = {
        "mean_hit_rate": sum(hit) / 10,
        "mean_hit_rate_uncorrected": sum(hit_raw) / 10,
        "mean_false_alarm_rate": sum(alarm[2:]) / 8,
        "mean_false_alarm_rate_uncorrected": sum(alarm_raw[2:]) / 8,
        "mean_dprime": 0.0,  # once +0.43, once -0.43
        "max_dprime": quantile,
        "total_reward_volume": 0.017,
    }
    got = columns("performance_metrics", content)
    for name, value in close.items():
        assert got.pop(name) == [pytest.approx(value, rel=1e-12, abs=1e-15)], name
    assert got == {
        "trial_count": [12],
        "go_trial_count": [4],
        "catch_trial_count": [4],
        "hit_trial_count": [2],
        "miss_trial_count": [2],
        "false_alarm_trial_count": [2],
        "correct_reject_trial_count": [2],
        "auto_rewarded_trial_count": [2],
        "rewarded_trial_count": [2],
        "total_reward_count": [4],
        "maximum_reward_rate": [rate],
        "engaged_trial_count": [2],
        "mean_hit_rate_engaged": [0.5],
        "mean_false_alarm_rate_engaged": [0.5],
        "mean_dprime_engaged": [0.0],
        "max_dprime_engaged": [0.0],
    }


def test_engaged_means_above_two_rewards_a_minute() -> None:
    # Eleven trials in 60 s: 2 responses are exactly 2.0 a minute.
    start = [6.0 * i for i in range(11)]
    for responses, engaged in ((2, 0), (3, 1)):
        licks = [[s + 2.5] if i < responses else [] for i, s in enumerate(start)]
        content = session(
            ["hit"] * responses + ["miss"] * (11 - responses), start, [s + 2 for s in start], licks
        )
        got = columns("performance_metrics", content)
        assert got["maximum_reward_rate"] == [float(responses)]
        assert got["engaged_trial_count"] == [engaged]
        rolling = columns("rolling_performance", content, "engaged", "reward_rate")
        assert sum(rolling["engaged"]) == engaged
        assert rolling["reward_rate"][:10] == [None] * 10


# Slow reference, row by row.


def latency_by_loop(licks: list[list[float]], change: list[float], opens: float) -> list[float]:
    out = []
    for times, moment in zip(licks, change, strict=True):
        late = [t for t in times if t - moment > opens]
        out.append(late[0] - moment if late else INF)
    return out


def rate_by_loop(start: list[float], latency: list[float]) -> list[float]:
    n = len(start)
    out = [NAN] * n
    for t in range(10, n):
        a, b = max(0, t - 25), min(t + 25, n)
        responses = sum(1 for x in latency[a:b] if x < 0.75)
        elapsed = start[b - 1] - start[a]
        if elapsed != 0:
            out[t] = responses / elapsed * 60
    return out


def rolling_by_loop(values: list[float]) -> tuple[list[float], list[float]]:
    raw, corrected = [], []
    for i in range(len(values)):
        window = [v for v in values[max(0, i - 99) : i + 1] if not math.isnan(v)]
        n = float(len(window))
        rate = sum(window) / n if n else NAN
        raw.append(rate)
        corrected.append(min(max(rate, 1 / (2 * n)), 1 - 1 / (2 * n)) if n else NAN)
    return raw, corrected


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[str], list[float], list[float], list[list[float]]]:
    n = draw(st.integers(0, 130))
    random = draw(st.randoms(use_true_random=True))
    weights = draw(
        st.sampled_from(
            [(1, 1, 1, 1, 1, 1), (8, 1, 1, 4, 8, 0), (0, 0, 0, 0, 1, 0), (0, 5, 0, 1, 0, 0)]
        )
    )
    outcomes = random.choices(OUTCOMES, weights, k=n)
    start, change, licks = [], [], []
    now = 0.0
    for outcome in outcomes:
        start.append(now)
        change.append(NAN if outcome == "aborted" else now + random.uniform(1, 3))
        licks.append(
            sorted(now + random.uniform(0, 5) for _ in range(random.choice([0, 0, 1, 2, 5])))
        )
        now += random.choice([0.0, 4.25, 7.5, 8.1])
    return outcomes, start, change, licks


@settings(max_examples=50)
@given(tasks())
def test_performance_is_that_of_loops(
    task: tuple[list[str], list[float], list[float], list[list[float]]],
) -> None:
    outcomes, start, change, licks = task
    n = len(outcomes)
    content = session(outcomes, start, change, licks)
    content |= {
        f"{TRIALS}/{name}": np.array([b"x"] * n, dtype="S1")
        for name in ("initial_image_name", "change_image_name")
    }
    assume(any(licks))  # passive sessions have their own tests
    got = read_performance(recording(content))
    latency = latency_by_loop(licks, change, 0.15)
    assert np.array_equal(got["reward_rate"], rate_by_loop(start, latency), equal_nan=True)
    kept = [i for i, o in enumerate(outcomes) if o != "aborted"]
    for names, rate in (
        (("hit", "miss"), "hit_rate"),
        (("false_alarm", "correct_reject"), "false_alarm_rate"),
    ):
        values = [
            1.0 if outcomes[i] == names[0] else 0.0 if outcomes[i] == names[1] else NAN
            for i in kept
        ]
        raw, corrected = rolling_by_loop(values)
        for name, expected in ((f"{rate}_raw", raw), (rate, corrected)):
            whole = np.full(n, NAN)
            whole[kept] = expected
            assert np.array_equal(got[name], whole, equal_nan=True), name
    quantile = statistics.NormalDist().inv_cdf
    for i in range(n):
        hit, alarm = got["hit_rate"][i], got["false_alarm_rate"][i]
        if math.isnan(hit) or math.isnan(alarm):
            assert math.isnan(got["rolling_dprime"][i])
        else:
            expected = quantile(min(max(hit, 0.01), 0.99)) - quantile(min(max(alarm, 0.01), 0.99))
            assert got["rolling_dprime"][i] == pytest.approx(expected, rel=1e-9, abs=1e-9)
