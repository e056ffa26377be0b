"""Fetching over a slow link: vblake against a full download and against h5py on s3fs.

    python -m benchmarks.fetch --bucket FOLDER --out fetch.json

A server on loopback, in a process of its own, gives each answer after 30 ms and each connection 40
MB/s. It counts requests and bytes, so nobody's own accounting is trusted. Every run is a fresh
process; runs of what is compared take turns; medians are shown.

This process imports nothing large: what it starts would inherit its peak memory (see
`benchmarks.harness`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Sample, Samples, run_once, run_repeated, table, write_json

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


@dataclass(frozen=True)
class File:
    """A file of the bucket, as `benchmarks.fetch_run prepare` found it.

    Attributes:
        name: what to call it.
        bytes: its size.
        needed: bytes of the datasets that the documented tables are read from.
        texts: bytes of the texts that they refer to.
        task: file with the pickled task.
    """

    name: str
    bytes: int
    needed: int
    texts: int
    task: str


@contextmanager
def served(folder: Path, latency: float, bandwidth: float) -> Generator[str]:
    """The URL of a server for the folder, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "servers.s3",
        str(folder.resolve()),
        "--latency",
        str(latency),
        "--bandwidth",
        str(bandwidth),
    ]
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


def counted(url: str) -> dict[str, int]:
    """Requests and bytes of NWB files since the last call."""
    with urllib.request.urlopen(f"{url}/_counters?reset") as answer:
        counters = json.load(answer)
    return {
        "requests": sum(counters["requests"].values()),
        "bytes": sum(n for key, n in counters["bytes_sent"].items() if key.endswith(".nwb")),
        "at_once": counters["at_once"],
    }


def measure(
    file: File, ways: list[str], url: str, work: Path, repeats: int, warm_up: int
) -> tuple[dict[str, Samples], dict[str, dict[str, int]]]:
    """Runs all ways of reading a file in turn; gives their samples, and what the server counted
    last of each.
    """
    counts: dict[str, dict[str, int]] = {}

    def before(_: str) -> None:
        shutil.rmtree(work / "output", ignore_errors=True)
        counted(url)

    def after(name: str, _: Sample) -> None:
        counts[name] = counted(url)

    commands = {
        f"{file.name}: {way}": [
            sys.executable,
            "-m",
            "benchmarks.fetch_run",
            way,
            "--task",
            file.task,
            "--url",
            url,
            "--work",
            str(work),
        ]
        for way in ways
    }
    return run_repeated(commands, repeats, warm_up=warm_up, before=before, after=after), counts


def rows_of(
    file: File, samples: dict[str, Samples], counts: dict[str, dict[str, int]]
) -> list[list[object]]:
    """Rows of the printed table."""
    rows: list[list[object]] = []
    for way, title in WAYS.items():
        name = f"{file.name}: {way}"
        if name in samples:
            moved = counts[name]["bytes"] / 1e6
            rows.append(
                [
                    file.name,
                    title,
                    samples[name].fact("seconds"),
                    samples[name].wall_s,
                    counts[name]["requests"],
                    moved,
                    moved / (file.bytes / 1e6),
                    samples[name].cpu_s,
                    samples[name].peak_mb,
                ]
            )
    return rows


def ratios(
    file: File, samples: dict[str, Samples], counts: dict[str, dict[str, int]]
) -> dict[str, float]:
    """What the targets speak of."""

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


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bucket",
        type=Path,
        help="a folder with the bucket's keys; made by `vblake sample --scale real` if not given",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("/tmp/vblake-benchmark"),
        help="folder for the sample and for what is written",
    )
    parser.add_argument("--latency", type=float, default=0.03, help="seconds before each answer")
    parser.add_argument(
        "--bandwidth", type=float, default=40e6, help="bytes a second of each connection"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--slow-repeats", type=int, default=1, help="runs of what takes a minute: s3fs"
    )
    parser.add_argument(
        "--files",
        nargs="*",
        help="names of files to measure, as they are printed, e.g. behavior; all by default",
    )
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path, help="JSON with every run")
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    bucket = options.bucket or options.work / "bucket"
    if not bucket.exists():
        run_once(
            [
                sys.executable,
                "-m",
                "assets",
                "sample",
                "--out",
                str(bucket),
                "--scale",
                "real",
                "--mice",
                "1",
            ],
            timeout_s=3600,
        )
    prepared = run_once(
        [
            sys.executable,
            "-m",
            "benchmarks.fetch_run",
            "prepare",
            "--bucket",
            str(bucket),
            "--work",
            str(options.work),
        ]
    )
    files = [File(**f) for f in prepared.facts["files"]]
    samples: dict[str, Samples] = {}
    counts: dict[str, dict[str, int]] = {}
    shown: list[list[object]] = []
    targets: dict[str, dict[str, float]] = {}
    with served(bucket, options.latency, options.bandwidth) as url:
        for file in files:
            if options.files and file.name not in options.files:
                continue
            of_file: dict[str, Samples] = {}
            for ways, repeats, warm_up in (
                ([w for w in options.ways if w not in SLOW], options.repeats, 1),
                ([w for w in options.ways if w in SLOW], options.slow_repeats, 0),
            ):
                if ways and repeats:
                    more, counted_now = measure(file, ways, url, options.work, repeats, warm_up)
                    of_file |= more
                    counts |= counted_now
            samples |= of_file
            shown += rows_of(file, of_file, counts)
            targets[file.name] = ratios(file, of_file, counts)
    shutil.rmtree(options.work / "output", ignore_errors=True)
    print(
        table(
            [
                "file",
                "way",
                "s",
                "s with start",
                "requests",
                "MB moved",
                "of the file",
                "cpu s",
                "peak MB",
            ],
            shown,
        )
    )
    print()
    print(
        table(
            ["file", "MB", "MB needed", "MB texts"],
            [[f.name, f.bytes / 1e6, f.needed / 1e6, f.texts / 1e6] for f in files],
        )
    )
    print()
    print(
        table(
            ["file", "ratio", "value"],
            [[name, what, value] for name, own in targets.items() for what, value in own.items()],
        )
    )
    if options.out:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        details: dict[str, Any] = {
            "counts": counts,
            "ratios": targets,
            "files": [vars(f) for f in files],
        }
        write_json(options.out, "fetch", settings, samples, **details)


if __name__ == "__main__":
    main()
