"""Puts the tables of the JSON files into docs/performance.md: `python -m benchmarks.report
[RESULTS]`.

The page has a pair of comments for each generated part, `<!-- begin NAME -->` and `<!-- end NAME
-->`. The text between them is replaced. Parts without a JSON file stay unchanged. `--run` runs the
benchmarks first.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, python, table

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
BENCHMARKS = (
    *("convert", "derived", "encodings", "scale", "large_plane", "add_session", "many_files"),
    *("query", "questions"),
)
"""The benchmarks that `--run` runs; JSON files of others are shown if present."""

_KINDS = {"behavior": "behaviour", "mesoscope": "mesoscope", "scientifica": "scientifica"}

Result = dict[str, Any]


def _when(result: Result) -> str:
    machine = result["machine"]
    load = ", ".join(map(str, machine["load"]))
    return (
        f"Measured {machine['when'][:10]} at commit {machine['commit']} on "
        f"{machine['cores']} cores ({machine['processor']}, {machine['memory_gb']} GB), "
        f"Python {machine['python']}; "
        f"load average at the end of the run {load}."
    )


def _verdicts(result: Result) -> str:
    return table(("against the targets", "measured", "target", "met"), result["verdicts"])


def convert_part(result: Result) -> str:
    """Shows seconds, memory and size by file, then the ratios."""
    settings = result["settings"]
    parts = [
        _when(result),
        f"Medians of {settings['repeats']} processes (floor) and {settings['peer_repeats']} "
        "(peers), in turn.",
    ]
    for group, title in (("floor", "against the floor"), ("peers", "against what else there is")):
        rows = [r for r in result["rows"] if r["group"] == group]
        if not rows:
            continue
        columns = ("wall_s", "cpu_s", "after_imports_s", "peak_mb", "parquet_mb")
        sizes = settings["files"]
        lines = [
            [f"{_KINDS[r['file']]}, {sizes[r['file']]:.0f} MB", r["what"], *(r[c] for c in columns)]
            for r in rows
        ]
        parts.append(
            table(
                (title, "by", "s", "processor s", "s after imports", "peak MB", "Parquet MB"), lines
            )
        )
    parts.append(_verdicts(result))
    if result.get("peers"):
        parts.append(
            "Versions: "
            + "; ".join(f"{name}: {text}" for name, text in result["peers"].items())
            + "."
        )
    parts += [f"{name}: {why}." for name, why in result.get("skipped", {}).items()]
    return "\n\n".join(parts)


def scale_part(result: Result) -> str:
    """Shows seconds and memory by number of files and workers."""
    names = ("run", "file_mb", "wall_s", "cpu_s", "mb_per_s", "peak_mb")
    rows = [[r[n] for n in names] for r in result["rows"]]
    headings = ("ingest of", "file MB", "s", "processor s", "MB/s", "peak MB")
    return "\n\n".join((_when(result), table(headings, rows), _verdicts(result), _most(result)))


def _most(result: Result) -> str:
    """Shows the time of two workers if both cores were always busy with one worker's work."""
    lines = [
        [
            r["run"].replace(", 1 worker", ""),
            r["wall_s"],
            r["cpu_s"] / 2,
            2 * r["wall_s"] / r["cpu_s"],
        ]
        for r in result["rows"]
        if ", 1 worker" in r["run"] and " files" in r["run"] and "server" not in r["run"]
    ]
    return table(
        ("two workers at the most", "s of one worker", "half its processor s", "ratio"), lines
    )


def query_part(result: Result) -> str:
    """Shows seconds by query and engine."""
    parts = [_when(result)]
    for title, engines in (
        ("small tables at full size, s", ("catalog", "glob", "polars", "catalog cold")),
        ("traces, s", ("sql", "numpy")),
    ):
        rows = [r for r in result["rows"] if any(e in r for e in engines)]
        parts.append(table((title, *engines), [[r["query"], *map(r.get, engines)] for r in rows]))
    return "\n\n".join((*parts, _verdicts(result)))


def fetch_part(result: Result) -> str:
    """Shows seconds, requests and bytes by file and way, then the ratios."""
    rows = []
    for name, found in result["samples"].items():
        seconds = statistics.median(float(run["facts"]["seconds"]) for run in found["runs"])
        counts = result["counts"][name]
        rows.append(
            [
                *name.split(": "),
                seconds,
                counts["requests"],
                counts["bytes"] / 1e6,
                found["median"]["peak_mb"],
            ]
        )
    ratios = [
        [file, what, value] for file, own in result["ratios"].items() for what, value in own.items()
    ]
    settings = result["settings"]
    parts = [
        _when(result),
        f"{1000 * settings['latency']:.0f} ms per request, "
        f"{settings['bandwidth'] / 1e6:.0f} MB/s per connection.",
        table(("file", "way", "s", "requests", "MB moved", "peak MB"), rows),
        table(("file", "bytes moved by vblake over, or vblake against", "ratio"), ratios),
        table(("without delay, from", "processor s", "s", "peak MB"), result["costs"]),
        _verdicts(result),
    ]
    return "\n\n".join(parts)


