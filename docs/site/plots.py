"""The plots of the cookbook, by number of the recipe: SVG that takes the colours of the page.

Colours are those of Okabe and Ito, which colour-blind readers tell apart. Text and axes are
`currentColor`, so that a plot fits light and dark pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_TEXT = "#123456"
"""Stands for the colour of the page's text."""

mpl.use("svg")


def draw(plot: Callable[[Axes, Any], None], answer: Any) -> str:
    """Returns the plot of an answer as SVG that can stand in HTML."""
    colours = {f"{part}.color": _TEXT for part in ("text", "xtick", "ytick")}
    colours |= {"axes.edgecolor": _TEXT, "axes.labelcolor": _TEXT, "axes.facecolor": "none"}
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": plot.__name__,
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
    with mpl.rc_context(style | colours):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        figure.patch.set_alpha(0)
        plot(figure.add_subplot(), answer)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    svg = written.getvalue()
    return re.sub(_TEXT, "currentColor", svg[svg.index("<svg") :])


def _event(axes: Axes) -> None:
    axes.axvline(0, color=_TEXT, linewidth=0.8, linestyle=":")


def _legend(axes: Axes, title: str | None = None) -> None:
    """A legend beside the plot, where it covers nothing."""
    axes.legend(title=title, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))


def dprime_over_sessions(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 2."""
    for colour, ((mouse,), rows) in zip(
        COLOURS, answer.group_by("mouse_id", maintain_order=True), strict=False
    ):
        axes.plot(range(1, rows.height + 1), rows["dprime"], "o-", color=colour, label=f"{mouse}")
    axes.set(xlabel="Session", ylabel="d'")
    _legend(axes, "Mouse")


def running_around_licks(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 3."""
    axes.plot(answer["seconds"], answer["speed"], color=BLUE)
    _event(axes)
    axes.set(xlabel="Time from the lick (s)", ylabel="Running speed (cm/s)")


def pupil_around_changes(axes: Axes, answer: Any) -> None:
    """Recipe 4."""
    axes.plot(answer[answer.dims[0]], answer, color=BLUE)
    _event(axes)
    axes.set(xlabel="Time from the change (s)", ylabel="Pupil area (px²)")


def dff_around_omissions(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 5."""
    styles = {"Familiar": "-", "Novel 1": "--", "Novel >1": ":"}
    for colour, ((line,), rows) in zip(
        COLOURS, answer.group_by("cre_line", maintain_order=True), strict=False
    ):
        for (level,), part in rows.group_by("experience_level", maintain_order=True):
            label = f"{str(line).split('-')[0]}, {level}"
            axes.plot(part["time"], part["dff"], styles[str(level)], color=colour, label=label)
    _event(axes)
    axes.set(xlabel="Time from the omitted flash (s)", ylabel="dF/F")
    _legend(axes)


def rois_on_the_projection(axes: Axes, answer: Any) -> None:
    """Recipe 9."""
    axes.imshow(answer, cmap="gray")
    axes.set_axis_off()


def correlation_of_cells(axes: Axes, answer: np.ndarray) -> None:
    """Recipe 10."""
    image = axes.imshow(answer, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.figure.colorbar(image, label="Correlation")
    axes.set(xlabel="Cell", ylabel="Cell")


def trace_of_a_cell(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 22."""
    axes.plot(answer["timestamps"], answer["dff"], color=BLUE, linewidth=0.7)
    axes.set(xlabel="Time (s)", ylabel="dF/F")


def licks_around_changes(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 29."""
    for hit, colour, label in ((True, BLUE, "hit"), (False, ORANGE, "miss")):
        rows = answer.filter(hit=hit)
        axes.plot(rows["seconds"], rows["trial"], "|", color=colour, markersize=9, label=label)
    _event(axes)
    axes.invert_yaxis()
    axes.set(xlabel="Time from the change (s)", ylabel="Go trial")
    _legend(axes)


def distribution_of_latencies(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 30."""
    for colour, ((line,), rows) in zip(
        COLOURS, answer.group_by("cre_line", maintain_order=True), strict=False
    ):
        axes.step(rows["latency"], rows["share"], where="post", color=colour, label=f"{line}")
    axes.set(xlabel="Response latency (s)", ylabel="Share of hits")
    _legend(axes)


def running_around_changes(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 31."""
    for hit, colour, label in ((True, BLUE, "hits"), (False, ORANGE, "misses")):
        rows = answer.filter(hit=hit)
        axes.plot(rows["seconds"], rows["speed"], color=colour, label=label)
    _event(axes)
    axes.set(xlabel="Time from the change (s)", ylabel="Running speed (cm/s)")
    _legend(axes)


def heat_map_of_changes(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 32."""
    traces = np.array(answer["dff_trace"].to_list())
    image = axes.imshow(
        traces, aspect="auto", cmap="cividis", extent=(-1, 2, len(traces) + 0.5, 0.5)
    )
    axes.axvline(0, color="white", linewidth=0.8, linestyle=":")
    axes.figure.colorbar(image, label="dF/F")
    axes.set(xlabel="Time from the change (s)", ylabel="Cell")


def same_cells_over_sessions(axes: Axes, answer: pl.DataFrame) -> None:
    """Recipe 34."""
    for colour, ((line,), rows) in zip(
        COLOURS, answer.group_by("cre_line", maintain_order=True), strict=False
    ):
        axes.plot(rows["familiar"], rows["novel"], "o", color=colour, label=f"{line}")
    axes.axline((0, 0), slope=1, color=_TEXT, linewidth=0.8, linestyle=":")
    axes.set(xlabel="dF/F after changes, familiar", ylabel="dF/F after changes, novel")
    _legend(axes)


PLOTS: dict[int, Callable[[Axes, Any], None]] = {
    2: dprime_over_sessions,
    3: running_around_licks,
    4: pupil_around_changes,
    5: dff_around_omissions,
    9: rois_on_the_projection,
    10: correlation_of_cells,
    22: trace_of_a_cell,
    29: licks_around_changes,
    30: distribution_of_latencies,
    31: running_around_changes,
    32: heat_map_of_changes,
    34: same_cells_over_sessions,
}
