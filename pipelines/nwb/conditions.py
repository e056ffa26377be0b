"""The conditions of mean_responses, and the means of each cell over their presentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.nwb.windows import TIME_BASE, MeanTraces, recorded_around, response_windows
from schemas.casts import NDArray

TRACES = ("dff", "filtered_events")

_Group = tuple[str, str, bool | None, str | None]
"""Image, kind, engagement and outcome of a presentation. Groups do not overlap."""

_KIND_OF_OUTCOME = {
    "hit": "change",
    "miss": "change",
    "false alarm": "repeat",
    "correct reject": "repeat",
}


@dataclass(frozen=True)
class Condition:
    """Some presentations. A part that is None does not matter.

    Attributes:
        condition_set: the conditions of a set do not overlap.
        condition: name, unique.
    """

    condition_set: str
    condition: str
    image_name: str | None
    is_change: bool
    omitted: bool
    engaged: bool | None
    outcome: str | None


def _conditions_of(group: _Group) -> list[Condition]:
    """The conditions that a group belongs to.

    >>> [c.condition for c in _conditions_of(("im065", "change", False, "hit"))]
    ['change', 'im065 change', 'change disengaged', 'im065 change disengaged', 'hit']
    """
    image, kind, engaged, outcome = group
    images = [None] if kind == "omission" else [None, image]
    found: list[Condition] = []
    for state in [None] if engaged is None else [None, engaged]:
        for name in images:
            words = [name, kind, {None: None, True: "engaged", False: "disengaged"}[state]]
            of = "images" if name else "kinds"
            found.append(
                Condition(
                    of if state is None else f"{of} by engagement",
                    " ".join(word for word in words if word),
                    name,
                    kind == "change",
                    kind == "omission",
                    state,
                    None,
                )
            )
    if outcome is not None and kind == _KIND_OF_OUTCOME[outcome]:
        found.append(Condition("outcomes", outcome, None, kind == "change", False, None, outcome))
    return found


def _groups(
    shown: Mapping[str, NDArray | None], engaged: NDArray | None, outcomes: list[str | None]
) -> list[_Group | None]:
    """The group of each presentation; None for one without a name."""
    image_name, is_change, omitted = (shown[n] for n in ("image_name", "is_change", "omitted"))
    assert image_name is not None
    assert is_change is not None
    assert omitted is not None
    states = [np.nan] * len(image_name) if engaged is None else engaged.tolist()
    kinds = np.where(omitted == 1, "omission", np.where(is_change, "change", "repeat")).tolist()
    names = {0.0: False, 1.0: True}  # all else is not known
    return [
        (image, kind, names.get(state), outcome) if image else None
        for image, kind, state, outcome in zip(image_name, kinds, states, outcomes, strict=True)
    ]


class ConditionMeans:
    """Collects the means of all cells of a plane in each condition while its traces are read.

    Args:
        shown: columns of the presentations of the task.
        engaged: whether the mouse was engaged at each, NaN where that is not known; or None.
        outcomes: of the trial that each belongs to as its change or sham change; else None.
        times: of the frames, ascending, seconds.
        cells: number of cells of the plane.

    Attributes:
        conditions: by name, ascending.
        counts: presentations of each condition whose traces were recorded; may be 0.
        scalars: mean, standard error and mean baseline by trace, float32 of shape (3, n_cells,
            n_conditions); NaN where there is none.
        traces: mean traces by trace, float32 of shape (n_cells, n_conditions, n_times).
    """

    def __init__(
        self,
        shown: Mapping[str, NDArray | None],
        engaged: NDArray | None,
        outcomes: list[str | None],
        times: NDArray,
        cells: int,
    ) -> None:
        start = shown["start_time"]
        assert start is not None
        known = recorded_around(start, times)
        members: dict[_Group, list[int]] = {}
        for place, group in enumerate(_groups(shown, engaged, outcomes)):
            if group is not None:
                members.setdefault(group, []).append(place)
        groups = [np.array(places)[known[places]] for places in members.values()]
        groups_of: dict[Condition, list[int]] = {}
        for number, group in enumerate(members):
            for condition in _conditions_of(group):
                groups_of.setdefault(condition, []).append(number)
        self.conditions = sorted(groups_of, key=lambda c: c.condition)
        self._belongs = np.zeros((len(self.conditions), len(groups)))
        for belongs, condition in zip(self._belongs, self.conditions, strict=True):
            belongs[groups_of[condition]] = 1
        self._sizes = np.array([len(places) for places in groups], dtype=np.int64)
        self.counts = (self._belongs @ self._sizes).astype(np.int64)
        start = start[np.concatenate([np.empty(0, dtype=np.int64), *groups])]
        self._windows = response_windows(start, times, cells)
        self._mean_traces = MeanTraces(start, times, self._sizes)
        shape = (cells, len(self.conditions))
        self.scalars = {name: np.full((3, *shape), np.nan, np.float32) for name in TRACES}
        self.traces = {
            name: np.full((*shape, len(TIME_BASE)), np.nan, np.float32) for name in TRACES
        }

    def take(self, name: str, cells: NDArray, traces: NDArray) -> None:
        """Takes some cells.

        Args:
            name: of the trace.
            cells: their places.
            traces: shape (n_cells, n_frames).
        """
        if self._windows is None:
            return
        known = np.flatnonzero(self.counts)
        scalars = self._scalars(self._windows.of(traces))
        sums = np.tensordot(self._belongs[known], self._mean_traces.of(traces), 1)
        mean_traces = np.moveaxis(sums / self.counts[known, None, None], 2, 0)
        self.scalars[name][:, cells[:, None], known] = scalars[:, :, known]
        self.traces[name][cells[:, None], known] = mean_traces

    def _scalars(self, values: NDArray) -> NDArray:
        """Mean, standard error and mean baseline, shape (3, n_cells, n_conditions).

        Squared deviations in a condition follow from those in its groups: nothing cancels, and
        equal values have an error of 0.

        Args:
            values: responses and baselines, shape (2, n_cells, n_presentations).
        """
        some = self._sizes > 0
        sizes, belongs = self._sizes[some], self._belongs[:, some]
        firsts = np.cumsum(sizes) - sizes
        of_groups = np.add.reduceat(values, firsts, axis=2) / sizes
        mean, baseline = (of_groups * sizes) @ belongs.T / np.maximum(self.counts, 1)
        apart = (values[0] - np.repeat(of_groups[0], sizes, axis=1)) ** 2
        between = (of_groups[0][:, None] - mean[:, :, None]) ** 2 * sizes
        squares = np.add.reduceat(apart, firsts, axis=1) @ belongs.T
        squares += np.sum(between * belongs, axis=2)
        counts = np.where(self.counts > 1, self.counts, np.nan)
        return np.stack((mean, np.sqrt(squares / (counts - 1) / counts), baseline))

    def forget(self, name: str) -> None:
        """Takes back what was taken of a trace."""
        self.scalars[name][:] = np.nan
        self.traces[name][:] = np.nan
