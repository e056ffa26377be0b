"""An imaging plane: its image with the ROIs, and one cell's trace, responses and single flashes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from vblake.explore.figures.session import behind
from vblake.explore.figures.style import (
    HEAT,
    ORANGE,
    SKY,
    YELLOW,
    Figure,
    Theme,
    axis,
    figure,
    image,
    kind_colour,
    line,
    numbers,
    outlines,
    text,
    thinned,
    ticks,
)
from vblake.lists import Array

_STEP = 2
"""Every second pixel of the image takes clicks: a quarter of the data, and no ROI is smaller."""

SECONDS = np.arange(91) / 30 - 1
"""Times of the mean traces in mean_responses: -1 to 2 s at 30 Hz."""

FLASH_S, PERIOD_S = 0.25, 0.75


def picture(
    theme: Theme, projection: pl.DataFrame, cells: pl.DataFrame, chosen: int | None
) -> Figure:
    """The image of a plane with the outlines of its ROIs and a scale bar.

    Args:
        theme: colours of the page.
        projection: the row of `cell_queries.projection`.
        cells: rows of `cell_queries.cells`.
        chosen: cell_roi_id of the cell that is chosen.
    """
    row = projection.row(0, named=True)
    height, width = row["height"], row["width"]
    pixels = np.asarray(row["pixels"], dtype=np.float64).reshape(height, width)
    masks = [mask.to_numpy() for mask in cells["roi_mask"]]
    at = [i for i, cell in enumerate(cells["cell_roi_id"]) if cell == chosen]
    x, y = outlines(masks, width)
    x_chosen, y_chosen = outlines([masks[i] for i in at], width)
    data = [
        line(x, y, "ROI", SKY, width=1, hoverinfo="skip"),
        line(x_chosen, y_chosen, "chosen cell", YELLOW, width=2.4, hoverinfo="skip"),
        _clicks(cells, masks, height, width),
    ]
    none: dict[str, Any] = {"visible": False, "constrain": "domain"}
    shapes, notes = scale_bar(width, height, row["spacing_x"])
    return figure(
        theme,
        data,
        images=[image(pixels)],
        xaxis=none | {"range": [0, width]},
        yaxis=none | {"range": [height, 0], "scaleanchor": "x"},
        shapes=shapes,
        annotations=notes,
        showlegend=False,
        hovermode="closest",
        dragmode="pan",
        margin={"l": 4, "r": 4, "t": 8, "b": 8},
    )


def scale_bar(
    width: float,
    height: float,
    spacing: float | None,
    left: float = 0,
    top: float = 0,
    x: str = "x",
    y: str = "y",
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A white bar with its length, on an image; nothing if a pixel's size is not known.

    Args:
        width: of the image in pixels.
        height: of the image in pixels.
        spacing: width of a pixel in mm.
        left: where the image begins.
        top: where the image begins.
        x: the axis of the image.
        y: the axis of the image.

    Returns:
        Shapes and annotations.
    """
    if not spacing:
        return [], []
    room = width * spacing * 1000 / 3
    length = max((n for n in (5, 10, 20, 50, 100, 200) if n <= room), default=5)
    end, level = left + width * 0.95, top + height * 0.95
    begin = end - length / 1000 / spacing
    axes = {"xref": x, "yref": y}
    stroke = {"color": "#ffffff", "width": 3}
    bar = {"type": "line", "x0": begin, "x1": end, "y0": level, "y1": level, "line": stroke}
    label = {"x": (begin + end) / 2, "y": level, "text": f"{length} µm", "yanchor": "bottom"}
    look = {"showarrow": False, "font": {"color": "#ffffff", "size": 12}}
    return [bar | axes], [label | axes | look]


