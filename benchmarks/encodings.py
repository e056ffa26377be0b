"""Encodings of the heavy tables: processor time to write them, size, and time to read them.

    python -m benchmarks.encodings --work /tmp/bench --out results/encodings.json

The rows are those of the largest file of each kind, converted by vblake. Everything runs in one
thread of one process, in turn; numbers are medians of processor milliseconds. Reading decodes every
value: PyArrow into arrays, DuckDB into a sum of each column, Polars into a frame. The last variant
says in seconds on the clock what a second thread would bring on an idle core: each writes half of
the row groups.
"""

from __future__ import annotations

import os

os.environ |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}

import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.convert import files_of
from benchmarks.harness import argument_parser, python, run_once, table, write_json
from benchmarks.sample import BUCKET_HELP, sample_bucket
from pipelines.lake.writer import parquet_options
from schemas import TABLES
from schemas.layout import ROW_GROUP_ROWS

HEAVY = {
    "mesoscope": ("dff_traces", "events", "eye_tracking", "stimulus_responses"),
    "scientifica": (
        *("dff_traces", "corrected_fluorescence_traces", "events", "eye_tracking"),
        *("running_speed", "stimulus_responses", "mean_responses"),
    ),
}
_CODECS = ("zstd 3", "zstd 1", "zstd -2", "LZ4_RAW", "SNAPPY", "NONE")

Options = dict[str, Any]


def _codec(text: str) -> Options:
    name, _, level = text.partition(" ")
    return {"compression": name, "compression_level": int(level) if level else None}


def variants(name: str) -> dict[str, Options]:
    """Returns options of the writer by name of the variant; the first is what vblake uses."""
    now = parquet_options(TABLES[name])
    columns: dict[str, str] = now["column_encoding"] or {}
    floats = [c for c in TABLES[name].stored if "DOUBLE" in c.type.value or "FLOAT" in c.type.value]
    leaves = [f"{c.name}.list.element" if c.type.is_list else c.name for c in floats]
    plain = {n: e for n, e in columns.items() if n not in leaves} or None
    split = {**(plain or {}), **dict.fromkeys(leaves, "BYTE_STREAM_SPLIT")}
    tried = {codec: now | _codec(codec) for codec in _CODECS}
    used = next(codec for codec, options in tried.items() if options == now)
    found: dict[str, Options] = {f"{used} (used)": tried.pop(used), **tried}
    other, encoding = ("plain", plain) if columns.get(leaves[0]) else ("byte stream split", split)
    for codec in ("zstd 1", "LZ4_RAW"):
        found[f"{codec}, {other}"] = now | _codec(codec) | {"column_encoding": encoding}
    found["statistics of lists"] = now | {"write_statistics": True}
    return found


def _write(path: Path, groups: Sequence[pa.Table], options: Options) -> None:
    with pq.ParquetWriter(path, groups[0].schema, **options) as writer:
        for rows in groups:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)


def _readers(name: str, path: Path) -> dict[str, Callable[[], object]]:
    sums = ", ".join(
        f'sum(list_sum("{c.name}"))' if c.type.is_list else f'sum("{c.name}")'
        for c in TABLES[name].stored
        if "DOUBLE" in c.type.value or "FLOAT" in c.type.value
    )
    connection = duckdb.connect(config={"threads": 1})
    return {
        "PyArrow": lambda: pq.ParquetFile(path).read(use_threads=False),
        "DuckDB": lambda: connection.execute(f"SELECT {sums} FROM '{path}'").fetchall(),
        "Polars": lambda: pl.read_parquet(path),
    }


def _ms(call: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    started = clock()
    call()
    return 1000 * (clock() - started)


def measure(source: Path, kind: str, work: Path, repeats: int) -> list[dict[str, Any]]:
    """Measures every variant of a table, in turn; returns a row for each."""
    name, path = source.stem, work / "tried.parquet"
    file = pq.ParquetFile(source)
    groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
    tried: dict[str, Callable[[], object]] = {
        v: partial(_write, path, groups, o) for v, o in variants(name).items()
    }
    frames = [pl.DataFrame(rows) for rows in groups]
    joined = pl.concat(frames, rechunk=False)
    tried["Polars' writer, zstd 1"] = lambda: joined.write_parquet(
        path, compression="zstd", compression_level=1, row_group_size=groups[0].num_rows
    )
    readers = _readers(name, path)
    taken: dict[str, list[list[float]]] = {v: [] for v in tried}
    sizes: dict[str, float] = {}
    for _ in range(repeats):
        for variant, write in tried.items():
            wrote = _ms(write)
            sizes[variant] = path.stat().st_size / 1e6
            taken[variant].append([wrote, *(_ms(read) for read in readers.values())])
    path.unlink()
    rows: list[dict[str, Any]] = []
    for variant, runs in taken.items():
        wrote, *reads = (statistics.median(column) for column in zip(*runs, strict=True))
        rows.append(
            {
                "file": kind,
                "table": name,
                "encoding": variant,
                "write, ms": wrote,
                "MB": sizes[variant],
                **dict(zip((f"{r}, ms" for r in readers), reads, strict=True)),
            }
        )
    return rows


def two_threads(source: Path, work: Path, repeats: int) -> dict[str, float]:
    """Returns the median milliseconds on the clock of one thread and of two."""
    file, options = pq.ParquetFile(source), parquet_options(TABLES[source.stem])
    groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
    halves = [(work / f"{n}.parquet", groups[n::2]) for n in range(2)]

    def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(_write, *half, options) for half in halves]:
                done.result()

    calls = {"one": lambda: _write(halves[0][0], groups, options), "two": both}
    runs = [[_ms(call, time.perf_counter) for call in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, (statistics.median(c) for c in zip(*runs, strict=True)), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for bucket and files")
    parser.add_argument("--bucket", type=Path, metavar="DIR", help=BUCKET_HELP)
    parser.add_argument("--kinds", default=",".join(HEAVY), metavar="NAMES", help="[%(default)s]")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    bucket: Path = (options.bucket or sample_bucket(work, 1)).resolve()
    out = work / "encodings"
    rows: list[dict[str, Any]] = []
    threads: dict[str, dict[str, float]] = {}
    for file in files_of(bucket, work):
        if file.kind not in options.kinds.split(","):
            continue
        shutil.rmtree(out, ignore_errors=True)
        run_once(
            python(
                *("benchmarks.convert_one", "--task", file.task, "--work", out),
                *("--also", "stimulus_responses"),
            )
        )
        for name in HEAVY[file.kind]:
            print(f"{file.kind}: {name}", file=sys.stderr)
            source = next(out.glob(f"*/{name}.parquet"))
            rows += measure(source, file.kind, out, options.repeats)
            if pq.ParquetFile(source).num_row_groups > 1:
                threads[f"{file.kind}, {name}"] = two_threads(source, out, options.repeats)
    shutil.rmtree(out, ignore_errors=True)
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    lines = [(name, found["one"], found["two"]) for name, found in threads.items()]
    print("\n" + table(("ms on the clock", "one thread", "two"), lines))
    if options.out:
        settings = vars(options) | {"bucket": bucket}
        write_json(options.out, "encodings", settings, {}, rows=rows, threads=threads)


if __name__ == "__main__":
    main()
