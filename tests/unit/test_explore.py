"""`vblake explore` without a browser: links, choices, what is drawn, and who may open it."""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from builders.lake import build_lake
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

import vblake
from vblake.explore import choices, views
from vblake.explore.app import changed
from vblake.explore.figures.style import DARK, LIGHT, gray_levels, gray_png, outlines, thinned
from vblake.explore.server import guard
from vblake.explore.source import Source
from vblake.explore.state import ALIGNED, IMAGES, MEASURES, VIEWS, State

NUMBERS = st.none() | st.integers(0, 10**15)
WORDS = st.text(st.characters(exclude_characters="|", codec="utf-8"), min_size=1)
LISTS = st.lists(WORDS, unique=True).map(lambda found: tuple(sorted(found)))
SPANS = st.none() | st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)).map(
    lambda pair: (pair[0] / 1000, (pair[0] + pair[1]) / 1000)
)
STATES = st.builds(
    State,
    view=st.sampled_from(sorted(VIEWS)),
    mouse=NUMBERS,
    line=LISTS,
    area=LISTS,
    depth=SPANS,
    experience=LISTS,
    session=NUMBERS,
    plane=NUMBERS,
    cell=NUMBERS,
    time=SPANS,
    align=st.sampled_from(sorted(ALIGNED)),
    image=st.sampled_from(sorted(IMAGES)),
    condition=WORDS,
    measure=st.sampled_from(sorted(MEASURES)),
)


@given(STATES)
def test_a_link_shows_again_what_was_shown(state: State) -> None:
    assert State.from_url(state.to_url()) == (state, [])


def test_a_link_that_means_nothing_is_explained_and_the_rest_is_shown() -> None:
    state, problems = State.from_url("?view=plan&session=7&time=9~3&colour=red")
    assert state == State(session=7)
    assert problems == [
        "The link has view=plan; view has to be one of session, trials, training, plane, cell, "
        "population.",
        "The link has time=9~3; time has to be two numbers with ~ between them, the smaller one "
        "first, e.g. 300~360.",
        "The link has colour=red, which this page does not know.",
    ]


def test_another_session_has_no_plane_cell_and_time_yet() -> None:
    state = State(session=1, plane=2, cell=3, time=(4.0, 5.0))
    assert state.with_(session=9) == State(session=9)
    assert state.with_(plane=8) == State(session=1, plane=8, time=(4.0, 5.0))
    assert state.with_(plane=2) == state


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=400), st.integers(1, 50))
def test_a_thinned_line_keeps_the_peaks_and_only_samples_that_there_are(
    values: list[float], columns: int
) -> None:
    times = np.arange(len(values), dtype=np.float64)
    all_values = np.array(values, dtype=np.float64)
    x, y = thinned(times, all_values, (-1.0, len(values) + 1.0), columns)
    assert np.all(np.diff(x) >= 0)
    assert len(x) <= 3 * columns + 2 * len(values) // max(columns, 1) + columns
    np.testing.assert_array_equal(y, all_values[x.astype(int)])
    if np.isfinite(all_values).any():
        assert (np.nanmin(y), np.nanmax(y)) == (np.nanmin(all_values), np.nanmax(all_values))


def test_an_outline_goes_around_the_pixels() -> None:
    x, y = outlines([np.array([5, 6])], 4)  # (1, 1) and (2, 1)
    edges = {frozenset([(x[i], y[i]), (x[i + 1], y[i + 1])]) for i in range(0, len(x), 3)}
    assert edges == {
        frozenset(pair)
        for pair in (
            [(1, 1), (2, 1)], [(2, 1), (3, 1)], [(1, 2), (2, 2)], [(2, 2), (3, 2)],
            [(1, 1), (1, 2)], [(3, 1), (3, 2)],
        )
    }  # fmt: skip


def test_an_image_becomes_a_png() -> None:
    levels = gray_levels(np.arange(12, dtype=np.float64).reshape(3, 4))
    assert (levels.min(), levels.max()) == (0, 255)
    png = b64decode(gray_png(levels).partition(",")[2])
    assert png.startswith(b"\x89PNG")
    rows = np.frombuffer(zlib.decompress(png[png.index(b"IDAT") + 4 :]), dtype=np.uint8)
    np.testing.assert_array_equal(rows.reshape(3, 5)[:, 1:], levels)


