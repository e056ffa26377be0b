"""Tables on a terminal and in a pipe."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import terminal

CELLS = st.sampled_from(("", "a", "1,234", "two words", " lead", "trail ", "[bold]x[/]", "é", "漢"))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]], list[str] | None]:
    """A header, rows and a footer."""
    columns = draw(st.integers(1, 5))
    row = st.lists(CELLS, min_size=columns, max_size=columns)
    title = st.sampled_from(("files", ">rows", ">to do"))
    header = draw(st.lists(title, min_size=columns, max_size=columns))
    return header, draw(st.lists(row, max_size=4)), draw(st.none() | row)


@given(tables())
def test_tables_of_simple_text_are_those_of_rich(
    table: tuple[list[str], list[list[str]], list[str] | None],
) -> None:
    header, rows, footer = table

    def printed() -> str:
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            terminal.print_table(header, rows, footer=footer)
        return out.buffer.getvalue().decode()  # type: ignore[attr-defined]

    ours = printed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "is_simple", lambda _: False)
        assert ours == printed()
