"""The same cell in each of its sessions: its ROI, and its response to changes and omissions."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from vblake.explore.figures.plane import SECONDS, flash_shades, scale_bar
from vblake.explore.figures.style import (
    EXPERIENCE_COLOURS,
    GREY,
    YELLOW,
    Figure,
    Theme,
    axis,
    figure,
    image,
    kind_colour,
    line,
    outlines,
    text,
)
from vblake.lists import Array

_AROUND_PX = 20
"""Pixels around an ROI that are seen with it."""

_GAP = 0.03


def across_sessions(
    theme: Theme, responses: pl.DataFrame, rois: pl.DataFrame, chosen: int | None
) -> Figure:
    """A column per session: the ROI on the maximum projection, above the mean traces.

    Args:
        theme: colours of the page.
        responses: rows of `cell_queries.same_cell`.
        rois: rows of `cell_queries.same_rois`.
        chosen: ophys_experiment_id of the plane that is chosen.
    """
    sessions = responses.group_by("ophys_experiment_id", maintain_order=True).first()
    count = len(sessions)
    width = (1 - _GAP * (count - 1)) / max(count, 1)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"shapes": [], "annotations": [], "images": []}
    low, high = _span(responses)
    for number, row in enumerate(sessions.iter_rows(named=True)):
        place = (number * (width + _GAP), number * (width + _GAP) + width)
        plane = row["ophys_experiment_id"]
        names = (
            f"x{number * 2 + 1}",
            f"y{number * 2 + 1}",
            f"x{number * 2 + 2}",
            f"y{number * 2 + 2}",
        )
        names = tuple(n.removesuffix("1") if n in ("x1", "y1") else n for n in names)
        data += _roi(rois.filter(ophys_experiment_id=plane), names, place, layout)
        data += _traces(
            theme, responses.filter(ophys_experiment_id=plane), names, first=number == 0
        )
        layout[_axis_name(names[2])] = axis(
            theme, "Time (s)", domain=list(place), anchor=names[3], range=[-1, 2]
        )
        layout[_axis_name(names[3])] = axis(
            theme,
            "Mean dF/F" if number == 0 else None,
            domain=[0, 0.5],
            anchor=names[2],
            range=[low, high],
            matches=None if number == 0 else "y2",
            showticklabels=number == 0,
        )
        layout["shapes"] += flash_shades(theme, names[2], names[3])
        layout["annotations"].append(_title(theme, row, place, plane == chosen))
    layout["margin"] = {"l": 64, "r": 16, "t": 92, "b": 44}
    return figure(theme, data, hovermode="closest", **layout)


def _axis_name(name: str) -> str:
    return f"{name[0]}axis{name[1:]}"


def _span(responses: pl.DataFrame) -> tuple[float, float]:
    values = responses["dff_trace"].explode().drop_nulls().to_numpy()
    if not len(values):
        return -0.1, 0.1
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = (high - low or 1) * 0.08
    return low - margin, high + margin


def _title(
    theme: Theme, row: dict[str, Any], place: tuple[float, float], chosen: bool
) -> dict[str, Any]:
    colour = EXPERIENCE_COLOURS.get(row["experience_level"], GREY)
    when = row["date_of_acquisition"]
    name = row["session_type"] or ""
    label = f"{when:%Y-%m-%d}<br>" if when else ""
    label += f"{'<b>' if chosen else ''}{name}{'</b>' if chosen else ''}<br>"
    label += f"<span style='color:{colour}'>●</span> {row['experience_level'] or ''}"
    return text(
        theme,
        sum(place) / 2,
        1.01,
        label,
        xanchor="center",
        yanchor="bottom",
        font={"size": 11, "color": theme.ink},
    )


def _roi(
    found: pl.DataFrame, names: tuple[str, ...], place: tuple[float, float], layout: dict[str, Any]
) -> list[dict[str, Any]]:
    x, y = names[:2]
    hidden: dict[str, Any] = {"visible": False, "fixedrange": True}
    layout[_axis_name(x)] = hidden | {"domain": list(place), "anchor": y, "constrain": "domain"}
    layout[_axis_name(y)] = hidden | {
        "domain": [0.58, 1],
        "anchor": x,
        "scaleanchor": x,
        "constrain": "domain",
    }
    if found.is_empty() or found["pixels"][0] is None:
        return []
    row = found.row(0, named=True)
    flat = np.asarray(row["roi_mask"], dtype=np.int64)
    left, right, top, bottom = _crop(flat, row)
    pixels = np.asarray(row["pixels"], dtype=np.float64)
    seen = pixels.reshape(row["image_height"], row["image_width"])[top:bottom, left:right]
    layout["images"].append(image(seen, left, top, x, y))
    layout[_axis_name(x)]["range"] = [left, right]
    layout[_axis_name(y)]["range"] = [bottom, top]
    bar, label = scale_bar(right - left, bottom - top, row["spacing_x"], left, top, x, y)
    layout["shapes"] += bar
    layout["annotations"] += label
    edges = outlines([flat], row["field_of_view_width"])
    axes = {"xaxis": x, "yaxis": y}
    return [line(*edges, "ROI", YELLOW, width=2, showlegend=False, hoverinfo="skip", **axes)]


def _crop(flat: Array, row: dict[str, Any]) -> tuple[int, int, int, int]:
    """The columns and rows of the image that are seen: the ROI and what is around it."""
    y, x = np.divmod(flat, row["field_of_view_width"])
    half = max(int(np.ptp(x)), int(np.ptp(y))) // 2 + _AROUND_PX
    middle_x, middle_y = int(x.mean()), int(y.mean())
    left, right = max(middle_x - half, 0), min(middle_x + half, row["image_width"])
    return left, right, max(middle_y - half, 0), min(middle_y + half, row["image_height"])


def _traces(
    theme: Theme, rows: pl.DataFrame, names: tuple[str, ...], first: bool
) -> list[dict[str, Any]]:
    return [
        line(
            SECONDS,
            row["dff_trace"],
            row["condition"],
            kind_colour(theme, row["condition"]),
            width=1.8,
            xaxis=names[2],
            yaxis=names[3],
            legendgroup=row["condition"],
            showlegend=first,
            hovertemplate=f"{row['condition']} (n = {row['n']})<br>"
            "%{y:.3f} dF/F at %{x:.2f} s<extra></extra>",
        )
        for row in rows.drop_nulls("dff_trace").iter_rows(named=True)
        if row["n"]
    ]
