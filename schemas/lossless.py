"""Conversion of numbers between dtypes that finds the first value that would change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from schemas.errors import CastError
from schemas.model import Column

NDArray = np.ndarray[Any, Any]

HINT = (
    "Nothing is changed or dropped; the table is left out until the source or the declaration is "
    "corrected."
)

_LARGEST_EXACT = 2**53


def plain(value: Any) -> Any:
    """Returns the Python value of a NumPy scalar, and any other value as it is.

    >>> plain(np.int16(3)), plain("a")
    (3, 'a')
    """
    if isinstance(value, np.generic):
        return cast(Any, value).item()
    return value


def shown(value: Any) -> str:
    """Returns a value as error messages show it: the plain Python value, cut to 100 characters.

    >>> shown(np.float64(2.5)), shown(b"im065")
    ('2.5', "'im065'")
    """
    value = plain(value)
    text = repr(value.decode(errors="backslashreplace") if isinstance(value, bytes) else value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def misfit_value(column: Column, row: int, value: object, expected: str) -> CastError:
    """Makes the error for one value of a column."""
    problem = f"a value does not fit its declared type {column.type.value} (row {row})"
    return CastError(problem, column=column.name, expected=expected, found=shown(value), hint=HINT)


def misfit(column: Column, problem: str, found: str) -> CastError:
    """Makes the error for a column as a whole."""
    return CastError(
        problem, column=column.name, expected=column.type.value, found=found, hint=HINT
    )


def first(bad: NDArray) -> int:
    """Index of the first true element, of which there must be one."""
    return int(np.flatnonzero(bad)[0])


def exact(values: NDArray, dtype: np.dtype[Any]) -> tuple[NDArray, int | None]:
    """Converts a numeric or bool array; also returns the first index whose value would change.

    >>> exact(np.array([1.0, 2.5]), np.dtype(np.int64))[1]
    1
    >>> exact(np.array([1.0, 2.0]), np.dtype(np.int64))
    (array([1, 2]), None)
    """
    if values.dtype == dtype:
        return values, None
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(dtype)
    bad = converted != values
    if dtype.kind == "f":
        bad &= values == values  # NaN stays NaN
        if values.dtype.kind in "iu":
            # Beyond this limit floats skip integers; comparing as floats would miss some.
            limit = _largest_exact(dtype)
            bad |= (values > limit) | (values < -limit)
    elif values.dtype.kind == "f":
        bad |= np.abs(values.astype(np.float64)) >= _LARGEST_EXACT
    return converted, first(bad) if bad.any() else None


def _largest_exact(dtype: np.dtype[Any]) -> int:
    """The largest integer up to which a float type holds every one."""
    return 2 ** (int(np.finfo(dtype).nmant) + 1)


def _fits(value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether a Python value is a number that is exact in a dtype."""
    if type(value) not in (int, float):
        return False
    if dtype.kind != "f":
        exact_int = type(value) is int or (value.is_integer() and abs(value) < _LARGEST_EXACT)
        return exact_int and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if type(value) is int:
        return abs(value) <= _largest_exact(dtype)
    with np.errstate(over="ignore"):
        return not math.isfinite(value) or float(dtype.type(value)) == value


def exact_objects(items: Sequence[Any], dtype: np.dtype[Any]) -> tuple[NDArray, int | None]:
    """Converts Python numbers; also returns the first index that is no number or would change.

    None becomes 0.
    """
    if set(map(type, items)) <= {int, type(None)} and dtype == np.int64:
        try:  # the usual case, at once
            return np.array([0 if item is None else item for item in items], dtype), None
        except OverflowError:
            pass  # the loop finds which
    for index, item in enumerate(items):
        if item is not None and not _fits(item, dtype):
            return np.empty(0, dtype), index
    return np.array([0 if item is None else item for item in items], dtype=dtype), None
