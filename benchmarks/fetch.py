"""Fetches over a slow link: vblake against a full download and against h5py on s3fs.

    python -m benchmarks.fetch --work /tmp/bench --out results/fetch.json

A loopback server in another process delays each answer by 30 ms and limits each connection to 40
MB/s. It counts requests and bytes, so that no program's own figures need to be trusted. Every run
is a fresh process, the compared programs run in turn, and medians are shown.

The largest file is then converted from the folder, and without delay over HTTP and over TLS: so
much processor time fetching adds to a conversion. `--ways` without a name measures this alone.

This process imports nothing large, because its children would inherit its peak memory (see
`benchmarks.harness`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    ROOT,
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

BUCKET = "visual-behavior-ophys-data"
WAYS = {
    "ingest": "vblake, image set known",
    "ingest-images": "vblake, image set new",
    "trials": "vblake, --tables trials",
    "download-6": "download, 6 connections",
    "download-1": "download, 1 connection",
    "s3fs": "h5py on s3fs, default read-ahead",
}
SLOW = ("s3fs",)
_ADDED_S = {"HTTP": 0.25, "TLS": 0.4}
"""Processor seconds that fetching may add to the conversion of a plane of 670 MB."""


@dataclass(frozen=True)
class File:
    """A file of the bucket, from `benchmarks.fetch_run prepare`.

    Attributes:
        name: name in the tables.
        bytes: its size.
        needed: bytes of the datasets that the documented tables are read from.
        texts: bytes of the texts to which they refer.
        task: file with the pickled task.
    """

    name: str
    bytes: int
    needed: int
    texts: int
    task: str


@contextmanager
def served(
    folder: Path,
    latency: float,
    bandwidth: float | None,
    *,
    link: float | None = None,
    tls: Path | None = None,
) -> Generator[str]:
    """Serves the folder from another process; yields the URL.

    Args:
        folder: the bucket.
        latency: seconds before the first byte of an answer.
        bandwidth: bytes a second on each connection; None for no limit.
        link: bytes a second on all connections together; None for no limit.
        tls: file for the certificate that clients must trust, if the server is to speak HTTPS.
    """
    limits = {"--latency": latency, "--bandwidth": bandwidth, "--link": link, "--tls": tls}
    options = [part for limit in limits.items() if limit[1] is not None for part in limit]
    command = python("servers.s3", folder.resolve(), *options)
    process = subprocess.Popen(command, cwd=ROOT / "tests", stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the server did not start")
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def counted(url: str) -> dict[str, float]:
    """Returns requests and bytes of NWB files since the last call.

    `processor_s` is all that the server's process has used.
    """
    with urllib.request.urlopen(f"{url}/_counters?reset") as answer:
        counters = json.load(answer)
    return {
        "requests": sum(counters["requests"].values()),
        "bytes": sum(n for key, n in counters["bytes_sent"].items() if key.endswith(".nwb")),
        "at_once": counters["at_once"],
        "processor_s": counters["processor_s"],
    }


def measure(
    file: File, ways: list[str], url: str, work: Path, repeats: int, warm_up: int
) -> tuple[dict[str, Samples], dict[str, dict[str, float]]]:
    """Runs all ways of reading a file in turn.

    Returns:
        Their samples, and the server's counts of the last run of each.
    """
    counts: dict[str, dict[str, float]] = {}

    def before(_: str) -> None:
        shutil.rmtree(work / "output", ignore_errors=True)
        counted(url)

    def after(name: str, _: Sample) -> None:
        counts[name] = counted(url)

    run = "benchmarks.fetch_run"
    where = ("--task", file.task, "--url", url, "--work", work)
    commands = {f"{file.name}: {way}": python(run, way, *where) for way in ways}
    return run_repeated(commands, repeats, warm_up=warm_up, before=before, after=after), counts


def added(
    file: File, bucket: Path, work: Path, repeats: int
) -> tuple[dict[str, Samples], list[Verdict]]:
    """Converts a file from the folder, over HTTP and over TLS, in turn."""
    certificate = work / "authority.pem"
    with served(bucket, 0, None) as plain, served(bucket, 0, None, tls=certificate) as safe:
        where = {"folder": str(bucket), "HTTP": plain, "TLS": safe}
        commands = {
            f"{file.name}, {name}": python(
                "benchmarks.fetch_run", "ingest", "--task", file.task, "--url", url, "--work", work
            )
            for name, url in where.items()
        }
        found = run_repeated(
            commands,
            repeats,
            environment={"AWS_CA_BUNDLE": str(certificate)},
            before=lambda _: shutil.rmtree(work / "output", ignore_errors=True),
        )
    cpu = {name: found[f"{file.name}, {name}"].fact("cpu_s") for name in where}
    return found, [
        Verdict(f"{file.name}: processor s that {name} adds", cpu[name] - cpu["folder"], bound)
        for name, bound in _ADDED_S.items()
    ]


def rows_of(
    file: File, samples: dict[str, Samples], counts: dict[str, dict[str, float]]
) -> list[list[object]]:
    """Returns the rows of the printed table."""
    rows: list[list[object]] = []
    for way, title in WAYS.items():
        name = f"{file.name}: {way}"
        if name in samples:
            found, moved = samples[name], counts[name]["bytes"]
            times = (found.fact("seconds"), found.wall_s)
            traffic = (counts[name]["requests"], moved / 1e6, moved / file.bytes)
            rows.append([file.name, title, *times, *traffic, found.cpu_s, found.peak_mb])
    return rows


def ratios(
    file: File, samples: dict[str, Samples], counts: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Returns the ratios of bytes and seconds."""

    def seconds(way: str) -> float | None:
        found = samples.get(f"{file.name}: {way}")
        return found.fact("seconds") if found else None

    found: dict[str, float] = {}
    ingest = counts.get(f"{file.name}: ingest")
    if ingest:
        found["bytes of needed datasets and their texts"] = ingest["bytes"] / (
            file.needed + file.texts
        )
        found["bytes of needed datasets"] = ingest["bytes"] / file.needed
    for other in ("download-1", "download-6", "s3fs"):
        if (mine := seconds("ingest")) and (theirs := seconds(other)):
            found[f"times faster than {WAYS[other]}"] = theirs / mine
    return found


