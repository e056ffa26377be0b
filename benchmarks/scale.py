"""Ingests 1, 2, 4, 8 and 16 files with 1 and 2 workers: speed, and memory by size and number of
files.

    python -m benchmarks.scale --work /tmp/bench --out results/scale.json

Each run is `vblake ingest` into a new lake. One and eight files also come from a loopback server
with 30 ms per request and 40 MB/s per connection (benchmarks/fetch.py); it works on the same cores.

The bucket comes from `vblake sample --scale real`, with enough mice for sixteen files. Peak memory
is that of the largest process, worker or parent; processor time is that of all processes
(benchmarks/watch.py).
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.fetch import served
from benchmarks.harness import (
    Sample,
    Samples,
    argument_parser,
    python,
    run_once,
    run_repeated,
    table,
    write_json,
)
from benchmarks.sample import BUCKET_HELP, sample_bucket
from benchmarks.verdict import Verdict, verdict_table
from benchmarks.watch import Watch

FILES = (1, 2, 4, 8, 16)
WORKERS = (1, 2)
_SPEED_UP = 1.8
_FLAT = 1.1
"""Bound of the peak memory of many files, as a ratio to the largest alone."""

_PEAK_MB = 400.0
_SERVED = ", from a server"

_LIST = """
import json, sys
from pipelines.prepare import prepare
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
found = prepare(IngestRequest(SourceSpec(sys.argv[1]), sys.argv[1] + "-no-lake")).todo
print(json.dumps({"files": [[t.kind.value, t.file_key, t.bytes] for t in found]}))
"""


def chosen_files(bucket: Path) -> list[tuple[str, int, int]]:
    """Returns kind, id and bytes of the files of a bucket, the largest first."""
    made = run_once([sys.executable, "-c", _LIST, str(bucket)])
    found: list[list[Any]] = made.facts["files"]
    return sorted(((str(k), int(i), int(b)) for k, i, b in found), key=lambda f: -f[2])


def ingest_command(
    bucket: Path,
    lake: Path,
    files: Sequence[tuple[str, int, int]],
    workers: int,
    *,
    url: str | None = None,
) -> list[str]:
    """Returns the command that ingests files of a bucket, from its folder or from a server."""
    experiments = ", ".join(str(i) for kind, i, _ in files if kind == "ophys_experiment") or "-1"
    sessions = ", ".join(str(i) for kind, i, _ in files if kind == "behavior_session") or "-1"
    # A behaviour file has no experiment id; in the table of the expression it is NULL.
    where = (
        f"ophys_experiment_id IN ({experiments}) "
        f"OR (ophys_experiment_id IS NULL AND behavior_session_id IN ({sessions}))"
    )
    source = ["--source", str(bucket)] if url is None else ["--endpoint-url", url]
    options = ("--lake", lake, "--where", where, "--workers", workers)
    return python("assets", "ingest", *source, *options)


def _name(count: int, workers: int, suffix: str = "") -> str:
    return f"{count} file{'s' * (count > 1)}, {workers} worker{'s' * (workers > 1)}{suffix}"


def verdicts(rows: dict[str, dict[str, Any]], most: int) -> list[Verdict]:
    """Compares the runs with the most files with the targets."""
    found: list[Verdict] = []

    def seconds(count: int, workers: int) -> float:
        return rows[_name(count, workers)]["wall_s"]

    def peak(count: int, workers: int, suffix: str = "") -> float:
        return rows[_name(count, workers, suffix)]["peak_mb"]

    def gain(what: str, one: float, two: float) -> None:
        name = f"throughput of 2 workers / 1, {what}"
        found.append(Verdict(name, one / two, _SPEED_UP, at_least=True))

    gain(f"{most} files", seconds(most, 1), seconds(most, 2))
    few = FILES[-2]
    if most == FILES[-1]:
        gain(f"{few} files", seconds(few, 1), seconds(few, 2))
        # Start and end are in both. With fewer files a worker may have nothing to do.
        further = [seconds(most, n) - seconds(few, n) for n in WORKERS]
        gain(f"files {few + 1} to {most}", *further)
    ratio = peak(most, 1) / peak(1, 1)
    found += [
        Verdict(f"peak memory, {most} files / the largest alone", ratio, _FLAT),
        Verdict("peak memory of the largest file, MB", peak(1, 1), _PEAK_MB),
        Verdict(f"peak memory of {most} files, 2 workers, MB", peak(most, 2), _PEAK_MB),
    ]
    if _name(few, 1, _SERVED) in rows:
        ratio = peak(few, 1, _SERVED) / peak(1, 1, _SERVED)
        found.append(
            Verdict(f"peak memory, {few} files / the largest alone{_SERVED}", ratio, _FLAT)
        )
    return found


def runs_of(
    bucket: Path, lakes: Path, files: list[tuple[str, int, int]], url: str
) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Returns the commands by name, and the MB of the files that each ingests."""
    commands: dict[str, list[str]] = {}
    volumes: dict[str, float] = {}

    def add(name: str, chosen: list[tuple[str, int, int]], workers: int, **how: Any) -> None:
        lake = lakes / name.replace(" ", "-")
        commands[name] = ingest_command(bucket, lake, chosen, workers, **how)
        volumes[name] = sum(f[2] for f in chosen) / 1e6

    counts = sorted({min(n, len(files)) for n in FILES})
    for count, workers in product(counts, WORKERS):
        add(_name(count, workers), files[:count], workers)
    for file in (files[-1], files[len(files) // 2]):
        add(f"{file[0]} of {file[2] / 1e6:.0f} MB alone, 1 worker", [file], 1)
    for count, workers in ((1, 1), (FILES[-2], 1), (FILES[-2], 2)):
        if count <= len(files):
            add(_name(count, workers, _SERVED), files[:count], workers, url=url)
    return commands, volumes


def measure(
    commands: dict[str, list[str]], volumes: dict[str, float], lakes: Path, repeats: int
) -> tuple[dict[str, Samples], dict[str, dict[str, Any]]]:
    """Runs the commands in turn; returns their samples and the rows of the table by name."""
    watched: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    watches: dict[str, Watch] = {}

    def before(name: str) -> None:
        shutil.rmtree(lakes, ignore_errors=True)
        watches[name] = Watch()

    def after(name: str, _: Sample) -> None:
        watched[name].append(watches.pop(name).stop())

    samples = run_repeated(commands, repeats, before=before, after=after)
    shutil.rmtree(lakes, ignore_errors=True)
    rows: dict[str, dict[str, Any]] = {}
    for name, found in samples.items():
        counted = watched[name][1:]  # without the warm-up
        rows[name] = {
            "run": name,
            "file_mb": volumes[name],
            "wall_s": found.wall_s,
            "cpu_s": statistics.median(cpu for _, cpu in counted),
            "mb_per_s": volumes[name] / found.wall_s,
            "peak_mb": max(peak for peak, _ in counted),
        }
    return samples, rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for bucket and lakes")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument(
        "--mice",
        type=int,
        default=9,
        metavar="N",
        help="mice of the synthetic bucket [%(default)s]",
    )
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or sample_bucket(work, options.mice)).resolve()
    files, lakes = chosen_files(bucket), work / "scale-lakes"
    with served(bucket, 0.03, 40e6) as url:
        commands, volumes = runs_of(bucket, lakes, files, url)
        samples, rows = measure(commands, volumes, lakes, options.repeats)
    lines = verdicts(rows, min(FILES[-1], len(files)))
    print(table(tuple(next(iter(rows.values()))), [tuple(r.values()) for r in rows.values()]))
    print(f"\n{verdict_table(lines)}")
    if options.out:
        settings = {**vars(options), "bucket": bucket, "files": files}
        more = {"rows": list(rows.values()), "verdicts": [v.row() for v in lines]}
        write_json(options.out, "scale", settings, samples, **more)


if __name__ == "__main__":
    main()