# --- a lake in which most is missing -------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """The hand-made lake: few tables, no images of planes."""
    folder = tmp_path_factory.mktemp("bare") / "lake"
    build_lake(folder)
    with vblake.open(folder) as lake:
        yield Source(lake)


def test_a_session_with_imaging_is_shown_first(bare: Source) -> None:
    assert choices.settled(bare, State()) == (State(session=1002, plane=3001), [])


def test_a_session_that_is_not_there_is_replaced_and_a_note_says_so(bare: Source) -> None:
    state, notes = choices.settled(bare, State(session=5))
    assert state.session == 1002
    assert notes == [
        "Session 5 is not among the sessions that the lake has and the filters leave, so another "
        "is shown."
    ]
    _, notes = choices.settled(bare, State(mouse=5))
    assert notes == ["No session in the lake has all that you filter for."]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("session", [1001, 1002])
@pytest.mark.parametrize("view", sorted(VIEWS))
def test_what_is_missing_is_said(bare: Source, view: str, session: int, theme: Any) -> None:
    state, _ = choices.settled(bare, State(view=view, session=session))
    shown = views.show(bare, state, theme)
    for figure in shown.figures.values():
        drawn = [trace for trace in figure["data"] if trace.get("x") or trace.get("z")]
        assert drawn or figure["layout"]["annotations"]
    if view in ("plane", "cell", "population") and session == 1001:
        (note,) = shown.figures["figure"]["layout"]["annotations"]
        assert note["text"].startswith("This session was not imaged.")


def test_a_choice_a_zoom_and_a_click_change_the_state(bare: Source) -> None:
    state = State(mouse=101, session=1002, plane=3001)
    chosen = {"mouse": None, "line": ["b", "a"], "session": None, "depth": [0, 1]}
    after = changed(state, [], {}, chosen, bare)
    assert after == State(line=("a", "b"), session=1002, plane=3001), "a session is never cleared"
    other = {"session": 1001, "plane": 3001}  # the list of planes still has the old one
    assert changed(state, ["session.value"], {}, other, bare) == State(mouse=101, session=1001)
    zoom = {"zoom.data": {"range": [-2, 3.25]}}
    assert changed(state, zoom, zoom, {}, bare).time == (0.0, 3.25)
    click = {"figure.clickData": {"points": [{"customdata": [1001, "TRAINING"]}]}}
    after = changed(State(view="training"), click, click, {}, bare)
    assert after == State(view="training", session=1001)


# --- who may open it -----------------------------------------------------------------------------


def client(host: str, token: str | None) -> Any:
    server = Flask("test")
    server.add_url_rule("/", view_func=lambda: "the page")
    guard(server, host, token)
    return server.test_client()


@pytest.mark.parametrize("host", ["localhost:8050", "127.0.0.1:8050", "[::1]:8050", "localhost"])
def test_on_loopback_this_machine_needs_no_token(host: str) -> None:
    answer = client("127.0.0.1", None).get("/", headers={"Host": host})
    assert (answer.status_code, answer.text) == (200, "the page")


def test_on_loopback_another_name_is_refused() -> None:
    answer = client("127.0.0.1", None).get("/", headers={"Host": "evil.example:8050"})
    assert answer.status_code == 403
    assert answer.text == "This page is for this machine only, and not known as evil.example.\n"


def test_elsewhere_the_token_opens_it_once_and_a_cookie_from_then_on() -> None:
    browser = client("0.0.0.0", "secret")
    refused = browser.get("/")
    assert refused.status_code == 403
    assert refused.text == (
        "This page needs its token. Open the address that `vblake explore` has printed.\n"
    )
    assert browser.get("/?token=wrong").status_code == 403
    answer = browser.get("/?token=secret&view=plane")
    assert (answer.status_code, answer.location) == (302, "/?view=plane")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert browser.get("/?view=plane").text == "the page"
