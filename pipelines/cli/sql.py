"""Looking things up: `sql`, `tables`, `describe`, and `catalog`, which they read."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DEFAULT_LAKE, LakeOption
from pipelines.cli.terminal import counted, is_interrupt, say
from schemas.errors import LakeError, UsageError, VblakeError

if TYPE_CHECKING:
    import duckdb

    from pipelines.lake.store import Store


class Format(StrEnum):
    """How `sql` prints a result."""

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
            help="[dim]\\[default: by the ending of --output, else table][/dim]",
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
    Nothing but the lake can be read, and nothing can be changed.

    [dim]Examples:[/dim]

      vblake sql "SELECT mouse_id, count(*) FROM trials WHERE hit GROUP BY 1"
      vblake sql --output hits.parquet "SELECT * FROM trials WHERE hit"
      vblake sql - < query.sql
    """
    from pipelines.lake.store import LocalStore, open_store

    chosen = _format(format_, output)
    try:
        text = sys.stdin.read() if statement == "-" else statement
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The SQL on stdin is not UTF-8 text ({error.reason} at byte {error.start})."
        ) from None
    store = open_store(lake)
    if output is None:
        _run(store, text, chosen, None, rows)
        return
    if isinstance(store, LocalStore) and output.resolve().is_relative_to(store.folder.resolve()):
        raise UsageError(
            f"{output} lies in the lake, where results would be taken for its tables. Give another --output."
        )
    if not output.absolute().parent.is_dir():
        raise UsageError(
            f"{output} cannot be written: there is no folder {output.absolute().parent}. Make it, or give another --output."
        )
    part = output.absolute().with_name(f".{output.name}.part")
    try:
        part.touch()
        written = _run(store, text, chosen, part, rows)
        part.replace(output)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written ({error.strerror}). Give another --output."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    say(f"{counted(written, 'row')} in {output}", err=True)


abandoned: list[duckdb.DuckDBPyConnection] = []
"""Connections whose query was interrupted. Closing one waits for DuckDB's threads, which some queries (joins of huge ranges) keep
busy for hours; `pipelines.cli.app.main` ends the process instead."""


def forsake() -> None:
    """Removes what abandoned queries have put on the disk, before the process ends."""
    if abandoned:
        from pipelines.catalog.connect import remove_spilled

        remove_spilled()


@contextmanager
def _reading(store: Store, output: Path | None) -> Generator[duckdb.DuckDBPyConnection]:
    from pipelines.catalog.connect import connect_restricted

    con = connect_restricted(store, output=output)
    try:
        yield con
    except BaseException as error:
        if is_interrupt(error):
            abandoned.append(con)
        else:
            con.close()
        raise
    con.close()


def _format(given: Format | None, output: Path | None) -> Format:
    known = [f.value for f in Format if f is not Format.TABLE]
    if given is None:
        if output is None:
            return Format.TABLE
        ending = output.suffix.removeprefix(".").lower()
        if ending not in known:
            raise UsageError(
                f"{output} does not end in .{', .'.join(known)}. Say what to write with --format."
            )
        return Format(ending)
    if given is Format.PARQUET and output is None:
        raise UsageError("--format parquet needs a file to write to. Give --output FILE.")
    if given is Format.TABLE and output is not None:
        raise UsageError(
            f"--output writes {', '.join(known)}, not a table. Choose one with --format."
        )
    return given


def _run(store: Store, text: str, chosen: Format, output: Path | None, rows: int) -> int:
    """Runs a statement and prints or writes the result; returns the rows written."""
    import duckdb

    from pipelines.catalog.read_only_sql import checked_query
    from pipelines.cli import results
    from pipelines.cli.results import explained

    # The lake's marker is not asked for: a catalog is all that is needed here.
    with _reading(store, output) as con:
        query = checked_query(con, text)
        if query.explain and chosen is not Format.TABLE:
            raise UsageError(
                f"{query.explain} gives a plan to read, not rows for {chosen.value}. Leave --format and --output away."
            )
        try:
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
        except duckdb.Error as error:
            if (
                output is not None
                and isinstance(error, duckdb.IOException)
                and str(output) in str(error)
            ):
                raise UsageError(f"{explained(error)}. Give another --output.") from None
            raise _explained(error, store) from None
    return 0


def _explained(error: duckdb.Error, store: Store) -> VblakeError:
    """What DuckDB says, as an error of ours."""
    import duckdb

    from pipelines.catalog.connect import lake_root
    from pipelines.cli.results import explained

    text = explained(error)
    if isinstance(error, duckdb.InternalException):
        return LakeError(
            f"DuckDB failed at an error of its own: {text.splitlines()[0]}. Try to write the query in another way."
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return LakeError(
            f"{text.splitlines()[0]}. The query needs more memory than there is: ask for less at a time."
        )
    if isinstance(error, duckdb.OperationalError) or lake_root(store) in text:
        return LakeError(
            f"{text}\nWhere files were replaced while the query ran, run it again; else see `vblake verify --lake {quote(store.root)}`."
        )
    return UsageError(text)
