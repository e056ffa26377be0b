"""Ingests the largest planes with one worker, from a folder and from a server: peak memory.

    python -m benchmarks.large_plane --work /tmp/bench --out results/large_plane.json

The largest released plane has 666 cells and 149,508 frames: 3.4 GB. One of 140 cells takes the
most memory, since its traces are just small enough to be transposed there
(pipelines/nwb/by_cell.py). Both are the plane of a tiny synthetic bucket, enlarged with noise. Peak
memory is that of the largest process. The server is another process on this machine, without
delays.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.fetch import served
from benchmarks.harness import argument_parser, python, run_once, table, write_json
from benchmarks.scale import measure
from benchmarks.verdict import Verdict, verdict_table

CELLS = (666, 140)
FRAMES = 149_508
_PEAK_MB = 512.0

_ENLARGE = "from benchmarks.large_plane import enlarge; import sys; enlarge(*sys.argv[1:])"


def enlarge(folder: str, cells: str, frames: str) -> None:
    """Enlarges the largest plane of a bucket and prints its experiment id as JSON.

    Args:
        folder: the bucket.
        cells: number of ROIs.
        frames: number of imaging frames.
    """
    import h5py
    import numpy as np

    bucket, n = Path(folder), int(cells)
    path = max(bucket.rglob("behavior_ophys_experiment_*.nwb"), key=lambda p: p.stat().st_size)
    experiment = path.stem.rpartition("_")[2]
    ids = 2_000_000_000 + np.arange(n)
    with h5py.File(path, "r+") as file:
        ophys: Any = file["processing/ophys"]
        before = ophys["dff/traces/data"].shape
        new = dict(zip(before, (int(frames), n), strict=True))
        found: list[str] = []
        ophys.visititems(lambda name, _: found.append(name))
        for name in found:
            old = ophys[name]
            if not isinstance(old, h5py.Dataset) or not set(old.shape[:2]) & set(before):
                continue
            shape = tuple(new.get(length, length) for length in old.shape[:2]) + old.shape[2:]
            if old.shape == before:
                values = None
            elif name.endswith(("/id", "/cell_specimen_id")):
                values = ids.astype(old.dtype)
            elif name.endswith("/rois"):
                values = np.arange(n)
            elif name.endswith("/timestamps"):
                values = old[0] + np.arange(shape[0]) * 0.0323
            else:
                values = np.resize(old[:], shape)
            _replace(ophys, name, shape, values)
    table = next(bucket.rglob("ophys_cells_table.csv"))
    content = table.read_bytes()
    rows = [r for r in content.decode().splitlines() if not r.endswith(f",{experiment}")]
    rows += [f"{i},{i}.0,{experiment}" for i in ids]
    table.write_text("\n".join(rows) + "\n")
    for manifest in bucket.rglob("*_manifest_*.json"):
        old, new_hash = (blake2b(c).hexdigest() for c in (content, table.read_bytes()))
        manifest.write_text(manifest.read_text().replace(old, new_hash))
    print(json.dumps({"experiment": int(experiment), "mb": path.stat().st_size / 1e6}))


def _replace(group: Any, name: str, shape: tuple[int, ...], values: Any) -> None:
    """Replaces a dataset by one of another shape, of noise if no values are given.

    Noise is sparse where the dataset is chunked, as events are.
    """
    import numpy as np

    old, rng = group[name], np.random.default_rng(1)
    attributes, chunks, dtype = dict(old.attrs), old.chunks, old.dtype
    del group[name]
    if values is not None:
        made = group.create_dataset(name, data=values)
    else:
        packed = {"chunks": (2191, 11), "compression": "gzip"} if chunks else {}
        made = group.create_dataset(name, shape=shape, dtype=dtype, **packed)
        for start in range(0, shape[0], 21_910):
            size = (min(21_910, shape[0] - start), shape[1])
            noise = rng.standard_normal(size, dtype=np.float32)
            made[start : start + size[0]] = np.where(noise > 2.8, noise, 0) if chunks else noise
    made.attrs.update(attributes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argument_parser(__doc__, "folder for buckets (5 GB) and lakes")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    lakes = work / "large-plane-lakes"
    rows: list[dict[str, Any]] = []
    samples: dict[str, Any] = {}
    for cells in CELLS:
        bucket = work / f"plane-of-{cells}-cells"
        shutil.rmtree(bucket, ignore_errors=True)
        run_once(python("assets", "sample", "--scale", "tiny", "--mice", 1, "--out", bucket))
        made = run_once([sys.executable, "-c", _ENLARGE, str(bucket), str(cells), str(FRAMES)])
        with served(bucket, 0.0, 1e9) as url:
            commands = {
                f"{cells} cells, from a {where}": python(
                    "assets",
                    "ingest",
                    *source,
                    *("--experiment", made.facts["experiment"], "--workers", 1),
                    *("--lake", lakes / where),
                )
                for where, source in (
                    ("folder", ("--source", bucket)),
                    ("server", ("--endpoint-url", url)),
                )
            }
            volumes = dict.fromkeys(commands, float(made.facts["mb"]))
            found, measured = measure(commands, volumes, lakes, options.repeats)
        samples |= found
        rows += measured.values()
        shutil.rmtree(bucket)
    lines = [Verdict(f"peak memory, {r['run']}, MB", r["peak_mb"], _PEAK_MB) for r in rows]
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
    print(f"\n{verdict_table(lines)}")
    if options.out:
        more = {"rows": rows, "verdicts": [v.row() for v in lines]}
        write_json(options.out, "large_plane", vars(options), samples, **more)


if __name__ == "__main__":
    main()
