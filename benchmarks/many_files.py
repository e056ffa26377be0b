"""What reads the whole lake or its ledger, at the dataset's full number of files.

    python -m benchmarks.many_files --work /tmp/bench --out benchmarks/results/many_files.json

The lake has 31,500 small files of 4,782 sessions, all that the release's 6,012 NWB files give
(`benchmarks/full_size.py`); a real one has the same files with more rows. The commands run in turn
as users start them, so imports count. The ingest has nothing to do. Processor seconds and
peak memory are those of the command's process; with one worker it does all of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import argument_parser, python, run_repeated, table, write_json
from benchmarks.sample import many_files_lake
from benchmarks.verdict import Verdict, verdict_table

SECONDS = {"verify": 25.0, "plan": 1.0, "ingest, nothing to do": 1.5, "status": 1.0}
_VERIFY_MB = 400.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for the lake and its bucket (2 GB)")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    lake, bucket = many_files_lake(work)
    of_both = ("--lake", lake, "--source", bucket)
    verify = python("assets", "verify", "--lake", lake)
    once = {"verify": verify, "verify, 1 worker": [*verify, "--workers", "1"]}
    quick = {
        "verify --quick": python("assets", "verify", "--lake", lake, "--quick"),
        "plan": python("assets", "plan", *of_both),
        "ingest, nothing to do": python("assets", "ingest", *of_both),
        "status": python("assets", "status", "--lake", lake),
    }
    samples = run_repeated(once, min(options.repeats, 3)) | run_repeated(quick, options.repeats)
    rows = [
        {"run": name, "s": s.wall_s, "processor s": s.cpu_s, "peak MB": s.peak_mb}
        for name, s in samples.items()
    ]
    found = [Verdict(f"{name}, s", samples[name].wall_s, most) for name, most in SECONDS.items()]
    found.append(Verdict("verify, peak MB", samples["verify"].peak_mb, _VERIFY_MB))
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    print(f"\n{verdict_table(found)}")
    if options.out:
        more = {"rows": rows, "verdicts": [v.row() for v in found]}
        write_json(options.out, "many_files", vars(options), samples, **more)


if __name__ == "__main__":
    main()
