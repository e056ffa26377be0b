"""The trials of a session as a raster of licks, sorted by outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from vblake.explore.figures.style import (
    OUTCOME_COLOURS,
    PURPLE,
    VERMILION,
    Figure,
    Theme,
    axis,
    bars,
    figure,
    text,
    ticks,
    words,
)

SEEN_S = {"change": (-1.0, 3.0), "start": (-0.5, 10.0)}
"""The seconds around the event that are seen at first."""

FLASH_S = 0.25


def sorted_trials(trials: pl.DataFrame, align: str) -> pl.DataFrame:
    """The trials that have the event, by outcome and then in order, with the time of the event.

    Args:
        trials: rows of `session_queries.trials`.
        align: `change` or `start`. An aborted trial has no change.
    """
    order = pl.Enum(list(OUTCOME_COLOURS))
    return (
        trials.with_columns(
            zero=pl.col("change_time" if align == "change" else "start_time"),
            outcome=pl.col("outcome").cast(order),
        )
        .drop_nulls(["zero", "outcome"])
        .sort("outcome", "trials_id")
        .with_row_index("row", 1)
    )


def raster(
    theme: Theme, trials: pl.DataFrame, align: str, response_window: tuple[float, float] | None
) -> Figure:
    """A row per trial: licks, rewards, and a bar in the colour of the outcome.

    Args:
        theme: colours of the page.
        trials: rows of `session_queries.trials`.
        align: `change` or `start`: what is 0 s.
        response_window: seconds after the change in which a lick counts.
    """
    rows = sorted_trials(trials, align)
    begin, end = SEEN_S[align]
    last = len(rows)
    data = [*_outcomes(rows, begin, end), _licks(rows, theme), _rewards(rows, theme)]
    shapes: list[dict[str, Any]] = []
    if align == "change":
        data.insert(0, bars([0.0], [FLASH_S], 0.5, last + 0.5, "changed image", theme.shade))
        shapes += [_window(response_window, theme)] if response_window is not None else []
    else:
        data.append(_changes(rows))
    event = "the change" if align == "change" else "the start of the trial"
    return figure(
        theme,
        data,
        xaxis=axis(theme, f"Time from {event} (s)", range=[begin, end]),
        yaxis=axis(theme, "Trial, by outcome", range=[last + 0.5, 0.5], nticks=8, tickformat="d"),
        annotations=[
            _count(theme, str(outcome), group["row"].to_list())
            for (outcome,), group in rows.group_by("outcome", maintain_order=True)
        ],
        shapes=shapes,
        margin={"l": 64, "r": 110, "t": 40, "b": 44},
        hovermode="closest",
    )


def _count(theme: Theme, outcome: str, rows: list[int]) -> dict[str, Any]:
    """The name of an outcome and its number of trials, beside them."""
    middle = (rows[0] + rows[-1]) / 2
    label = f" {words(outcome)} <b>{len(rows)}</b>"
    small = {"size": 11, "color": theme.ink}
    return text(theme, 1.0, middle, label, yref="y", xanchor="left", font=small)


def _changes(rows: pl.DataFrame) -> dict[str, Any]:
    known = rows.drop_nulls("change_time")
    times = (known["change_time"] - known["zero"]).to_numpy()
    y = known["row"].to_numpy().astype(np.float64)
    return ticks(times, y - 0.5, y + 0.5, "change", VERMILION, width=2, hoverinfo="skip")


def _outcomes(rows: pl.DataFrame, begin: float, end: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for (outcome,), group in rows.group_by("outcome", maintain_order=True):
        y = group["row"].to_numpy().astype(np.float64)
        ends = (np.full(len(y), begin), np.full(len(y), begin + (end - begin) * 0.012))
        found.append(
            bars(
                *ends,
                y - 0.5,
                y + 0.5,
                words(str(outcome)),
                OUTCOME_COLOURS[str(outcome)],
                showlegend=False,
            )
        )
    return found


def _licks(rows: pl.DataFrame, theme: Theme) -> dict[str, Any]:
    licks = (
        rows.select("row", "zero", "trials_id", lick="lick_times")
        .explode("lick")
        .drop_nulls("lick")
    )
    y = licks["row"].to_numpy().astype(np.float64)
    when = (licks["lick"] - licks["zero"]).to_numpy()
    return ticks(
        when,
        y - 0.42,
        y + 0.42,
        "lick",
        theme.ink,
        width=1.4 if len(rows) < 200 else 2,
        customdata=np.repeat(licks["trials_id"].to_numpy(), 3).tolist(),
        hovertemplate="lick, trial %{customdata}<br>%{x:.3f} s<extra></extra>",
    )


def _rewards(rows: pl.DataFrame, theme: Theme) -> dict[str, Any]:
    given = rows.drop_nulls("reward_time")
    free = (given["outcome"].cast(pl.String) == "auto_rewarded").to_list()
    return {
        "type": "scatter",
        "mode": "markers",
        "x": (given["reward_time"] - given["zero"]).to_list(),
        "y": given["row"].to_list(),
        "name": "reward",
        "marker": {
            "symbol": "triangle-down",
            "size": 6 if len(rows) < 200 else 4,
            "color": [PURPLE if f else theme.signal for f in free],
        },
        "customdata": given["trials_id"].to_list(),
        "hovertemplate": "reward, trial %{customdata}<br>%{x:.3f} s<extra></extra>",
    }


def _window(response_window: tuple[float, float], theme: Theme) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": response_window[0],
        "x1": response_window[1],
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "fillcolor": "rgba(0,0,0,0)",
        "line": {"color": theme.ink, "width": 1, "dash": "dot"},
        "label": {
            "text": "response window",
            "textposition": "top center",
            "font": {"size": 10, "color": theme.ink},
            "yanchor": "bottom",
        },
        "layer": "below",
    }
