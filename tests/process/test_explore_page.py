"""`vblake explore` in a browser, and the queries that it offers to copy.

Needs Chromium: that of the variable VBLAKE_CHROMIUM, else one on the PATH. Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from builders.command import start, vblake
from playwright.sync_api import Browser, Page, sync_playwright
from polars.testing import assert_frame_equal

import vblake as package
from vblake.explore import choices, session_queries, views
from vblake.explore.figures.style import LIGHT
from vblake.explore.query import Query
from vblake.explore.source import Source
from vblake.explore.state import VIEWS, State

CHROMIUM = os.environ.get("VBLAKE_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MS = 60_000
"""Longest wait for the page, on a machine that is busy with other things."""


# --- the queries ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(sample_lake: Path) -> Iterator[Source]:
    with package.open(sample_lake) as lake:
        yield Source(lake)


def all_queries(source: Source) -> dict[str, Query]:
    """The queries of every view, of an active, a passive and an unimaged session."""
    found: dict[str, Query] = {}
    rows = choices.recordings(source)
    passive = rows.filter(behavior_type="passive_viewing")["behavior_session_id"][0]
    training = rows.filter(pl.col("ophys_experiment_id").is_null())["behavior_session_id"][0]
    for session in (None, passive, training):
        for view in VIEWS:
            for time in (None, (300.0, 320.0)):
                for condition in ("change", "omission"):
                    state = State(view=view, session=session, time=time, condition=condition)
                    state, _ = choices.settled(source, state)
                    for query in views.show(source, state, LIGHT).queries:
                        found[query.sql] = query
    filters: dict[str, Any] = {
        "line": tuple(rows["cre_line"].unique()),
        "experience": ("Familiar",),
    }
    filters |= {"area": ("VISp", "VISl"), "depth": (0.0, 1000.0), "mouse": rows["mouse_id"][0]}
    found["filtered"] = session_queries.recordings(**filters)
    return found


def test_sql_and_polars_give_the_same_rows(source: Source) -> None:
    found = all_queries(source)
    titles = {query.title for query in found.values()}
    filled: set[str] = set()
    for query in found.values():
        names: dict[str, Any] = {}
        exec(query.program(source.name), names)
        in_sql = source.rows(query)
        assert_frame_equal(in_sql, names["rows"], check_exact=True)
        filled |= {query.title} if len(in_sql) else set()
    assert titles - filled == set(), "without rows, a query cannot be wrong"


# --- the command ---------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said(sample_lake: Path) -> None:
    with page_of(sample_lake) as address:
        port = address.rsplit(":", 1)[1].rstrip("/")
        done = vblake("explore", "--lake", sample_lake, "--port", port)
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be listened on (Address already in use)." in (
        done.stderr.decode()
    )


def test_on_another_address_a_token_is_made(sample_lake: Path) -> None:
    with page_of(sample_lake, "--host", "0.0.0.0") as address:
        found = re.fullmatch(r"http://0\.0\.0\.0:(\d+)/\?token=([\w-]{20,})", address)
        assert found
        here = f"http://127.0.0.1:{found[1]}/"
        for path in ("", "_dash-layout", "assets/explore.css"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(here + path)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(f"{here}?token={found[2]}") as answer:
            assert b"vblake" in answer.read()


class page_of:  # noqa: N801 - reads as a function
    """The address of the page of a lake, while the command runs."""

    def __init__(self, lake: Path, *options: str) -> None:
        self.started = start("explore", "--lake", lake, "--port", "0", *options)

    def __enter__(self) -> str:
        self.started.wait_for("http://")
        return self.started.said[-1].split()[0]

    def __exit__(self, *_: object) -> None:
        self.started.process.send_signal(signal.SIGINT)
        assert self.started.end(30) in (0, 130)


# --- the page ------------------------------------------------------------------------------------


@dataclass
class Seen:
    """A page in the browser, with what it has said and whom it has asked.

    Attributes:
        page: in Chromium.
        address: of the page.
        said: errors and warnings of its console.
        hosts: that were asked for something.
    """

    page: Page
    address: str
    said: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, query: str = "") -> None:
        self.page.goto(self.address + query)
        self.waits_for_marks("figure")

    def waits_for_marks(
        self, slot: str, marks: str = ".scatterlayer path, .heatmaplayer image"
    ) -> None:
        """Waits until something is drawn in a figure."""
        self.page.wait_for_selector(f"#{slot} :is({marks})", state="attached")

    def waits_for_url(self, part: str) -> None:
        self.page.wait_for_function(
            "part => decodeURIComponent(location.search).includes(part)", arg=part
        )

    def choose(self, list_: str, label: str) -> None:
        """Chooses an item of a list."""
        self.page.click(f"#{list_}")
        self.page.locator(".dash-dropdown-option", has_text=label).first.click()


@pytest.fixture(scope="module")
def address(sample_lake: Path) -> Iterator[str]:
    with page_of(sample_lake) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("There is no Chromium on the PATH. Name one in VBLAKE_CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def seen(browser: Browser, address: str) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(MS)
    seen = Seen(page, address)
    page.on(
        "console", lambda m: seen.said.append(m.text) if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    page.on("request", lambda request: seen.hosts.add(request.url.split("/")[2]))
    yield seen
    context.close()
    assert seen.said == []
    assert {host.partition(":")[0] for host in seen.hosts if host} == {"127.0.0.1"}


def test_load_choose_click_a_cell_and_open_the_link_again(seen: Seen, browser: Browser) -> None:
    seen.open()
    assert "Mouse" in seen.page.inner_text("#title")
    assert seen.page.inner_text(".badge") == "synthetic data, not a recording"
    seen.page.get_by_text("Plane", exact=True).first.click()
    seen.waits_for_url("view=plane")
    for slot in ("picture", "figure", "more"):
        seen.waits_for_marks(slot)
    before = re.search(r"cell=(\d+)", seen.page.url)
    assert before
    # Where a cell is that is not chosen yet: the middle of a run of its pixels.
    x, y, cell = seen.page.evaluate(
        """chosen => {
            const plot = document.querySelector('#picture .js-plotly-plot');
            const heat = plot.calcdata.at(-1)[0], {xaxis, yaxis} = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            for (let r = 0; r < heat.z.length; r++) for (let c = 1; c < heat.z[r].length; c++) {
                const z = heat.z[r][c];
                if (z > 0 && z !== chosen && heat.z[r][c - 1] === z)
                    return [box.x + xaxis._offset + xaxis.l2p(2 * c + 1),
                            box.y + yaxis._offset + yaxis.l2p(2 * r + 1), z];
            }
        }""",
        int(before[1]),
    )
    seen.page.mouse.move(x - 2, y)
    seen.page.mouse.move(x, y)
    # A click counts for what Plotly has found under the pointer, which takes it a moment.
    seen.page.wait_for_function("document.querySelector('#picture .js-plotly-plot')._hoverdata")
    seen.page.mouse.click(x, y)
    seen.waits_for_url(f"cell={cell}")
    seen.waits_for_marks("more")
    link, title = seen.page.url, seen.page.inner_text("#title")
    seen.page.goto("about:blank")
    seen.page.goto(link)
    seen.waits_for_marks("more")
    assert (seen.page.url, seen.page.inner_text("#title")) == (link, title)


@pytest.mark.parametrize("view", ["trials", "training", "cell", "population"])
def test_each_view_draws_marks_in_light_and_dark(seen: Seen, view: str) -> None:
    seen.open(f"?view={view}")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = seen.page.evaluate(ground)
    seen.page.click("#theme-button")
    seen.page.wait_for_function(f"{ground} !== {before!r}")
    seen.waits_for_marks("figure")


def test_filters_zoom_and_the_way_back(seen: Seen) -> None:
    seen.open()
    seen.choose("experience", "Training")
    seen.waits_for_url("experience=Training")
    seen.page.wait_for_function(
        "document.title && document.querySelector('#title').textContent.includes('TRAINING')"
    )
    seen.page.go_back()
    seen.page.wait_for_function(
        "!document.querySelector('#title').textContent.includes('TRAINING')"
    )
    box = seen.page.locator("#figure .nsewdrag").first.bounding_box()
    assert box
    seen.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 20)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20, steps=5)
    seen.page.mouse.up()
    seen.waits_for_url("time=")
    seen.page.click("#whole")
    seen.page.wait_for_function("!location.search.includes('time=')")


def test_figures_are_saved_and_the_query_that_is_shown_runs(seen: Seen, sample_lake: Path) -> None:
    seen.open("?view=population")
    for name, begin in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with seen.page.expect_download() as saved:
            seen.page.locator("#figure-card").get_by_text(name, exact=True).click()
        assert Path(saved.value.path()).read_bytes().startswith(begin)
        assert saved.value.suggested_filename.startswith("vblake-Mouse-")
    seen.page.click(".queries summary")
    done = vblake("sql", "--lake", sample_lake, "--format", "csv", seen.page.inner_text("#sql-0"))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
