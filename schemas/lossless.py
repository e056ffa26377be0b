"""Numbers that keep their value: conversion between dtypes with the first one that would change, and how to say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from schemas.errors import CastError
from schemas.model import Column

NDArray = np.ndarray[Any, Any]

HINT = "Nothing is changed or dropped; the file is left out until the source or the declaration is corrected."

_LARGEST_EXACT = 2**53


def plain(value: Any) -> Any:
    """The Python value behind a NumPy scalar."""
    if isinstance(value, np.generic):
        return cast(Any, value).item()
    return value


def shown(value: Any) -> str:
    """A value as an error message shows it: the plain Python value, cut at 100 characters."""
    value = plain(value)
    text = repr(value.decode(errors="backslashreplace") if isinstance(value, bytes) else value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def misfit_value(column: Column, row: int, value: object, expected: str) -> CastError:
    """The error for one value of a column."""
    problem = f"a value does not fit its declared type {column.type.value} (row {row})"
    return CastError(problem, column=column.name, expected=expected, found=shown(value), hint=HINT)


def misfit(column: Column, problem: str, found: str) -> CastError:
    """The error for a column as a whole."""
    return CastError(
        problem, column=column.name, expected=column.type.value, found=found, hint=HINT
    )


def first(bad: NDArray) -> int:
    """Index of the first true element; there must be one."""
    return int(np.flatnonzero(bad)[0])


def exact(values: NDArray, dtype: np.dtype[Any]) -> tuple[NDArray, int | None]:
    """A numeric or bool array in another dtype, and the first index whose value would change."""
    if values.dtype == dtype:
        return values, None
    source = values.dtype.kind
    if source == "b":
        return values.astype(dtype), None
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            converted = values.astype(dtype)
            if source == "f":
                bad = (converted != values) & ~np.isnan(values)
            else:
                # Beyond, floats skip integers; casting back and comparing would miss those at the ends of the range.
                limit = 2 ** (np.finfo(dtype).nmant + 1)
                bad = (values > limit) | (values < -limit)
    else:
        info = np.iinfo(dtype)
        if source == "f":
            wide = values.astype(np.float64, copy=False)
            fits = (
                (wide == np.trunc(wide))
                & (np.abs(wide) < _LARGEST_EXACT)
                & (wide >= info.min)
                & (wide <= info.max)
            )
            bad = ~fits
            converted = np.where(bad, 0, wide).astype(dtype)
        else:
            bad = (values < info.min) | (values > info.max)
            converted = values.astype(dtype)
    return converted, first(bad) if bad.any() else None


def _fits(dtype: np.dtype[Any]) -> Callable[[Any], bool]:
    """Whether a Python value is a number, and exact in a dtype."""
    if dtype.kind == "f":
        limit = 2 ** (int(np.finfo(dtype).nmant) + 1)
        largest = float(np.finfo(dtype).max)

        def fits_float(value: Any) -> bool:
            if type(value) is float:
                # Infinities and NaN are values of every float type.
                return not math.isfinite(value) or (
                    abs(value) <= largest and float(dtype.type(value)) == value
                )
            return type(value) is int and abs(value) <= limit

        return fits_float
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)

    def fits_int(value: Any) -> bool:
        if type(value) is float and not (value.is_integer() and abs(value) < _LARGEST_EXACT):
            return False
        return type(value) in (int, float) and low <= value <= high

    return fits_int


def exact_objects(items: Sequence[Any], dtype: np.dtype[Any]) -> tuple[NDArray, int | None]:
    """Python numbers in a dtype, and the first index whose value is no number or would change; None counts as 0."""
    fits = _fits(dtype)
    for index, item in enumerate(items):
        if item is not None and not fits(item):
            return np.empty(0, dtype), index
    return np.array([0 if item is None else item for item in items], dtype=dtype), None
