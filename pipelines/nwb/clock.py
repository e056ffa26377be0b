"""The rule that a clock never goes back, for readers that compute with times and for the checks."""

from __future__ import annotations

import numpy as np

from schemas.casts import NDArray

MESSAGE = "times go back or are missing"


def goes_back(times: NDArray, starts: NDArray | None = None) -> NDArray:
    """Which times are not finite, or earlier than the one before.

    Args:
        times: seconds, shape (n,).
        starts: positions at which another clock starts.

    Returns:
        Shape (n,), bool.

    >>> goes_back(np.array([0.0, 0.5, 0.25, np.nan])).tolist()
    [False, False, True, True]
    """
    wrong = np.zeros(len(times), dtype=bool)
    np.less(times[1:], times[:-1], out=wrong[1:])
    if starts is not None:
        wrong[starts] = False
    return wrong | ~np.isfinite(times)
