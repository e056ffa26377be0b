"""Casts of list columns.

Numbers are kept bit for bit, NaN included; only a list as a whole can be NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np
import pyarrow as pa

from schemas.arrow import STRUCT_FIELDS, arrow_type
from schemas.errors import CastError
from schemas.lossless import NDArray, exact, exact_objects, misfit, misfit_value, plain
from schemas.model import Column, Type

_ITEMS_PER_ARRAY = 2**31

_ITEM_DTYPES: dict[Type, np.dtype[Any]] = {
    Type.LIST_FLOAT64: np.dtype(np.float64),
    Type.LIST_FLOAT32: np.dtype(np.float32),
    Type.LIST_INT64: np.dtype(np.int64),
    Type.LIST_UINT32: np.dtype(np.uint32),
    Type.LIST_UINT8: np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True)
class Ragged:
    """Lists as flat values and offsets: row i is `values[offsets[i]:offsets[i + 1]]`.

    The offsets ascend from 0 to the number of values.
    """

    values: NDArray
    offsets: NDArray

    @classmethod
    def one(cls, values: NDArray) -> Ragged:
        """A single row that holds the whole 1-D array."""
        return cls(values, np.array([0, len(values)]))

    @classmethod
    def matrix(cls, rows: NDArray) -> Ragged:
        """One row per first index of an array; the rest is flattened row-major."""
        flat = np.ascontiguousarray(rows).reshape(-1)
        width = flat.size // len(rows) if len(rows) else 0
        return cls(flat, np.arange(len(rows) + 1, dtype=np.int64) * width)

    def __len__(self) -> int:
        """Number of rows."""
        return max(len(self.offsets) - 1, 0)


def _offsets(lengths: Sequence[int]) -> NDArray:
    return np.concatenate(
        (np.zeros(1, dtype=np.int64), np.cumsum(np.array(lengths, dtype=np.int64)))
    )


def _row_of(item: int, offsets: NDArray) -> int:
    return int(np.searchsorted(offsets, item, side="right")) - 1


def _is_numeric(values: Any) -> TypeGuard[NDArray]:
    # Long double (16 bytes) has values that no type of the lake can hold.
    if not isinstance(values, np.ndarray):
        return False
    dtype = cast(NDArray, values).dtype
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _is_list(value: Any) -> bool:
    return (
        cast(NDArray, value).ndim == 1
        if isinstance(value, np.ndarray)
        else isinstance(value, (list, tuple))
    )


def _ragged_items(column: Column, lists: Ragged) -> pa.Array[Any]:
    items, offsets = lists.values, lists.offsets.astype(np.int64)
    if len(items) >= _ITEMS_PER_ARRAY:
        raise CastError(
            "too many list items in one batch",
            column=column.name,
            expected="fewer than 2^31",
            found=str(len(items)),
            hint="Write fewer rows at a time.",
        )
    if not _is_numeric(items) or column.type not in _ITEM_DTYPES:
        raise misfit(column, "list items are not numbers", f"dtype {items.dtype}")
    dtype = _ITEM_DTYPES[column.type]
    converted, bad = exact(items, dtype)
    if bad is not None:
        raise misfit_value(
            column, _row_of(bad, offsets), items[bad], f"numbers that are exact as {dtype}"
        )
    return _lists(column, offsets, pa.array(converted))


def _texts(column: Column, items: Sequence[Any], offsets: NDArray) -> pa.Array[Any]:
    """List items of text, kept as they are: here, words for "no value" stay words."""
    try:
        return pa.array(items, pa.string())
    except (TypeError, ValueError):
        pass  # the loop finds which
    for index, item in enumerate(items):
        try:
            pa.array([item], pa.string())
        except (TypeError, ValueError):
            raise misfit_value(
                column, _row_of(index, offsets), item, "lists of text in UTF-8"
            ) from None
    return pa.array(items, pa.string())


def _structs(column: Column, items: Sequence[Any], offsets: NDArray) -> pa.Array[Any]:
    """List items that are structs, from mappings that have exactly the struct's fields."""
    fields = STRUCT_FIELDS[column.type]
    names, kind = {f.name for f in fields}, pa.struct(fields)
    for index, item in enumerate(items):
        try:
            fits = isinstance(item, dict) and cast("dict[str, Any]", item).keys() == names
            pa.array([item], kind)
        except (TypeError, ValueError):  # the latter is the base of Arrow's own
            fits = False
        if not fits:
            row, expected = _row_of(index, offsets), ", ".join(f"{f.name} {f.type}" for f in fields)
            raise misfit_value(column, row, item, f"a struct of {expected}")
    return pa.array(items, kind)


def _numbers_of(column: Column, rows: Sequence[Any]) -> pa.Array[Any]:
    """Items of rows that are Python lists or arrays.

    Each row is cast by itself, so that no row decides the dtype of another.
    """
    dtype = _ITEM_DTYPES[column.type]
    if all(type(items) in (list, tuple) for items in rows):
        flat = [item for items in rows for item in items]
        if set(map(type, flat)) <= {int}:
            whole, bad = exact_objects(flat, dtype)
            if bad is None:
                return pa.array(whole)
    parts: list[NDArray] = [np.empty(0, dtype)]
    for row, items in enumerate(rows):
        if _is_numeric(items):
            part, bad = exact(items, dtype)
        else:
            items = [plain(v) for v in items]
            part, bad = exact_objects(items, dtype)
            bad = items.index(None) if bad is None and None in items else bad
        if bad is not None:
            raise misfit_value(column, row, items[bad], f"numbers that are exact as {dtype}")
        parts.append(part)
    return pa.array(np.concatenate(parts))


def _lists(
    column: Column, offsets: NDArray, items: pa.Array[Any], missing: NDArray | None = None
) -> pa.Array[Any]:
    mask = None if missing is None else pa.array(missing)
    make: Any = pa.ListArray.from_arrays
    return make(offsets.astype(np.int32), items, type=arrow_type(column), mask=mask)


def to_list(column: Column, values: Ragged | Sequence[Any] | NDArray) -> pa.Array[Any]:
    """The lists of one column as an Arrow array of its declared type.

    Args:
        column: the declaration.
        values: one list, 1-D array or None per row.

    Raises:
        CastError: an item does not fit, or a row is no list.
    """
    if isinstance(values, Ragged):
        return _ragged_items(column, values)
    missing = np.fromiter((v is None for v in values), bool, len(values))
    rows: list[Any] = [() if v is None else v for v in values]
    for row, value in enumerate(rows):
        if not _is_list(value):
            raise misfit_value(column, row, value, "a list")
    offsets = _offsets([len(r) for r in rows])
    if column.type in _ITEM_DTYPES:
        items = _numbers_of(column, rows)
    else:
        flat = [x for r in rows for x in r]
        items = (_texts if column.type is Type.LIST_STRING else _structs)(column, flat, offsets)
    return _lists(column, offsets, items, missing)
