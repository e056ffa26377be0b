"""The normal quantile equals SciPy's to the last bit, on every rate a session can have."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from pipelines.nwb.normal_quantile import normal_quantile


def test_every_rate_of_a_window_of_100_trials() -> None:
    rates = np.array(
        [min(max(k / n, 1 / (2 * n)), 1 - 1 / (2 * n)) for n in range(1, 101) for k in range(n + 1)]
    )
    assert normal_quantile(rates).tobytes() == ndtri(rates).tobytes()


@given(st.lists(st.floats(1e-12, 1 - 1e-12), min_size=1))
def test_any_probability(values: list[float]) -> None:
    assert normal_quantile(np.array(values)).tobytes() == ndtri(np.array(values)).tobytes()
