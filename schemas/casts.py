"""Exact casts from what the files hold to the declared types.

There is one null rule: a scalar without a value is NULL. NaN, infinities, the sentinels that a
column declares and the words of `NULL_WORDS` all mean "no value". Numbers inside lists are kept bit
for bit. Any other value that does not fit is a `CastError`, never a NULL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import arrow_schema, arrow_type
from schemas.errors import CastError, IntegrityError
from schemas.lists import Ragged, to_list
from schemas.lossless import HINT, NDArray, exact, exact_objects, first, misfit, misfit_value, plain
from schemas.model import Column, Table, Type

__all__ = ["NULL_WORDS", "NDArray", "Ragged", "Values", "cast", "conform"]

NULL_WORDS = frozenset(("", "N/A", "None", "null", "NaN", "nan", "NaT", "<NA>"))

_NO_TEXT = NULL_WORDS | {w.encode() for w in NULL_WORDS}
_SUB_MICROSECOND = re.compile(r"[.,]\d{6}\d*[1-9]")

_INT64 = np.dtype(np.int64)
_FLOATS = {Type.FLOAT64: np.dtype(np.float64), Type.FLOAT32: np.dtype(np.float32)}


Values = NDArray | Ragged | Sequence[Any] | int | float | str | bytes | bool | datetime | None
"""A column's values: one per row, or a single scalar that holds for every row."""


def _objects(values: Sequence[Any] | NDArray) -> list[Any]:
    """Converts to Python values; words and numbers that mean "no value" become None."""
    if set(map(type, values)) <= {int, bool, type(None)}:
        return list(values)
    out: list[Any] = []
    for value in values:
        value = plain(value)
        if (isinstance(value, (str, bytes)) and value in _NO_TEXT) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            value = None
        out.append(value)
    return out


def _is_objects(column: Column, values: Sequence[Any] | NDArray) -> bool:
    """Whether numbers come as Python objects. Text and other dtypes are refused."""
    if not isinstance(values, np.ndarray) or values.dtype.kind == "O":
        return True
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise misfit(column, "values are not numbers", f"dtype {values.dtype}")
    return False


def _to_numbers(
    column: Column, values: Sequence[Any] | NDArray, dtype: np.dtype[Any], expected: str
) -> tuple[NDArray, NDArray | None]:
    """Converts numbers to a dtype; also returns which are missing."""
    if _is_objects(column, values):
        objects = _objects(values)
        numbers, bad = exact_objects(objects, dtype)
        if bad is not None:
            raise misfit_value(column, bad, objects[bad], expected)
        return numbers, np.fromiter((v is None for v in objects), bool, len(objects))
    array = np.asarray(values)
    if array.dtype.kind == "b":
        raise misfit(column, "values are true/false", "dtype bool")
    missing = None
    present = array
    if array.dtype.kind == "f":
        missing = ~np.isfinite(array)
        if dtype.kind != "f":
            present = np.where(missing, 0, array)
    numbers, bad = exact(present, dtype)
    if bad is not None:
        raise misfit_value(column, bad, array[bad], expected)
    return numbers, missing


def _to_float(column: Column, values: Sequence[Any] | NDArray) -> pa.Array[Any]:
    expected = f"a number that is exact as a {column.type.value.lower()}"
    numbers, missing = _to_numbers(column, values, _FLOATS[column.type], expected)
    # Without a mask, Arrow takes the values as they are.
    return pa.array(numbers, mask=None if missing is None or not missing.any() else missing)


def _to_int(column: Column, values: Sequence[Any] | NDArray) -> pa.Array[Any]:
    expected = "a whole number of at most 64 bits, below 2^53 if it is stored as a float"
    integers, missing = _to_numbers(column, values, _INT64, expected)
    for sentinel in column.sentinels:
        is_sentinel = integers == sentinel
        missing = is_sentinel if missing is None else missing | is_sentinel
    return pa.array(integers, mask=missing)


def _to_bool(column: Column, values: Sequence[Any] | NDArray) -> pa.Array[Any]:
    expected = "true, false, 0, 1 or no value"
    if _is_objects(column, values):
        items = values.tolist() if isinstance(values, np.ndarray) else values
        try:
            return pa.array(items, pa.bool_())
        except (TypeError, ValueError):
            # Numbers, words for "no value", or a misfit to be found below.
            objects = _objects(items)
        for row, value in enumerate(objects):
            if value is not None and not (
                isinstance(value, (bool, int, float)) and value in (0, 1)
            ):
                raise misfit_value(column, row, value, expected)
        return pa.array([None if v is None else v == 1 for v in objects], pa.bool_())
    array = np.asarray(values)
    missing = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(len(array), dtype=bool)
    bad = (array != 0) & (array != 1) & ~missing
    if bad.any():
        raise misfit_value(column, first(bad), array[first(bad)], expected)
    return pa.array(array == 1, mask=missing)


