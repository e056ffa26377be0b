"""What recording an ingest as a Dagster run costs: in processor time, for runs of several numbers
of mice.

    python -m benchmarks.bookkeeping --work /tmp/bench --out results/bookkeeping.json

A process records a made-up outcome for every mouse and table of a small synthetic bucket,
converting nothing. The cost is a fixed part (importing Dagster, starting the run) and one per
mouse. With the JSON of `benchmarks.convert`, its share of an ingest of the whole dataset is given:
107 mice, 4,080 behaviour files and 1,936 experiments, all of these taken to be as small as the
smaller kind.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, run_once, run_repeated, table, write_json
from benchmarks.verdict import Verdict, verdict_table

_SHARE = 0.02
_MICE, _BEHAVIOR_FILES, _EXPERIMENTS = 107, 4_080, 1_936


def record(bucket: Path, home: Path, mice: int) -> dict[str, Any]:
    """Records an ingest of so many mice as done.

    Returns:
        Seconds and processor seconds.
    """
    from pipelines.cli.options import IngestOptions
    from pipelines.ingest import MouseReport, prepare

    options = IngestOptions(source=str(bucket), lake=str(home / "lake"))
    every = prepare(options.request()).mice
    options = replace(options, mouse=every[:mice])
    chosen = prepare(options.request())
    reports = [MouseReport(mouse, ()) for mouse in chosen.mice]
    started, used = time.perf_counter(), time.process_time()
    import assets.run
    from assets.recording import recorded

    shutil.copy(ROOT / "dagster.yaml", home)
    assets.run.dagster_home = lambda: home
    with recorded(chosen, options) as outcome:
        outcome.set_result(reports)
    return {
        "s": time.perf_counter() - started,
        "cpu_s": time.process_time() - used,
        "mice": len(reports),
    }


def _conversion_seconds(convert: Path) -> float:
    """Processor seconds of converting the whole dataset, imports left out."""
    rows: list[dict[str, Any]] = json.loads(convert.read_text())["rows"]
    seconds = {
        r["file"]: r["after_imports_s"]
        for r in rows
        if r["group"] == "floor" and r["what"] == "vblake"
    }
    return _BEHAVIOR_FILES * seconds["behavior"] + _EXPERIMENTS * min(
        seconds["mesoscope"], seconds["scientifica"]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="folder for bucket and runs"
    )
    parser.add_argument(
        "--mice", type=int, nargs="+", default=[1, 20], metavar="N", help="mice of the runs [1 20]"
    )
    parser.add_argument(
        "--convert", type=Path, metavar="FILE", help="JSON file of benchmarks.convert"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="runs of each [%(default)s]"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file")
    parser.add_argument("--record", type=int, metavar="MICE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve() / "bookkeeping"
    bucket, home = work / f"bucket-{max(options.mice)}-mice", work / "home"
    if options.record:
        print(json.dumps(record(bucket, home, options.record)))
        return
    if not (bucket / "done").exists():
        shutil.rmtree(bucket, ignore_errors=True)
        vblake = str(Path(sys.executable).with_name("vblake"))
        run_once(
            [vblake, "sample", "--mice", str(max(options.mice)), "--out", str(bucket)],
            timeout_s=3600,
        )
        (bucket / "done").touch()

    def before(_: str) -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)

    program = [
        sys.executable,
        "-m",
        "benchmarks.bookkeeping",
        "--work",
        str(options.work),
        "--mice",
        *map(str, options.mice),
    ]
    samples = run_repeated(
        {f"{n} mice": [*program, "--record", str(n)] for n in options.mice},
        options.repeats,
        before=before,
    )
    rows = [
        {"run": name, "s": s.fact("s"), "cpu_s": s.fact("cpu_s")} for name, s in samples.items()
    ]
    few, many = min(options.mice), max(options.mice)
    cost = {n: samples[f"{n} mice"].fact("cpu_s") for n in (few, many)}
    per_mouse = (cost[many] - cost[few]) / (many - few)
    fixed = cost[few] - few * per_mouse
    whole = fixed + _MICE * per_mouse
    rows.append({"run": f"{_MICE} mice, extrapolated", "s": None, "cpu_s": whole})
    conversion = _conversion_seconds(options.convert) if options.convert else None
    lines = [
        Verdict(
            "Dagster / conversion of the whole dataset, processor time",
            whole / conversion if conversion else None,
            _SHARE,
        )
    ]
    print(table(tuple(rows[0]), [tuple(r.values()) for r in rows]))
    print(
        f"\n{fixed:.2f} s and {per_mouse:.3f} s per mouse; conversion of the whole dataset: {conversion or 0:.0f} s\n"
    )
    print(verdict_table(lines))
    if options.out:
        more = {"fixed_s": fixed, "per_mouse_s": per_mouse, "conversion_s": conversion}
        write_json(
            options.out,
            "bookkeeping",
            vars(options),
            samples,
            rows=rows,
            verdicts=[v.row() for v in lines],
            **more,
        )


if __name__ == "__main__":
    main()
