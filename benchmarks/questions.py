"""Answers the questions of docs/cookbook on one mouse of real scale and at the dataset's full size.

    python -m benchmarks.questions --work /tmp/bench --sdk-python /tmp/allensdk/bin/python \
        --out benchmarks/results/questions.json

Each answer is the recipe as it stands, in a fresh process; imports and opening the lake are left
out of seconds, but not of the peak. What reads dense traces of the whole lake is asked of the mouse
alone. Five questions are also answered with AllenSDK, from the mouse's NWB files
(`benchmarks/peers/sdk_questions.py`). The lakes are made in the work folder, once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vblake
from benchmarks.cookbook import ids_of, recipes
from benchmarks.harness import (
    ROOT,
    Samples,
    argument_parser,
    python,
    run_repeated,
    table,
    write_json,
)
from benchmarks.peers import environments
from benchmarks.sample import BUCKET_HELP, full_size_lake, mouse_lake, sample_bucket
from benchmarks.verdict import Verdict, verdict_table

QUESTIONS = range(1, 29)
"""Recipes after these are not measured."""

LONG = {10, 28}
"""Questions with a bound of 3 s on the mouse; the others have one of 1 s."""

RESPONSES = {5, 12, 14, 15, 26}
"""Questions to responses, with a bound of 10 s at full size; those to behaviour have one of 1 s."""

BEHAVIOR = {1, 2, 3, 4, 7, 8, 13, 18, 19, 20, 21}
ALSO_FULL = {6, 9, 10, 17, 22, 23, 27}
"""Questions to cells, or to one session or plane, which have no bound at full size."""

WITH_SDK = (1, 3, 5, 10, 12)
_PEAK_GB = 2.0


def _commands(lakes: dict[str, Path]) -> dict[str, list[str]]:
    commands: dict[str, list[str]] = {}
    for name, root in lakes.items():
        with vblake.open(root) as lake:
            ids = json.dumps(ids_of(lake))
        asked = set(QUESTIONS)
        if name == "full":
            asked = BEHAVIOR | RESPONSES | ALSO_FULL
        for number in sorted(asked):
            commands[f"{number} {name}"] = python("benchmarks.questions_one", root, number, ids)
    return commands


def _files(bucket: Path, lake: Path) -> list[str]:
    """The mouse's NWB files, that of the recipes' session first."""
    with vblake.open(lake) as opened:
        sessions = list(ids_of(opened).values())
        keys = opened.sql("SELECT object_key FROM source_files ORDER BY 1").fetchall()
    files = [next(bucket.rglob(Path(key).name)) for (key,) in keys]
    return [str(f) for f in sorted(files, key=lambda f: not any(i in f.name for i in sessions))]


def rows_of(samples: dict[str, Samples]) -> list[dict[str, Any]]:
    """Returns one row per question."""
    rows: list[dict[str, Any]] = []
    for recipe in recipes()[: len(QUESTIONS)]:
        row: dict[str, Any] = {"": recipe.number, "question": recipe.title}
        for name in ("mouse", "full", "AllenSDK"):
            found = samples.get(f"{recipe.number} {name}")
            row |= {
                f"{name} s": found and found.fact("s"),
                f"{name} processor s": found and found.fact("cpu_s"),
                f"{name} peak MB": found and found.peak_mb,
            }
        rows.append(row)
    return rows


def verdicts(rows: list[dict[str, Any]]) -> list[Verdict]:
    """Compares the rows with the targets: the worst of each kind."""
    found: list[Verdict] = []

    def worst(what: str, key: str, numbers: set[int], bound: float) -> None:
        number, value = max(
            ((r[""], r[key]) for r in rows if r[""] in numbers), key=lambda pair: pair[1]
        )
        found.append(Verdict(f"{what}: the slowest, {number}", value, bound))

    everything = {r[""] for r in rows}
    worst("mouse, peak MB", "mouse peak MB", everything, 1000 * _PEAK_GB)
    for key in ("s", "processor s"):  # on a busy machine, the latter says more
        worst(f"mouse, {key}", f"mouse {key}", everything - LONG, 1)
        worst(f"mouse, 10 and 28, {key}", f"mouse {key}", LONG, 3)
        worst(f"behaviour at full size, {key}", f"full {key}", BEHAVIOR, 1)
        worst(f"responses at full size, {key}", f"full {key}", RESPONSES, 10)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for the lakes (4 GB)")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument("--sdk-python", metavar="FILE", help="an interpreter with AllenSDK 2.16")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    mouse = mouse_lake(work)
    bucket: Path = (options.bucket or sample_bucket(work, 1)).resolve()
    samples = run_repeated(
        _commands({"mouse": mouse, "full": full_size_lake(work)}), options.repeats, warm_up=0
    )
    if options.sdk_python is None:
        sdk = next(peer for peer in environments.PEERS if peer.name == "sdk")
        options.sdk_python, _ = environments.make(sdk, work)
    if options.sdk_python is not None:
        script = ROOT / "benchmarks" / "peers" / "sdk_questions.py"
        start = [str(options.sdk_python), "-W", "ignore", str(script)]
        peers = {f"{n} AllenSDK": [*start, str(n), *_files(bucket, mouse)] for n in WITH_SDK}
        samples |= run_repeated(peers, 1, warm_up=0)
    rows = rows_of(samples)
    found = verdicts(rows)
    print(table(tuple(rows[0]), [tuple(r.values()) for r in rows]), "", sep="\n")
    print(verdict_table(found))
    if options.out:
        own = [s for name, s in samples.items() if "AllenSDK" not in name]
        peer = [s for name, s in samples.items() if "AllenSDK" in name]
        start_up = {
            "start_s": max(s.fact("start_s") for s in own),
            "start_cpu_s": max(s.fact("start_cpu_s") for s in own),
            "sdk_cpu_s": max((s.fact("start_cpu_s") for s in peer), default=0.0),
        }
        more = {"rows": rows, "verdicts": [v.row() for v in found], "start_up": start_up}
        write_json(options.out, "questions", vars(options), samples, **more)


if __name__ == "__main__":
    main()
