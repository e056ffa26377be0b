"""Further releases of a bucket: the manifest and the CSV files without some files, hashes as the files are now."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from builders.bucket import PROJECT, Row, blake2b, manifest_key, to_csv

_BEHAVIOR, _SESSIONS, _EXPERIMENTS, _CELLS = (
    *("behavior_session_table", "ophys_session_table"),
    *("ophys_experiment_table", "ophys_cells_table"),
)


def write_release(
    bucket: Path,
    version: str,
    *,
    without: Collection[int] = (),
    mice: Collection[int] | None = None,
    base: str = "1.1.0",
    edit: Callable[[dict[str, list[Row]]], object] = lambda _: None,
) -> None:
    """Writes a release like another one of the same bucket, in a folder.

    Args:
        bucket: the folder.
        version: X.Y.Z of the new release, or of the other one, which is then replaced.
        without: ids of behaviour files and experiments that it lacks, and their rows with them.
        mice: the only ones that it has; all by default.
        base: the release to start from.
        edit: changes the rows of its tables, by their names in the manifest.
    """
    manifest = json.loads((bucket / manifest_key(base)).read_text())
    tables = {name: _rows(bucket, entry) for name, entry in manifest["metadata_files"].items()}
    tables = _without(tables, {str(n) for n in without}, mice)
    edit(tables)
    files = {
        row["file_id"].removesuffix(".0") for n in (_BEHAVIOR, _EXPERIMENTS) for row in tables[n]
    }
    manifest["manifest_version"] = version
    manifest["data_files"] = {
        file_id: _entry(bucket, entry)
        for file_id, entry in manifest["data_files"].items()
        if file_id in files
    }
    for name, rows in tables.items():
        entry = manifest["metadata_files"][name]
        key = f"{PROJECT}/project_metadata-{version}/{name}.csv"
        host = entry["url"].partition(f"/{PROJECT}/")[0]
        (bucket / key).parent.mkdir(exist_ok=True)
        (bucket / key).write_bytes(to_csv(rows))
        manifest["metadata_files"][name] = _entry(bucket, {"url": f"{host}/{key}"})
    (bucket / manifest_key(version)).write_text(json.dumps(manifest))


def revise(file: Path) -> None:
    """Doubles the running speed in a file, so that it is another version of the object."""
    with h5py.File(file, "r+") as h5:
        speed = h5["/processing/running/speed/data"]
        speed[:] = np.asarray(speed) * 2


def _rows(bucket: Path, entry: dict[str, Any]) -> list[Row]:
    text = (bucket / _key(entry)).read_text()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _key(entry: dict[str, Any]) -> str:
    return f"{PROJECT}/" + entry["url"].partition(f"/{PROJECT}/")[2]


def _entry(bucket: Path, entry: dict[str, Any]) -> dict[str, str]:
    file_hash = blake2b((bucket / _key(entry)).read_bytes())
    return {"url": entry["url"], "version_id": f"v-{file_hash[:20]}", "file_hash": file_hash}


def _without(
    tables: dict[str, list[Row]], gone: set[str], mice: Collection[int] | None
) -> dict[str, list[Row]]:
    """The tables without the rows of some files; a session keeps its other planes."""
    chosen = None if mice is None else {str(mouse) for mouse in mice}
    kept = {
        name: [row for row in rows if chosen is None or row.get("mouse_id", "") in (*chosen, "")]
        for name, rows in tables.items()
    }
    kept[_BEHAVIOR] = [r for r in kept[_BEHAVIOR] if r["behavior_session_id"] not in gone]
    experiments = [r for r in kept[_EXPERIMENTS] if r["ophys_experiment_id"] not in gone]
    kept[_EXPERIMENTS] = experiments
    there = {row["ophys_experiment_id"] for row in experiments}
    kept[_CELLS] = [row for row in kept[_CELLS] if row["ophys_experiment_id"] in there]
    for row in (*kept[_BEHAVIOR], *kept[_SESSIONS]):
        if row["ophys_experiment_id"]:
            planes = [n for n in ast.literal_eval(row["ophys_experiment_id"]) if str(n) in there]
            assert planes, f"session {row['behavior_session_id']} would have no plane left"
            row["ophys_experiment_id"] = str(planes)
    return kept
