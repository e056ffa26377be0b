"""Ingesting many files: 1 and 2 workers; 1, 2, 4, 8 and 16 files; memory against file size and
number of files.

    python -m benchmarks.scale --work /tmp/bench --out results/scale.json

Eight files and one also come from a server on loopback with 30 ms a request and 40 MB/s a
connection (benchmarks/fetch.py), for the memory that it takes; the server works on the same cores.

The bucket is one of `vblake sample --scale real`, with mice enough for sixteen files (see --mice).
Each run ingests into a new lake, by `vblake ingest --no-record` and, for the most files and for
one, with the record as a Dagster run. Peak memory is that of the largest process, a worker or the
parent, and processor time that of all of them (benchmarks/watch.py).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.fetch import served
from benchmarks.harness import Sample, run_once, run_repeated, table, write_json
from benchmarks.verdict import Verdict, verdict_table
from benchmarks.watch import Watch

FILES = (1, 2, 4, 8, 16)
WORKERS = (1, 2)
_SPEED_UP = 1.8
_FLAT = 1.1
"""Peak memory of many files over that of the largest one alone."""

_PEAK_MB = 400.0
_DAGSTER = ", with Dagster"
_SERVED = ", from a server"

_LIST = """
import json, sys
from pipelines.ingest import prepare
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
found = prepare(IngestRequest(SourceSpec(sys.argv[1]), sys.argv[1] + "-no-lake")).todo
print(json.dumps({"files": [[t.kind.value, t.file_key, t.bytes] for t in found]}))
"""


def scale_bucket(work: Path, mice: int) -> Path:
    """A synthetic bucket of real-scale files, written if it is not there."""
    bucket = work / f"bucket-{mice}-mice"
    if not (bucket / "done").exists():
        shutil.rmtree(bucket, ignore_errors=True)
        print(f"writing a synthetic bucket of {mice} mice to {bucket} ...", file=sys.stderr)
        vblake = str(Path(sys.executable).with_name("vblake"))
        run_once(
            [
                vblake,
                "sample",
                "--scale",
                "real",
                "--mice",
                str(mice),
                "--out",
                str(bucket / "data"),
            ],
            timeout_s=3600,
        )
        (bucket / "done").touch()
    return bucket / "data"


def chosen_files(bucket: Path) -> list[tuple[str, int, int]]:
    """Kind, id and bytes of the files of a bucket, the largest first."""
    made = run_once([sys.executable, "-c", _LIST, str(bucket)])
    found: list[list[Any]] = made.facts["files"]
    return sorted(((str(k), int(i), int(b)) for k, i, b in found), key=lambda f: -f[2])


def _ingest(
    bucket: Path,
    lake: Path,
    files: Sequence[tuple[str, int, int]],
    workers: int,
    *,
    dagster: bool = False,
    url: str | None = None,
) -> list[str]:
    experiments = ", ".join(str(i) for kind, i, _ in files if kind == "ophys_experiment") or "-1"
    sessions = ", ".join(str(i) for kind, i, _ in files if kind == "behavior_session") or "-1"
    # A behaviour file has no experiment id: its own is NULL in the expression's table.
    where = f"ophys_experiment_id IN ({experiments}) OR (ophys_experiment_id IS NULL AND behavior_session_id IN ({sessions}))"
    vblake = str(Path(sys.executable).with_name("vblake"))
    record = "--record" if dagster else "--no-record"
    source = ["--source", str(bucket)] if url is None else ["--endpoint-url", url]
    return [
        vblake,
        "ingest",
        *source,
        "--lake",
        str(lake),
        "--where",
        where,
        "--workers",
        str(workers),
        record,
    ]


def _name(count: int, workers: int, suffix: str = "") -> str:
    return f"{count} file{'s' * (count > 1)}, {workers} worker{'s' * (workers > 1)}{suffix}"


def verdicts(rows: dict[str, dict[str, Any]], most: int) -> list[Verdict]:
    """Every target, from the runs with the most files."""
    found: list[Verdict] = []

    def seconds(count: int, workers: int, suffix: str = "") -> float:
        return rows[_name(count, workers, suffix)]["wall_s"]

    def gain(what: str, one: float, two: float) -> None:
        found.append(
            Verdict(f"throughput of 2 workers / 1, {what}", one / two, _SPEED_UP, at_least=True)
        )

    for suffix in ("", _DAGSTER):
        if not suffix and most == FILES[-1]:
            gain(f"{FILES[-2]} files", seconds(FILES[-2], 1), seconds(FILES[-2], 2))
        gain(f"{most} files{suffix}", seconds(most, 1, suffix), seconds(most, 2, suffix))
        if not suffix and most == FILES[-1]:
            # What start and end cost is in both; with fewer files than that a worker may have
            # nothing to do.
            further = [seconds(most, n) - seconds(FILES[-2], n) for n in WORKERS]
            gain(f"files {FILES[-2] + 1} to {most}", *further)
        two = rows[_name(most, 2, suffix)]
        one = rows[_name(most, 1, suffix)]
        single = rows[_name(1, 1, suffix)]
        found.append(
            Verdict(
                f"peak memory, {most} files / the largest alone{suffix}",
                one["peak_mb"] / single["peak_mb"],
                _FLAT,
            )
        )
        found.append(
            Verdict(f"peak memory of the largest file, MB{suffix}", single["peak_mb"], _PEAK_MB)
        )
        found.append(
            Verdict(f"peak memory of {most} files, 2 workers, MB{suffix}", two["peak_mb"], _PEAK_MB)
        )
    if (few := _name(FILES[-2], 1, _SERVED)) in rows:
        alone = rows[_name(1, 1, _SERVED)]["peak_mb"]
        found.append(
            Verdict(
                f"peak memory, {FILES[-2]} files / the largest alone{_SERVED}",
                rows[few]["peak_mb"] / alone,
                _FLAT,
            )
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bucket",
        type=Path,
        metavar="DIR",
        help="bucket with sixteen real-scale files or more [a synthetic one]",
    )
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="folder for bucket and lakes"
    )
    parser.add_argument(
        "--mice",
        type=int,
        default=9,
        metavar="N",
        help="mice of the synthetic bucket [%(default)s]",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="runs of each [%(default)s]"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or scale_bucket(work, options.mice)).resolve()
    files = chosen_files(bucket)
    lakes = work / "scale-lakes"
    commands: dict[str, list[str]] = {}
    volumes: dict[str, float] = {}
    counts = sorted({min(n, len(files)) for n in FILES})
    for count in counts:
        for workers, dagster in product(
            WORKERS, (False, True) if count in (1, counts[-1]) else (False,)
        ):
            name = _name(count, workers, _DAGSTER * dagster)
            commands[name] = _ingest(
                bucket, lakes / name.replace(" ", "-"), files[:count], workers, dagster=dagster
            )
            volumes[name] = sum(f[2] for f in files[:count]) / 1e6
    for kind, key, size in (files[-1], files[len(files) // 2]):
        name = f"{kind} of {size / 1e6:.0f} MB alone, 1 worker"
        commands[name] = _ingest(bucket, lakes / str(key), [(kind, key, size)], 1)
        volumes[name] = size / 1e6
    watched: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    watches: dict[str, Watch] = {}

    def before(name: str) -> None:
        shutil.rmtree(lakes, ignore_errors=True)
        watches[name] = Watch()

    def after(name: str, _: Sample) -> None:
        watched[name].append(watches.pop(name).stop())

    with served(bucket, 0.03, 40e6) as url:
        for count, workers in ((1, 1), (FILES[-2], 1), (FILES[-2], 2)):
            if count <= len(files):
                name = _name(count, workers, _SERVED)
                commands[name] = _ingest(
                    bucket, lakes / name.replace(" ", "-"), files[:count], workers, url=url
                )
                volumes[name] = sum(f[2] for f in files[:count]) / 1e6
                watched[name] = []
        samples = run_repeated(commands, options.repeats, before=before, after=after)
    shutil.rmtree(lakes, ignore_errors=True)
    rows: dict[str, dict[str, Any]] = {}
    for name, found in samples.items():
        counted = watched[name][1:]  # without the warm-up
        peak, cpu = max(p for p, _ in counted), statistics.median(c for _, c in counted)
        size, wall = volumes[name], found.wall_s
        rows[name] = {
            "run": name,
            "file_mb": size,
            "wall_s": wall,
            "cpu_s": cpu,
            "mb_per_s": size / wall,
            "peak_mb": peak,
        }
    lines = verdicts(rows, counts[-1])
    print(table(tuple(next(iter(rows.values()))), [tuple(r.values()) for r in rows.values()]))
    print()
    print(verdict_table(lines))
    if options.out:
        settings = {**vars(options), "bucket": bucket, "files": json.loads(json.dumps(files))}
        write_json(
            options.out,
            "scale",
            settings,
            samples,
            rows=list(rows.values()),
            verdicts=[v.row() for v in lines],
        )


if __name__ == "__main__":
    main()
