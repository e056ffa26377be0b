"""What the page shows, as a dataclass and as the query of its URL: a link shows it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

VIEWS = {
    "session": "Session",
    "trials": "Trials",
    "training": "Training",
    "plane": "Plane",
    "cell": "Cell across sessions",
    "population": "Population",
}
"""The views, each with its title."""

ALIGNED = {"change": "on the change", "start": "on the trial's start"}
IMAGES = {
    "max_projection": "maximum",
    "average_projection": "average",
    "segmentation_mask_image": "segmentation",
}
MEASURES = {"dff": "dF/F", "filtered_events": "events, smoothed"}


class _WrongError(Exception):
    """A value of a URL that means nothing; the text says what it has to be."""


def _one_of(known: dict[str, str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise _WrongError(f"one of {', '.join(known)}")
        return text

    return read


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _WrongError("an id, a whole number")
    return int(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(sorted({word for word in text.split("|") if word}))


def _word(text: str) -> str:
    return text


def _range(text: str) -> tuple[float, float]:
    begin, found, end = text.partition("~")
    try:
        pair = float(begin), float(end)
    except ValueError:
        found = ""
        pair = (0.0, 0.0)
    if not found or not 0 <= pair[0] < pair[1] < 1e9:
        raise _WrongError("two numbers with ~ between them, the smaller one first, e.g. 300~360")
    return pair


@dataclass(frozen=True, slots=True)
class State:
    """What is shown. None, or no items, means that nobody has chosen yet.

    Attributes:
        view: a key of `VIEWS`.
        mouse: only sessions of this mouse.
        line: only sessions of these Cre lines.
        area: only planes in these areas.
        depth: only planes from this depth to that one, in micrometres.
        experience: only sessions of these experience levels.
        session: behavior_session_id.
        plane: ophys_experiment_id.
        cell: cell_roi_id.
        time: what is seen of the session, in seconds.
        align: a key of `ALIGNED`: what is 0 s in the raster of trials.
        image: a key of `IMAGES`.
        condition: condition of mean_responses.
        measure: a key of `MEASURES`.

    Example:
        >>> State.from_url("?view=plane&plane=51&time=10~20")[0].time
        (10.0, 20.0)
        >>> State(view="plane", plane=51).to_url()
        '?view=plane&plane=51'
    """

    view: str = "session"
    mouse: int | None = None
    line: tuple[str, ...] = ()
    area: tuple[str, ...] = ()
    depth: tuple[float, float] | None = None
    experience: tuple[str, ...] = ()
    session: int | None = None
    plane: int | None = None
    cell: int | None = None
    time: tuple[float, float] | None = None
    align: str = "change"
    image: str = "max_projection"
    condition: str = "change"
    measure: str = "dff"

    @classmethod
    def from_url(cls, search: str | None) -> tuple[Self, list[str]]:
        """Reads the query of a URL.

        Args:
            search: with or without the `?`.

        Returns:
            What it shows, and a sentence about each part that it cannot show.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, text in parse_qsl((search or "").removeprefix("?")):
            if name not in _READ:
                problems.append(f"The link has {name}={text}, which this page does not know.")
                continue
            try:
                values[name] = _READ[name](text)
            except _WrongError as wrong:
                problems.append(f"The link has {name}={text}; {name} has to be {wrong}.")
        return cls(**values), problems

    def to_url(self) -> str:
        """The query of the URL that shows this, with the `?`; without what is at its default."""
        pairs = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        shown = {name: _text(value) for name, value, default in pairs if value != default}
        return f"?{urlencode(shown, safe='~|')}"

    def with_(self, **changes: Any) -> Self:
        """The same with changes. Of another session, no plane, time and cell is chosen yet."""
        if self.session not in (None, changes.get("session", self.session)):
            changes = {"plane": None, "time": None, **changes}
        if self.plane not in (None, changes.get("plane", self.plane)):
            changes = {"cell": None, **changes}
        return replace(self, **changes)


_READ: dict[str, Callable[[str], Any]] = {
    "view": _one_of(VIEWS),
    "mouse": _number,
    "line": _words,
    "area": _words,
    "depth": _range,
    "experience": _words,
    "session": _number,
    "plane": _number,
    "cell": _number,
    "time": _range,
    "align": _one_of(ALIGNED),
    "image": _one_of(IMAGES),
    "condition": _word,
    "measure": _one_of(MEASURES),
}


def _text(value: Any) -> str:
    match value:
        case (float(), float()):
            return "~".join(f"{part:.10g}" for part in value)
        case tuple():
            return "|".join(value)
        case _:
            return str(value)
