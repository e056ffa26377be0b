"""Tables on a terminal and in a pipe."""

from __future__ import annotations

import io
import sys
from queue import Queue

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


def test_a_long_wait_is_explained_on_a_terminal_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: Queue[str] = Queue()
    monkeypatch.setattr(terminal, "overwrite", shown.put)
    monkeypatch.setattr(terminal, "_PATIENCE_S", 0)
    with terminal.waiting("reading"):
        pass
    assert shown.empty(), "not on a terminal"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with terminal.waiting("reading"):
        assert shown.get(timeout=60) == "reading"
    assert shown.get_nowait() == ""
    monkeypatch.setattr(terminal, "_PATIENCE_S", 60)
    with terminal.waiting("reading"):
        pass
    assert shown.empty(), "a short wait"


def test_a_line_that_is_overwritten_is_safe_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.overwrite("s3://a\x1b")
    assert capsys.readouterr().err == "\r\x1b[Ks3://a·\r"
