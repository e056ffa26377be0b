"""Adds one session to a mouse that has 80: cost of merging and publishing its small tables.

    python -m benchmarks.add_session --work /tmp/bench --out results/add_session.json

The session is a real-scale behaviour file, converted once. The mouse's other sessions have the same
rows under other ids. The session is added behind all others, and between two in the middle. Times
and peak memory are those of the merging process.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
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
from benchmarks.sample import BUCKET_HELP, sample_bucket
from benchmarks.verdict import Verdict, verdict_table

_SECONDS = 0.3
_MOUSE, _FIRST = 400_001, 800_000_000


def _session_file(source: Path, target: Path, session: int) -> Path:
    """Writes a staged file like `source` for another session."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(source).read()
    at = rows.schema.get_field_index("behavior_session_id")
    ids = pa.repeat(pa.scalar(session, pa.int64()), rows.num_rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.set_column(at, rows.schema.field(at), ids), target, compression="none")
    return target


def _small(staged: Path) -> list[str]:
    from schemas import TABLES, Storage

    return [
        n
        for n, t in TABLES.items()
        if t.storage is Storage.MOUSE and t.unit_key and (staged / f"{n}.parquet").exists()
    ]


def build(staged: Path, lake: Path, sessions: int) -> None:
    """Writes the mouse's files with `sessions` sessions."""
    from pipelines.lake.marker import Marker, create_lake
    from pipelines.lake.merge import merge_mouse
    from pipelines.lake.store import LocalStore
    from schemas import TABLES
    from schemas.layout import relative_path

    store = LocalStore(lake)
    create_lake(store, Marker("1.1.0"))
    store.staging.mkdir(parents=True, exist_ok=True)
    for name in _small(staged):
        path = relative_path(TABLES[name], mouse_id=_MOUSE)
        parts = {
            i: _session_file(staged / f"{name}.parquet", lake.parent / "parts" / f"{i}.parquet", i)
            for i in range(_FIRST, _FIRST + 2 * sessions, 2)
        }
        target = store.staging / "built.parquet"
        merged = merge_mouse(TABLES[name], store, path, dict(parts), target, release="1.1.0")
        assert merged
        store.publish(merged, path)
    shutil.rmtree(lake.parent / "parts")


def add(staged: Path, lake: Path, session: int) -> dict[str, Any]:
    """Merges one more session into every small table.

    Returns:
        Seconds, processor seconds and peak memory in MB.
    """
    from pipelines.lake.merge import merge_mouse
    from pipelines.lake.store import LocalStore
    from pipelines.no_pandas import refuse_pandas
    from schemas import TABLES
    from schemas.layout import relative_path

    refuse_pandas()  # as in the command
    store = LocalStore(lake)
    store.staging.mkdir(parents=True, exist_ok=True)
    names = _small(staged)
    new = {
        n: _session_file(staged / f"{n}.parquet", lake.parent / "new" / f"{n}.parquet", session)
        for n in names
    }
    started, used = time.perf_counter(), time.process_time()
    for name in names:
        path, target = (
            relative_path(TABLES[name], mouse_id=_MOUSE),
            store.staging / f"{name}.parquet",
        )
        merged = merge_mouse(
            TABLES[name], store, path, {session: new[name]}, target, release="1.1.0"
        )
        assert merged
        store.publish(merged, path)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"merge_s": seconds, "merge_cpu_s": cpu, "peak_mb": peak, "tables": len(names)}


def _add_repeatedly(work: Path, staged: Path, sessions: int, repeats: int) -> dict[str, Samples]:
    """Measures `add` in fresh processes, each on a fresh copy of the lake."""
    folder, where = work / "add-session", ("--work", work, "--sessions", str(sessions))
    # In a process of its own: the peak memory of a process is at least that of its parent.
    run_once(python("benchmarks.add_session", "--build", staged, *where))

    def before(_: str) -> None:
        shutil.rmtree(folder / "lake", ignore_errors=True)
        shutil.copytree(folder / "built", folder / "lake")

    command = python("benchmarks.add_session", "--add", staged, *where, "--session")
    places = {"behind all": 2 * sessions, "in the middle": sessions | 1}
    commands = {
        f"one session added to {sessions}, {place}": [*command, str(_FIRST + number)]
        for place, number in places.items()
    }
    return run_repeated(commands, repeats, before=before)


def _staged_session(work: Path, bucket: Path) -> Path:
    """Converts the bucket's behaviour file; returns the folder of its staged tables."""
    from benchmarks.convert_one import convert, prepare

    shutil.rmtree(work / "add-session", ignore_errors=True)
    files = prepare(bucket, work / "add-session")
    behavior = next(f for f in files if f["kind"] == "behavior")
    convert(Path(behavior["task"]), work / "add-session" / "staged")
    return next((work / "add-session" / "staged").glob("behavior_session_*"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for bucket and lakes")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument(
        "--sessions", type=int, default=80, metavar="N", help="the mouse's sessions [%(default)s]"
    )
    parser.add_argument("--build", type=Path, metavar="STAGED", help=argparse.SUPPRESS)
    parser.add_argument("--add", type=Path, metavar="STAGED", help=argparse.SUPPRESS)
    parser.add_argument("--session", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    if options.build:
        build(options.build, work / "add-session" / "built", options.sessions)
        print("{}")
        return
    if options.add:
        print(json.dumps(add(options.add, work / "add-session" / "lake", options.session)))
        return
    bucket: Path = (options.bucket or sample_bucket(work, 1)).resolve()
    staged = _staged_session(work, bucket)
    found = _add_repeatedly(work, staged, options.sessions, options.repeats)
    built = work / "add-session" / "built"
    size = sum(p.stat().st_size for p in built.rglob("*.parquet")) / 1e6
    rows: list[dict[str, Any]] = [
        {
            "run": name,
            "tables": run.fact("tables"),
            "lake_mb": size,
            "s": run.fact("merge_s"),
            "cpu_s": run.fact("merge_cpu_s"),
            "peak_mb": run.fact("peak_mb"),
        }
        for name, run in found.items()
    ]
    lines = [Verdict(f"{r['run']}: seconds for its small tables", r["s"], _SECONDS) for r in rows]
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    print(f"\n{verdict_table(lines)}")
    if options.out:
        more = {"rows": rows, "verdicts": [v.row() for v in lines]}
        write_json(options.out, "add_session", vars(options), found, **more)


if __name__ == "__main__":
    main()
