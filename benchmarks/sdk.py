"""Reads all attributes of an experiment with AllenSDK from its NWB file, and with `vblake.sdk` from
a lake.

    python -m benchmarks.sdk --work /tmp/bench --bucket BUCKET --experiment 802068033 \
        --sdk-python /tmp/allensdk/bin/python

The lake, made once in the work folder, has the demixed and neuropil traces too. `--sdk-python` is
an interpreter with AllenSDK 2.16; without it, an environment is made from PyPI
(`benchmarks/peers/environments.py`). Imports are left out of all numbers but the peaks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT, argument_parser, python, run_once, run_repeated, write_json
from benchmarks.harness import table as as_table
from benchmarks.peers import environments
from benchmarks.verdict import Verdict, verdict_table

_BY_NAME = ("demixed_traces", "neuropil_traces", "roi_masks", "stimulus_templates")
_RATIO, _TRIALS_S = 5.0, 0.05


def _made(bucket: Path, experiment: int, lake: Path) -> Path:
    if not lake.exists():
        select = ("--experiment", experiment, "--workers", 1)
        ingest = python("assets", "ingest", "--source", bucket, "--lake", lake, *select)
        run_once(ingest)
        run_once([*ingest, "--tables", ",".join(_BY_NAME)])
    return lake


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for the lake (400 MB) and environments")
    parser.add_argument("--bucket", type=Path, required=True, help="a bucket of real scale")
    parser.add_argument("--experiment", type=int, required=True, metavar="ID")
    parser.add_argument("--sdk-python", metavar="FILE", help="an interpreter with AllenSDK 2.16")
    parser.add_argument(
        "--vblake-python", metavar="FILE", default=sys.executable, help="one for vblake [this one]"
    )
    options = parser.parse_args(arguments)
    name = f"behavior_ophys_experiment_{options.experiment}.nwb"
    (file,) = options.bucket.rglob(name)
    lake = _made(options.bucket, options.experiment, options.work / f"sdk-{options.experiment}")
    sdk = next(peer for peer in environments.PEERS if peer.name == "sdk")
    if options.sdk_python is None:
        found, reason = environments.make(sdk, options.work)
        if found is None:
            parser.error(f"AllenSDK cannot be installed here: {reason}. Use --sdk-python.")
        options.sdk_python = found
    reads = [options.vblake_python, "-m", "benchmarks.sdk_one"]
    commands = {
        "AllenSDK": environments.command(sdk, options.sdk_python, file, options.work),
        "vblake.sdk": [*reads, str(lake), str(options.experiment)],
    }
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH"))))}
    samples = run_repeated(commands, options.repeats, environment=paths)
    rows = [
        [name, s.fact("read_s"), s.fact("read_cpu_s"), s.peak_mb, s.fact("attributes")]
        for name, s in samples.items()
    ]
    peer, own = samples["AllenSDK"], samples["vblake.sdk"]
    verdicts = [
        Verdict(f"{what}: AllenSDK / vblake.sdk", peer.fact(key) / own.fact(key), _RATIO, True)
        for what, key in (("seconds", "read_s"), ("processor seconds", "read_cpu_s"))
    ]
    verdicts.append(
        Verdict("opening a lake and reading trials, s", own.fact("trials_s"), _TRIALS_S)
    )
    print(as_table(("all attributes by", "s", "processor s", "peak MB", "attributes"), rows))
    print(f"\n{verdict_table(verdicts)}")
    if options.out:
        more = {"rows": rows, "verdicts": [v.row() for v in verdicts]}
        write_json(options.out, "sdk", vars(options), samples, **more)


if __name__ == "__main__":
    main()
