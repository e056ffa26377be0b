"""Arrow schemas from declarations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from schemas.model import Column, Table, Type

STRUCT_FIELDS: dict[Type, list[pa.Field[Any]]] = {
    Type.TABLE_OUTCOMES: [
        *(
            pa.field(name, pa.string())
            for name in ("table", "status", "rule", "column", "expected", "found")
        ),
        pa.field("rows", pa.int64()),
        pa.field("allowed_rules", pa.list_(pa.string())),
    ],
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
    Type.FLOAT32: pa.float32(),
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


def arrow_schema(table: Table) -> pa.Schema:
    """Arrow schema of a table's rows before they are written."""
    return _schema(table, table.converted, {})


def file_schema(table: Table, key_values: Mapping[str, str] | None = None) -> pa.Schema:
    """Arrow schema of a table's files.

    Args:
        table: the declaration.
        key_values: further entries of the file's key-value metadata (release, schema_version, ...).
    """
    return _schema(table, table.stored, key_values or {})


def _schema(table: Table, columns: Iterable[Column], key_values: Mapping[str, str]) -> pa.Schema:
    metadata: dict[str | bytes, str | bytes] = {
        "table": table.name,
        "description": table.description,
        "primary_key": json.dumps(table.primary_key),
        **key_values,
    }
    return pa.schema([arrow_field(c) for c in columns], metadata=metadata)
