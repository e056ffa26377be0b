"""The mean traces of all cells of a plane as a heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from vblake.explore.figures.plane import SECONDS, flash_shades
from vblake.explore.figures.style import (
    HEAT,
    VERMILION,
    Figure,
    Theme,
    axis,
    figure,
    line,
    numbers,
)
from vblake.lists import Array


def heat_map(
    theme: Theme, rows: pl.DataFrame, measure: str, condition: str, chosen: int | None
) -> Figure:
    """All cells around one kind of flash, the largest response on top, and their mean.

    Args:
        theme: colours of the page.
        rows: rows of `cell_queries.population`.
        measure: `dff` or `filtered_events`.
        condition: what is at 0 s.
        chosen: cell_roi_id of the cell that is chosen.
    """
    known = rows.drop_nulls(f"{measure}_trace")
    values = np.array(known[f"{measure}_trace"].to_list(), dtype=np.float64).reshape(len(known), -1)
    title = "dF/F" if measure == "dff" else "Events<br>(dF/F)"
    ids = known["cell_roi_id"].to_list()
    count = len(ids)
    hover = "mean %{y:.3f} at %{x:.2f} s<extra></extra>"
    mean = np.nanmean(values, axis=0)
    data = [
        line(SECONDS, mean, "mean of the cells", theme.signal, width=2, hovertemplate=hover),
        _heat(values, ids, title),
        _mark([number for number, cell in enumerate(ids, 1) if cell == chosen]),
    ]
    order = f"Cell, by response (of {count})"
    return figure(
        theme,
        data,
        xaxis=axis(theme, f"Time from “{condition}” (s)", range=[-1.02, 2], anchor="y2"),
        yaxis=axis(theme, f"Mean<br>{title}", domain=[0.78, 1], nticks=4, fixedrange=True),
        yaxis2=axis(theme, order, domain=[0, 0.72], range=[count + 0.5, 0.5], nticks=8),
        shapes=flash_shades(theme, "x", "y"),
        showlegend=False,
        hovermode="closest",
    )


def _heat(values: Array, ids: list[int], title: str) -> dict[str, Any]:
    low, high = np.nanpercentile(values, [1, 99])
    bar = {"title": {"text": title, "side": "top"}, "thickness": 12, "outlinewidth": 0}
    return {
        "type": "heatmap",
        "z": numbers(values),
        "x": SECONDS.tolist(),
        "y": list(range(1, len(ids) + 1)),
        "customdata": [[cell] * len(SECONDS) for cell in ids],
        "yaxis": "y2",
        "colorscale": HEAT,
        "zmin": float(low),
        "zmax": float(max(high, low + 1e-9)),
        "colorbar": bar | {"len": 0.72, "y": 0.36},
        "hovertemplate": "cell %{customdata}<br>%{x:.2f} s: %{z:.3f}<extra></extra>",
    }


def _mark(rows: list[int]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [-1.0] * len(rows),
        "y": rows,
        "yaxis": "y2",
        "marker": {"symbol": "triangle-right", "size": 12, "color": VERMILION},
        "name": "chosen cell",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
