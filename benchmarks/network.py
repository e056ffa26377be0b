"""Ingests many files over a shared link: how long it takes against what is the bottleneck.

    python -m benchmarks.network --work /tmp/bench --out benchmarks/results/network.json

A loopback server answers after 30 ms and sends at most 100, 300 or 1,000 MB/s on all connections
together. Each run ingests the same 16 real-scale files with 2 workers into a new lake. Its seconds
are divided by the larger of two: the bytes over the link, and the processor seconds of the command,
its workers and the server over the cores. Both bounds are of that run, so load on the machine
changes them less than the seconds. A run of one worker without a limit gives the ceiling of two:
what two cores that are never idle would make of its processor seconds.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fetch import counted, served
from benchmarks.harness import Samples, argument_parser, run_repeated, table, write_json
from benchmarks.sample import BUCKET_HELP, sample_bucket
from benchmarks.scale import chosen_files, ingest_command
from benchmarks.verdict import Verdict, verdict_table
from benchmarks.watch import Watch

LINKS = (100e6, 300e6, 1000e6)
_LATENCY_S = 0.03
_AGAINST_BOUND = 1.15
_OF_CEILING = {"from a folder": 0.93, "from the server": 0.90}
_CORES = len(os.sched_getaffinity(0))

Files = Sequence[tuple[str, int, int]]


def _measured(
    bucket: Path,
    files: Files,
    lake: Path,
    *,
    workers: int,
    repeats: int,
    url: str | None = None,
) -> dict[str, Any]:
    """Runs an ingest; returns the medians of its seconds, processor seconds and bytes."""
    command = ingest_command(bucket, lake, files, workers, url=url)
    cpu: list[float] = []
    moved: list[float] = []
    watch: list[tuple[Watch, float]] = []

    def before(_: str) -> None:
        shutil.rmtree(lake, ignore_errors=True)
        watch.append((Watch(), counted(url)["processor_s"] if url else 0.0))

    def after(_: str, __: object) -> None:
        watched, served_before = watch.pop()
        _, own = watched.stop()
        counts = counted(url) if url else {"processor_s": 0.0, "bytes": 0}
        cpu.append(own + counts["processor_s"] - served_before)
        moved.append(counts["bytes"])

    name = f"{len(files)} files, {workers} workers"
    found: Samples = run_repeated({name: command}, repeats, before=before, after=after)[name]
    shutil.rmtree(lake, ignore_errors=True)
    return {
        "s": found.wall_s,
        "processor s": statistics.median(cpu[1:]),  # without the warm-up
        "MB moved": statistics.median(moved[1:]) / 1e6,
    }


def over_links(
    bucket: Path, files: Files, work: Path, workers: Sequence[int], repeats: int
) -> list[dict[str, Any]]:
    """Measures each link and number of workers."""
    rows: list[dict[str, Any]] = []
    for link in LINKS:
        for count in workers:
            with served(bucket, _LATENCY_S, None, link=link) as url:
                how: dict[str, Any] = {"workers": count, "repeats": repeats, "url": url}
                row = _measured(bucket, files, work / "network-lake", **how)
            bounds = {
                "link s": row["MB moved"] * 1e6 / link,
                "cores s": row["processor s"] / _CORES,
            }
            first = {"link, MB/s": link / 1e6, "workers": count}
            rows.append(first | row | bounds | {"ratio": row["s"] / max(bounds.values())})
    return rows


def two_against_one(
    bucket: Path, files: Files, work: Path, repeats: int
) -> tuple[list[dict[str, Any]], list[Verdict]]:
    """Measures one worker and two from a folder and from a server without a limit."""
    rows: list[dict[str, Any]] = []
    found: list[Verdict] = []
    for source, bound in _OF_CEILING.items():
        runs: list[dict[str, Any]] = []
        for workers in (1, 2):
            how: dict[str, Any] = {"workers": workers, "repeats": repeats}
            if source == "from a folder":
                runs.append(_measured(bucket, files, work / "network-lake", **how))
            else:
                with served(bucket, _LATENCY_S, None) as url:
                    runs.append(_measured(bucket, files, work / "network-lake", url=url, **how))
        one, two = runs
        ceiling = one["s"] / (one["processor s"] / 2)
        speed_up = one["s"] / two["s"]
        rows += [{"source": source, "workers": n + 1, **run} for n, run in enumerate(runs)]
        name = f"two workers against one, over the ceiling of {ceiling:.2f}, {source}"
        found.append(Verdict(name, speed_up / ceiling, bound, at_least=True))
    return rows, found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for bucket and lakes")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument("--files", type=int, default=16, metavar="N", help="files [%(default)s]")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[2], metavar="N", help="workers on each link [2]"
    )
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or sample_bucket(work, 9)).resolve()
    files = chosen_files(bucket)[: options.files]
    rows = over_links(bucket, files, work, options.workers, options.repeats)
    against, found = two_against_one(bucket, files, work, options.repeats)
    lines = [
        Verdict(f"{r['link, MB/s']:.0f} MB/s, {r['workers']} workers", r["ratio"], _AGAINST_BOUND)
        for r in rows
    ] + found
    print(table(tuple(rows[0]), [tuple(r.values()) for r in rows]))
    print(f"\n{table(tuple(against[0]), [tuple(r.values()) for r in against])}")
    print(f"\n{verdict_table(lines)}")
    if options.out:
        more = {"rows": rows, "two_against_one": against, "verdicts": [v.row() for v in lines]}
        write_json(options.out, "network", vars(options), {}, **more)


if __name__ == "__main__":
    main()
