"""Converts one file with vblake in this process: all documented tables, all checks.

`--prepare` makes the task beforehand, as the ingesting process does for its workers. So the
measured time is that of a worker: importing, opening, reading, checking, writing.
"""

from __future__ import annotations

import argparse
import gc
import json
import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

_STARTED = time.perf_counter()


def prepare(bucket: Path, work: Path) -> list[dict[str, Any]]:
    """Writes a task file for every NWB file of a bucket, with every documented table of the file.

    All planes get the behaviour tables, not only the first of a session.

    Returns:
        For each file its `path`, `task` file, size in `mb`, and `kind`: behavior, mesoscope or
        scientifica.
    """
    import h5py

    from pipelines.nwb.recording import open_recording
    from pipelines.nwb.templates import image_digests
    from pipelines.prepare import prepare as plan
    from pipelines.release.selection import FileKind
    from pipelines.request import IngestRequest
    from pipelines.source.base import SourceSpec
    from schemas import TABLES, Subject

    prepared = plan(IngestRequest(SourceSpec(str(bucket)), str(work / "no-lake")))
    work.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for task in prepared.todo:
        experiment = task.kind is FileKind.OPHYS_EXPERIMENT
        subjects = {Subject.BEHAVIOR, Subject.STIMULUS} | ({Subject.OPHYS} if experiment else set())
        tables = tuple(n for n, t in TABLES.items() if t.subject in subjects and not t.by_name_only)
        file, path = bucket / task.object.key, work / f"{task.kind.value}_{task.file_key}.task"
        with open_recording(file, task.object.key) as recording:
            images = frozenset(image_digests(recording).values())
        chosen = replace(task, gives_behavior=True, tables=tables)
        path.write_bytes(pickle.dumps((str(bucket), chosen, images)))
        with h5py.File(file, "r") as h5:
            rig = str(h5["general/metadata"].attrs["equipment_name"])
        kind = (
            ("mesoscope" if rig.startswith("MESO") else "scientifica") if experiment else "behavior"
        )
        found.append(
            {"path": str(file), "task": str(path), "kind": kind, "mb": file.stat().st_size / 1e6}
        )
    return found


def convert(
    task_file: Path,
    work: Path,
    tables: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    *,
    plane_only: bool = False,
) -> dict[str, Any]:
    """Converts the file of a task.

    Args:
        task_file: written by `prepare`.
        work: folder for the staged tables.
        tables: restricts the conversion to these tables.
        without: leaves these tables out.
        also: adds these tables, which are ingested by name only.
        plane_only: leaves the session's behaviour out, as in all planes but its first.

    Returns:
        MB of Parquet, and seconds of the imports and of the conversion; of the imports also
        processor seconds, start-up included.
    """
    import pipelines.convert.libraries  # noqa: F401 - as in a worker
    from pipelines.no_pandas import refuse_pandas

    refuse_pandas()
    from pipelines.convert.file import convert_file
    from pipelines.convert.staged import ConvertSettings
    from pipelines.source.base import SourceSpec
    from schemas import TABLES, Subject

    gc.freeze()  # as in a worker
    imported, imported_cpu = time.perf_counter() - _STARTED, time.process_time()
    bucket, task, images = pickle.loads(task_file.read_bytes())
    chosen = tuple(
        t
        for t in TABLES
        if t in (*task.tables, *also)
        and (not tables or t in tables)
        and t not in without
        and not (plane_only and TABLES[t].subject is not Subject.OPHYS)
    )
    # The images: as for most files, the lake has those of their set from another one.
    settings = ConvertSettings(SourceSpec(bucket), work, verify_hash=False, images=images)
    result = convert_file(replace(task, tables=chosen), settings)
    if result.error:
        raise SystemExit(result.error)
    size = sum(p.stat().st_size for p in result.folder.glob("*.parquet"))
    return {
        "import_s": imported,
        "import_cpu_s": imported_cpu,
        "convert_s": time.perf_counter() - _STARTED - imported,
        "parquet_mb": size / 1e6,
        "tables": len(result.row_counts),
    }


def main() -> None:
    """Runs `prepare` or `convert`."""
    parser = argparse.ArgumentParser(
        description="Convert one NWB file of a bucket with vblake, in this process."
    )
    parser.add_argument(
        "--prepare",
        type=Path,
        metavar="BUCKET",
        help="only write a task file for every file of the bucket",
    )
    parser.add_argument("--task", type=Path, metavar="FILE", help="task file to convert")
    parser.add_argument(
        "--tables", default="", metavar="NAMES", help="only these tables, separated by commas"
    )
    parser.add_argument("--without", default="", metavar="NAMES", help="not these tables")
    parser.add_argument(
        "--also", default="", metavar="NAMES", help="these tables, which are ingested by name only"
    )
    parser.add_argument("--plane-only", action="store_true", help="not the session's behaviour")
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for task files or staged tables",
    )
    options = parser.parse_args()
    if options.prepare:
        print(json.dumps({"files": prepare(options.prepare.resolve(), options.work.resolve())}))
    elif options.task:
        named = (
            tuple(filter(None, names.split(",")))
            for names in (options.tables, options.without, options.also)
        )
        made = convert(options.task, options.work, *named, plane_only=options.plane_only)
        print(json.dumps(made))
    else:
        sys.exit("give --prepare or --task")


if __name__ == "__main__":
    main()
