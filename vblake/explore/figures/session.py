"""A session at a glance: flashes, changes, licks, rewards, running and pupil on one time axis."""

from __future__ import annotations

from dataclasses import dataclass
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
    line,
    text,
    thinned,
    ticks,
    words,
)

SINGLE_FLASHES_S = 240.0
"""The longest window in which single flashes are drawn: an hour has 4,800, narrower than pixels."""

_ROWS = {
    "names": (0.96, 1.0),
    "events": (0.63, 0.95),
    "running": (0.33, 0.59),
    "pupil": (0.0, 0.27),
}
"""The rows of the figure from the top, each with its part of the height."""

_CHANGE_Y, _OMISSION_Y, _OUTCOME_Y, _LICK_Y, _REWARD_Y = 4.0, 3.0, 2.0, 1.0, 0.0
_EVENTS = ("rewards", "licks", "outcome", "omissions", "changes")
"""The rows of events, from the lowest."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal of the session.

    Attributes:
        rows: `timestamps` and the values, ascending.
        title: of its axis, with the unit.
        why_missing: why there are no rows.
    """

    rows: pl.DataFrame
    title: str
    why_missing: str | None


def extent(
    flashes: pl.DataFrame, blocks: pl.DataFrame, signals: list[Signal]
) -> tuple[float, float]:
    """Start and end of what was recorded in a session, in seconds; without signals, of the blocks.

    Example:
        >>> none = pl.DataFrame({"start_time": [], "stop_time": []})
        >>> block = pl.DataFrame({"start_time": [10.0], "stop_time": [60.0]})
        >>> extent(none, block, [])
        (10.0, 60.0)
    """
    spans = [(s.rows["timestamps"], s.rows["timestamps"]) for s in signals]
    spans.append((flashes["start_time"], flashes["stop_time"]))
    if not any(len(start) for start, _ in spans):
        spans = [(blocks["start_time"], blocks["stop_time"])]
    begin = [float(start[0]) for start, _ in spans if len(start)]
    end = [float(stop[-1]) for _, stop in spans if len(stop)]
    return (min(begin), max(end)) if begin else (0.0, 1.0)


def glance(
    theme: Theme,
    window: tuple[float, float],
    flashes: pl.DataFrame,
    blocks: pl.DataFrame,
    trials: pl.DataFrame,
    licks: pl.DataFrame,
    rewards: pl.DataFrame,
    running: Signal,
    pupil: Signal,
) -> Figure:
    """The figure of a session.

    Args:
        theme: colours of the page.
        window: what is seen, in seconds.
        flashes: rows of `session_queries.flashes`.
        blocks: rows of `session_queries.blocks`.
        trials: rows of `session_queries.trials`.
        licks: rows of `session_queries.times`.
        rewards: rows of `session_queries.times`.
        running: running speed.
        pupil: pupil area.
    """
    flashes, trials, licks, rewards = _near(window, flashes, trials, licks, rewards)
    omissions = flashes.filter(pl.col("omitted"))["start_time"]
    data = [
        *behind(theme, window, flashes, blocks),
        _strokes(flashes.filter("is_change")["start_time"], _CHANGE_Y, "change", VERMILION),
        _strokes(omissions, _OMISSION_Y, "omission", theme.signal),
        *_outcomes(trials, window),
        _strokes(licks["timestamps"], _LICK_Y, "lick", theme.ink),
        *_rewards(rewards, theme),
        *(_line(theme, s, y, window) for s, y in ((running, "y4"), (pupil, "y5"))),
    ]
    notes = [
        text(theme, 0.5, sum(_ROWS[row]) / 2, s.why_missing)
        for s, row in ((running, "running"), (pupil, "pupil"))
        if s.why_missing
    ]
    return figure(
        theme,
        data,
        xaxis=axis(theme, "Time in the session (s)", range=list(window), anchor="y5"),
        yaxis=_hidden((0, _ROWS["events"][1])),
        yaxis2=_hidden(_ROWS["names"]),
        yaxis3=_event_axis(theme),
        yaxis4=axis(theme, running.title, domain=_ROWS["running"], fixedrange=True, nticks=5),
        yaxis5=axis(theme, pupil.title, domain=_ROWS["pupil"], fixedrange=True, nticks=5),
        annotations=notes + _labels(theme, blocks, window),
        hovermode="closest",
    )


