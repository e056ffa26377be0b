"""Adding one session to a mouse that has 80: what its small tables cost, merge and publication.

    python -m benchmarks.add_session --work /tmp/bench --out results/add_session.json

The session is a real-scale behaviour file, converted once; the mouse's other sessions hold its rows
under other ids. Times are of this process; peak memory is that of the merging process, which makes
nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import run_repeated, table, write_json
from benchmarks.verdict import Verdict, verdict_table

_SECONDS = 1.0
_MOUSE, _FIRST = 400_001, 800_000_000


def _session_file(source: Path, target: Path, session: int) -> Path:
    """A staged file like `source`, of another session."""
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
    """Writes the mouse's files with so many sessions, and a copy to put back before each run."""
    from pipelines.lake.merge import merge_mouse
    from pipelines.lake.store import LocalStore, create_lake
    from schemas import TABLES
    from schemas.layout import relative_path

    store = LocalStore(lake)
    create_lake(store, "1.1.0")
    store.staging.mkdir(parents=True, exist_ok=True)
    for name in _small(staged):
        path = relative_path(TABLES[name], mouse_id=_MOUSE)
        parts = {
            i: _session_file(staged / f"{name}.parquet", lake.parent / "parts" / f"{i}.parquet", i)
            for i in range(_FIRST, _FIRST + sessions)
        }
        target = store.staging / "built.parquet"
        merged = merge_mouse(TABLES[name], store, path, dict(parts), target, release="1.1.0")
        assert merged
        store.publish(merged, path)
    shutil.rmtree(lake.parent / "parts")


def add(staged: Path, lake: Path) -> dict[str, Any]:
    """Merges one more session into every small table.

    Returns:
        Seconds, processor seconds and peak memory in MB.
    """
    from pipelines.lake.merge import merge_mouse
    from pipelines.lake.store import LocalStore
    from schemas import TABLES
    from schemas.layout import relative_path

    store = LocalStore(lake)
    store.staging.mkdir(parents=True, exist_ok=True)
    session = _FIRST + 10**6
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="folder for bucket and lakes"
    )
    parser.add_argument(
        "--bucket",
        type=Path,
        metavar="DIR",
        help="bucket with a real-scale behaviour file [a synthetic one]",
    )
    parser.add_argument(
        "--sessions",
        type=int,
        default=80,
        metavar="N",
        help="sessions that the mouse has [%(default)s]",
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs [%(default)s]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file")
    parser.add_argument("--add", type=Path, metavar="STAGED", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve() / "add-session"
    if options.add:
        print(json.dumps(add(options.add, work / "lake")))
        return
    from benchmarks.convert_one import convert, prepare
    from benchmarks.scale import scale_bucket

    shutil.rmtree(work, ignore_errors=True)
    bucket: Path = (options.bucket or scale_bucket(options.work.resolve(), 1)).resolve()
    behavior = next(f for f in prepare(bucket, work) if f["kind"] == "behavior")
    convert(Path(behavior["task"]), work / "staged")
    staged = next((work / "staged").glob("behavior_session_*"))
    build(staged, work / "built", options.sessions)

    def before(_: str) -> None:
        shutil.rmtree(work / "lake", ignore_errors=True)
        shutil.copytree(work / "built", work / "lake")

    name = f"one session added to {options.sessions}"
    command = [
        sys.executable,
        "-m",
        "benchmarks.add_session",
        "--work",
        str(options.work),
        "--add",
        str(staged),
    ]
    samples = run_repeated({name: command}, options.repeats, before=before)
    found = samples[name]
    size = sum(p.stat().st_size for p in (work / "built").rglob("*.parquet")) / 1e6
    row = {
        "run": name,
        "tables": found.fact("tables"),
        "lake_mb": size,
        "s": found.fact("merge_s"),
        "cpu_s": found.fact("merge_cpu_s"),
        "peak_mb": found.fact("peak_mb"),
    }
    lines = [Verdict(f"{name}: seconds for its small tables", row["s"], _SECONDS)]
    print(table(tuple(row), [tuple(row.values())]))
    print()
    print(verdict_table(lines))
    if options.out:
        write_json(
            options.out,
            "add_session",
            vars(options),
            samples,
            rows=[row],
            verdicts=[v.row() for v in lines],
        )


if __name__ == "__main__":
    main()