@dataclass
class Results:
    """All measurements: samples and counts by file and way, rows of the table, ratios by file."""

    samples: dict[str, Samples]
    counts: dict[str, dict[str, float]]
    rows: list[list[object]]
    ratios: dict[str, dict[str, float]]


def measure_all(files: list[File], url: str, options: argparse.Namespace) -> Results:
    """Measures all ways of reading the files."""
    results = Results({}, {}, [], {})
    rounds = (
        ([w for w in options.ways if w not in SLOW], options.repeats, 1),
        ([w for w in options.ways if w in SLOW], options.slow_repeats, 0),
    )
    for file in files:
        found: dict[str, Samples] = {}
        for ways, repeats, warm_up in rounds:
            if ways and repeats:
                more, counts = measure(file, ways, url, options.work, repeats, warm_up)
                found |= more
                results.counts |= counts
        results.samples |= found
        results.rows += rows_of(file, found, results.counts)
        results.ratios[file.name] = ratios(file, found, results.counts)
    return results


def _cost_rows(costs: dict[str, Samples]) -> list[list[object]]:
    return [
        [name, found.fact("cpu_s"), found.fact("seconds"), found.peak_mb]
        for name, found in costs.items()
    ]


def _print(files: list[File], results: Results) -> None:
    headings = ("file", "way", "s", "s with start", "requests", "MB moved", "of the file")
    print(table((*headings, "cpu s", "peak MB"), results.rows))
    sizes = [[f.name, f.bytes / 1e6, f.needed / 1e6, f.texts / 1e6] for f in files]
    print(f"\n{table(('file', 'MB', 'MB needed', 'MB texts'), sizes)}")
    lines = [[name, what, x] for name, own in results.ratios.items() for what, x in own.items()]
    print(f"\n{table(('file', 'ratio', 'value'), lines)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__, "folder for the bucket and for output")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument(
        "--latency", type=float, default=0.03, metavar="S", help="delay of answers [%(default)s]"
    )
    parser.add_argument(
        "--bandwidth", type=float, default=40e6, metavar="B", help="bytes/s per connection [4e7]"
    )
    parser.add_argument(
        "--slow-repeats", type=int, default=1, metavar="N", help="counted runs of s3fs [1]"
    )
    parser.add_argument(
        "--files", nargs="*", metavar="NAME", help="names as printed, e.g. behavior [all]"
    )
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS), metavar="WAY")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    options = _options(arguments)
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    bucket: Path = (options.bucket or sample_bucket(options.work, 1)).resolve()
    where = ("--bucket", bucket, "--work", options.work)
    prepared = run_once(python("benchmarks.fetch_run", "prepare", *where))
    files = [File(**f) for f in prepared.facts["files"]]
    files = [f for f in files if not options.files or f.name in options.files]
    with served(bucket, options.latency, options.bandwidth) as url:
        results = measure_all(files, url, options)
    largest = max(files, key=lambda f: f.bytes)
    costs, verdicts = added(largest, bucket, options.work, options.repeats)
    shutil.rmtree(options.work / "output", ignore_errors=True)
    if options.ways:
        _print(files, results)
    print(f"\n{table(('from', 'processor s', 's', 'peak MB'), _cost_rows(costs))}")
    print(f"\n{verdict_table(verdicts)}")
    if options.out:
        more: dict[str, Any] = {
            "counts": results.counts,
            "ratios": results.ratios,
            "files": [vars(f) for f in files],
            "costs": _cost_rows(costs),
            "verdicts": [v.row() for v in verdicts],
        }
        write_json(options.out, "fetch", vars(options), results.samples, **more)


if __name__ == "__main__":
    main()
