"""The sql command."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DEFAULT_LAKE, LakeOption
from pipelines.cli.terminal import counted, overwrite, say
from schemas.errors import LakeError, UsageError, VblakeError

if TYPE_CHECKING:
    import duckdb

    from pipelines.catalog.read_only_sql import Query


_LONG_S = 2.0
"""Seconds after which a query shows its progress on a terminal."""
_SHOWN_EVERY_S = 0.25


class Format(StrEnum):
    """Formats of a result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def sql(
    statement: Annotated[
        str,
        typer.Argument(metavar="SQL", help="One statement that reads, or - to read it from stdin."),
    ],
    lake: LakeOption = DEFAULT_LAKE,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Format of the result. "
            "[dim]\\[default: by the ending of --output, else table][/dim]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, metavar="N", help="Most rows that a table shows.")
    ] = 100,
) -> None:
    """Run SQL on the lake's catalog, read-only.

    Every table is a view of that name (vblake tables), *_long views have
    one row per sample, and _tables, _columns and _foreign_keys describe them.
    Macros: dprime, dprime_from_counts, dff_around, events_around,
    running_around, pupil_around (vblake describe NAME).
    A query reads the lake and no other file, and cannot change anything.

    [dim]Examples:[/dim]

      vblake sql "SELECT mouse_id, count(*) FROM trials WHERE hit GROUP BY 1"
      vblake sql --output hits.parquet "SELECT * FROM trials WHERE hit"
      vblake sql - < query.sql
    """
    chosen = _format(format_, output)
    try:
        text = sys.stdin.read() if statement == "-" else statement
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The SQL on stdin is not UTF-8 text ({error.reason} at byte {error.start})."
        ) from None
    if output is None:
        _run(lake, text, chosen, None, rows)
    else:
        written = _run_into(output, lake, text, chosen)
        say(f"{counted(written, 'row')} in {output}", err=True)


def _format(given: Format | None, output: Path | None) -> Format:
    known = [f.value for f in Format if f is not Format.TABLE]
    if given is None:
        if output is None:
            return Format.TABLE
        ending = output.suffix.removeprefix(".").lower()
        if ending not in known:
            raise UsageError(
                f"{output} does not end in .{', .'.join(known)}. Choose the format with --format."
            )
        return Format(ending)
    if given is Format.PARQUET and output is None:
        raise UsageError("--format parquet needs a file to write to. Give --output FILE.")
    if given is Format.TABLE and output is not None:
        raise UsageError(
            f"--output writes {', '.join(known)}, not a table. Choose one with --format."
        )
    return given


def _run_into(output: Path, lake: str, text: str, chosen: Format) -> int:
    """Runs a statement and writes the result to a file, which a failure leaves as it was.

    Returns:
        The number of rows.
    """
    from pipelines.catalog.connect import lake_files

    if output.resolve().is_relative_to(lake_files(lake).root):
        raise UsageError(
            f"{output} is inside the lake, where a result would become part of a table. "
            "Give another --output."
        )
    part = output.with_name(f".{output.name}.part")
    try:
        part.touch()
        written = _run(lake, text, chosen, part, 0)
        part.replace(output)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written ({error.strerror}). Give another --output."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return written


def _run(lake: str, text: str, chosen: Format, output: Path | None, rows: int) -> int:
    """Runs a statement and prints or writes the result.

    Returns:
        The number of rows written.
    """
    from concurrent.futures import ThreadPoolExecutor, wait
    from contextlib import suppress

    import duckdb

    from vblake.connection import remove_spilled

    # In a thread of its own: DuckDB returns from some queries only after hours, interrupted or not.
    # Ctrl-C ends the wait for it, and then `pipelines.cli.app.main` ends the process.
    opened: list[duckdb.DuckDBPyConnection] = []
    work = ThreadPoolExecutor(1).submit(_query, lake, text, chosen, output, rows, opened)
    shows = sys.stderr.isatty() and (chosen is Format.TABLE or not sys.stdout.isatty())
    started = time.monotonic()
    try:
        while not wait([work], _SHOWN_EVERY_S).done:
            seconds = time.monotonic() - started
            if shows and opened and seconds > _LONG_S:
                with suppress(duckdb.ConnectionException):  # it was closed meanwhile
                    _show_progress(opened[0].query_progress(), seconds)
        return work.result()
    finally:
        remove_spilled()


def _show_progress(percent: float, seconds: float) -> None:
    """Shows how far a query is."""
    minutes, rest = divmod(int(seconds), 60)
    text = f"{minutes}:{rest:02}"
    if 0 < percent < 100:  # DuckDB does not know it for every query
        text = f"{percent:.0f} %, {text}, {seconds * (100 / percent - 1):.0f} s to go"
    overwrite(text)


def _query(
    lake: str,
    text: str,
    chosen: Format,
    output: Path | None,
    rows: int,
    opened: list[duckdb.DuckDBPyConnection],
) -> int:
    import duckdb

    from pipelines.catalog.connect import connect_restricted, lake_files
    from pipelines.catalog.read_only_sql import checked_query
    from pipelines.cli.results import explained
    from vblake.emptiness import empty_tables, why_no_rows

    with connect_restricted(lake, output=output) as con:
        opened.append(con)
        query = checked_query(con, text)
        if query.explain and chosen is not Format.TABLE:
            raise UsageError(
                f"{query.explain} returns a plan to read, not rows for {chosen.value}. "
                "Leave out --format and --output."
            )
        try:
            written = _write(con, query, chosen, output, rows)
        except duckdb.Error as error:
            failed_output = isinstance(error, duckdb.IOException) and str(output) in str(error)
            if output is not None and failed_output:
                raise UsageError(f"{explained(error)}. Give another --output.") from None
            raise _explained(error, lake) from None
        if not query.explain:
            for why in why_no_rows(con, lake_files(lake).root, query.sql, empty_tables(con)):
                say(f"note: {why}", err=True)
        return written


def _write(
    con: duckdb.DuckDBPyConnection, query: Query, chosen: Format, output: Path | None, rows: int
) -> int:
    from pipelines.cli import results

    if query.explain:
        results.show_plan(con, query)
    elif chosen is Format.TABLE:
        results.show_table(con, query, rows)
    elif chosen is Format.PARQUET and output is not None:
        return results.write_parquet(con, query, output)
    else:
        write = results.write_csv if chosen is Format.CSV else results.write_json
        with results.text_output(output) as out:
            return write(con, query, out)
    return 0


def _explained(error: duckdb.Error, lake: str) -> VblakeError:
    """Turns an error of DuckDB into one for the user."""
    import duckdb

    from pipelines.catalog.connect import lake_files
    from pipelines.cli.results import explained

    root = lake_files(lake).root
    text = explained(error)
    first = text.splitlines()[0]
    if isinstance(error, (duckdb.InternalException, duckdb.OutOfMemoryException)):
        return LakeError(
            f"{first}. DuckDB cannot run this query on this machine: write it differently, "
            "or ask for less at a time."
        )
    if isinstance(error, duckdb.PermissionException):
        return UsageError(
            f"{first}. vblake sql reads the lake and no other file: query a table "
            "(see `vblake tables`), or use DuckDB itself."
        )
    if isinstance(error, duckdb.OperationalError) or root in text:
        again = "If files were replaced while the query ran, run it again"
        if root.startswith("http"):  # where verify cannot list the files
            return LakeError(f"{text}\n{again}.")
        return LakeError(f"{text}\n{again}; otherwise see `vblake verify --lake {quote(root)}`.")
    return UsageError(text)
