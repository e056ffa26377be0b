"""Converting one real-scale file: vblake against the floor, the released SDK, lazynwb and a pynwb
user's script.

    python -m benchmarks.convert --work /tmp/bench --out results/convert.json

Each number is the median of several fresh processes, start-up and imports included, run in turn.
Without --bucket a synthetic one of one mouse (1.2 GB) is written into the work folder. The peers'
environments are made there too, once.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchmarkError, Samples, run_once, run_repeated, table, write_json
from benchmarks.peers.environments import PEERS, Peer, command, make
from benchmarks.verdict import Verdict, verdict_table

KINDS = ("behavior", "mesoscope", "scientifica")
SMALL_TABLES = "trials,stimulus_presentations,cell_specimens"
"""What lazynwb converts too."""

FLOOR_RATIO = {"behavior": 2.0, "mesoscope": 1.4, "scientifica": 1.3}
SDK_RATIO = {"behavior": 10.0, "mesoscope": 5.0, "scientifica": 5.0}

Environments = dict[Peer, tuple[Path | None, str]]


@dataclass(frozen=True)
class File:
    """A file of the bucket and its task."""

    path: Path
    task: Path
    kind: str
    mb: float


def sample_bucket(work: Path) -> Path:
    """The synthetic bucket of a work folder, written if it is not there."""
    bucket = work / "bucket"
    if not (bucket / "done").exists():
        shutil.rmtree(bucket, ignore_errors=True)
        print(f"writing a synthetic bucket to {bucket} ...", file=sys.stderr)
        run_once(
            [
                str(Path(sys.executable).with_name("vblake")),
                "sample",
                "--scale",
                "real",
                "--mice",
                "1",
                "--out",
                str(bucket / "data"),
            ]
        )
        (bucket / "done").touch()
    return bucket / "data"


def files_of(bucket: Path, work: Path) -> list[File]:
    """One file of each kind, the largest, smallest kind first."""
    made = run_once(
        [
            sys.executable,
            "-m",
            "benchmarks.convert_one",
            "--prepare",
            str(bucket),
            "--work",
            str(work / "tasks"),
        ]
    )
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
    return [
        sys.executable,
        "-m",
        "benchmarks.convert_one",
        "--task",
        str(file.task),
        "--work",
        str(out),
        *chosen,
    ]


def _measure(commands: dict[str, list[str]], out: Path, repeats: int) -> dict[str, Samples]:
    # Emptied outside the measured time: deleting 200 MB of an earlier run is not part of
    # converting.
    return run_repeated(
        commands, repeats, before=lambda name: shutil.rmtree(out / name, ignore_errors=True)
    )


def against_floor(file: File, work: Path, repeats: int) -> dict[str, Samples]:
    """The floor and vblake in turn."""
    out = work / "out"
    floor = [sys.executable, "-m", "benchmarks.floor", str(file.path), str(out / "floor")]
    return _measure({"floor": floor, "vblake": _vblake(file, out / "vblake")}, out, repeats)


def against_peers(
    file: File, work: Path, repeats: int, environments: Environments, skipped: dict[str, str]
) -> dict[str, Samples]:
    """Every peer that can be installed and reads the file, and vblake, in turn."""
    out = work / "out"
    commands = {
        "vblake": _vblake(file, out / "vblake"),
        "vblake, three tables": _vblake(file, out / "vblake, three tables", SMALL_TABLES),
    }
    for peer, (python, text) in environments.items():
        if python is None:
            skipped[peer.name] = f"not installable here: {text}"
            continue
        tried = command(peer, python, file.path, out / peer.name)
        try:
            run_once(tried)
        except BenchmarkError as error:
            skipped[f"{peer.name}, {file.kind}"] = str(error).strip().splitlines()[-1]
            continue
        commands[peer.name] = tried
    return _measure(commands, out, repeats)


def after_imports(samples: Samples) -> float:
    """Seconds without interpreter start and imports, which a process that converts many files pays
    once.
    """
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
    """Every target of one file, from what was measured in turn."""
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
            1.03,
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bucket",
        type=Path,
        metavar="DIR",
        help="bucket with files of the released layout [a synthetic one]",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for environments, bucket and output",
    )
    parser.add_argument(
        "--kinds", default=",".join(KINDS), metavar="NAMES", help="which files [%(default)s]"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=7,
        metavar="N",
        help="processes of vblake and the floor [%(default)s]",
    )
    parser.add_argument(
        "--peer-repeats",
        type=int,
        default=3,
        metavar="N",
        help="processes of each peer, 0 for none [%(default)s]",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or sample_bucket(work)).resolve()
    rows: list[dict[str, Any]] = []
    found: list[Verdict] = []
    skipped: dict[str, str] = {}
    samples: dict[str, Samples] = {}
    environments = {peer: make(peer, work) for peer in PEERS} if options.peer_repeats else {}
    versions = {peer.name: text for peer, (_, text) in environments.items()}
    files = [f for f in files_of(bucket, work) if f.kind in options.kinds.split(",")]
    for file in files:
        print(f"{file.kind}: {file.path.name}, {file.mb:.0f} MB", file=sys.stderr)
        floor = against_floor(file, work, options.repeats)
        peers = (
            against_peers(file, work, options.peer_repeats, environments, skipped)
            if environments
            else {}
        )
        for group, measured in (("floor", floor), ("peers", peers)):
            rows += [_row(file, name, group, s) for name, s in measured.items()]
            samples |= {f"{file.kind}, {group}: {name}": s for name, s in measured.items()}
        found += verdicts(file.kind, floor, peers)
    columns = (
        "file",
        "what",
        "wall_s",
        "cpu_s",
        "after_imports_s",
        "fastest_s",
        "peak_mb",
        "parquet_mb",
    )
    print(table(columns, [[r[c] for c in columns] for r in rows]))
    print()
    print(verdict_table(found))
    for name, why in skipped.items():
        print(f"\n{name}: {why}")
    shutil.rmtree(work / "out", ignore_errors=True)
    if options.out:
        settings = {**vars(options), "bucket": bucket, "files": {f.kind: f.mb for f in files}}
        lines = [v.row() for v in found]
        write_json(
            options.out,
            "convert",
            settings,
            samples,
            rows=rows,
            verdicts=lines,
            peers=versions,
            skipped=skipped,
        )


if __name__ == "__main__":
    main()
