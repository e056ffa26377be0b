"""What the reader recomputes of stimulus presentations, against loops row by row (docs/formulas.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from builders.nwb import NAN
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nwb.presentations import active_rows, flashes_since_change, is_change, sham_changes
from pipelines.nwb.presentations import trials_of as trials_of_rows
from pipelines.nwb.trials import Trials
from schemas.casts import Ragged

Names = list[str | None]
Omitted = list[bool | None]


def change_by_loop(names: Names, omitted: Omitted) -> list[bool]:
    out = [False] * len(names)
    before: str | None = None
    considered = 0
    for i, (name, left_out) in enumerate(zip(names, omitted, strict=True)):
        if left_out is not False:
            continue
        # A missing name differs from every name, as NaN does.
        out[i] = considered > 0 and (name is None or name != before)
        before = name
        considered += 1
    return out


def flashes_by_loop(names: Names, omitted: Omitted, change: list[bool]) -> list[int]:
    out = [0] * len(names)
    for i, name in enumerate(names):
        if omitted[i] is True or name == "omitted":
            out[i] = out[i - 1]
        elif change[i] or i == 0:
            out[i] = 0
        else:
            out[i] = out[i - 1] + 1
    return out


ROW = st.tuples(
    st.sampled_from(["a", "b", "c", "", "omitted", None]),
    st.sampled_from([True, False, False, False, None]),
)


@given(st.lists(ROW, max_size=40))
def test_changes_and_flashes_are_those_of_a_loop(
    rows: list[tuple[str | None, bool | None]],
) -> None:
    names, omitted = [n for n, _ in rows], [o for _, o in rows]
    texts = np.empty(len(rows), dtype=object)
    texts[:] = names
    numbers = np.array([NAN if o is None else float(o) for o in omitted])
    change = is_change(texts, numbers)
    assert change.tolist() == change_by_loop(names, omitted)
    assert flashes_since_change(texts, numbers, change).tolist() == flashes_by_loop(
        names, omitted, change.tolist()
    )


TIMES = st.integers(0, 30).map(lambda i: i / 2)


def as_trials(
    ids: list[int], spans: list[tuple[float, float]], catch: list[bool], frames: list[int]
) -> Trials:
    return Trials(
        {
            "trials_id": np.array(ids),
            "start_time": np.array([s for s, _ in spans]),
            "stop_time": np.array([e for _, e in spans]),
            "catch": np.array(catch),
            "change_frame": np.array([NAN if f == -99 else f for f in frames], dtype=np.float64),
        },
        Ragged(np.empty(0), np.zeros(len(ids) + 1, dtype=np.int64)),
        len(ids),
    )


@st.composite
def sessions(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 8))
    count = draw(st.integers(0, 20))
    return {
        "ids": draw(st.lists(st.integers(0, 300), min_size=n, max_size=n, unique=True)),
        "spans": draw(st.lists(st.tuples(TIMES, TIMES), min_size=n, max_size=n)),
        "catch": draw(st.lists(st.booleans(), min_size=n, max_size=n)),
        "frames": draw(st.lists(st.sampled_from([-99, 1, 2, 3, 4, 5, 6]), min_size=n, max_size=n)),
        "start": sorted(draw(st.lists(TIMES, min_size=count, max_size=count))),
        "named": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        "block": draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)),
        "start_frame": draw(st.lists(st.integers(1, 6), min_size=count, max_size=count)),
    }


@given(sessions())
def test_trials_of_presentations_are_those_of_a_loop(session: dict[str, Any]) -> None:
    trials_table = as_trials(session["ids"], session["spans"], session["catch"], session["frames"])
    start, named = np.array(session["start"], dtype=float), np.array(session["named"], dtype=bool)
    count = len(start)
    first, last = min(s for s, _ in session["spans"]), max(e for _, e in session["spans"])

    ids = [-99] * count
    for trial, (begin, _) in zip(session["ids"], session["spans"], strict=True):
        for i in range(count):
            if start[i] > begin and start[i] < last and named[i]:
                ids[i] = trial
    assert trials_of_rows(start, named, trials_table).tolist() == ids

    active = [bool(first < start[i] < last and named[i]) for i in range(count)]
    assert active_rows(start, named, None, trials_table).tolist() == active
    blocks = {session["block"][i] for i in range(count) if active[i]}
    whole = [b in blocks for b in session["block"]]
    block = np.array(session["block"], dtype=int)
    assert active_rows(start, named, block, trials_table).tolist() == whole

    table = zip(session["ids"], session["catch"], session["frames"], strict=True)
    frames = {frame for trial, catch, frame in table if catch and trial in ids}
    sham = [f in frames for f in session["start_frame"]]
    start_frame = np.array(session["start_frame"], dtype=int)
    assert sham_changes(start_frame, np.array(ids, dtype=int), trials_table).tolist() == sham
