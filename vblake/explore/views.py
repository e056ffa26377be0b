"""What each view shows: runs its queries, draws its figures, says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from vblake.explore import cell_queries, choices, session_queries
from vblake.explore.figures import cell as cell_figure
from vblake.explore.figures import plane as plane_figure
from vblake.explore.figures import population as population_figure
from vblake.explore.figures import session as session_figure
from vblake.explore.figures import training as training_figure
from vblake.explore.figures import trials as trials_figure
from vblake.explore.figures.style import Figure, Theme, message
from vblake.explore.query import Place, Query
from vblake.explore.source import Source
from vblake.explore.state import State

_BEFORE_S, _AFTER_S = 1.0, 2.0
"""Seconds around single flashes."""


@dataclass
class View:
    """What is on the page.

    Attributes:
        figures: by the place on the page: `picture`, `figure`, `more`.
        queries: what the figures are made of.
        notes: what a reader has to know.
    """

    figures: dict[str, Figure]
    queries: list[Query] = field(default_factory=list[Query])
    notes: list[str] = field(default_factory=list[str])


class _Asked:
    """Runs queries and keeps them, with what has no rows."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.queries: list[Query] = []

    def rows(self, query: Query, shown: Query | None = None) -> pl.DataFrame:
        """The rows of a query; `shown` is what is offered to copy instead of it."""
        self.queries.append(shown or query)
        return self.source.rows(query)

    def why_missing(self, query: Query, rows: pl.DataFrame, place: Place) -> str | None:
        return self.source.why_missing(query, place) if rows.is_empty() else None


def show(source: Source, state: State, theme: Theme) -> View:
    """The view of a state that `choices.settled` made.

    Raises:
        duckdb.Error: the lake cannot be read.
    """
    place = choices.place_of(source, state)
    if place is None:
        return View(
            {"figure": message(theme, "No session in the lake has all that you filter for.")}
        )
    return _VIEWS[state.view](_Asked(source), state, theme, place)


def title(source: Source, state: State) -> list[str]:
    """What is shown, in words: mouse, session, line, and the plane if it matters."""
    rows = choices.recordings(source).filter(pl.col("behavior_session_id") == state.session)
    if state.plane is not None:
        rows = rows.filter(ophys_experiment_id=state.plane)
    if rows.is_empty():
        return []
    row = rows.row(0, named=True)
    when = row["date_of_acquisition"]
    parts = [f"Mouse {row['mouse_id']}"]
    if state.view != "training":
        parts += [row["session_type"], row["experience_level"], when and f"{when:%Y-%m-%d}"]
    parts.append(row["cre_line"])
    if state.view in ("plane", "cell", "population") and row["ophys_experiment_id"] is not None:
        parts += [row["targeted_structure"], f"{row['imaging_depth']} µm"]
        parts.append(f"plane {row['ophys_experiment_id']}")
    elif state.view != "training":
        parts.append(f"session {state.session}")
    return [part for part in parts if part]


def _session(asked: _Asked, state: State, theme: Theme, place: Place) -> View:
    place = place.of_session
    flash_query = session_queries.flashes(place)
    flashes = asked.rows(flash_query)
    blocks = asked.rows(session_queries.blocks(place))
    trials = asked.rows(session_queries.trials(place))
    licks = asked.rows(session_queries.times(place, "licks"))
    rewards = asked.rows(session_queries.times(place, "rewards"))
    signals = [
        _signal(asked, state, place, *facts)
        for facts in (
            ("running_speed", "speed", "Running<br>(cm/s)"),
            ("eye_tracking", "pupil_area", "Pupil area<br>(px²)"),
        )
    ]
    whole = session_figure.extent(flashes, blocks, signals)
    window = state.time or whole
    shown = session_figure.glance(theme, window, flashes, blocks, trials, licks, rewards, *signals)
    notes: list[str] = []
    if why := asked.why_missing(flash_query, flashes, place):
        notes.append(why)
    if licks.is_empty():
        notes.append(asked.source.why_missing(session_queries.times(place, "licks"), place))
    if window[1] - window[0] > session_figure.SINGLE_FLASHES_S:
        notes.append("Drag over a part, or scroll, to zoom. Single flashes appear below 4 minutes.")
    return View({"figure": shown}, asked.queries, notes)


