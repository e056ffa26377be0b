"""How long the page of `vblake explore` takes to answer, in headless Chromium.

python -m benchmarks.explore LAKE [--rounds 5]

Each figure is the median of the rounds, from the click to the frame in which the new figure is
seen. The second is the processor time of the server for it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

CHROMIUM = os.environ.get("VBLAKE_CHROMIUM") or shutil.which("chromium")
DRAWN = """before => {
    const plots = [...document.querySelectorAll('.card:not([style*="none"]) .js-plotly-plot')];
    return location.search !== before && plots.length
        && plots.every(p => p._fullLayout && p._fullLayout.uirevision === location.search);
}"""
FRAME = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
CELLS = """chosen => {
    const plot = document.querySelector('#picture .js-plotly-plot');
    const heat = plot.calcdata.at(-1)[0], {xaxis, yaxis} = plot._fullLayout;
    const box = plot.getBoundingClientRect(), found = {};
    heat.z.forEach((row, r) => row.forEach((z, c) => {
        if (z > 0 && z !== chosen)
            (found[z] ??= []).push([box.x + xaxis._offset + xaxis.l2p(2 * c + 1),
                                    box.y + yaxis._offset + yaxis.l2p(2 * r + 1)]);
    }));
    return Object.values(found).map(pixels => pixels[pixels.length >> 1]);
}"""
"""Where in the window each cell of the plane is, but for the one that is chosen."""


class Server:
    """The command, on a lake."""

    def __init__(self, lake: Path) -> None:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "assets", "explore", "--lake", str(lake), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[0]
        self.start_s = time.perf_counter() - begin

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def browser_cpu_s() -> float:
    """Processor time of the Chromium that this process has started, so far."""
    parents: dict[int, tuple[int, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        ticks = int(fields[11]) + int(fields[12])
        parents[int(stat.parent.name)] = int(fields[1]), ticks / os.sysconf("SC_CLK_TCK")
    total = 0.0
    for process, (_, seconds) in parents.items():
        above = process
        while above in parents and above != os.getpid():
            above = parents[above][0]
        is_chromium = "chrom" in Path(f"/proc/{process}/cmdline").read_text() if above else False
        total += seconds if is_chromium else 0.0
    return total


class Table:
    """What was measured."""

    def __init__(self, server: Server, page: Page) -> None:
        self.server, self.page = server, page
        self.seconds: dict[str, list[tuple[float, float, float]]] = {}

    def measure(self, name: str, act: Callable[[], object]) -> None:
        """Measures an interaction, to the frame in which its figures are seen."""
        before = self.page.evaluate("location.search")
        cpu, browser = self.server.cpu_s(), browser_cpu_s()
        begin = time.perf_counter()
        act()
        try:
            self.page.wait_for_function(DRAWN, arg=before, timeout=15_000)
        except Error as error:
            raise SystemExit(f"{name}: nothing new was drawn; {self.page.url}") from error
        self.page.evaluate(FRAME)
        seconds = time.perf_counter() - begin
        used = self.server.cpu_s() - cpu, browser_cpu_s() - browser
        self.seconds.setdefault(name, []).append((seconds, *used))

    def show(self) -> None:
        """Prints the medians."""
        print(f"\nload average {os.getloadavg()[0]:.1f}\n")
        print("| interaction | s | slowest | processor s, server | browser |")
        print("|---|---|---|---|---|")
        for name, found in self.seconds.items():
            wall, server, browser = zip(*found, strict=True)
            figures = statistics.median(wall), max(wall), *map(statistics.median, (server, browser))
            print(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")


def view(page: Page, name: str) -> Callable[[], object]:
    """Chooses a view."""
    return lambda: page.locator("#view").get_by_text(name, exact=True).click()


def choose(page: Page, list_: str, number: int) -> None:
    """Chooses an item of a list."""
    page.click(f"#{list_}")
    page.locator(".dash-dropdown-option").nth(number).click()


def zoom(page: Page, begin: float, end: float) -> Callable[[], object]:
    """Drags over a part of the first figure."""

    def drag() -> None:
        box = page.locator("#figure .nsewdrag").first.bounding_box()
        assert box
        y = box["y"] + 30
        page.mouse.move(box["x"] + box["width"] * begin, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * end, y, steps=2)
        page.mouse.up()

    return drag


def one_round(table: Table, page: Page, number: int) -> None:
    """All interactions once, each after the other."""
    table.measure("zoom into a tenth", zoom(page, 0.4, 0.5))
    table.measure("zoom in again", zoom(page, 0.4, 0.5))
    table.measure("whole session", lambda: page.click("#whole"))
    table.measure("trials", view(page, "Trials"))
    table.measure("training", view(page, "Training"))
    table.measure("population", view(page, "Population"))
    table.measure("plane", view(page, "Plane"))
    chosen = re.search(r"cell=(\d+)", page.url)
    cells = page.evaluate(CELLS, int(chosen[1]) if chosen else 0)
    x, y = cells[(7 * number + 3) % len(cells)]
    for _ in range(100):  # nobody clicks before the hover text appears
        page.mouse.move(x - 2, y)
        page.mouse.move(x, y)
        page.wait_for_timeout(50)
        if page.locator("#picture .hovertext").count():
            break
    table.measure("click a cell", lambda: page.mouse.click(x, y))
    table.measure("zoom its trace", zoom(page, 0.4, 0.5))
    table.measure("cell across sessions", view(page, "Cell across sessions"))
    table.measure("session", view(page, "Session"))
    table.measure("another session", lambda: choose(page, "session", 0))
    table.measure("another experience level", lambda: choose(page, "experience", 0))
    page.keyboard.press("Escape")
    page.goto(table.server.address)
    page.wait_for_function(DRAWN, arg="-", timeout=60_000)


def main() -> None:
    """Measures a lake and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    server = Server(given.lake)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM)
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            table = Table(server, page)
            print(f"start of the command {server.start_s:.1f} s")
            page.goto("about:blank")
            table.measure("load, browser cold", lambda: page.goto(server.address))
            for number in range(given.rounds):
                one_round(table, page, number)
                page.goto("about:blank")
                table.measure("load, browser warm", lambda: page.goto(server.address))
            table.show()
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
            print(f"\nserver: {peak / 1024:.0f} MB at most")
            browser.close()
    finally:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
