"""The entity-relationship diagram of the lake, drawn from the declarations as SVG.

Tables with the same primary key and the same references share a box. Only direct references are
drawn: a trace refers to its cell, whose experiment and session follow from it.

    python -m docs.site.er_diagram > docs/images/tables.svg
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from schemas import TABLES
from schemas.model import Subject, Table

_COLOURS = {
    Subject.PROJECT: "#dbe7f6",
    Subject.BEHAVIOR: "#d9f0dd",
    Subject.OPHYS: "#fbe3cb",
    Subject.STIMULUS: "#ece0f5",
    Subject.LEDGER: "#e6e6e6",
}
_LEGEND = {
    Subject.PROJECT: "project tables",
    Subject.BEHAVIOR: "behaviour, once per session",
    Subject.OPHYS: "one imaging plane",
    Subject.STIMULUS: "image sets",
    Subject.LEDGER: "the lake itself",
}
_WIDTH, _LINE, _GAP, _COLUMN, _TOP = 220, 16, 16, 264, 44
"""Pixels: a box, a line of text, between boxes, between the left edges of columns, the legend."""
_FONT = "font-family='system-ui, sans-serif' font-size='12' fill='#1c1c1c'"


@dataclass(slots=True)
class _Box:
    tables: list[Table]
    refers_to: frozenset[str]
    rank: int = 0
    y: float = 0.0

    @property
    def x(self) -> int:
        return 8 + self.rank * _COLUMN

    @property
    def height(self) -> int:
        return _LINE * (len(self.tables) + len(self.key)) + 14

    @property
    def key(self) -> tuple[str, ...]:
        return self.tables[0].primary_key or ("no key: rows in order",)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def direct_references(table: Table) -> frozenset[str]:
    """Returns the tables that a table refers to and that no other of its references leads to.

    >>> sorted(direct_references(TABLES["dff_traces"]))
    ['cell_specimens']
    """
    named = {key.table for key in table.foreign_keys}
    return frozenset(named - {above for name in named for above in _ancestors(name)})


def _ancestors(name: str) -> set[str]:
    above = {key.table for key in TABLES[name].foreign_keys}
    return above.union(*(_ancestors(a) for a in above))


def _boxes() -> list[_Box]:
    """The boxes with their columns and heights, from left to right."""
    groups: dict[tuple[object, ...], list[Table]] = defaultdict(list)
    for table in TABLES.values():
        referred = any(table.name in direct_references(t) for t in TABLES.values())
        alone = table.name if referred else ""
        key = (table.subject, table.primary_key, direct_references(table), alone)
        groups[key].append(table)
    boxes = [_Box(tables, direct_references(tables[0])) for tables in groups.values()]
    for box in boxes:
        box.rank = _rank(box.tables[0].name)
    loose = [b for b in boxes if not b.refers_to and b.tables[0].name != "behavior_sessions"]
    ranks = [[b for b in boxes if b.rank == r] for r in range(max(b.rank for b in boxes) + 1)]
    where = _by_table(boxes)
    for column in ranks:
        column.sort(key=lambda b: (b in loose, b.tables[0].subject is not Subject.BEHAVIOR,
                                   sum(where[n].middle for n in b.refers_to)))  # fmt: skip
        _place(column, where)
    return boxes


def _rank(name: str) -> int:
    return max((_rank(above) + 1 for above in direct_references(TABLES[name])), default=0)


def _by_table(boxes: Iterable[_Box]) -> dict[str, _Box]:
    return {table.name: box for box in boxes for table in box.tables}


def _place(column: list[_Box], where: dict[str, _Box]) -> None:
    y = float(_TOP)
    for box in column:
        box.y = y
        y += box.height + _GAP
    if len(column) < 4 and column[0].refers_to:  # a short column stands beside what it refers to
        target = sum(where[n].middle for n in column[0].refers_to) / len(column[0].refers_to)
        shift = max(0.0, target - column[0].middle)
        for box in column:
            box.y += shift


def _draw_box(box: _Box) -> str:
    colour = _COLOURS[box.tables[0].subject]
    parts = [
        f"<rect x='{box.x}' y='{box.y:.0f}' width='{_WIDTH}' height='{box.height}' rx='5' "
        f"fill='{colour}' stroke='#7a7a7a'/>"
    ]
    y = box.y + _LINE
    for table in box.tables:
        parts.append(f"<text x='{box.x + 8}' y='{y:.0f}' font-weight='600'>{table.name}</text>")
        y += _LINE
    y += 4
    rule = y - _LINE + 2
    parts.append(f"<path d='M{box.x} {rule:.0f}h{_WIDTH}' stroke='#7a7a7a'/>")
    for name in box.key:
        parts.append(f"<text x='{box.x + 8}' y='{y:.0f}' fill='#444'>{escape(name)}</text>")
        y += _LINE
    return "".join(parts)


def _draw_edge(child: _Box, parent: _Box, arrival: float, below: float) -> str:
    """An edge to the column before, or below all boxes to one further away."""
    x1, y1, x2, y2 = child.x, child.middle, parent.x + _WIDTH, arrival
    bend = (x1 - x2) / 2
    path = f"C{x1 - bend:.0f} {y1:.0f} {x2 + bend:.0f} {y2:.0f} {x2 + 3} {y2:.0f}"
    if child.rank - parent.rank > 1:
        left, right = x2 + 20, x1 - 20
        path = f"H{right}V{below:.0f}H{left}V{y2:.0f}H{x2 + 3}"
    return (
        f"<path d='M{x1} {y1:.0f}{path}' fill='none' stroke='#8a8a8a' stroke-width='1.3' "
        "stroke-linejoin='round' marker-end='url(#to)'/>"
    )


def _edges(boxes: list[_Box]) -> list[str]:
    where, arrivals = _by_table(boxes), defaultdict[str, list[_Box]](list)
    for box in sorted(boxes, key=lambda b: b.middle):
        for name in box.refers_to:
            arrivals[name].append(box)
    found: list[str] = []
    below = _bottom(boxes) + 8
    for name, children in sorted(arrivals.items()):
        parent = where[name]
        for place, child in enumerate(children, 1):
            arrival = parent.y + parent.height * place / (len(children) + 1)
            found.append(_draw_edge(child, parent, arrival, below))
    return found


def _bottom(boxes: list[_Box]) -> float:
    return max(b.y + b.height for b in boxes)


def _legend() -> str:
    parts: list[str] = []
    for place, (subject, text) in enumerate(_LEGEND.items()):
        x = 8 + place * 215
        parts.append(f"<rect x='{x}' y='10' width='18' height='14' rx='3' stroke='#7a7a7a' "
                     f"fill='{_COLOURS[subject]}'/>")  # fmt: skip
        parts.append(f"<text x='{x + 25}' y='21'>{text}</text>")
    return "".join(parts)


def er_diagram() -> str:
    """Returns the diagram as SVG."""
    boxes = _boxes()
    width = max(b.x for b in boxes) + _WIDTH + 8
    height = _bottom(boxes) + 18
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height:.0f}' "
            f"width='{width}' height='{height:.0f}' role='img' {_FONT}>",
            "<title>The tables of the lake, their primary keys and what they refer to</title>",
            "<defs><marker id='to' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
            "markerHeight='7' orient='auto'><path d='M0 0L8 4L0 8z' fill='#8a8a8a'/></marker>"
            "</defs>",
            f"<rect width='{width}' height='{height:.0f}' rx='8' fill='#fff'/>",
            _legend(),
            *_edges(boxes),
            *map(_draw_box, boxes),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(er_diagram())