def _signal(
    asked: _Asked, state: State, place: Place, table: str, column: str, title: str
) -> session_figure.Signal:
    plain = title.replace("<br>", " ")
    query = session_queries.signal(place, table, column, plain)
    rows = asked.rows(query, session_queries.signal(place, table, column, plain, state.time))
    return session_figure.Signal(rows, title, asked.why_missing(query, rows, place))


def _trials(asked: _Asked, state: State, theme: Theme, place: Place) -> View:
    place = place.of_session
    query = session_queries.trials(place)
    trials = asked.rows(query)
    if why := asked.why_missing(query, trials, place):
        return View({"figure": message(theme, why)}, asked.queries)
    windows = asked.rows(session_queries.response_window(place))
    window = None if windows.is_empty() else windows.row(0)
    shown = trials_figure.raster(theme, trials, state.align, window)
    notes: list[str] = []
    aborted = trials.filter(outcome="aborted").height
    if state.align == "change" and aborted:
        notes.append(
            f"{aborted} aborted trials have no change; align on the trial's start to see them."
        )
    if not trials["lick_times"].list.len().sum():
        notes.append("The mouse did not lick in this session, or had no lick spout (passive).")
    return View({"figure": shown}, asked.queries, notes)


def _training(asked: _Asked, state: State, theme: Theme, place: Place) -> View:
    query = session_queries.training(place.mouse)
    rows = asked.rows(query)
    if why := asked.why_missing(query, rows, place.of_session):
        return View({"figure": message(theme, why)}, asked.queries)
    shown = training_figure.progress(theme, rows, state.session)
    notes = ["Click on a session to choose it. Passive sessions have no d′ and no rates."]
    return View({"figure": shown}, asked.queries, notes)


def _without_imaging(theme: Theme) -> View:
    words = "This session was not imaged. Choose one with planes, or another view."
    return View({"figure": message(theme, words)})


def _plane(asked: _Asked, state: State, theme: Theme, place: Place) -> View:
    if place.plane is None:
        return _without_imaging(theme)
    cells_query = cell_queries.cells(place)
    cells = asked.rows(cells_query)
    image_query = cell_queries.projection(place, state.image)
    image = asked.rows(image_query)
    figures: dict[str, Figure] = {}
    if why := asked.why_missing(image_query, image, place):
        figures["picture"] = message(theme, why)
    else:
        figures["picture"] = plane_figure.picture(theme, image, cells, state.cell)
    if state.cell is None:
        why = asked.why_missing(cells_query, cells, place) or "The plane has no cells."
        return View(figures | {"figure": message(theme, why)}, asked.queries)
    figures["figure"], period = _trace(asked, state, theme, place, state.cell)
    figures["more"] = _responses(asked, state, theme, place, state.cell, period)
    return View(figures, asked.queries, ["Click on a cell to choose it."])


def _trace(
    asked: _Asked, state: State, theme: Theme, place: Place, cell: int
) -> tuple[Figure, float | None]:
    """The trace of a cell, and the period of its samples in seconds."""
    query = cell_queries.trace(place, cell, "dff_traces", "dff")
    dff = asked.rows(query, cell_queries.trace(place, cell, "dff_traces", "dff", state.time))
    if why := asked.why_missing(query, dff, place):
        return message(theme, why), None
    events = asked.rows(
        cell_queries.trace(place, cell, "events", "events"),
        cell_queries.trace(place, cell, "events", "events", state.time),
    )
    flashes = asked.rows(session_queries.flashes(place.of_session))
    blocks = asked.rows(session_queries.blocks(place.of_session))
    clock = dff["timestamps"].to_numpy()
    window = state.time or (float(clock[0]), float(clock[-1]))
    period = float(np.median(np.diff(clock))) if len(clock) > 1 else None
    return plane_figure.trace(theme, window, dff, events, flashes, blocks), period


