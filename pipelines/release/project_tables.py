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

from pipelines.release.manifest import CELLS_TABLE, Release, ReleaseObject
from pipelines.source.base import at_once
from pipelines.source.open import Source
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

_INTEGER = re.compile(r"([+-]?\d{1,19})(?:\.0*)?", re.ASCII)
"""pandas writes a column with gaps as 1091957586.0."""
_BARE_WORD = re.compile(r"[A-Za-z][\w./;+-]*")
_BOOLEANS = dict.fromkeys(("True", "true", "1", "1.0"), True) | dict.fromkeys(
    ("False", "false", "0", "0.0"), False
)
_LONGEST_LITERAL = 10_000
"""Characters of a list cell; the longest real one has 100. Bounds the depth for `ast.literal_eval`.
"""
_HINT = "Compare the file with the one in the released bucket."


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
    """Reads the CSV files of a release and sorts their rows in the declared order.

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
    # Some are optional in this release; a manifest without a required table is refused.
    objects = {n: release.tables[m] for n, m in MANIFEST_NAMES.items() if m in release.tables}
    with at_once() as pool:
        contents = pool.map(lambda obj: _checked(source, obj), objects.values())
        for (name, obj), content in zip(objects.items(), contents, strict=True):
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
    columns: dict[str, Values] = {
        column.name: _values(column, cells[column.name]) for column in table if column.name in cells
    }
    made = conform(table, columns, len(rows))
    _check_unique(table, made)
    return made.sort_by([(name, "ascending") for name in table.order])


def _parse(content: bytes) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of a CSV file, all cells as text."""
    try:
        text = content.decode("utf-8-sig")
        header, *rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row
        ] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntegrityError(
            "the file is not a CSV table", expected="CSV in UTF-8", found=str(error), hint=_HINT
        ) from None
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise IntegrityError(
            "column names repeat",
            expected="each once",
            found=", ".join(map(repr, repeated)),
            hint=_HINT,
        )
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise IntegrityError(
                f"row {number} has the wrong number of cells",
                expected=f"{len(header)} cells",
                found=str(len(row)),
                hint=_HINT,
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


# --- cells ------------------------------------------------------------------------------------


def _values(column: Column, cells: Sequence[str]) -> list[Any]:
    """Parses the cells of a column; `conform` checks and casts the values."""
    parse, expected = _PARSERS[column.type]
    # Cells repeat: every session of a mouse has the mouse's driver lines.
    known: dict[str, Any] = {}
    for cell in dict.fromkeys(cells):
        try:
            known[cell] = None if cell in NULL_WORDS else parse(cell)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            text = repr(cell)
            raise CastError(
                f"a value does not fit its declared type {column.type.value} "
                f"(row {cells.index(cell)})",
                column=column.name,
                expected=expected,
                found=text if len(text) <= 200 else f"{text[:200]}…",
                hint=f"No value is guessed or dropped. {_HINT}",
            ) from None
    return list(map(known.__getitem__, cells))


def _integer(cell: str) -> int:
    match = _INTEGER.fullmatch(cell)
    if match is None or not -(2**63) <= (number := int(match[1])) < 2**63:
        raise ValueError
    return number


def _boolean(cell: str) -> bool:
    if cell not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[cell]


def _integers(cell: str) -> list[int]:
    if _INTEGER.fullmatch(cell):
        return [_integer(cell)]
    items = _literal(cell)
    if any(type(item) not in (int, float) for item in items):
        raise ValueError
    return [_integer(repr(item)) for item in items]


def _texts(cell: str) -> list[str]:
    items = [cell] if _BARE_WORD.fullmatch(cell) else _literal(cell)
    if not all(isinstance(item, str) for item in items):
        raise ValueError
    return items


def _literal(cell: str) -> list[Any]:
    """Parses a Python list literal, or a single item in place of a list. Never runs code."""
    # The parser warns of invalid escapes; no name of a driver line has a backslash.
    if len(cell) > _LONGEST_LITERAL or "\\" in cell:
        raise ValueError
    value: Any = ast.literal_eval(cell.strip())
    return list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else [value]


_PARSERS: dict[Type, tuple[Callable[[str], Any], str]] = {
    Type.INT64: (_integer, "a whole number of 64 bits"),
    Type.FLOAT64: (float, "a number"),
    Type.BOOL: (_boolean, "True or False"),
    Type.STRING: (str, "text"),
    Type.TIMESTAMP: (str, "a date and time"),
    Type.LIST_INT64: (_integers, "a list of whole numbers"),
    Type.LIST_STRING: (_texts, "a list of texts"),
}
"""For each type, what parses a cell, and what is expected of it."""