def _to_string(column: Column, values: Sequence[Any] | NDArray) -> pa.Array[Any]:
    items = values.tolist() if isinstance(values, np.ndarray) else values
    try:
        return pa.array([None if v in _NO_TEXT else v for v in items], pa.string())
    except (TypeError, ValueError):
        # Not all text: there are missing values as NaN, or a misfit to be found below.
        objects = _objects(items)
    for row, value in enumerate(objects):
        try:
            pa.array([value], pa.string())
        except (TypeError, ValueError):
            raise misfit_value(column, row, value, "text in UTF-8") from None
    return pa.array(objects, pa.string())


def _to_timestamp(column: Column, values: Sequence[Any] | NDArray) -> pa.Array[Any]:
    """A time without an offset is UTC, as in the released reader."""
    objects = _objects(values)
    moments: list[datetime | None] = [None] * len(objects)
    for row, value in enumerate(objects):
        if value is None:
            continue
        moment = value
        try:
            if isinstance(value, (str, bytes)):
                text = value.decode() if isinstance(value, bytes) else value
                moment = None if _SUB_MICROSECOND.search(text) else datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if not isinstance(moment, datetime):
            raise misfit_value(column, row, value, "an ISO 8601 date and time, to the microsecond")
        moments[row] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return pa.array(moments, arrow_type(column))


def cast(column: Column, values: Values, rows: int) -> pa.Array[Any]:
    """Casts the values of one column to an Arrow array of its declared type.

    Args:
        column: the declaration.
        values: one per row, or one scalar for all rows.
        rows: number of rows of the table.

    Raises:
        CastError: a value does not fit; names column, row and value.
        IntegrityError: there are more or fewer values than rows, or a required value is missing.
    """
    arrow: Any = pa  # the stubs of `nulls` and `repeat` know some types only
    if values is None:
        array = arrow.nulls(rows, arrow_type(column))
    elif isinstance(values, (str, bytes, int, float, np.generic, datetime)):
        array = _cast_many(column, [values], 1)
        array = arrow.repeat(array[0], rows)
    else:
        array = _cast_many(column, values, rows)
    if column.required and array.null_count:
        row = next(i for i, value in enumerate(array) if not value.is_valid)
        raise IntegrityError(
            "a required value is missing",
            column=column.name,
            expected=f"{column.type.value}, never empty",
            found=f"no value in row {row}",
            hint=HINT,
        )
    return array


def _cast_many(
    column: Column, values: NDArray | Ragged | Sequence[Any], rows: int
) -> pa.Array[Any]:
    if isinstance(values, np.ndarray) and values.ndim != 1:
        found = f"shape {values.shape}"
        raise CastError(
            "wrong rank", column=column.name, expected="one value per row", found=found, hint=HINT
        )
    if len(values) != rows:
        found = str(len(values))
        raise IntegrityError(
            "lengths disagree",
            column=column.name,
            expected=f"{rows} values",
            found=found,
            hint=HINT,
        )
    if column.type.is_list:
        return to_list(column, values)
    if isinstance(values, Ragged):
        raise misfit(column, "values are lists", "lists")
    match column.type:
        case Type.STRING:
            return _to_string(column, values)
        case Type.TIMESTAMP:
            return _to_timestamp(column, values)
        case Type.FLOAT64 | Type.FLOAT32:
            return _to_float(column, values)
        case Type.BOOL:
            return _to_bool(column, values)
        case _:
            return _to_int(column, values)


def conform(table: Table, columns: Mapping[str, Values], rows: int) -> pa.Table:
    """Makes a table of exactly the declared schema.

    Args:
        table: the declaration.
        columns: values by column name, without that of the outermost folder. Optional columns may
            be left out.
        rows: number of rows.

    Raises:
        CastError: a value does not fit.
        IntegrityError: a column that is not optional is missing, a name is not declared, lengths
            disagree, or a required value is missing.
    """
    declared = {c.name for c in table.converted}
    for name in columns:
        if name not in declared:
            raise IntegrityError(
                "a column is not declared",
                table=table.name,
                column=name,
                expected="one of the declared columns",
                found=name,
                hint=HINT,
            )
    arrays: list[pa.Array[Any]] = []
    for column in table.converted:
        if column.name not in columns and not column.optional:
            raise IntegrityError(
                "a column is missing",
                table=table.name,
                column=column.name,
                expected=column.source or "values",
                found="nothing",
                hint=HINT,
            )
        try:
            arrays.append(cast(column, columns.get(column.name), rows))
        except (CastError, IntegrityError) as error:
            raise error.located(table=table.name) from None
    return pa.Table.from_arrays(arrays, schema=arrow_schema(table))
