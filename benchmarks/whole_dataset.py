"""Estimates a whole build of the released dataset: what it takes, and what limits it.

    python -m benchmarks.whole_dataset --work /tmp/bench --tables DIR \
        --out benchmarks/results/whole_dataset.json

DIR holds the project tables of a release (`behavior_session_table.csv`,
`ophys_experiment_table.csv`; folder `project_metadata` of the bucket). By default they are those of
a synthetic release of the same size.

First, one file of each kind is converted from a loopback server with 30 ms per request: bytes,
processor seconds, and the seconds that it waits for answers when the link is no limit. One mouse is
published. Then every file of the release takes that long in a simulation: files in flight share the
link and the cores, their order is that of an ingest, and mice are published one after the other.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.fetch import counted, served
from benchmarks.harness import argument_parser, python, run_once, run_repeated, table, write_json
from benchmarks.sample import BUCKET_HELP, many_files_lake, sample_bucket

_LATENCY_S = 0.03
_KINDS = {
    "behavior": "behaviour file",
    "experiment, small": "mesoscope plane",
    "experiment, large": "scientifica plane",
}
"""Names of the measured files, and what they stand for."""


@dataclass(frozen=True)
class Cost:
    """What a file of one kind costs.

    Attributes:
        file_mb: size of the file.
        fetched_mb: of which are fetched.
        cpu_s: processor seconds, fetching included.
        wait_s: seconds that no byte comes and nothing is computed, at `_LATENCY_S` per request.
    """

    file_mb: float
    fetched_mb: float
    cpu_s: float
    wait_s: float


@dataclass(frozen=True)
class Place:
    """Where a build runs.

    Attributes:
        link: bytes per second of all workers together.
        cores: processor cores.
        workers: files in flight.
        latency_s: seconds to the first byte of a request.
    """

    link: float
    cores: int
    workers: int
    latency_s: float


PLACES = {
    "laptop: 4 cores, 100 Mbit/s": Place(12.5e6, 4, 4, 0.06),
    "server: 32 cores, 10 Gbit/s": Place(1.25e9, 32, 32, 0.03),
    "50 workers near the bucket, 1 Gbit/s each": Place(50 * 125e6, 50, 50, 0.005),
}


# --- measuring ------------------------------------------------------------------------------------

_PUBLISH = """
import json, sys, time
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.no_pandas import refuse_pandas
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec

if __name__ == "__main__":
    refuse_pandas()
    def prepared():
        return prepare(IngestRequest(SourceSpec(sys.argv[1]), sys.argv[2], force=True))
    ingest(prepared())
    # Again, as a mouse that brings a table's first file waits for the catalog. So does the first.
    converted = {}
    def file_done(result):
        converted.setdefault(result.task.mouse_id, []).append(time.perf_counter())
    def published(report):
        files = converted[report.mouse_id]
        print(json.dumps({"publish_s": (time.perf_counter() - files[-1]) / len(files)}))
    ingest(prepared(), on_file=file_done, on_mouse=published)
"""


def measured_costs(bucket: Path, work: Path, repeats: int) -> dict[str, Cost]:
    """Converts a file of each kind from a server; the link is no limit."""
    run, where = "benchmarks.fetch_run", ("--work", work)
    files = run_once(python(run, "prepare", "--bucket", bucket, *where)).facts["files"]
    costs: dict[str, Cost] = {}

    def before(_: str) -> None:
        shutil.rmtree(work / "output", ignore_errors=True)

    with served(bucket, _LATENCY_S, 1e9) as url:
        for file in files:
            name, command = file["name"], python(run, "ingest", "--task", file["task"])
            commands = {name: [*command, "--url", url, "--work", str(work)]}
            found = run_repeated(commands, repeats, before=before)[name]
            counted(url)
            cpu, seconds = found.fact("cpu_s"), found.fact("seconds")
            moved = found.fact("bytes_fetched") / 1e6
            costs[name] = Cost(file["bytes"] / 1e6, moved, cpu, max(0.0, seconds - cpu))
    shutil.rmtree(work / "output", ignore_errors=True)
    return costs


def publishing_seconds(bucket: Path, work: Path) -> float:
    """Seconds that a mouse's tables and files take to be put into the lake, per NWB file."""
    lake, script = work / "published", work / "publish.py"
    script.write_text(_PUBLISH)
    found = run_once([sys.executable, str(script), str(bucket), str(lake)])
    shutil.rmtree(lake)
    return float(found.facts["publish_s"])


# --- simulating -----------------------------------------------------------------------------------


