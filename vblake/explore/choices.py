"""Which sessions, planes and cells can be chosen, and what is shown until somebody chooses."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from vblake.explore import cell_queries, session_queries
from vblake.explore.query import Place, Query
from vblake.explore.source import Source
from vblake.explore.state import State


@dataclass(frozen=True, slots=True)
class Choice:
    """An item of a list.

    Attributes:
        value: what is chosen.
        label: how it is called.
    """

    value: int | str
    label: str


def query_of(state: State) -> Query:
    """The query of the recordings that the filters leave."""
    return session_queries.recordings(
        state.mouse, state.line, state.area, state.depth, state.experience
    )


def recordings(source: Source, state: State | None = None) -> pl.DataFrame:
    """The recordings that the filters leave, a row per plane; without state, all."""
    return source.rows(session_queries.recordings() if state is None else query_of(state))


def values(source: Source, column: str) -> list[Choice]:
    """The values of a column that filters, with the number of sessions that have each."""
    counted = (
        recordings(source)
        .drop_nulls(column)
        .group_by(column)
        .agg(pl.col("behavior_session_id").n_unique().alias("sessions"))
        .sort(column)
    )
    return [Choice(value, f"{value}  ({sessions})") for value, sessions in counted.iter_rows()]


def depths(source: Source) -> tuple[int, int] | None:
    """The shallowest and the deepest plane in micrometres; None without planes."""
    found = recordings(source)["imaging_depth"].drop_nulls()
    return None if found.is_empty() else (found.min(), found.max())  # type: ignore[return-value]


def sessions(source: Source, state: State) -> list[Choice]:
    """The sessions that the filters leave, in order of mouse and date."""
    rows = (
        recordings(source, state)
        .group_by("behavior_session_id", maintain_order=True)
        .agg(
            pl.col("date_of_acquisition", "session_type", "experience_level", "mouse_id").first(),
            pl.col("ophys_experiment_id").count().alias("planes"),
        )
    )
    several = rows["mouse_id"].n_unique() > 1
    return [
        Choice(
            row["behavior_session_id"],
            " · ".join(
                filter(
                    None,
                    (
                        f"{row['mouse_id']}" if several else "",
                        f"{row['date_of_acquisition']:%Y-%m-%d}"
                        if row["date_of_acquisition"]
                        else "",
                        row["session_type"] or "",
                        planes_of(row["planes"]),
                    ),
                )
            ),
        )
        for row in rows.iter_rows(named=True)
    ]


def planes_of(count: int) -> str:
    """How a number of planes is said.

    >>> planes_of(0), planes_of(1), planes_of(8)
    ('no imaging', '1 plane', '8 planes')
    """
    return "no imaging" if not count else f"{count} plane{'' if count == 1 else 's'}"


def planes(source: Source, session: int | None) -> list[Choice]:
    """The planes of a session."""
    if session is None:
        return []
    rows = recordings(source).filter(behavior_session_id=session).drop_nulls("ophys_experiment_id")
    return [
        Choice(
            row["ophys_experiment_id"],
            f"{row['targeted_structure']} · {row['imaging_depth']} µm · "
            f"{row['ophys_experiment_id']}",
        )
        for row in rows.iter_rows(named=True)
    ]


def cells(source: Source, place: Place | None) -> list[Choice]:
    """The cells of a plane."""
    if place is None or place.plane is None:
        return []
    rows = source.rows(cell_queries.cells(place)).select("cell_roi_id", "cell_specimen_id")
    return [
        Choice(cell, f"{cell}" if specimen is None else f"{cell} · matched as {specimen}")
        for cell, specimen in rows.iter_rows()
    ]


def conditions(source: Source, place: Place | None) -> list[Choice]:
    """The conditions for which a plane has mean responses: change, repeat, omission, images."""
    if place is None or place.plane is None:
        return []
    found = source.rows(cell_queries.conditions(place))["condition"].to_list()
    return [Choice(name, name) for name in found]


def place_of(source: Source, state: State) -> Place | None:
    """Where the rows of what is chosen are; None if nothing can be chosen."""
    if state.session is None:
        return None
    found = recordings(source).filter(behavior_session_id=state.session)
    if found.is_empty():
        return None
    return Place(found["mouse_id"][0], state.session, state.plane)


def settled(source: Source, state: State) -> tuple[State, list[str]]:
    """Chooses what nobody has chosen, and what does not exist is replaced.

    The first choice is an active session with imaging: it has something for every view.

    Returns:
        The state, and a sentence about each choice that was replaced.
    """
    notes: list[str] = []
    left = recordings(source, state)
    if left.is_empty():
        return state.with_(session=None), ["No session in the lake has all that you filter for."]
    if state.session not in left["behavior_session_id"]:
        best = left.sort(
            pl.col("ophys_experiment_id").is_null(),
            pl.col("behavior_type") != "active_behavior",
            maintain_order=True,
        )
        if state.session is not None:
            notes.append(
                f"Session {state.session} is not among the sessions that the lake has and the "
                "filters leave, so another is shown."
            )
        state = state.with_(session=best["behavior_session_id"][0])
    possible = left.filter(pl.col("behavior_session_id") == state.session)
    known = [choice.value for choice in planes(source, state.session)]
    if state.plane is not None and state.plane not in known:
        notes.append(f"The session has no plane {state.plane}.")
        state = state.with_(plane=None)
    if state.plane is None and known:
        state = state.with_(plane=possible["ophys_experiment_id"][0])
    return _with_cell(source, state, notes), notes


def _with_cell(source: Source, state: State, notes: list[str]) -> State:
    if state.plane is None or state.view not in ("plane", "cell", "population"):
        return state
    known = [choice.value for choice in cells(source, place_of(source, state))]
    if state.cell is not None and state.cell not in known:
        notes.append(f"The plane has no cell {state.cell}.")
    elif state.cell is not None:
        return state
    if not known:
        return state.with_(cell=None)
    matched = source.rows(cell_queries.cells(place_of(source, state) or Place(0, 0)))
    if state.view == "cell":
        matched = matched.sort(pl.col("cell_specimen_id").is_null(), maintain_order=True)
    return state.with_(cell=matched["cell_roi_id"][0])
