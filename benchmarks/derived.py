"""The cost of the tables that are computed from others: conversions with and without them, in turn.

    python -m benchmarks.derived --work /tmp/bench --out results/derived.json

Processor seconds are of whole processes, start-up and imports included, as in `convert`; the last
columns leave the imports out, which a worker pays once for many files. Planes are converted with
the behaviour of their session, as its first one is, and alone, as the others are.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.convert import KINDS, File, files_of
from benchmarks.harness import Samples, argument_parser, python, run_repeated, table, write_json
from benchmarks.sample import BUCKET_HELP, sample_bucket
from benchmarks.verdict import Verdict, verdict_table

RESPONSES = "mean_responses"
ANNOTATIONS = "presentation_annotations"
BY_NAME = "stimulus_responses"
"""What it costs beside the default tables has no target: it is for the page."""

_TIME, _SIZE = 0.2, 0.1

Row = dict[str, Any]


def _runs(kind: str) -> list[tuple[str, list[str], list[str]]]:
    """What to measure in a kind of file: a name, options with the tables, and without them."""
    if kind == "behavior":
        return [(ANNOTATIONS, [], ["--without", ANNOTATIONS])]
    alone = "--plane-only"
    both = f"{ANNOTATIONS},{RESPONSES}"
    return [
        (RESPONSES, [], ["--without", RESPONSES]),
        (f"{RESPONSES}, plane alone", [alone], [alone, "--without", RESPONSES]),
        (ANNOTATIONS, ["--without", RESPONSES], ["--without", both]),
        (f"{BY_NAME}, plane alone", [alone, "--also", BY_NAME], [alone]),
    ]


def _after_imports(samples: Samples) -> float:
    return statistics.median(r.cpu_s - float(r.facts["import_cpu_s"]) for r in samples.runs)


def measure(file: File, work: Path, repeats: int) -> tuple[list[Row], dict[str, Samples]]:
    """Measures a file; returns a row for each set of tables, and the samples."""
    rows: list[Row] = []
    samples: dict[str, Samples] = {}
    for name, with_them, without_them in _runs(file.kind):
        base = python("benchmarks.convert_one", "--task", file.task, "--work", work / "out")
        commands = {"with": [*base, *with_them], "without": [*base, *without_them]}
        found = run_repeated(
            commands, repeats, before=lambda _: shutil.rmtree(work / "out", ignore_errors=True)
        )
        samples |= {f"{file.kind}, {name}, {key}": s for key, s in found.items()}
        a, b = found["with"], found["without"]
        rows.append(
            {
                "file": file.kind,
                "tables": name,
                "with, s": a.cpu_s,
                "without, s": b.cpu_s,
                "cost, %": 100 * (a.cpu_s / b.cpu_s - 1),
                "after imports, with, s": _after_imports(a),
                "without them, s": _after_imports(b),
                "peak MB": a.peak_mb,
                "without, MB": b.peak_mb,
                "of the files' bytes, %": 100 * (a.fact("parquet_mb") / b.fact("parquet_mb") - 1),
            }
        )
    return rows, samples


def verdicts(rows: list[Row]) -> list[Verdict]:
    """Compares the cost of the default tables with what is allowed."""
    found: list[Verdict] = []
    for row in rows:
        if row["tables"].startswith(BY_NAME):
            continue
        what = f"{row['file']}, {row['tables']}"
        found.append(Verdict(f"{what}: processor time", row["cost, %"] / 100, _TIME))
        found.append(Verdict(f"{what}: bytes", row["of the files' bytes, %"] / 100, _SIZE))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for bucket and output")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="NAMES", help="[%(default)s]")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or sample_bucket(work, 1)).resolve()
    rows: list[Row] = []
    samples: dict[str, Samples] = {}
    for file in files_of(bucket, work):
        if file.kind in options.kinds.split(","):
            print(f"{file.kind}: {file.path.name}, {file.mb:.0f} MB", file=sys.stderr)
            more, measured = measure(file, work, options.repeats)
            rows += more
            samples |= measured
    shutil.rmtree(work / "out", ignore_errors=True)
    lines = verdicts(rows)
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    print(f"\n{verdict_table(lines)}")
    if options.out:
        more_facts = {"rows": rows, "verdicts": [v.row() for v in lines]}
        write_json(
            options.out, "derived", vars(options) | {"bucket": bucket}, samples, **more_facts
        )


if __name__ == "__main__":
    main()
