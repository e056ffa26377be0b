"""Queries a lake at the dataset's full size, and the traces of a real-scale experiment.

    python -m benchmarks.query --work /tmp/bench --out results/query.json

The full-size lake (see benchmarks/full_size.py) and a lake of one real-scale experiment are made in
the work folder, once. Seconds are medians over fresh processes of the median of several warm runs
in each. Results are fetched as Arrow or a data frame.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    Samples,
    argument_parser,
    python,
    run_once,
    run_repeated,
    table,
    write_json,
)
from benchmarks.sample import BUCKET_HELP, full_size_lake, sample_bucket
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
"""Bounds in seconds, through the catalog, warm."""

_AGAINST_GLOB = 1.2


def trace_lake(work: Path, bucket: Path) -> Path:
    """Returns a lake with the experiments of the bucket, making it if needed."""
    lake = work / "trace-lake"
    if not (lake / "catalog.duckdb").exists():
        shutil.rmtree(lake, ignore_errors=True)
        tables = "dff_traces,ophys_timestamps,stimulus_presentations"
        where = ("--source", bucket, "--lake", lake)
        run_once(python("assets", "ingest", *where, "--tables", tables))
    return lake


def _rows(samples: dict[str, Samples]) -> list[dict[str, Any]]:
    """Returns one row per query, with the seconds of each engine."""
    rows: dict[str, dict[str, Any]] = {}
    for found in samples.values():
        for name in found.runs[0].facts:
            query, engine = name.split(": ")
            row = rows.setdefault(query, {"query": query})
            row[engine] = found.fact(name)
    return list(rows.values())


def verdicts(rows: list[dict[str, Any]], samples: dict[str, Samples]) -> list[Verdict]:
    """Compares the rows with the targets."""
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


def _print(rows: list[dict[str, Any]], found: list[Verdict]) -> None:
    for title, engines in (
        ("small tables, s", ("catalog", "glob", "polars")),
        ("traces, s", ("sql", "numpy")),
    ):
        chosen = [r for r in rows if any(e in r for e in engines)]
        columns = (*engines, f"{engines[0]} cold")
        print(table((title, *columns), [[r["query"], *map(r.get, columns)] for r in chosen]))
        print()
    print(verdict_table(found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for the lakes")
    parser.add_argument(
        "--lake", type=Path, metavar="DIR", help="lake with small tables [made at full size]"
    )
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument(
        "--warm", type=int, default=7, metavar="N", help="warm runs in each process [%(default)s]"
    )
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    lake: Path = (options.lake or full_size_lake(work)).resolve()
    traces = trace_lake(work, (options.bucket or sample_bucket(work, 1)).resolve())
    module = "benchmarks.query_one"
    commands = {"tables": python(module, "tables", "--lake", lake, "--repeats", options.warm)}
    for group in ("sql", "numpy"):
        commands[group] = python(module, group, "--lake", traces, "--repeats", 2)
    samples = run_repeated(commands, options.repeats, warm_up=0)
    rows = _rows(samples)
    found = verdicts(rows, samples)
    _print(rows, found)
    if options.out:
        more = {"rows": rows, "verdicts": [v.row() for v in found]}
        write_json(options.out, "query", vars(options), samples, **more)


if __name__ == "__main__":
    main()
