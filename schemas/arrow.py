"""Arrow schemas from declarations, and Arrow arrays from their buffers.

`pa.array` and `pa.scalar` import pandas where it is installed, whatever they are given (0.3 s, 45 MB: as long as a
behaviour file takes), and `pa.array` cuts 1.5 to 1 inside an integer list. So arrays are built from buffers here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from schemas.model import Column, Table, Type

STRUCT_FIELDS: dict[Type, list[pa.Field[Any]]] = {
    Type.ROW_COUNTS: [pa.field("table_name", pa.string()), pa.field("row_count", pa.int64())],
    Type.KNOWN_DEFECTS: [
        pa.field("defect", pa.string()),
        pa.field("table_name", pa.string()),
        pa.field("detail", pa.string()),
    ],
}
"""The fields of the types that are lists of structs."""

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.INT64: pa.int64(),
    Type.FLOAT64: pa.float64(),
    Type.BOOL: pa.bool_(),
    Type.STRING: pa.string(),
    Type.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Type.LIST_FLOAT64: pa.list_(pa.float64()),
    Type.LIST_FLOAT32: pa.list_(pa.float32()),
    Type.LIST_INT64: pa.list_(pa.int64()),
    Type.LIST_UINT32: pa.list_(pa.uint32()),
    Type.LIST_UINT8: pa.list_(pa.uint8()),
    Type.LIST_STRING: pa.list_(pa.string()),
    **{type_: pa.list_(pa.struct(fields)) for type_, fields in STRUCT_FIELDS.items()},
}


def arrow_type(column: Column) -> pa.DataType:
    """Arrow type of a column."""
    return ARROW_TYPES[column.type]


def arrow_field(column: Column) -> pa.Field[Any]:
    """Arrow field with description, unit and source as metadata."""
    metadata = {
        "description": column.description,
        "unit": column.unit or "",
        "source": column.source,
    }
    return pa.field(
        column.name,
        arrow_type(column),
        nullable=not column.required,
        metadata={k: v for k, v in metadata.items() if v},
    )


def arrow_schema(table: Table, key_values: Mapping[str, str] | None = None) -> pa.Schema:
    """Arrow schema of a table's files.

    Args:
        table: the declaration.
        key_values: further entries of the file's key-value metadata (release, schema_version, ...).
    """
    metadata: dict[str | bytes, str | bytes] = {
        "table": table.name,
        "description": table.description,
        "primary_key": json.dumps(table.primary_key),
    }
    metadata.update(key_values or {})
    return pa.schema([arrow_field(c) for c in table.stored], metadata=metadata)


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def _validity(missing: np.ndarray[Any, Any] | None) -> tuple[pa.Buffer | None, int]:
    """Validity bitmap and number of NULLs; no bitmap where nothing is missing."""
    if missing is None or not missing.any():
        return None, 0
    return _buffer(np.packbits(~missing, bitorder="little")), int(missing.sum())


def from_numpy(
    values: np.ndarray[Any, Any],
    missing: np.ndarray[Any, Any] | None = None,
    type_: pa.DataType | None = None,
) -> pa.Array[Any]:
    """Arrow array over a 1-D numeric or bool array; numbers in native byte order are not copied.

    Args:
        values: shape (n,), any numeric dtype or bool.
        missing: shape (n,) bool, True where the value is NULL.
        type_: Arrow type of the numbers if it is not that of the dtype (a timestamp over int64).
    """
    # "A" too: ranges cut out of a fetched block need not be aligned, and Arrow counts on it.
    values = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "A"])
    validity, null_count = _validity(missing)
    if values.dtype == np.bool_:
        bits = _buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(values), [validity, bits], null_count)
    if type_ is None:
        type_ = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(type_, len(values), [validity, _buffer(values)], null_count)


def string_array(values: Sequence[str | bytes | None]) -> pa.Array[Any]:
    """Text array; bytes must be UTF-8.

    Args:
        values: text, bytes or None for NULL.

    Raises:
        TypeError: a value is something else.
        UnicodeError: bytes are not UTF-8, or text holds half a surrogate pair.
    """
    kinds = set(map(type, values))
    missing = None
    if kinds == {bytes}:
        encoded: Sequence[Any] = values
    else:
        if not all(issubclass(k, (str, bytes, type(None))) for k in kinds):
            raise TypeError("neither text nor bytes nor None")
        missing = np.fromiter((v is None for v in values), bool, len(values))
        encoded = [v.encode() if isinstance(v, str) else v or b"" for v in values]
    data = b"".join(encoded)
    if not data.isascii():
        for value in encoded:  # one by one: two broken ends may look whole once joined
            value.decode()
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, encoded), np.int32, len(values)), out=offsets[1:])
    validity, null_count = _validity(missing)
    buffers = [validity, _buffer(offsets), _buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(values), buffers, null_count)


def list_array(
    offsets: np.ndarray[Any, Any],
    values: pa.Array[Any],
    type_: pa.DataType,
    missing: np.ndarray[Any, Any] | None = None,
) -> pa.Array[Any]:
    """List array: row i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        offsets: shape (n + 1,), ascending from 0, below 2**31, the last at most the number of values.
        values: flat values of the list's item type.
        type_: the list type.
        missing: shape (n,) bool, True where the list is NULL.
    """
    buffer = _buffer(np.ascontiguousarray(offsets, dtype=np.int32))
    validity, null_count = _validity(missing)
    return pa.Array.from_buffers(
        type_, len(offsets) - 1, [validity, buffer], null_count, children=[values]
    )


def to_numpy(column: pa.ChunkedArray[Any]) -> np.ndarray[Any, Any]:
    """A numeric column without NULLs as NumPy, shape (n,). Arrow's own `to_numpy` imports pandas where it is installed."""
    parts: list[np.ndarray[Any, Any]] = [
        np.from_dlpack(cast("Any", chunk)) for chunk in column.chunks
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
