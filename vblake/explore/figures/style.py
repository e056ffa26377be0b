"""What the figures have in common: colours, fonts, axes, scale bars, and how data get thinner."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vblake.lists import Array

Figure: TypeAlias = dict[str, Any]
"""A figure as Plotly's JavaScript takes it: `data` and `layout`."""

# The colours of Okabe and Ito, which colour-blind readers tell apart.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8A8F98"

OUTCOME_COLOURS = {
    "hit": BLUE,
    "miss": ORANGE,
    "false_alarm": VERMILION,
    "correct_reject": GREEN,
    "auto_rewarded": PURPLE,
    "aborted": GREY,
}
EXPERIENCE_COLOURS = {
    "Training": GREY,
    "Familiar": BLUE,
    "Novel 1": VERMILION,
    "Novel >1": ORANGE,
}
KIND_COLOURS = {"change": VERMILION, "repeat": GREY}

HEAT = "Cividis"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a page that are not data.

    Attributes:
        ground: behind the figures.
        ink: text and ticks.
        faint: grid lines and axes.
        shade: flashes.
        signal: what is blue: a line that stands alone, hit rates, rewards, omissions.
    """

    ground: str
    ink: str
    faint: str
    shade: str
    signal: str


LIGHT = Theme("#ffffff", "#24292f", "#e4e7eb", "rgba(110,118,129,0.22)", BLUE)
DARK = Theme("#16191d", "#e2e5e9", "#30363d", "rgba(176,184,193,0.22)", SKY)
THEMES = {"light": LIGHT, "dark": DARK}


def kind_colour(theme: Theme, kind: str) -> str:
    """The colour of changes, repeats and omissions."""
    return KIND_COLOURS.get(kind, theme.signal)


def words(name: str | None) -> str:
    """A name of a column as people write it.

    >>> words("false_alarm")
    'false alarm'
    """
    return (name or "unknown").replace("_", " ")


def numbers(values: Any) -> dict[str, Any]:
    """Numbers as Plotly's JavaScript reads them fastest: a typed array in base64.

    Example:
        >>> numbers([1.0])
        {'dtype': 'f8', 'bdata': 'AAAAAAAA8D8='}
    """
    array = np.ascontiguousarray(values, dtype=np.float64)
    found = {"dtype": "f8", "bdata": b64encode(array.tobytes()).decode()}
    if array.ndim > 1:
        found["shape"] = ", ".join(map(str, array.shape))
    return found


def line(x: Any, y: Any, name: str, colour: str, **more: Any) -> dict[str, Any]:
    """A line; NaN interrupts it."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": numbers(x),
        "y": numbers(y),
        "name": name,
        "line": {"color": colour, "width": more.pop("width", 1.2)},
        **more,
    }


def ticks(times: Array, low: Any, high: Any, name: str, colour: str, **more: Any) -> dict[str, Any]:
    """Vertical strokes as one line, which is faster to draw than as many markers."""
    times = np.asarray(times, dtype=np.float64)
    gap = np.full(len(times), np.nan)
    x = np.stack([times, times, gap], axis=1).ravel()
    y = np.stack([np.broadcast_to(low, gap.shape), np.broadcast_to(high, gap.shape), gap], axis=1)
    return line(x, y.ravel(), name, colour, **more)


def bars(
    begin: Any, end: Any, low: Any, high: Any, name: str, colour: str, **more: Any
) -> dict[str, Any]:
    """Filled rectangles as one trace."""
    begin, end = np.asarray(begin, dtype=np.float64), np.asarray(end, dtype=np.float64)
    gap = np.full(len(begin), np.nan)
    low, high = np.broadcast_to(low, gap.shape), np.broadcast_to(high, gap.shape)
    x = np.stack([begin, begin, end, end, begin, gap], axis=1).ravel()
    y = np.stack([low, high, high, low, low, gap], axis=1).ravel()
    fill = {"fill": "toself", "fillcolor": colour, "hoverinfo": "skip", "width": 0}
    return line(x, y, name, colour, **(fill | more))


def thinned(
    times: Array, values: Array, window: tuple[float, float], columns: int = 1200
) -> tuple[Array, Array]:
    """The samples that a line of so many columns of pixels needs to look like that of all samples.

    Of each column, the lowest and the highest sample are kept, with their times, and a NaN if the
    column has nothing else. So peaks stay, and an hour at 60 Hz is 2,400 points instead of 216,000.

    Args:
        times: ascending, shape (n,).
        values: shape (n,).
        window: the times that are seen. One sample before and after it is kept.
        columns: width of the figure.

    Example:
        >>> t = np.arange(6.0)
        >>> thinned(t, np.array([0, 5, 1, 2, -3, 2.0]), (0, 5), columns=2)[1].tolist()
        [0.0, 5.0, 2.0, -3.0]
    """
    first = max(int(np.searchsorted(times, window[0])) - 1, 0)
    last = int(np.searchsorted(times, window[1], side="right")) + 1
    times, values = times[first:last], values[first:last]
    size = len(times) // columns
    if size < 3:
        return times, values
    whole = len(times) // size * size
    blocks = values[:whole].reshape(-1, size)
    known = ~np.isnan(blocks)
    low = np.where(known, blocks, np.inf).argmin(axis=1)
    high = np.where(known, blocks, -np.inf).argmax(axis=1)
    pair = np.sort(np.stack([low, high], axis=1), axis=1) + np.arange(len(blocks))[:, None] * size
    chosen = np.concatenate([pair.ravel(), np.arange(whole, len(times))])
    return times[chosen], values[chosen]


