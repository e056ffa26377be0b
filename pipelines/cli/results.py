"""Prints and writes query results: as a table for people, CSV, JSON or Parquet.

DuckDB turns values into text. So no format needs Arrow or pandas (0.3 s to import), a trace of
140,000 samples is cut before it reaches Python, and every format except the table is streamed.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.catalog.read_only_sql import Query
from pipelines.cli.terminal import one_line, plain, plain_json, say, shortened, width
from pipelines.sql_text import identifier, literal

if TYPE_CHECKING:
    import duckdb

_CELL = 60
"""Characters of a cell in a table."""
_ITEMS = 4
"""Items of a list that a table shows; of a longer list it shows one item less and the length."""
_ROWS_AT_ONCE = 10_000

_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\([\d,]+\)")


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    alias: str
    """Name in the statements of this module, since the user's names can contain anything."""


def _columns(con: duckdb.DuckDBPyConnection, query: Query) -> list[_Column]:
    # DuckDB numbers names that repeat.
    described = con.execute(f"SELECT * FROM {query.bracketed} LIMIT 0").description or []
    return [_Column(str(d[0]), str(d[1]), f"c{i}") for i, d in enumerate(described)]


def _from(query: Query, columns: list[_Column]) -> str:
    return f"FROM {query.bracketed} AS q({', '.join(c.alias for c in columns)})"


_OF_VBLAKE = re.compile(r"^\w+: ((?:s3|https?)://.*)", re.MULTILINE)
"""An error of a file system of ours, as DuckDB tells it: the type, then a line of text."""


def explained(error: duckdb.Error) -> str:
    """Returns DuckDB's message with the line numbers of the user's text.

    In the statements of this module that text starts on line 2, after a bracket. Of an error in
    `vblake.bucket` and `vblake.web`, DuckDB's message has the type and the stack, which are left
    out: DuckDB 1.5 writes the stack after it, 2.0 before it, and a place in no text of the user's.
    """
    text = str(error).strip().partition("\n\nAt:\n")[0]
    if (own := _OF_VBLAKE.search(text)) is not None:
        return own[1]
    return re.sub(r"^LINE (\d+):", lambda m: f"LINE {int(m[1]) - 1}:", text, flags=re.MULTILINE)


# --- table ------------------------------------------------------------------------------------


def show_plan(con: duckdb.DuckDBPyConnection, query: Query) -> None:
    """Prints a query plan."""
    for _, plan in con.execute(f"{query.explain} FROM {query.bracketed}").fetchall():
        say(plan)


def show_table(con: duckdb.DuckDBPyConnection, query: Query, rows: int) -> None:
    """Prints at most `rows` rows as a table, then the number of rows."""
    columns = _columns(con, query)
    shown = con.execute(
        f"SELECT {', '.join(map(_short, columns))} {_from(query, columns)}"
    ).fetchmany(rows + 1)
    more = len(shown) > rows
    shown = shown[:rows]
    total = len(shown)
    if more:
        # For counting, DuckDB reads far less than for the rows; of a plain table only the footers.
        ((total,),) = con.execute(f"SELECT count(*) FROM {query.bracketed}").fetchall()
    left_out = _print_table(columns, shown)
    notes = [f"{total:,} row{'s' if total != 1 else ''}"]
    if more:
        notes.append(f"the first {rows:,} are shown (--rows N shows more, --format csv all)")
    if left_out:
        notes.append(
            f"{left_out} of {len(columns)} columns do not fit "
            "(name those you want, or --format csv)"
        )
    say("; ".join(notes))


def _short(column: _Column) -> str:
    """SQL for a cell: its text, cut."""
    name = column.alias
    text = f"CAST({name} AS VARCHAR)"
    if column.type.endswith("[]"):
        first = f"rtrim(CAST({name}[:{_ITEMS - 1}] AS VARCHAR), ']')"
        cut = f"len({name}) || ' items: ' || {first} || ', …'"
        text = f"CASE WHEN len({name}) > {_ITEMS} THEN {cut} ELSE {text} END"
    return f"left({text}, {_CELL + 1})"


