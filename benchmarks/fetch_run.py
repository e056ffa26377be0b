"""Does one run of `benchmarks.fetch` in its own process; the last line printed is JSON.

The measured time starts after the imports.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import importlib
import json
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pipelines.convert.libraries  # noqa: F401 - as in a worker, before the others
from pipelines.convert.file import convert_file
from pipelines.convert.staged import TEMPLATES, ConvertSettings, FileResult
from pipelines.no_pandas import refuse_pandas
from pipelines.release.selection import FileKind, FileTask, Selection
from pipelines.release.tasks import plan
from pipelines.source.base import SourceSpec
from pipelines.source.folder import FolderSource
from pipelines.source.object_store import ObjectStoreSource

BUCKET = "visual-behavior-ophys-data"


def prepare(bucket: Path, work: Path) -> dict[str, Any]:
    """Picks the largest behaviour file, and the smallest and largest experiment with behaviour.

    All tables are selected.
    """
    from pipelines.release.manifest import load_release
    from pipelines.release.project_tables import read_project_tables

    source = FolderSource(SourceSpec(str(bucket)))
    release = load_release(source, "latest")
    tasks = plan(
        read_project_tables(source, release),
        release,
        Selection(),
        source.sizes("visual-behavior-ophys/"),
    ).tasks
    by_size = sorted(tasks, key=lambda t: t.bytes or 0)
    behavior = [t for t in by_size if t.kind is FileKind.BEHAVIOR_SESSION]
    experiments = [t for t in by_size if t.kind is FileKind.OPHYS_EXPERIMENT and t.gives_behavior]
    chosen = {"behavior": behavior[-1]} if behavior else {}
    if experiments:
        chosen |= {"experiment, small": experiments[0], "experiment, large": experiments[-1]}
    return {"files": [_measured(source, name, task, work) for name, task in chosen.items()]}


def _measured(source: FolderSource, name: str, task: FileTask, work: Path) -> dict[str, Any]:
    """Stores a task and the images that are known; counts the bytes that its tables need."""
    from contextlib import closing

    from pipelines.nwb.prefetch import (
        PATHS,
        byte_ranges,
        find_datasets,
        has_plain_references,
        string_ranges,
    )
    from pipelines.nwb.recording import open_recording
    from pipelines.nwb.templates import image_digests
    from pipelines.source.range_file import RangeFile, merged

    path = work / f"{name.replace(', ', '-')}.task"
    path.write_bytes(pickle.dumps(task))
    local = source.path(task.object.key)
    patterns = [p for table in task.tables if table != TEMPLATES for p in PATHS[table]]
    with local.open("rb") as content:

        async def fetch(start: int, stop: int) -> bytes:
            content.seek(start)
            return content.read(stop - start)

        with (
            closing(RangeFile(fetch, local.stat().st_size)) as remote,
            open_recording(local, name) as recording,
        ):
            datasets = find_datasets(recording.hdf, patterns).values()
            needed = merged(r for d in datasets for r in byte_ranges(d))
            texts = merged(
                r for d in datasets if has_plain_references(d) for r in string_ranges(d, remote)
            )
            images = image_digests(recording).values()
    _known_images(task, work).write_text("\n".join(images))
    sizes = [sum(stop - start for start, stop in ranges) for ranges in (needed, texts)]
    return {
        "name": name,
        "bytes": task.bytes,
        "needed": sizes[0],
        "texts": sizes[1],
        "task": str(path),
    }


def _spec(url: str) -> SourceSpec:
    """Returns how to reach the bucket: by the URL of a server, or in a folder."""
    served = url.startswith(("http://", "https://"))
    return SourceSpec(f"s3://{BUCKET}", url) if served else SourceSpec(url)


def _known_images(task: FileTask, work: Path) -> Path:
    """Returns the file with the digests of the images of a task."""
    return work / f"{task.file_key}.images"


def _settings(url: str, work: Path) -> ConvertSettings:
    return ConvertSettings(_spec(url), work / "output", False)


def _converted(task: FileTask, settings: ConvertSettings) -> FileResult:
    result = convert_file(task, settings)
    if result.error:
        raise SystemExit(result.error)
    return result


def ingest(task: FileTask, url: str, work: Path) -> dict[str, Any]:
    """Converts a file whose image set the lake has."""
    images = frozenset(_known_images(task, work).read_text().split())
    result = _converted(task, replace(_settings(url, work), images=images))
    return {"rows": sum(result.row_counts.values()), "bytes_fetched": result.bytes_fetched}


def ingest_images(task: FileTask, url: str, work: Path) -> dict[str, Any]:
    """Converts a file and its image set."""
    result = _converted(task, _settings(url, work))
    return {"rows": sum(result.row_counts.values()), "bytes_fetched": result.bytes_fetched}


def trials(task: FileTask, url: str, work: Path) -> dict[str, Any]:
    """Converts the trials only."""
    return ingest(replace(task, tables=("trials",)), url, work)


def download_6(task: FileTask, url: str, work: Path) -> dict[str, Any]:
    """Fetches the whole object over six connections."""
    to = work / "output" / "whole.nwb"
    to.parent.mkdir(parents=True)
    return {
        "bytes_fetched": ObjectStoreSource(_spec(url)).fetch(
            task.object.key, task.object.version_id, to
        )
    }


def download_1(task: FileTask, url: str, work: Path) -> dict[str, Any]:
    """Fetches the whole object over one connection, like curl."""
    to = work / "output" / "whole.nwb"
    to.parent.mkdir(parents=True)
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", f"/{BUCKET}/{task.object.key}?versionId={task.object.version_id}")
    buffer, total = memoryview(bytearray(1 << 20)), 0
    with connection.getresponse() as answer, to.open("wb") as file:
        while count := answer.readinto(buffer):
            file.write(buffer[:count])
            total += count
    connection.close()
    return {"bytes_fetched": total}


def s3fs_h5py(task: FileTask, url: str, work: Path) -> dict[str, Any]:
    """Reads the same datasets as vblake, whole and in the same order, and discards them."""
    import s3fs

    from pipelines.nwb.prefetch import PATHS, find_datasets
    from pipelines.nwb.recording import open_recording

    filesystem = s3fs.S3FileSystem(
        anon=True, endpoint_url=url, client_kwargs={"region_name": "us-west-2"}
    )
    values = 0
    with (
        filesystem.open(f"{BUCKET}/{task.object.key}") as file,
        open_recording(cast(Any, file), task.object.key) as recording,
    ):
        seen: set[str] = set()
        for name in task.tables:
            if name != TEMPLATES:
                for path, dataset in find_datasets(recording.hdf, PATHS[name]).items():
                    if path not in seen:
                        seen.add(path)
                        values += dataset[()].size if dataset.shape else 1
    return {"values": values}


WAYS: dict[str, Callable[[FileTask, str, Path], dict[str, Any]]] = {
    "ingest": ingest,
    "ingest-images": ingest_images,
    "trials": trials,
    "download-6": download_6,
    "download-1": download_1,
    "s3fs": s3fs_h5py,
}


def main() -> None:
    """Runs one way of reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["prepare", *WAYS])
    parser.add_argument("--bucket", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--task", type=Path)
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    if options.way == "prepare":
        print(json.dumps(prepare(options.bucket, options.work)))
        return
    if options.way == "s3fs":
        importlib.import_module("s3fs")
    else:
        refuse_pandas()  # as in a worker
        gc.freeze()
    task = pickle.loads(options.task.read_bytes())
    started, used = time.perf_counter(), time.process_time()
    facts = WAYS[options.way](task, options.url, options.work)
    facts |= {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - used}
    print(json.dumps({**facts, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