def _clicks(cells: pl.DataFrame, masks: list[Array], height: int, width: int) -> dict[str, Any]:
    """What is not seen and takes the clicks: the number of the cell at each pixel."""
    owner = np.full(height * width, np.nan)
    for cell, mask in zip(cells["cell_roi_id"], masks, strict=True):
        owner[mask] = cell
    seen = owner.reshape(height, width)[::_STEP, ::_STEP]
    return {
        "type": "heatmap",
        "z": numbers(seen),
        "x0": _STEP / 2,
        "dx": _STEP,
        "y0": _STEP / 2,
        "dy": _STEP,
        "opacity": 0,
        "showscale": False,
        "hoverongaps": False,
        "hovertemplate": "cell %{z:.0f}<extra></extra>",
    }


def trace(
    theme: Theme,
    window: tuple[float, float],
    dff: pl.DataFrame,
    events: pl.DataFrame,
    flashes: pl.DataFrame,
    blocks: pl.DataFrame,
) -> Figure:
    """dF/F and events of a cell over the session.

    Args:
        theme: colours of the page.
        window: what is seen, in seconds.
        dff: rows of `cell_queries.trace`.
        events: rows of `cell_queries.trace`, those that are not 0.
        flashes: rows of `session_queries.flashes`.
        blocks: rows of `session_queries.blocks`.
    """
    begin, end = window
    data = behind(theme, window, flashes, blocks)
    x, y = thinned(dff["timestamps"].to_numpy(), dff["dff"].to_numpy(), window)
    hover = "dF/F %{y:.3g}, %{x:.2f} s<extra></extra>"
    data.append(line(x, y, "dF/F", theme.signal, yaxis="y2", hovertemplate=hover))
    seen = events.filter(pl.col("timestamps").is_between(begin, end))
    data.append(
        ticks(
            seen["timestamps"].to_numpy(),
            0,
            seen["events"].to_numpy(),
            "events",
            ORANGE,
            yaxis="y3",
            width=1.4,
            hovertemplate="event %{y:.3g} dF/F, %{x:.2f} s<extra></extra>",
        )
    )
    return figure(
        theme,
        data,
        xaxis=axis(theme, "Time in the session (s)", range=[begin, end], anchor="y3"),
        yaxis={"domain": [0, 1], "range": [0, 1], "visible": False, "fixedrange": True},
        yaxis2=axis(theme, "dF/F", domain=[0.36, 1], fixedrange=True, nticks=6),
        yaxis3=axis(theme, "Events<br>(dF/F)", domain=[0, 0.28], fixedrange=True, nticks=3),
        hovermode="closest",
    )


def cell(
    theme: Theme,
    responses: pl.DataFrame,
    single: pl.DataFrame,
    period: float,
    condition: str,
) -> Figure:
    """A cell's response to each image, its mean traces, and each flash of one kind.

    Args:
        theme: colours of the page.
        responses: rows of `cell_queries.responses`.
        single: rows of `cell_queries.single_flashes`.
        period: of the imaging frames, in seconds.
        condition: what the single flashes are.
    """
    data = [*_images(theme, responses), *_kinds(theme, responses)]
    names = sorted({n for n in responses["image_name"] if n is not None})
    heat, rows = _single(single, period)
    data += heat
    layout: dict[str, Any] = {
        "xaxis": axis(
            theme,
            "Image",
            domain=[0, 0.27],
            tickvals=list(range(len(names))),
            ticktext=names,
            tickangle=-45,
            range=[-0.6, len(names) - 0.4],
        ),
        "yaxis": axis(theme, "Mean dF/F, 0 to 0.5 s", anchor="x"),
        "xaxis2": axis(
            theme, "Time from the flash (s)", domain=[0.37, 0.63], anchor="y2", range=[-1, 2]
        ),
        "yaxis2": axis(theme, "Mean dF/F", anchor="x2"),
        "xaxis3": axis(
            theme, f"Time from each “{condition}” (s)", domain=[0.72, 0.96], anchor="y3"
        ),
        "yaxis3": axis(theme, f"Flash (of {rows})", anchor="x3", autorange="reversed", nticks=5),
        "shapes": [*flash_shades(theme, "x2", "y2"), _zero(theme, "x3", "y3")],
        "hovermode": "closest",
        "margin": {"l": 60, "r": 30, "t": 40, "b": 60},
    }
    if not heat:
        layout["annotations"] = [
            text(
                theme,
                0.5,
                0.5,
                "No flash of this kind lies<br>within the imaging.",
                "x3 domain",
                "y3 domain",
            )
        ]
    return figure(theme, data, **layout)