def axis(theme: Theme, title: str | None = None, **more: Any) -> dict[str, Any]:
    """An axis with ticks outside and without box."""
    return {
        "title": {"text": title, "standoff": 6},
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "linecolor": theme.ink,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": theme.ink,
        "automargin": True,
        **more,
    }


def figure(theme: Theme, data: list[dict[str, Any]], **layout: Any) -> Figure:
    """A figure in the colours and fonts of the page."""
    return {
        "data": data,
        "layout": {
            "paper_bgcolor": theme.ground,
            "plot_bgcolor": "rgba(0,0,0,0)",  # the flashes lie behind several panels
            "font": {"family": FONT, "size": 12, "color": theme.ink},
            "margin": {"l": 64, "r": 16, "t": 36, "b": 44},
            "hoverlabel": {"font": {"family": FONT}},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "font": {"size": 11},
                "itemsizing": "constant",
                "traceorder": "normal",
            },
            "dragmode": "zoom",
            **layout,
        },
    }


def text(
    theme: Theme,
    x: float,
    y: float,
    words: str,
    xref: str = "paper",
    yref: str = "paper",
    **more: Any,
) -> dict[str, Any]:
    """A text without arrow."""
    return {
        "x": x,
        "y": y,
        "xref": xref,
        "yref": yref,
        "text": words,
        "showarrow": False,
        "font": {"size": 12, "color": theme.ink},
        **more,
    }


def message(theme: Theme, words: str) -> Figure:
    """A figure that says in words why there is none."""
    import textwrap

    lines = "<br>".join(textwrap.wrap(words, 80))
    none = {"visible": False, "fixedrange": True}
    note = text(theme, 0.5, 0.5, lines, font={"size": 14, "color": theme.ink})
    return figure(theme, [], xaxis=none, yaxis=none, annotations=[note])


def gray_png(pixels: Array) -> str:
    """A gray image as the address of a PNG file that holds it.

    Args:
        pixels: uint8, shape (height, width).
    """
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # the filter of each row, 0, before it
    rows[:, 1:] = pixels

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)),
        chunk(b"IEND", b""),
    )
    return f"data:image/png;base64,{b64encode(b''.join(parts)).decode()}"


def gray_levels(image: Array) -> Array:
    """An image in 256 gray levels, the darkest and brightest half percent clipped."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return np.zeros(image.shape, dtype=np.uint8)
    low, high = np.percentile(finite, [0.5, 99.5])
    if high <= low:  # a mask of few pixels
        low, high = float(finite.min()), float(max(finite.max(), finite.min() + 1))
    scaled = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    return np.asarray(np.round(scaled * 255), dtype=np.uint8)


def image(pixels: Array, left: float = 0, top: float = 0, x: str = "x", y: str = "y") -> Figure:
    """A gray image that lies under the traces of two axes, a pixel one unit wide.

    Args:
        pixels: shape (height, width).
        left: where its first column begins.
        top: where its first row begins.
        x: the axis.
        y: the axis.
    """
    height, width = pixels.shape
    place = {"xref": x, "yref": y, "x": left, "y": top, "sizex": width, "sizey": height}
    source = gray_png(gray_levels(pixels))
    return {"source": source, "sizing": "stretch", "layer": "below", **place}


def outlines(pixels: list[Array], width: int) -> tuple[Array, Array]:
    """The edges of masks as one line, in pixels; NaN between the parts.

    Args:
        pixels: of each mask, the flat indices of its pixels, y * width + x.
        width: of the image.

    Returns:
        x and y of the corners; pixel (0, 0) goes from 0 to 1.

    Example:
        >>> x, _ = outlines([np.array([0])], 4)
        >>> len(x)
        12
    """
    parts = [_edges(np.asarray(flat, dtype=np.int64), width) for flat in pixels if len(flat)]
    if not parts:
        return np.empty(0), np.empty(0)
    joined = np.concatenate(parts)
    return joined[:, 0], joined[:, 1]


def _edges(flat: Array, width: int) -> Array:
    y, x = np.divmod(flat, width)
    x, y = x - x.min(), y - y.min()
    mask = np.zeros((y.max() + 3, x.max() + 3), dtype=np.bool_)
    mask[y + 1, x + 1] = True
    left, top = flat % width, flat // width
    corner = np.array([left.min() - 1, top.min() - 1])
    row, column = np.nonzero(mask[:-1] != mask[1:])
    across = np.stack([column, row + 1, column + 1, row + 1], axis=1)
    row, column = np.nonzero(mask[:, :-1] != mask[:, 1:])
    down = np.stack([column + 1, row, column + 1, row + 1], axis=1)
    segments = np.concatenate([across, down]).reshape(-1, 2, 2) + corner
    gaps = np.full((len(segments), 1, 2), np.nan)
    return np.concatenate([segments.astype(np.float64), gaps], axis=1).reshape(-1, 2)
