"""Printing: safe text, widths, sizes, tables. Rich is imported only when it is needed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

_UNITS = ("B", "kB", "MB", "GB", "TB")

_PATIENCE_S = 1.0
"""Seconds after which a command says what it waits for."""

_STEERING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories of characters that control a terminal (escape sequences), reorder or hide
text, or cannot be encoded."""


def _without_controls(
    text: str, keep: str = "", replaced: Callable[[str], str] = lambda _: "·"
) -> str:
    if text.isprintable():
        return text
    return "".join(
        replaced(c) if unicodedata.category(c) in _STEERING and c not in keep else c for c in text
    )


def plain(text: str) -> str:
    r"""Text that is safe to print: characters that control a terminal become `·`.

    Line ends and tabs stay. Values, names and errors come from files and servers, so everything
    that is printed goes through here.

    >>> plain("a\x1b[31mb")
    'a·[31mb'
    """
    return _without_controls(text, "\n\t")


def one_line(text: str) -> str:
    """Safe text without line ends and tabs."""
    return _without_controls(text)


def plain_json(text: str) -> str:
    """JSON text with the same characters escaped, which does not change its meaning."""
    return _without_controls(text, "\n", lambda c: json.dumps(c)[1:-1])


def say(text: str, *, err: bool = False) -> None:
    """Prints a message."""
    typer.echo(plain(text), err=err)


def overwrite(text: str) -> None:
    """Shows a line on stderr, a terminal, that what follows overwrites."""
    sys.stderr.write(f"\r\x1b[K{one_line(text)}\r")
    sys.stderr.flush()


@contextmanager
def waiting(text: str) -> Generator[None]:
    """Shows on a terminal, for as long as the block runs, what it waits for, once that is long."""
    if not sys.stderr.isatty():
        yield
        return
    done = Event()

    def show() -> None:
        if not done.wait(_PATIENCE_S):
            overwrite(text)
            done.wait()
            overwrite("")

    showing = Thread(target=show, daemon=True)
    showing.start()
    try:
        yield
    finally:
        done.set()
        showing.join()


def with_name(name: str, error: str) -> str:
    """An error with the file's name before it, once; many errors name their file themselves.

    >>> with_name("a/b.nwb", "file a/b.nwb: table trials: it is broken")
    'a/b.nwb: table trials: it is broken'
    >>> with_name("a/b.nwb", "a/b.nwb (version 3) in s3://bucket: HTTP 503")
    'a/b.nwb (version 3) in s3://bucket: HTTP 503'
    """
    error = error.removeprefix(f"file {name}: ")
    return error if error.startswith(name) else f"{name}: {error}"


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is Ctrl-C; during a query, DuckDB turns it into a RuntimeError."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


def has_styles(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows bold text."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """Columns of the terminal; None if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def console() -> Console:
    """A console for stdout. In a file or pipe, it neither cuts nor wraps lines."""
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            """Leaves the error to the application, as other output does."""
            raise BrokenPipeError

    # Rich uses the width on dumb terminals only if it is given a height too.
    return _Console(highlight=False, width=width() or 1_000_000, height=1_000)


def size(count: float) -> str:
    """Bytes for people, in powers of 1,000 as in the AWS console and in `rich`.

    >>> size(1_500_000_000)
    '1.5 GB'
    """
    for unit in _UNITS:
        if abs(count) < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """A length of time for people.

    >>> duration(0.2), duration(40), duration(400), duration(40_000)
    ('under 1 s', '40 s', '7 min', '11.1 h')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "file"), counted(2_000, "file")
    ('1 file', '2,000 files')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shortened(text: str, length: int) -> str:
    """The text, cut off with an ellipsis if it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def wrapped(text: str, indent: int) -> str:
    """The text in lines of the terminal's width, all but the first indented; in a pipe, one."""
    columns = width()
    if columns is None or columns < 2 * indent:
        return text
    return f"\n{' ' * indent}".join(textwrap.wrap(text, columns - indent))


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, footer: Sequence[str] | None = None
) -> None:
    """Prints a table.

    A column whose header starts with `>` is right-aligned; one that starts with `~` may wrap,
    within a long word too.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    wraps = any(title.startswith("~") for title in header)
    if wraps or not is_simple(cell for row in (header, *cells, footer or ()) for cell in row):
        _print_with_rich(header, cells, footer)
        return
    # Laid out as by Rich, which takes 0.1 s for the mice of the dataset, and 0.1 s to import.
    titles, footers = [title.lstrip(">") for title in header], [] if footer is None else [footer]
    widths = [max(map(len, column)) for column in zip(titles, *cells, *footers, strict=True)]
    pads = [str.rjust if title.startswith(">") else str.ljust for title in header]

    def line(row: Sequence[str]) -> str:
        padded = (pad(t.rstrip(), w) for pad, t, w in zip(pads, row, widths, strict=True))
        return f" {'  '.join(padded)} "

    length = len(line(titles))
    rule, space = f" {'─' * (length - 2)} ", " " * length
    lines = [space, _bold(line(titles)), rule, *map(line, cells)]
    lines += [text for row in footers for text in (space, _bold(line(row)))]
    typer.echo("\n".join([*lines, space]))


def is_simple(cells: Iterable[str]) -> bool:
    """Whether each character takes one column, and the output can have lines between the rows."""
    return sys.stdout.encoding.lower() == "utf-8" and all(
        cell.isascii() and cell.isprintable() for cell in cells
    )


def _bold(text: str) -> str:
    return typer.style(text, bold=True) if has_styles(sys.stdout) else text


def _print_with_rich(
    header: Sequence[str], rows: Iterable[Sequence[str]], footer: Sequence[str] | None
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_footer=footer is not None,
        footer_style="bold",
    )
    for position, title in enumerate(header):
        table.add_column(
            title.lstrip(">~"),
            justify="right" if title.startswith(">") else "left",
            no_wrap=not title.startswith("~"),
            overflow="fold" if title.startswith("~") else "ellipsis",
            footer=Text(footer[position]) if footer else "",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    out = console()
    if not any(title.startswith("~") for title in header):
        # A number that is cut off is worse than a line that the terminal wraps.
        out.width = max(
            out.width, table.__rich_measure__(out, out.options.update(max_width=1_000)).maximum
        )
    out.print(table)


def print_json(value: Any) -> None:
    """Prints JSON."""
    typer.echo(plain_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)))
