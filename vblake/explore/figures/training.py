"""Performance over a mouse's training, session by session."""

from __future__ import annotations

from typing import Any

import polars as pl

from vblake.explore.figures.style import (
    EXPERIENCE_COLOURS,
    GREY,
    ORANGE,
    Figure,
    Theme,
    axis,
    figure,
)

_MOST_NAMES, _MOST_LEVEL = 60, 10
"""The most sessions that have their type written at the axis, and the most that have it level."""


def progress(theme: Theme, sessions: pl.DataFrame, chosen: int | None) -> Figure:
    """d', rates and numbers of trials over the sessions of a mouse.

    Passive sessions have no d' and no rates: the mouse could not lick.

    Args:
        theme: colours of the page.
        sessions: rows of `session_queries.training`.
        chosen: behavior_session_id of the session that is chosen.
    """
    rows = sessions.with_row_index("number", 1)
    active = rows.filter(pl.col("behavior_type") != "passive_viewing")
    data = [*_dprime(theme, active), *_rates(theme, active), *_counts(theme, rows)]
    x = rows["number"].to_list()
    named, level = len(x) <= _MOST_NAMES, len(x) <= _MOST_LEVEL
    names = [_name(kind, level) for kind in rows["session_type"]]
    shown = [[0.64, 1.0], [0.34, 0.6], [0.0, 0.28]]
    shapes = [
        {
            "type": "rect",
            "x0": i - 0.5,
            "x1": i + 0.5,
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "fillcolor": theme.shade,
            "line": {"width": 0},
            "layer": "below",
        }
        for i in rows.filter(behavior_session_id=chosen)["number"]
    ]
    layout: dict[str, Any] = {
        "xaxis": axis(
            theme,
            "Session, in order" if not named else None,
            anchor="y3",
            range=[0.4, len(x) + 0.6],
            tickangle=0 if level or not named else -90,
            **({"tickvals": x, "ticktext": names, "tickfont": {"size": 10}} if named else {}),
        ),
        "yaxis": axis(theme, "d′", domain=shown[0], rangemode="tozero", fixedrange=True),
        "yaxis2": axis(theme, "Rate", domain=shown[1], range=[-0.03, 1.03], fixedrange=True),
        "yaxis3": axis(theme, "Trials", domain=shown[2], rangemode="tozero", fixedrange=True),
        "shapes": shapes,
        "barmode": "stack",
        "hovermode": "closest",
    }
    return figure(theme, data, **layout)


def _name(session_type: str | None, level: bool) -> str:
    """A session type as it is written at the axis.

    >>> _name("OPHYS_1_images_A", level=True)
    'OPHYS 1<br>images A'
    """
    parts = (session_type or "unknown").split("_")
    if not level:
        return " ".join(parts)
    return "<br>".join(" ".join(parts[i : i + 2]) for i in range(0, len(parts), 2))


def _points(rows: pl.DataFrame, y: str, **more: Any) -> dict[str, Any]:
    facts = rows.select(
        "behavior_session_id",
        "session_type",
        "experience_level",
        pl.col("date_of_acquisition").dt.strftime("%Y-%m-%d"),
    )
    return {
        "type": "scatter",
        "x": rows["number"].to_list(),
        "y": rows[y].to_list(),
        "customdata": facts.rows(),
        "hovertemplate": "%{customdata[1]}<br>%{customdata[2]}, %{customdata[3]}<br>"
        f"{more['name']} %{{y:.2f}}<extra></extra>",
        **more,
    }


def _dprime(theme: Theme, rows: pl.DataFrame) -> list[dict[str, Any]]:
    found = [
        _points(
            rows,
            "mean_dprime",
            name="mean d′",
            mode="lines",
            showlegend=False,
            line={"color": GREY, "width": 1.2},
            hoverinfo="skip",
        )
        | {"hovertemplate": None},
    ]
    for level, colour in EXPERIENCE_COLOURS.items():
        of_level = rows.filter(experience_level=level)
        if not of_level.is_empty():
            found.append(
                _points(
                    of_level,
                    "mean_dprime",
                    mode="markers",
                    name=level,
                    marker={"color": colour, "size": 9},
                    cliponaxis=False,
                )
            )
    found.append(
        _points(
            rows,
            "max_dprime",
            name="highest d′",
            mode="markers",
            marker={
                "color": theme.ink,
                "size": 7,
                "symbol": "line-ew-open",
                "line": {"width": 1.5},
            },
        )
    )
    return found


def _rates(theme: Theme, rows: pl.DataFrame) -> list[dict[str, Any]]:
    kinds = (
        ("mean_hit_rate", "hit rate", theme.signal),
        ("mean_false_alarm_rate", "false-alarm rate", ORANGE),
    )
    return [
        _points(
            rows,
            column,
            name=name,
            mode="lines+markers",
            yaxis="y2",
            line={"color": colour, "width": 1.2},
            marker={"color": colour, "size": 6},
        )
        for column, name, colour in kinds
    ]


def _counts(theme: Theme, rows: pl.DataFrame) -> list[dict[str, Any]]:
    engaged = rows.with_columns(rest=pl.col("trial_count") - pl.col("engaged_trial_count"))
    kinds = (
        ("engaged_trial_count", "engaged trials", theme.signal),
        ("rest", "disengaged trials", GREY),
    )
    return [
        _points(engaged, column, name=name, yaxis="y3", marker={"color": colour, "opacity": 0.75})
        | {"type": "bar"}
        for column, name, colour in kinds
    ]