def questions_part(result: Result) -> str:
    """Shows seconds and memory by question and lake."""
    rows = result["rows"]
    start = result["start_up"]
    return "\n\n".join(
        (
            _when(result),
            f"Imports and opening the lake took {start['start_s']:.2f} s and "
            f"{start['start_cpu_s']:.2f} processor seconds at the most, "
            f"AllenSDK's imports {start['sdk_cpu_s']:.2f} processor seconds.",
            table(tuple(rows[0]), [tuple(r.values()) for r in rows]),
            _verdicts(result),
        )
    )


def rows_part(result: Result) -> str:
    """Shows the printed table unchanged, then the verdicts."""
    rows = result["rows"]
    return "\n\n".join(
        (_when(result), table(tuple(rows[0]), [tuple(r.values()) for r in rows]), _verdicts(result))
    )


def network_part(result: Result) -> str:
    """Shows each link, one worker against two, and the verdicts."""
    tables = [result["rows"], result["two_against_one"]]
    shown = [table(tuple(rows[0]), [tuple(r.values()) for r in rows]) for rows in tables]
    return "\n\n".join((_when(result), *shown, _verdicts(result)))


def whole_dataset_part(result: Result) -> str:
    """Shows what a file of each kind costs, then each place."""
    kinds, rows = (
        table(tuple(rows[0]), [tuple(r.values()) for r in rows])
        for rows in (result["kinds"], result["rows"])
    )
    return "\n\n".join((_when(result), kinds, result["note"], rows))


def encodings_part(result: Result) -> str:
    """Shows what was tried, a row for each variant of a table, then two threads against one."""
    rows = result["rows"]
    shown = [tuple(r.values()) for r in rows]
    threads = [(name, found["one"], found["two"]) for name, found in result["threads"].items()]
    return "\n\n".join(
        (
            _when(result),
            table(tuple(rows[0]), shown),
            table(("ms on the clock", "one thread", "two"), threads),
        )
    )


PARTS: dict[str, Callable[[Result], str]] = {
    "convert": convert_part,
    "fetch": fetch_part,
    "scale": scale_part,
    "query": query_part,
    "questions": questions_part,
    "large_plane": rows_part,
    "derived": rows_part,
    "encodings": encodings_part,
    "add_session": rows_part,
    "many_files": rows_part,
    "network": network_part,
    "whole_dataset": whole_dataset_part,
}


def filled(page: str, results: dict[str, Result]) -> str:
    """Returns the page with the parts of these benchmarks replaced.

    Raises:
        ValueError: the page has no place for one of them.
    """
    for name, result in results.items():
        place = re.compile(
            rf"(<!-- begin {re.escape(name)} -->\n).*?(<!-- end {re.escape(name)} -->)", re.DOTALL
        )
        if not place.search(page):
            raise ValueError(f"{PAGE} has no <!-- begin {name} --> ... <!-- end {name} -->")
        text = PARTS[name](result)
        page = place.sub(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", page)
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    """Refreshes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results",
        nargs="?",
        type=Path,
        default=RESULTS,
        metavar="RESULTS",
        help="folder of the JSON files [%(default)s]",
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="WORK",
        help="first run " + ", ".join(BENCHMARKS) + " with this work folder",
    )
    options = parser.parse_args(arguments)
    if options.run:
        for name in BENCHMARKS:
            out = str(options.results / f"{name}.json")
            command = python(f"benchmarks.{name}", "--work", options.run, "--out", out)
            subprocess.run(command, cwd=ROOT, check=True)
    page = PAGE.read_text()
    places = set(re.findall(r"<!-- begin (\S+) -->", page))
    found = {
        p.stem: json.loads(p.read_text())
        for p in sorted(options.results.glob("*.json"))
        if p.stem in places & set(PARTS)
    }
    PAGE.write_text(filled(page, found))
    missing = ", ".join(sorted(places - set(found))) or "none"
    refreshed = ", ".join(found) or "nothing"
    print(f"{PAGE.relative_to(ROOT)}: refreshed {refreshed}; no results for {missing}")


if __name__ == "__main__":
    main()