def _responses(
    asked: _Asked, state: State, theme: Theme, place: Place, cell: int, period: float | None
) -> Figure:
    query = cell_queries.responses(place, cell)
    responses = asked.rows(query)
    if why := asked.why_missing(query, responses, place):
        return message(theme, why)
    of_kind = responses.filter(condition=state.condition)
    if of_kind.is_empty() or period is None:
        single = pl.DataFrame(
            schema={"stimulus_presentations_id": pl.Int64, "lag": pl.Int64, "dff": pl.Float64}
        )
    else:
        row = of_kind.row(0, named=True)
        shown = cell_queries.Shown(row["image_name"], row["is_change"], row["omitted"])
        frames = round(_BEFORE_S / period), round(_AFTER_S / period)
        single = asked.rows(cell_queries.single_flashes(place, cell, shown, *frames))
    return plane_figure.cell(theme, responses, single, period or 1.0, state.condition)


def _cell(asked: _Asked, state: State, theme: Theme, place: Place) -> View:
    if place.plane is None:
        return _without_imaging(theme)
    cells = asked.source.rows(cell_queries.cells(place)).filter(cell_roi_id=state.cell)
    if cells.is_empty():
        why = asked.source.why_missing(cell_queries.cells(place), place)
        return View({"figure": message(theme, why)})
    specimen = cells["cell_specimen_id"][0]
    if specimen is None:
        words = (
            f"Cell {state.cell} was not matched to cells of other sessions. Choose another cell."
        )
        return View({"figure": message(theme, words)})
    query = cell_queries.same_cell(place.mouse, specimen)
    responses = asked.rows(query)
    rois = asked.rows(cell_queries.same_rois(place.mouse, specimen))
    if why := asked.why_missing(query, responses, place):
        return View({"figure": message(theme, why)}, asked.queries)
    shown = cell_figure.across_sessions(theme, responses, rois, state.plane)
    count = responses["ophys_experiment_id"].n_unique()
    note = f"Matched cell {specimen} is in {count} session{'' if count == 1 else 's'} of this lake."
    return View({"figure": shown}, asked.queries, [note])


def _population(asked: _Asked, state: State, theme: Theme, place: Place) -> View:
    if place.plane is None:
        return _without_imaging(theme)
    query = cell_queries.population(place, state.condition, state.measure)
    rows = asked.rows(query)
    if why := asked.why_missing(query, rows, place):
        return View({"figure": message(theme, why)}, asked.queries)
    if not rows[f"{state.measure}_trace"].count():
        words = f"No flash “{state.condition}” lies within the imaging, so there are no means."
        return View({"figure": message(theme, words)}, asked.queries)
    shown = population_figure.heat_map(theme, rows, state.measure, state.condition, state.cell)
    count = rows["n"].max()
    notes = [f"Means over {count} flashes. Click on a row to choose the cell."]
    return View({"figure": shown}, asked.queries, notes)


_VIEWS: dict[str, Callable[[_Asked, State, Theme, Place], View]] = {
    "session": _session,
    "trials": _trials,
    "training": _training,
    "plane": _plane,
    "cell": _cell,
    "population": _population,
}


def clicked(view: str, click: dict[str, Any] | None) -> dict[str, int]:
    """What a click on a figure chooses.

    Args:
        view: the view that is shown.
        click: `clickData` of the figure.

    Example:
        >>> clicked("plane", {"points": [{"z": 901.0}]})
        {'cell': 901}
    """
    point = (click or {"points": [{}]})["points"][0]
    match view, point:
        case "plane", {"z": float() | int() as cell}:
            return {"cell": int(cell)}
        case "population", {"customdata": int() | float() as cell}:
            return {"cell": int(cell)}
        case "training", {"customdata": [int() as session, *_]}:
            return {"session": session}
        case _:
            return {}
