"""Converts one real-scale file: vblake against the floor, the released SDK, lazynwb and a pynwb
script.

    python -m benchmarks.convert --work /tmp/bench --out results/convert.json

Each number is the median of several fresh processes that run in turn, start-up and imports
included. Without --bucket, a synthetic one of one mouse (1.2 GB) is written to the work folder. The
peers' environments are made there too, once. --floor takes the floor of another commit:

    git show 3ef3002:benchmarks/floor.py > /tmp/bench/floor.py
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    ROOT,
    BenchmarkError,
    Samples,
    argument_parser,
    python,
    run_once,
    run_repeated,
    table,
    write_json,
)
from benchmarks.peers.environments import PEERS, Peer, command, make
from benchmarks.sample import BUCKET_HELP, sample_bucket
from benchmarks.verdict import Verdict, verdict_table

KINDS = ("behavior", "mesoscope", "scientifica")
SMALL_TABLES = "trials,stimulus_presentations,cell_specimens"
"""The tables that lazynwb converts too."""

FLOOR_RATIO = {"behavior": 1.6, "mesoscope": 1.5, "scientifica": 1.35}
SIZE_RATIO = 1.1
"""Since the floor has none of the tables that vblake computes."""

SDK_RATIO = {"behavior": 10.0, "mesoscope": 5.0, "scientifica": 5.0}

_NUMBERS = ("wall_s", "cpu_s", "after_imports_s", "fastest_s", "peak_mb", "parquet_mb")

Environments = dict[Peer, tuple[Path | None, str]]


@dataclass(frozen=True)
class File:
    """A file of the bucket and its task."""

    path: Path
    task: Path
    kind: str
    mb: float


def files_of(bucket: Path, work: Path) -> list[File]:
    """Returns the largest file of each kind, smallest kind first."""
    made = run_once(python("benchmarks.convert_one", "--prepare", bucket, "--work", work / "tasks"))
    files = [
        File(Path(f["path"]), Path(f["task"]), f["kind"], f["mb"]) for f in made.facts["files"]
    ]
    return [
        max((f for f in files if f.kind == kind), key=lambda f: f.mb)
        for kind in KINDS
        if any(f.kind == kind for f in files)
    ]


def _vblake(file: File, out: Path, tables: str = "") -> list[str]:
    chosen = ["--tables", tables] if tables else []
    return python("benchmarks.convert_one", "--task", file.task, "--work", out, *chosen)


def _measure(commands: dict[str, list[str]], out: Path, repeats: int) -> dict[str, Samples]:
    # Output of earlier runs is deleted outside the measured time.
    return run_repeated(
        commands, repeats, before=lambda name: shutil.rmtree(out / name, ignore_errors=True)
    )


def against_floor(file: File, work: Path, repeats: int, script: Path) -> dict[str, Samples]:
    """Runs the floor and vblake in turn."""
    out = work / "out"
    floor = [sys.executable, str(script), str(file.path), str(out / "floor")]
    return _measure({"floor": floor, "vblake": _vblake(file, out / "vblake")}, out, repeats)


def against_peers(
    file: File, work: Path, repeats: int, environments: Environments, skipped: dict[str, str]
) -> dict[str, Samples]:
    """Runs vblake and every peer that can be installed and reads the file, in turn.

    Adds to `skipped` the peers that are left out, with the reason.
    """
    out = work / "out"
    commands = {
        "vblake": _vblake(file, out / "vblake"),
        "vblake, three tables": _vblake(file, out / "vblake, three tables", SMALL_TABLES),
    }
    for peer, (interpreter, text) in environments.items():
        if interpreter is None:
            skipped[peer.name] = f"not installable here: {text}"
            continue
        tried = command(peer, interpreter, file.path, out / peer.name)
        try:
            run_once(tried)
        except BenchmarkError as error:
            skipped[f"{peer.name}, {file.kind}"] = str(error).strip().splitlines()[-1]
            continue
        commands[peer.name] = tried
    return _measure(commands, out, repeats)


def after_imports(samples: Samples) -> float:
    """Median seconds without start-up and imports, which a process pays once for many files."""
    return statistics.median(r.wall_s - float(r.facts["import_s"]) for r in samples.runs)


def _row(file: File, name: str, group: str, samples: Samples) -> dict[str, Any]:
    runs = samples.runs
    return {
        "file": file.kind,
        "group": group,
        "what": name,
        "wall_s": samples.wall_s,
        "cpu_s": samples.cpu_s,
        "fastest_s": min(r.wall_s for r in runs),
        "after_imports_s": after_imports(samples),
        "peak_mb": samples.peak_mb,
        "parquet_mb": samples.fact("parquet_mb") if "parquet_mb" in runs[0].facts else None,
    }


def verdicts(kind: str, floor: dict[str, Samples], peers: dict[str, Samples]) -> list[Verdict]:
    """Compares the measurements of one file with the targets."""
    ours = floor["vblake"]
    found = [
        Verdict(
            f"{kind}: vblake / floor, wall", ours.wall_s / floor["floor"].wall_s, FLOOR_RATIO[kind]
        ),
        Verdict(
            f"{kind}: vblake / floor, processor",
            ours.cpu_s / floor["floor"].cpu_s,
            FLOOR_RATIO[kind],
        ),
        Verdict(
            f"{kind}: size / floor's",
            ours.fact("parquet_mb") / floor["floor"].fact("parquet_mb"),
            SIZE_RATIO,
        ),
    ]
    if not peers:
        return found
    us = peers["vblake"]

    def faster(name: str, bound: float, whose: str = "vblake", what: str = "") -> None:
        other = peers.get(name)
        ratio = other.wall_s / peers[whose].wall_s if other else None
        found.append(
            Verdict(f"{kind}: {name} / {what or whose}, wall", ratio, bound, at_least=True)
        )

    faster("sdk", SDK_RATIO[kind])
    sdk = peers.get("sdk")
    found.append(
        Verdict(f"{kind}: peak memory / sdk's", us.peak_mb / sdk.peak_mb if sdk else None, 0.35)
    )
    faster("pynwb", 4.0)
    faster("lazynwb", 3.0, "vblake, three tables")
    lazy = peers.get("lazynwb")
    bare = after_imports(lazy) / after_imports(peers["vblake, three tables"]) if lazy else None
    found.append(
        Verdict(
            f"{kind}: lazynwb / vblake, three tables, imports left out", bare, 3.0, at_least=True
        )
    )
    if kind == "behavior":
        faster("lazynwb", 1.0, what="vblake, whole file")
    return found


def _print(rows: list[dict[str, Any]], found: list[Verdict], skipped: dict[str, str]) -> None:
    columns = ("file", "what", *_NUMBERS)
    print(table(columns, [[r[c] for c in columns] for r in rows]))
    print(f"\n{verdict_table(found)}")
    for name, why in skipped.items():
        print(f"\n{name}: {why}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for environments, bucket and output")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument(
        "--kinds", default=",".join(KINDS), metavar="NAMES", help="kinds of file [%(default)s]"
    )
    parser.add_argument(
        "--peer-repeats",
        type=int,
        default=3,
        metavar="N",
        help="counted runs of each peer, 0 for none [%(default)s]",
    )
    parser.add_argument(
        "--floor",
        type=Path,
        default=ROOT / "benchmarks" / "floor.py",
        metavar="FILE",
        help="script that is the floor [%(default)s]",
    )
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or sample_bucket(work, 1)).resolve()
    rows: list[dict[str, Any]] = []
    found: list[Verdict] = []
    skipped: dict[str, str] = {}
    samples: dict[str, Samples] = {}
    environments = {peer: make(peer, work) for peer in PEERS} if options.peer_repeats else {}
    files = [f for f in files_of(bucket, work) if f.kind in options.kinds.split(",")]
    for file in files:
        print(f"{file.kind}: {file.path.name}, {file.mb:.0f} MB", file=sys.stderr)
        groups = {"floor": against_floor(file, work, options.repeats, options.floor), "peers": {}}
        if environments:
            count = options.peer_repeats
            groups["peers"] = against_peers(file, work, count, environments, skipped)
        for group, measured in groups.items():
            rows += [_row(file, name, group, s) for name, s in measured.items()]
            samples |= {f"{file.kind}, {group}: {name}": s for name, s in measured.items()}
        found += verdicts(file.kind, groups["floor"], groups["peers"])
    shutil.rmtree(work / "out", ignore_errors=True)
    _print(rows, found, skipped)
    if options.out:
        settings = {**vars(options), "bucket": bucket, "files": {f.kind: f.mb for f in files}}
        more = {
            "rows": rows,
            "verdicts": [v.row() for v in found],
            "peers": {peer.name: text for peer, (_, text) in environments.items()},
            "skipped": skipped,
        }
        write_json(options.out, "convert", settings, samples, **more)


if __name__ == "__main__":
    main()
