"""Questions to a lake at the dataset's full size, and to the traces of a real-scale experiment.

    python -m benchmarks.query --work /tmp/bench --out results/query.json

The full-size lake (see benchmarks/full_size.py) and a lake of one real-scale experiment are made in
the work folder, once. Seconds are medians over fresh processes of the median of several warm runs
in each; the result is fetched as Arrow or a data frame.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.convert import sample_bucket
from benchmarks.harness import Samples, run_once, run_repeated, table, write_json
from benchmarks.verdict import Verdict, verdict_table

_BOUNDS = {
    "count trials": 0.05,
    "count presentations": 0.05,
    "trials by session": 0.45,
    "presentations by session": 0.45,
    "join by line and experience": 0.15,
    "one session's trials by id": 0.06,
    "one session's presentations by id": 0.06,
}
"""Seconds, through the catalog, warm."""

_AGAINST_GLOB = 1.2


def full_size_lake(work: Path) -> Path:
    """The lake with small tables at full size, made if it is not there."""
    lake = work / "full-size-lake"
    if not (lake / "catalog.duckdb").exists():  # written last
        shutil.rmtree(lake, ignore_errors=True)
        print(f"making a full-size lake in {lake} ...", file=sys.stderr)
        run_once([sys.executable, "-m", "benchmarks.full_size", "--lake", str(lake)])
    return lake


def trace_lake(work: Path, bucket: Path) -> Path:
    """A lake with the experiments of the bucket, made if it is not there."""
    lake = work / "trace-lake"
    if not (lake / "catalog.duckdb").exists():
        shutil.rmtree(lake, ignore_errors=True)
        tables = [
            part
            for name in ("dff_traces", "ophys_timestamps", "stimulus_presentations")
            for part in ("--tables", name)
        ]
        vblake = str(Path(sys.executable).with_name("vblake"))
        run_once([vblake, "ingest", "--source", str(bucket), "--lake", str(lake), *tables])
    return lake


def _rows(samples: dict[str, Samples]) -> list[dict[str, Any]]:
    """One row per query, seconds by engine."""
    rows: dict[str, dict[str, Any]] = {}
    for found in samples.values():
        for name in found.runs[0].facts:
            query, engine = name.split(": ")
            row = rows.setdefault(query, {"query": query})
            row[engine] = found.fact(name)
    return list(rows.values())


def verdicts(rows: list[dict[str, Any]], samples: dict[str, Samples]) -> list[Verdict]:
    """Every target, from the rows."""
    found: list[Verdict] = []
    for row in rows:
        query = row["query"]
        if query in _BOUNDS:
            found.append(Verdict(f"{query}, catalog, s", row["catalog"], _BOUNDS[query]))
            found.append(
                Verdict(f"{query}, catalog / glob", row["catalog"] / row["glob"], _AGAINST_GLOB)
            )
        if query == "event-triggered average":
            for engine, bound in (("numpy", 1.0), ("sql", 4.0)):
                found.append(Verdict(f"{query}, {engine}, s", row[engine], bound))
                found.append(
                    Verdict(f"{query}, {engine}, peak GB", samples[engine].peak_mb / 1000, 1.5)
                )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="folder for the lakes"
    )
    parser.add_argument(
        "--lake", type=Path, metavar="DIR", help="lake with small tables [made at full size]"
    )
    parser.add_argument(
        "--bucket",
        type=Path,
        metavar="DIR",
        help="bucket with real-scale experiments [a synthetic one]",
    )
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="fresh processes [%(default)s]"
    )
    parser.add_argument(
        "--warm",
        type=int,
        default=7,
        metavar="N",
        help="warm runs of each query in each process [%(default)s]",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    lake: Path = (options.lake or full_size_lake(work)).resolve()
    traces = trace_lake(work, (options.bucket or sample_bucket(work)).resolve())
    command = [sys.executable, "-m", "benchmarks.query_one"]
    commands = {"tables": [*command, "tables", "--lake", str(lake), "--repeats", str(options.warm)]}
    commands |= {
        group: [*command, group, "--lake", str(traces), "--repeats", "2"]
        for group in ("sql", "numpy")
    }
    samples = run_repeated(commands, options.repeats, warm_up=0)
    rows = _rows(samples)
    found = verdicts(rows, samples)
    for title, engines in (
        ("small tables, s", ("catalog", "glob", "polars")),
        ("traces, s", ("sql", "numpy")),
    ):
        chosen = [r for r in rows if any(e in r for e in engines)]
        columns = (*engines, f"{engines[0]} cold")
        print(table((title, *columns), [[r["query"], *map(r.get, columns)] for r in chosen]))
        print()
    print(verdict_table(found))
    if options.out:
        write_json(
            options.out,
            "query",
            vars(options),
            samples,
            rows=rows,
            verdicts=[v.row() for v in found],
        )


if __name__ == "__main__":
    main()
