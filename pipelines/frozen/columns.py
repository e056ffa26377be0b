"""Columns as DuckLake counts them: those of a table, and what is nested in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from schemas import Table, Type

_TYPES = {
    "bigint": "int64",
    "integer": "int32",
    "uinteger": "uint32",
    "utinyint": "uint8",
    "double": "float64",
    "float": "float32",
    "boolean": "boolean",
    "varchar": "varchar",
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamptz",
}
"""DuckLake's names of types, by DuckDB's."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a table in a DuckLake, or what is nested in one.

    Attributes:
        id: counted from 1, in the order of the declaration, what is nested after what it is in.
        source: name in a Parquet file.
        parent: id of what it is nested in.
    """

    id: int
    name: str
    source: str
    type: str
    nullable: bool
    parent: int | None

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is nested in it."""
        return self.type not in ("list", "struct")


def fields(columns: Iterable[tuple[str, str, bool]]) -> tuple[Field, ...]:
    """The fields of columns that are given by name, DuckDB type and whether they may be NULL."""
    found: list[Field] = []

    def add(
        name: str, source: str, type_: Any, nullable: bool = True, parent: int | None = None
    ) -> None:
        own = len(found) + 1
        kind = type_.id if type_.id in ("list", "struct") else _TYPES[str(type_).lower()]
        found.append(Field(own, name, source, kind, nullable, parent))
        if kind == "list":
            add("element", "list", dict(type_.children)["child"], parent=own)
        elif kind == "struct":
            for child, of_child in type_.children:
                add(child, child, of_child, parent=own)

    for name, type_, nullable in columns:
        add(name, name, duckdb.sqltype(type_), nullable)
    return tuple(found)


def fields_of_table(table: Table) -> tuple[Field, ...]:
    """The fields of a table's files."""
    labelled = {Type.TIMESTAMP: "TIMESTAMPTZ"}  # as in the files
    return fields((c.name, labelled.get(c.type, c.type.value), not c.required) for c in table)
