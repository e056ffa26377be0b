"""What a kind of damage is, and ways to edit a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

BEHAVIOR, EXPERIMENT = "behavior", "experiment"

TRIALS = "/intervals/trials"
CLOCKED = "trials|stimulus_timestamps"
"""Both read the stimulus clock; the error names the table that comes first."""
OPHYS = "/processing/ophys"
CELLS = f"{OPHYS}/image_segmentation/cell_specimen_table"
DFF = f"{OPHYS}/dff/traces"
EVENTS = f"{OPHYS}/event_detection"
CLOCK = "/processing/stimulus/timestamps/timestamps"
RUNNING = "/processing/running/speed"
META = "/general/metadata"

Edit = Callable[[h5py.File], None]


@dataclass(frozen=True)
class Kind:
    """A kind of damage.

    Attributes:
        name: for people.
        file: to which kind of file it is done.
        damage: changes the file at a path.
        table, column, problem: parts of the error; None where it is about the whole file. `*` in a column stands for any name.
        expected, found: patterns for the rest of it.
    """

    name: str
    file: str
    damage: Callable[[Path], None]
    table: str | None
    column: str | None
    problem: str
    expected: str
    found: str

    def says(self, key: str) -> re.Pattern[str]:
        """Pattern of the whole error for the file of this key."""
        parts = [("file", re.escape(key)), ("table", f"({self.table})" if self.table else None)]
        parts.append(
            ("column", re.escape(self.column).replace(r"\*", "[^:]+") if self.column else None)
        )
        where = ", ".join(f"{name} {value}" for name, value in parts if value)
        return re.compile(
            rf"{where}: {re.escape(self.problem)}; expected {self.expected}; found {self.found}(\. [A-Z].*\.)?"
        )


KINDS: list[Kind] = []
"""All kinds that were declared, in the order in which modules are imported."""

UNREADABLE = ("the dataset cannot be read", "readable data")
MISSING = ("a dataset is missing", "a dataset", "nothing")


def kind(
    name: str,
    damage: Callable[[Path], None] | Edit,
    table: str | None,
    column: str | None,
    *says: str,
    file: str = BEHAVIOR,
    edit: bool = True,
) -> None:
    """Adds a kind. Where `edit`, what is done is done to the open file."""
    done = (lambda path: edited(path, damage)) if edit else damage  # type: ignore[arg-type,return-value]
    problem, expected, found = says
    KINDS.append(Kind(name, file, done, table, column, problem, expected, found))  # type: ignore[arg-type]


def edited(path: Path, edit: Edit) -> None:
    with h5py.File(path, "r+") as h5:
        edit(h5)


def remove(path: str) -> Edit:
    def edit(h5: h5py.File) -> None:
        where, _, name = path.partition("@")
        if name:
            del h5[where].attrs[name]
        else:
            del h5[where]

    return edit


def replace(path: str, change: Callable[[Any], Any], **storage: Any) -> Edit:
    """Puts what a function makes of a dataset's values, or of an attribute, in its place."""

    def edit(h5: h5py.File) -> None:
        where, _, name = path.partition("@")
        if name:
            h5[where].attrs[name] = change(h5[where].attrs[name])
            return
        attributes, value = dict(h5[where].attrs), change(h5[where][()])
        del h5[where]
        h5.create_dataset(where, data=value, **storage).attrs.update(attributes)

    return edit


def put(path: str, index: Any, value: Any) -> Edit:
    def edit(h5: h5py.File) -> None:
        h5[path][index] = value

    return edit


def link(path: str, link: Any) -> Edit:
    def edit(h5: h5py.File) -> None:
        del h5[path]
        h5[path] = h5[link] if isinstance(link, str) else link

    return edit


def presentations(h5: h5py.File) -> str:
    return next(
        f"/intervals/{n}"
        for n in h5["intervals"]
        if n.endswith("_presentations") and "omitted" in h5[f"intervals/{n}"]
    )