def _near(window: tuple[float, float], *frames: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows in the window and half a minute beside it, as trials are long."""
    begin, end = window[0] - 30, window[1] + 30
    when = [pl.col("timestamps" if "timestamps" in f.columns else "start_time") for f in frames]
    return [f.filter(w.is_between(begin, end)) for f, w in zip(frames, when, strict=True)]


def _event_axis(theme: Theme) -> dict[str, Any]:
    rows: dict[str, Any] = {"tickvals": list(range(len(_EVENTS))), "ticktext": _EVENTS}
    bare: dict[str, Any] = {"showline": False, "ticks": "", "fixedrange": True}
    return axis(theme, domain=_ROWS["events"], range=[-0.6, len(_EVENTS) - 0.4], **rows, **bare)


def _hidden(domain: tuple[float, float]) -> dict[str, Any]:
    return {"domain": list(domain), "range": [0, 1], "visible": False, "fixedrange": True}


def behind(
    theme: Theme, window: tuple[float, float], flashes: pl.DataFrame, blocks: pl.DataFrame
) -> list[dict[str, Any]]:
    """What was shown, as shades behind all rows: flashes, or from afar the task as a whole.

    Args:
        theme: colours of the page.
        window: what is seen, in seconds.
        flashes: rows of `session_queries.flashes`.
        blocks: rows of `session_queries.blocks`.
    """
    if window[1] - window[0] > SINGLE_FLASHES_S:
        task = blocks.filter(pl.col("stimulus_block_name").str.contains("change_detection"))
        return [bars(*_span(task), 0, 1, "task", theme.shade, opacity=0.5)]
    near = flashes.filter(pl.col("stop_time") > window[0], pl.col("start_time") < window[1])
    omitted = pl.col("omitted").fill_null(False)
    outline = bars(*_span(near.filter(omitted)), 0, 1, "omission", "rgba(0,0,0,0)")
    return [
        bars(*_span(near.filter(~omitted, ~pl.col("is_change"))), 0, 1, "flash", theme.shade),
        bars(*_span(near.filter("is_change")), 0, 1, "change", VERMILION, opacity=0.35),
        outline | {"line": {"color": theme.signal, "width": 1, "dash": "dot"}},
    ]


def _span(rows: pl.DataFrame) -> tuple[Any, Any]:
    return rows["start_time"].to_numpy(), rows["stop_time"].to_numpy()


def _outcomes(trials: pl.DataFrame, window: tuple[float, float]) -> list[dict[str, Any]]:
    """A mark per trial at its change, or at its start if it was aborted before one."""
    far = window[1] - window[0] > SINGLE_FLASHES_S
    size = 4 if far else 10
    found: list[dict[str, Any]] = []
    for number, (outcome, colour) in enumerate(OUTCOME_COLOURS.items()):
        rows = trials.filter(outcome=outcome)
        if rows.is_empty():
            continue
        when = rows.select(pl.coalesce("change_time", "start_time"))["change_time"]
        found.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": when.to_list(),
                # From afar each outcome has a line of its own, where they would hide each other.
                "y": [_OUTCOME_Y + (0.4 - 0.16 * number if far else 0)] * len(rows),
                "yaxis": "y3",
                "name": words(outcome),
                "marker": {"color": colour, "size": size if outcome != "aborted" or far else 5},
                "customdata": rows.select(
                    "trials_id", "initial_image_name", "change_image_name"
                ).rows(),
                "hovertemplate": f"{words(outcome)}, trial %{{customdata[0]}}<br>"
                "%{customdata[1]} → %{customdata[2]}<br>%{x:.3f} s<extra></extra>",
            }
        )
    return found


def _strokes(times: pl.Series, y: float, name: str, colour: str) -> dict[str, Any]:
    hover = f"{name}, %{{x:.3f}} s<extra></extra>"
    more: dict[str, Any] = {"width": 1, "hovertemplate": hover, "showlegend": False}
    return ticks(times.to_numpy(), y - 0.32, y + 0.32, name, colour, yaxis="y3", **more)


def _rewards(rewards: pl.DataFrame, theme: Theme) -> list[dict[str, Any]]:
    free = pl.col("autorewarded").fill_null(False)
    kinds = (("reward", ~free, theme.signal), ("free reward", free, PURPLE))
    return [
        _strokes(rewards.filter(which)["timestamps"], _REWARD_Y, name, colour)
        for name, which, colour in kinds
    ]


def _line(theme: Theme, signal: Signal, y: str, window: tuple[float, float]) -> dict[str, Any]:
    name = signal.title.partition("<br>")[0]
    times, values = signal.rows.to_numpy().astype(np.float64).T if signal.rows.height else ([], [])
    x, seen = thinned(np.asarray(times), np.asarray(values), window)
    template = f"{name} %{{y:.4g}}, %{{x:.2f}} s<extra></extra>"
    return line(x, seen, name, theme.signal, yaxis=y, hovertemplate=template, showlegend=False)


def _labels(
    theme: Theme, blocks: pl.DataFrame, window: tuple[float, float]
) -> list[dict[str, Any]]:
    """The names of the blocks of which enough is seen for a name."""
    begin, end = window
    return [
        _label(theme, block, window)
        for block in blocks.iter_rows(named=True)
        if min(block["stop_time"], end) - max(block["start_time"], begin) > (end - begin) / 30
    ]


def _label(theme: Theme, block: dict[str, Any], window: tuple[float, float]) -> dict[str, Any]:
    """The name of what is shown, above the part of the block that is seen."""
    name = str(block["stimulus_block_name"])
    known = {
        "gray_screen": "gray",
        "change_detection_passive": "task, passive",
        "change_detection": "task",
    }
    label = next(
        (short for part, short in known.items() if part in name), words(name).split(" ")[0]
    )
    if "movie" in name:
        label = "movie"
    middle = (max(block["start_time"], window[0]) + min(block["stop_time"], window[1])) / 2
    return text(theme, middle, 0.5, label, "x", "y2", font={"size": 11, "color": theme.ink})
