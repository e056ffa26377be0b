"""Turns rows of the lake into pandas frames and dictionaries as the released SDK returns them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl

from vblake.lists import Array
from vblake.sdk.columns import Field, Frame, Kind, Scalar


def to_pandas(rows: pl.DataFrame, frame: Frame) -> pd.DataFrame:
    """Rows of the lake as one of the SDK's tables: index, columns in order, dtypes, sentinels.

    Example:
        >>> from vblake.sdk.columns import LICKS
        >>> to_pandas(pl.DataFrame({"timestamps": [0.5], "frame": [30]}), LICKS)
           timestamps  frame
        0         0.5     30
    """
    fields = [f for f in frame.fields if not (f.optional and _absent(rows, f))]
    names = [f.name for f in fields]
    if set(frame.wide) <= set(names):
        names = [name for name in names if name not in frame.wide] + list(frame.wide)
    index = _index(rows, frame)
    if frame.empty and rows.is_empty():
        return pd.DataFrame({name: pd.Series([], index, frame.empty) for name in names})
    values = rows.select([f.expression for f in fields])
    arrays = {f.name: _column(values[f.name], f.kind) for f in fields}
    # Series of one index are put together as they are, and those of objects stay such. No array has
    # another owner, so none is copied.
    series = {n: pd.Series(arrays[n], index, arrays[n].dtype, copy=False) for n in names}
    return pd.DataFrame(series, copy=False)


def _absent(rows: pl.DataFrame, field: Field) -> bool:
    name = field.source or field.name
    return name not in rows.columns or rows[name].null_count() == len(rows)


def _index(rows: pl.DataFrame, frame: Frame) -> Any:
    if frame.index is None:
        return pd.RangeIndex(len(rows))
    name = frame.index.name
    if frame.empty and rows.is_empty():
        return pd.Index([], dtype=object, name=name)
    if frame.numbered:
        return pd.RangeIndex(len(rows), name=name)
    return pd.Index(_column(rows[name], frame.index.kind), name=name)


def _column(values: pl.Series, kind: Kind) -> Any:
    """A column as pandas holds it: a NumPy or an extension array, which shares no memory."""
    missing = values.is_null().to_numpy() if values.null_count() else None
    match kind:
        case Kind.INT | Kind.FLOAT if missing is not None:
            # NULL becomes NaN, in a third of the time that Polars takes.
            return values.cast(pl.Float64).to_arrow().to_numpy(zero_copy_only=False)
        case Kind.INT:
            return _whole(values)
        case Kind.BOOL if missing is not None:
            filled = values.fill_null(value=False).to_numpy()
            return pd.arrays.BooleanArray(filled.copy(), missing.copy())
        case Kind.FLOAT | Kind.BOOL:
            return values.to_numpy(writable=True)
        case Kind.NULLABLE_INT:
            mask = np.zeros(len(values), np.bool_) if missing is None else missing.copy()
            return pd.arrays.IntegerArray(values.fill_null(0).to_numpy().copy(), mask)
        case Kind.TIME:
            # pandas 1.5 reads numbers only from memory that it could write to.
            counts = values.cast(pl.Int64).to_numpy(writable=True)
            moments = pd.to_datetime(counts, unit="us", utc=True)
            return pd.Series(moments.astype("datetime64[ns, UTC]")).array
        case Kind.ARRAY:
            lists: Any = values.to_arrow()
            flat = lists.values.to_numpy(zero_copy_only=False)
            return objects([flat[a:b].copy() for a, b in pairwise(lists.offsets.to_pylist())])
        case Kind.DAY:
            return objects([v if v is not None else np.nan for v in values.dt.strftime("%Y-%m-%d")])
        case Kind.TEXT | Kind.LIST:
            texts = values.cast(pl.String) if values.dtype.is_integer() else values
            return objects([v if v is not None else np.nan for v in texts.to_list()])


def _whole(values: pl.Series) -> Array:
    """Integers; whole numbers that the lake has as floats become integers, others stay floats."""
    array = values.to_numpy(writable=True)
    if array.dtype.kind == "f" and np.array_equal(array, np.floor(array)):
        return array.astype(np.int64)
    return array


def objects(values: list[Any]) -> Array:
    """A NumPy array of Python objects, one for each value, also where the values are arrays."""
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def to_dictionary(row: Mapping[str, Any], scalars: Mapping[str, Scalar]) -> dict[str, Any]:
    """A row of the lake as one of the SDK's dictionaries, in its order and with its types.

    Example:
        >>> to_dictionary({"age_in_days": None, "mouse_id": 7}, {"mouse_id": Scalar.WORD})
        {'mouse_id': '7'}
    """
    return {name: _scalar(row[name], scalar) for name, scalar in scalars.items()}


def _scalar(value: Any, scalar: Scalar) -> Any:
    match scalar:
        case Scalar.NAN:
            return np.nan if value is None else value
        case Scalar.NUMPY_ALWAYS:
            return np.float64(np.nan if value is None else value)
        case Scalar.NUMPY_NAN if value is None:
            return np.nan
        case Scalar.GROUPS if value == 0:
            return 0
        case _ if value is None:
            return None
        case Scalar.UUID:
            return UUID(value)
        case Scalar.WORD:
            return str(value)
        case Scalar.PLAIN:
            return value
        case _:
            return np.float64(value) if isinstance(value, float) else np.int64(value)
