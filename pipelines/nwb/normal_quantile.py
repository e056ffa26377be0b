"""The inverse of the normal distribution, bit for bit as SciPy's `ndtri`.

SciPy itself takes 0.3 s and 60 MB to import.

Coefficients and order of evaluation are those of ndtri.c of the Cephes Math Library, Release 2.1,
Copyright 1984, 1987, 1989 by Stephen L. Moshier, as distributed in SciPy under the BSD 3-Clause
License (Copyright 2001-2002 Enthought, Inc. 2003, SciPy Developers); see LICENSE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # `vblake tables` needs the coefficients, and no Arrow
    from schemas.casts import NDArray

SQRT_2PI = 2.50662827463100050242
EXP_MINUS_2 = 0.13533528323661269189

# Numerators and denominators: |y - 1/2| <= 1/2 - exp(-2)
P0 = (
    -5.99633501014107895267e1,
    9.80010754185999661536e1,
    -5.66762857469070293439e1,
    1.39312609387279679503e1,
    -1.23916583867381258016e0,
)
Q0 = (
    1.0,
    1.95448858338141759834e0,
    4.67627912898881538453e0,
    8.63602421390890590575e1,
    -2.25462687854119370527e2,
    2.00260212380060660359e2,
    -8.20372256168333339912e1,
    1.59056225126211695515e1,
    -1.18331621121330003142e0,
)
# sqrt(-2 log(y)) between 2 and 8, that is y between exp(-2) and exp(-32)
P1 = (
    4.05544892305962419923e0,
    3.15251094599893866154e1,
    5.71628192246421288162e1,
    4.40805073893200834700e1,
    1.46849561928858024014e1,
    2.18663306850790267539e0,
    -1.40256079171354495875e-1,
    -3.50424626827848203418e-2,
    -8.57456785154685413611e-4,
)
Q1 = (
    1.0,
    1.57799883256466749731e1,
    4.53907635128879210584e1,
    4.13172038254672030440e1,
    1.50425385692907503408e1,
    2.50464946208309415979e0,
    -1.42182922854787788574e-1,
    -3.80806407691578277194e-2,
    -9.33259480895457427372e-4,
)


def _polynomial(x: float, coefficients: Sequence[float]) -> float:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _quantile(p: float) -> float:
    if math.isnan(p):
        return p
    y = 1.0 - p if p > 1.0 - EXP_MINUS_2 else p
    if y > EXP_MINUS_2:
        y -= 0.5
        y2 = y * y
        return (y + y * (y2 * _polynomial(y2, P0) / _polynomial(y2, Q0))) * SQRT_2PI
    x = math.sqrt(-2.0 * math.log(y))
    z = 1.0 / x
    x = x - math.log(x) / x - z * _polynomial(z, P1) / _polynomial(z, Q1)
    return x if p > 0.5 else -x


def normal_quantile(p: NDArray) -> NDArray:
    """Inverse of the cumulative normal distribution.

    Args:
        p: probabilities between 1e-13 and 1 - 1e-13, or NaN, shape (n,). A session has at most a
            few hundred different ones.

    >>> normal_quantile(np.array([0.5, 0.975])).round(6).tolist()
    [0.0, 1.959964]
    """
    distinct, index = np.unique(p, return_inverse=True)
    return np.array([_quantile(float(v)) for v in distinct], dtype=np.float64)[index]