def _print_table(columns: list[_Column], rows: list[tuple[str | None, ...]]) -> int:
    """Prints the columns that fit, and returns the number of those that do not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pipelines.cli.terminal import console

    cells = [
        [
            Text("NULL", style="dim") if v is None else Text(shortened(one_line(v), _CELL))
            for v in row
        ]
        for row in rows
    ]
    room = (width() or sys.maxsize) - 1
    table = Table(header_style="bold", box=box.ROUNDED)
    fitting = 0
    names = [Text(one_line(c.name)) for c in columns]
    for position, column in enumerate(columns):
        natural = max([names[position].cell_len, *(row[position].cell_len for row in cells)]) + 3
        if fitting and natural > room:
            break
        room -= natural
        fitting += 1
        table.add_column(
            names[position],
            justify="right" if _NUMBER.fullmatch(column.type) else "left",
            no_wrap=True,
        )
    for row in cells:
        table.add_row(*row[:fitting])
    console().print(table)
    return len(columns) - fitting


# --- files ------------------------------------------------------------------------------------


class _Text(Protocol):
    """A text file, or something like it."""

    def write(self, text: str, /) -> int: ...


class _Terminal:
    """Stdout on a terminal, which text must not control. Files and pipes get text as it is."""

    def write(self, text: str, /) -> int:
        return sys.stdout.write(plain(text))


class _LineFeeds:
    r"""Ends the lines of a CSV writer with a line feed alone.

    With `lineterminator="\n"`, the writer would not quote a carriage return in a cell.
    """

    def __init__(self, out: _Text) -> None:
        self._out = out

    def write(self, line: str, /) -> int:
        return self._out.write(line.removesuffix("\r\n") + "\n")


def write_csv(con: duckdb.DuckDBPyConnection, query: Query, out: _Text) -> int:
    """Writes CSV with a header and returns the number of rows.

    NULL becomes an empty cell; lists are written as DuckDB writes them.
    """
    columns = _columns(con, query)
    writer = csv.writer(_LineFeeds(out))
    writer.writerow(c.name for c in columns)
    cells = ", ".join(f"CAST({c.alias} AS VARCHAR)" for c in columns)
    rows = 0
    for chunk in _chunks(con, f"SELECT {cells} {_from(query, columns)}"):
        writer.writerows(chunk)
        rows += len(chunk)
    return rows


def write_json(con: duckdb.DuckDBPyConnection, query: Query, out: _Text) -> int:
    """Writes a JSON array with an object per row, and returns the number of rows.

    NaN and infinities become null, as JSON does not have them.
    """
    columns = _columns(con, query)
    fields = ", ".join(f"{identifier(c.name)} := {c.alias}" for c in columns)
    rows = 0
    out.write("[")
    for chunk in _chunks(
        con, f"SELECT CAST(to_json(struct_pack({fields})) AS VARCHAR) {_from(query, columns)}"
    ):
        lines = [plain_json(_strict(text)) for (text,) in chunk]
        out.write(",\n" if rows else "\n")
        out.write(",\n".join(lines))
        rows += len(lines)
    out.write("\n]\n" if rows else "]\n")
    return rows


def _strict(text: str) -> str:
    if "NaN" not in text and "Infinity" not in text:
        return text
    return json.dumps(
        json.loads(text, parse_constant=lambda _: None), ensure_ascii=False, separators=(",", ":")
    )


def write_parquet(con: duckdb.DuckDBPyConnection, query: Query, path: Path) -> int:
    """Writes a Parquet file, if the connection may, and returns the number of rows."""
    options = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"
    copy = f"COPY {query.bracketed} TO {literal(str(path))} ({options})"
    ((rows,),) = con.execute(copy).fetchall()
    return rows


def _chunks(con: duckdb.DuckDBPyConnection, sql: str) -> Iterator[list[Any]]:
    cursor = con.execute(sql)
    while chunk := cursor.fetchmany(_ROWS_AT_ONCE):
        yield chunk


@contextmanager
def text_output(path: Path | None) -> Generator[_Text]:
    """Opens a text file, or stdout for None."""
    if path is None:
        yield _Terminal() if sys.stdout.isatty() else sys.stdout
        sys.stdout.flush()
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file
