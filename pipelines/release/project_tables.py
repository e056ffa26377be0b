"""Reads the project tables of a release: CSV files to Arrow tables of the declared schema."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipelines.release.manifest import CELLS_TABLE, Release, ReleaseObject
from pipelines.source.base import Source
from schemas import TABLES, Column, Table, Type
from schemas.casts import NULL_WORDS, Values, conform
from schemas.errors import CastError, DataError, IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_NAMES = {
    "behavior_sessions": "behavior_session_table",
    "ophys_sessions": "ophys_session_table",
    "ophys_experiments": "ophys_experiment_table",
    "ophys_cells": CELLS_TABLE,
}
"""The names of the project tables: in the lake, and in the manifest."""

_INTEGER = re.compile(
    r"([+-]?\d{1,19})(?:\.0*)?", re.ASCII
)  # pandas writes a column with gaps as 1091957586.0
_BARE_WORD = re.compile(r"[A-Za-z][\w./;+-]*")
_BOOLEANS = {
    "True": True,
    "true": True,
    "1": True,
    "1.0": True,
    "False": False,
    "false": False,
    "0": False,
    "0.0": False,
}
_LONGEST_LITERAL = 10_000
"""Characters of a list cell; the longest real one has 100. Bounds the depth for `ast.literal_eval`.
"""
_LARGEST_EXACT = 2**53 - 1
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class ProjectTables:
    """The project tables of a release.

    Attributes:
        tables: by the lake's names; `ophys_cells` is missing before release 1.0.0.
        warnings: what the CSV files have but the lake does not.
    """

    tables: Mapping[str, pa.Table]
    warnings: tuple[str, ...]


def read_project_tables(source: Source, release: Release) -> ProjectTables:
    """Reads the CSV files of a release (NWB_TABLES.md 7.4) and sorts them in the declared order.

    Raises:
        IntegrityError: a file is not the one that the manifest pins, is not a table, has no rows,
            lacks a column or a value, or its keys repeat.
        CastError: a value does not fit its declared type.
        SourceError: a file could not be read.
    """
    tables: dict[str, pa.Table] = {}
    warnings = [
        f"release {release.version} has the table {name!r}, which vblake does not know: "
        "it is not in the lake"
        for name in release.tables
        if name not in MANIFEST_NAMES.values()
    ]
    for name, manifest_name in MANIFEST_NAMES.items():
        if (obj := release.tables.get(manifest_name)) is None:
            continue  # optional in this release; a manifest without a required table is refused
        content = _checked(source, obj)
        if obj.file_hash is None:
            warnings.append(
                f"{obj.key}: the manifest has no hash for it, so the content was not checked"
            )
        try:
            tables[name] = _table(TABLES[name], content, obj, warnings)
        except DataError as error:
            raise error.located(file=obj.key, table=name) from None
    _check_mice(tables, release)
    return ProjectTables(tables, tuple(warnings))


def _checked(source: Source, obj: ReleaseObject) -> bytes:
    """Reads an object and compares its hash with the manifest's."""
    content = source.read(obj.key, obj.version_id)
    try:
        obj.check(hashlib.blake2b(content).hexdigest())
    except IntegrityError:
        # Once more, in case the transfer was damaged. If it fails twice, the object differs.
        content = source.read(obj.key, obj.version_id)
        obj.check(hashlib.blake2b(content).hexdigest())
    return content


def _table(table: Table, content: bytes, obj: ReleaseObject, warnings: list[str]) -> pa.Table:
    header, rows = _parse(content)
    if not rows:
        raise IntegrityError(
            "the table has no rows",
            expected="at least one",
            found="a header only",
            hint="An empty release is more likely a broken copy.",
        )
    declared = {column.name for column in table}
    unknown = [name for name in header if name not in declared]
    if unknown:
        warnings.append(
            f"{obj.key}: columns that the lake's table {table.name} does not have were left out: "
            f"{', '.join(map(repr, unknown))}"
        )
    cells = dict(zip(header, zip(*rows, strict=True), strict=True))
    for column in table:
        if column.name not in cells and not column.optional:
            raise IntegrityError(
                "a column is missing",
                column=column.name,
                expected=f"a CSV column {column.name!r}",
                found=f"only {', '.join(header)}",
            )
    columns: dict[str, Values] = {
        column.name: _READERS[column.type](column, cells[column.name])
        for column in table
        if column.name in cells
    }
    made = conform(table, columns, len(rows))
    _check_unique(table, made)
    return made.sort_by([(name, "ascending") for name in table.order])


def _parse(content: bytes) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of a CSV file, all cells as text."""
    hint = "Compare it with the file in the released bucket."
    try:
        text = content.decode("utf-8-sig")
        header, *rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row
        ] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntegrityError(
            "the file is not a CSV table", expected="CSV in UTF-8", found=str(error), hint=hint
        ) from None
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise IntegrityError(
            "column names repeat",
            expected="each once",
            found=", ".join(map(repr, repeated)),
            hint=hint,
        )
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise IntegrityError(
                f"row {number} has the wrong number of cells",
                expected=f"{len(header)} cells",
                found=str(len(row)),
                hint=hint,
            )
    return header, rows


def rows_of(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a small table as tuples of the named columns."""
    lists: list[list[Any]] = [table.column(name).to_pylist() for name in columns]
    return list(zip(*lists, strict=True))