def files_of(tables: Path) -> list[list[str]]:
    """The kinds of the files of each mouse, in the order of an ingest."""
    mice: dict[str, list[str]] = {}
    with (tables / "behavior_session_table.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["ophys_session_id"]:
                mice.setdefault(row["mouse_id"], []).append("behavior")
    with (tables / "ophys_experiment_table.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            small = row["equipment_name"].startswith("MESO")
            kind = "experiment, small" if small else "experiment, large"
            mice.setdefault(row["mouse_id"], []).append(kind)
    order = list(_KINDS)
    in_mouse = [sorted(kinds, key=order.index, reverse=True) for kinds in mice.values()]
    return sorted(in_mouse, key=lambda kinds: -order.index(kinds[0]))


@dataclass
class _Work:
    """A file in flight: what is left of its waiting, its bytes, and its processor time."""

    mouse: int
    wait_s: float
    bytes: float
    cpu_s: float


def simulate(
    mice: Sequence[Sequence[str]], costs: Mapping[str, Cost], publish_s: float, place: Place
) -> float:
    """Seconds of a build.

    Each file first waits, then is fetched, then converted: a worker does not compute while it
    fetches. All that are fetched share the link equally, all that are converted the cores.
    """
    waits = place.latency_s / _LATENCY_S
    queue = [
        _Work(mouse, c.wait_s * waits, c.fetched_mb * 1e6, c.cpu_s)
        for mouse, kinds in enumerate(mice)
        for c in (costs[kind] for kind in kinds)
    ]
    left = [len(kinds) for kinds in mice]
    queue.reverse()
    flying: list[_Work] = []
    now = published = 0.0
    while queue or flying:
        while queue and len(flying) < place.workers:
            flying.append(queue.pop())
        waiting = [f for f in flying if f.wait_s > 0]
        fetching = [f for f in flying if f.wait_s <= 0 < f.bytes]
        computing = [f for f in flying if f.wait_s <= 0 and f.bytes <= 0]
        rate = place.link / max(1, len(fetching))
        speed = min(1.0, place.cores / max(1, len(computing)))
        step = min(
            *(f.wait_s for f in waiting),
            *(f.bytes / rate for f in fetching),
            *(f.cpu_s / speed for f in computing),
            float("inf"),
        )
        now += step
        for f in waiting:
            f.wait_s = f.wait_s - step if f.wait_s > step else 0.0
        for f in fetching:
            f.bytes = f.bytes - rate * step if f.bytes > rate * step * (1 + 1e-12) else 0.0
        for f in computing:
            f.cpu_s -= speed * step
            if f.cpu_s <= 1e-9:
                flying.remove(f)
                left[f.mouse] -= 1
                if not left[f.mouse]:
                    published = max(published, now) + publish_s * len(mice[f.mouse])
    return max(now, published)


def rows_of(
    mice: Sequence[Sequence[str]], costs: Mapping[str, Cost], publish_s: float
) -> list[dict[str, Any]]:
    """Returns a row per place: hours of a build, and the least that each part takes alone."""
    every = [costs[kind] for kinds in mice for kind in kinds]
    bytes_, cpu_s = sum(c.fetched_mb * 1e6 for c in every), sum(c.cpu_s for c in every)
    rows: list[dict[str, Any]] = []
    for name, place in PLACES.items():
        least = {
            "link": bytes_ / place.link,
            "processors": cpu_s / place.cores,
            "publishing": publish_s * len(every),
        }
        took = simulate(mice, costs, publish_s, place)
        row: dict[str, Any] = {"where": name, "hours": took / 3600}
        row |= {f"{part} alone, hours": seconds / 3600 for part, seconds in least.items()}
        row["limit"] = max(least, key=lambda part: least[part])
        row["hours / the limit's"] = took / max(least.values())
        rows.append(row)
    return rows


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__, "folder for the bucket and for output")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument(
        "--tables", type=Path, metavar="DIR", help="project tables of a release [synthetic ones]"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, then simulates."""
    options = _options(arguments)
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    bucket: Path = (options.bucket or sample_bucket(work, 1)).resolve()
    tables = options.tables
    if tables is None:
        tables = many_files_lake(work)[1] / "visual-behavior-ophys" / "project_metadata"
    mice = files_of(tables)
    costs = measured_costs(bucket, work, options.repeats)
    publish_s = publishing_seconds(bucket, work)
    kinds = [
        {
            "file": _KINDS[name],
            "of the release": sum(of_mouse.count(name) for of_mouse in mice),
            "MB": c.file_mb,
            "fetched MB": c.fetched_mb,
            "processor s": c.cpu_s,
            "waiting s": c.wait_s,
        }
        for name, c in costs.items()
    ]
    rows = rows_of(mice, costs, publish_s)
    total = sum(costs[kind].fetched_mb for of_mouse in mice for kind in of_mouse) / 1e6
    note = f"{sum(map(len, mice)):,} files of {len(mice)} mice, {total:.2f} TB to move; " + (
        f"publishing takes {publish_s:.3f} s a file."
    )
    print(table(tuple(kinds[0]), [tuple(k.values()) for k in kinds]), "", note, "", sep="\n")
    print(table(tuple(rows[0]), [tuple(r.values()) for r in rows]))
    if options.out:
        more = {"kinds": kinds, "rows": rows, "note": note, "publish_s": publish_s}
        own = {"costs": {name: asdict(c) for name, c in costs.items()}}
        write_json(options.out, "whole_dataset", vars(options), {}, **more, **own)


if __name__ == "__main__":
    main()