def _images(theme: Theme, responses: pl.DataFrame) -> list[dict[str, Any]]:
    rows = responses.filter(condition_set="images")
    names = sorted({n for n in rows["image_name"] if n is not None})
    found: list[dict[str, Any]] = []
    for change, name, symbol in ((True, "change", "circle"), (False, "repeat", "circle-open")):
        of_kind = rows.filter(is_change=change)
        found.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [names.index(n) + (0.12 if change else -0.12) for n in of_kind["image_name"]],
                "y": of_kind["dff_mean"].to_list(),
                "error_y": {
                    "type": "data",
                    "array": of_kind["dff_sem"].to_list(),
                    "thickness": 1.2,
                    "width": 0,
                },
                "marker": {"color": kind_colour(theme, name), "symbol": symbol, "size": 8},
                "name": name,
                "showlegend": False,
                "customdata": of_kind.select("image_name", "n").rows(),
                "hovertemplate": f"%{{customdata[0]}}, {name}<br>"
                "%{y:.3f} ± %{error_y.array:.3f} dF/F (SEM)<br>"
                "%{customdata[1]} flashes<extra></extra>",
            }
        )
    return found


def _kinds(theme: Theme, responses: pl.DataFrame) -> list[dict[str, Any]]:
    rows = responses.filter(condition_set="kinds").drop_nulls("dff_trace")
    return [
        line(
            SECONDS,
            row["dff_trace"],
            f"{row['condition']} (n = {row['n']})",
            kind_colour(theme, row["condition"]),
            width=1.8,
            xaxis="x2",
            yaxis="y2",
            hovertemplate=f"{row['condition']}<br>%{{y:.3f}} dF/F at %{{x:.2f}} s<extra></extra>",
        )
        for row in rows.iter_rows(named=True)
        if row["n"]
    ]


def _single(single: pl.DataFrame, period: float) -> tuple[list[dict[str, Any]], int]:
    if single.is_empty():
        return [], 0
    wide = single.pivot("lag", index="stimulus_presentations_id", values="dff", sort_columns=True)
    lags = sorted(single["lag"].unique())
    values = wide.select([str(lag) for lag in lags]).to_numpy().astype(np.float64)
    low, high = np.nanpercentile(values, [1, 99])
    heat = {
        "type": "heatmap",
        "z": numbers(values),
        "x": [lag * period for lag in lags],
        "y": list(range(1, len(values) + 1)),
        "xaxis": "x3",
        "yaxis": "y3",
        "colorscale": HEAT,
        "zmin": float(low),
        "zmax": float(max(high, low + 1e-9)),
        "colorbar": {
            "title": {"text": "dF/F", "side": "top"},
            "thickness": 10,
            "x": 0.97,
            "outlinewidth": 0,
        },
        "hovertemplate": "flash %{y}, %{x:.2f} s<br>%{z:.3f} dF/F<extra></extra>",
    }
    return [heat], len(values)


def flash_shades(
    theme: Theme, x: str, y: str, begin: float = -1, end: float = 2
) -> list[dict[str, Any]]:
    """Where flashes are, one of which starts at 0 s."""
    first = int(np.ceil(begin / PERIOD_S))
    starts = [n * PERIOD_S for n in range(first, int(end / PERIOD_S) + 1)]
    return [
        {
            "type": "rect",
            "xref": x,
            "yref": f"{y} domain",
            "x0": s,
            "x1": min(s + FLASH_S, end),
            "y0": 0,
            "y1": 1,
            "fillcolor": theme.shade,
            "line": {"width": 0},
            "layer": "below",
        }
        for s in starts
    ]


def _zero(theme: Theme, x: str, y: str) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": x,
        "yref": f"{y} domain",
        "x0": 0,
        "x1": 0,
        "y0": 0,
        "y1": 1,
        "line": {"color": "#ffffff", "width": 1, "dash": "dot"},
    }
