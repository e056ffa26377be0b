"""What a query is: its text in SQL and in Polars.

The page runs the SQL and offers both to copy. Each gives the same rows in SQL, for `vblake sql` and
`lake.sql`, and in Polars, where `lake` is an open lake and `pl` is Polars; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import dedent

from vblake.connection import literal


@dataclass(frozen=True, slots=True)
class Query:
    """What a part of a figure is made of.

    Attributes:
        title: what the rows are.
        table: the table that has to have rows, for a message if there are none.
        sql: the query as SQL.
        polars: the query as an expression of Python.
    """

    title: str
    table: str
    sql: str
    polars: str

    def program(self, lake: str) -> str:
        """The whole program in Python.

        Args:
            lake: address of the lake.
        """
        return (
            "import polars as pl\n\nimport vblake\n\n"
            f"lake = vblake.open({lake!r})\nrows = (\n    "
            + self.polars.replace("\n", "\n    ")
            + "\n)\n"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows are looked for. The mouse is what tells which files to open.

    Attributes:
        mouse: mouse_id.
        session: behavior_session_id.
        plane: ophys_experiment_id, if it is one plane's rows.
    """

    mouse: int
    session: int
    plane: int | None = None

    @property
    def where(self) -> str:
        """The condition in SQL."""
        plane = "" if self.plane is None else f" AND ophys_experiment_id = {self.plane}"
        return f"mouse_id = {self.mouse} AND behavior_session_id = {self.session}{plane}"

    def scan(self, table: str) -> str:
        """The rows of a table in Polars."""
        if self.plane is not None:
            return f'lake.scan("{table}", ophys_experiment_id={self.plane})'
        return f'lake.scan("{table}", behavior_session_id={self.session})'

    @property
    def of_session(self) -> Place:
        """The same without the plane."""
        return Place(self.mouse, self.session)


def query(title: str, table: str, sql: str, polars: str) -> Query:
    """Returns a query whose texts may be indented."""
    return Query(title, table, dedent(sql).strip(), dedent(polars).strip())


def texts(values: Iterable[str]) -> str:
    """Values as literals of SQL, with commas between them."""
    return ", ".join(literal(value) for value in values)


def within(time: tuple[float, float] | None) -> tuple[str, str]:
    """The condition that timestamps lie within a window, in SQL and in Polars."""
    if time is None:
        return "", ""
    begin, end = time
    return (
        f"\n    AND timestamps BETWEEN {begin!r} AND {end!r}",
        f'\n.filter(pl.col("timestamps").is_between({begin!r}, {end!r}))',
    )


def names(columns: str) -> str:
    """Puts the names of columns into quotation marks.

    >>> names("x, y")
    '"x", "y"'
    """
    return ", ".join(f'"{name}"' for name in columns.split(", "))
