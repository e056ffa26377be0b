"""The picture of the README: half a minute of a session, each panel from a table of the lake.

python -m docs.site.picture demo/lake > docs/images/session.svg
"""

from __future__ import annotations

import io
import sys

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vblake
from docs.site.plots import BLUE, GREEN, ORANGE

SESSION, EXPERIMENT = 802082008, 802088043
BEGIN, END = 304, 334
"""Seconds on the clock of the session; ids and times are those of the lake of `make demo`."""

_FLASHES = """
SELECT start_time, duration, is_change FROM stimulus_presentations
WHERE behavior_session_id = $session AND NOT omitted AND start_time BETWEEN $begin AND $end
"""
_SIGNALS = {
    "running_speed": ("cm/s", "SELECT timestamps, speed FROM running_speed"),
    "eye_tracking": ("pupil, px²", "SELECT timestamps, pupil_area FROM eye_tracking"),
}
_IN_VIEW = """
WHERE behavior_session_id = $session AND timestamps BETWEEN $begin AND $end ORDER BY timestamps
"""
_TRACES = """
SELECT cell_roi_id, list(timestamps ORDER BY frame), list(dff ORDER BY frame)
FROM dff_traces_long
WHERE behavior_session_id = $session AND ophys_experiment_id = $experiment
    AND timestamps BETWEEN $begin AND $end
GROUP BY cell_roi_id ORDER BY cell_roi_id LIMIT 4
"""


def _label(axes: Axes, table: str, unit: str) -> None:
    axes.set_ylabel(f"{table}\n{unit}", rotation=0, ha="right", va="center", family="monospace")
    axes.spines[["top", "right"]].set_visible(False)


def _draw(panels: list[Axes], lake: vblake.Lake) -> None:
    place = {"session": SESSION, "begin": BEGIN, "end": END}
    events, *signals, cells = panels
    for start, duration, change in lake.sql(_FLASHES, params=place).fetchall():
        colour, alpha = (ORANGE, 0.7) if change else ("#888888", 0.2)
        for panel in panels:
            panel.axvspan(start, start + duration, color=colour, alpha=alpha, linewidth=0)
    for height, table, colour in ((1, "licks", "black"), (0, "rewards", BLUE)):
        query = f"SELECT timestamps FROM {table} {_IN_VIEW}"
        times = [time for (time,) in lake.sql(query, params=place).fetchall()]
        events.plot(times, [height] * len(times), "|", color=colour, markersize=11, mew=1.4)
    events.set(yticks=[0, 1], yticklabels=["rewards", "licks"], ylim=(-0.6, 1.6))
    events.spines[["top", "right"]].set_visible(False)
    for panel, (table, (unit, query)) in zip(signals, _SIGNALS.items(), strict=True):
        times, values = zip(*lake.sql(query + _IN_VIEW, params=place).fetchall(), strict=True)
        panel.plot(times, values, color=BLUE, linewidth=1.1)
        _label(panel, table, unit)
    rows = lake.sql(_TRACES, params=place | {"experiment": EXPERIMENT}).fetchall()
    for offset, (_, times, dff) in enumerate(rows):
        cells.plot(times, [value + offset for value in dff], color=GREEN, linewidth=0.9)
    _label(cells, "dff_traces", "4 cells, dF/F + n")
    cells.set(xlim=(BEGIN, END), xlabel="Time in the session (s)")


def picture(lake: vblake.Lake) -> str:
    """Returns the picture as SVG on a white ground."""
    style = {"svg.hashsalt": "vblake", "font.size": 10, "svg.fonttype": "none"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9.6, 5.2), layout="constrained")
        axes = figure.subplots(4, sharex=True, height_ratios=(1, 1.4, 1.4, 3))
        axes[0].set_title(
            "Flashes (gray), changes of the image (orange), a gap: an omission", fontsize=10
        )
        _draw(list(axes), lake)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


if __name__ == "__main__":
    with vblake.open(sys.argv[1]) as opened:
        sys.stdout.write(picture(opened))