def _check_unique(table: Table, made: pa.Table) -> None:
    keys = rows_of(made, *table.primary_key)
    if len(set(keys)) != len(keys):
        seen: set[tuple[Any, ...]] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))
        raise IntegrityError(
            "a key repeats",
            column=", ".join(table.primary_key),
            expected="every key once",
            found=f"{', '.join(map(str, twice))} in {keys.count(twice)} rows",
        )


def _check_mice(tables: Mapping[str, pa.Table], release: Release) -> None:
    """Checks that each session has one mouse, the partition of the session's rows."""
    mouse_of: dict[int, int] = dict(
        rows_of(tables["behavior_sessions"], "behavior_session_id", "mouse_id")
    )
    for name in ("ophys_sessions", "ophys_experiments"):
        for session, mouse in rows_of(tables[name], "behavior_session_id", "mouse_id"):
            if mouse_of.get(session, mouse) != mouse:
                raise IntegrityError(
                    f"behaviour session {session} belongs to two mice",
                    file=release.tables[MANIFEST_NAMES[name]].key,
                    table=name,
                    column="mouse_id",
                    expected=f"{mouse_of[session]}, as in behavior_sessions",
                    found=str(mouse),
                )


def _bad(column: Column, row: int, cell: object, expected: str) -> CastError:
    text = repr(cell)
    return CastError(
        f"a value does not fit its declared type {column.type.value} (row {row})",
        column=column.name,
        expected=expected,
        found=text if len(text) <= 200 else f"{text[:200]}…",
        hint="No value is guessed or dropped: "
        "compare the file with the one in the released bucket.",
    )


def _whole(column: Column, row: int, cell: str) -> int:
    if len(cell) <= 18 and cell.isascii() and cell.isdecimal():
        return int(cell)
    match = _INTEGER.fullmatch(cell)
    if match is None or (number := int(match[1])) not in _INT64:
        raise _bad(column, row, cell, "a whole number of 64 bits")
    return number


def _integers(column: Column, cells: Sequence[str]) -> np.ndarray[Any, Any]:
    numbers = [
        None if cell in NULL_WORDS else _whole(column, row, cell) for row, cell in enumerate(cells)
    ]
    if None not in numbers:
        return np.array(numbers, dtype=np.int64)
    # For `conform`, NaN means "no value"; a double represents integers exactly only below 2^53.
    for row, number in enumerate(numbers):
        if number is not None and abs(number) > _LARGEST_EXACT:
            raise _bad(column, row, cells[row], "a whole number below 2^53 in a column with gaps")
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _floats(column: Column, cells: Sequence[str]) -> np.ndarray[Any, Any]:
    numbers = np.empty(len(cells), dtype=np.float64)
    for row, cell in enumerate(cells):
        try:
            numbers[row] = np.nan if cell in NULL_WORDS else float(cell)
        except ValueError:
            raise _bad(column, row, cell, "a number") from None
    return numbers


def _booleans(column: Column, cells: Sequence[str]) -> list[bool | None]:
    values: list[bool | None] = []
    for row, cell in enumerate(cells):
        if cell not in _BOOLEANS and cell not in NULL_WORDS:
            raise _bad(column, row, cell, "True or False")
        values.append(_BOOLEANS.get(cell))
    return values


def _text(column: Column, cells: Sequence[str]) -> Sequence[str]:
    return cells


def _lists(column: Column, cells: Sequence[str]) -> list[list[Any] | None]:
    # Cells repeat: every session of a mouse has the mouse's driver lines.
    known: dict[str, list[Any] | None] = dict.fromkeys(NULL_WORDS)
    for row, cell in enumerate(cells):
        if cell not in known:
            known[cell] = _list(column, row, cell.strip())
    return [known[cell] for cell in cells]


def _list(column: Column, row: int, cell: str) -> list[Any]:
    """Parses a Python list literal, or a single item in place of a list. Never runs code."""
    integers = column.type is Type.LIST_INT64
    expected = "a list of whole numbers" if integers else "a list of texts"
    if integers and _INTEGER.fullmatch(cell):
        return [_whole(column, row, cell)]
    if not integers and _BARE_WORD.fullmatch(cell):
        return [cell]
    # The parser warns of invalid escapes; no name of a driver line has a backslash.
    if len(cell) > _LONGEST_LITERAL or "\\" in cell:
        raise _bad(column, row, cell, expected)
    try:
        value: Any = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _bad(column, row, cell, expected) from None
    items = list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else [value]
    if integers:
        return [
            _whole(column, row, repr(item))
            if type(item) in (int, float)
            else _refuse(column, row, cell, expected)
            for item in items
        ]
    return [
        item if isinstance(item, str) else _refuse(column, row, cell, expected) for item in items
    ]


def _refuse(column: Column, row: int, cell: str, expected: str) -> Any:
    raise _bad(column, row, cell, expected)


_READERS: dict[Type, Callable[[Column, Sequence[str]], Values]] = {
    Type.INT64: _integers,
    Type.FLOAT64: _floats,
    Type.BOOL: _booleans,
    Type.STRING: _text,
    Type.TIMESTAMP: _text,
    Type.LIST_INT64: _lists,
    Type.LIST_STRING: _lists,
}
"""The reader of cells for each type; `conform` checks and casts what it returns."""
