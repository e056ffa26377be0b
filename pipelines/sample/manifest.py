"""The manifest: which objects, with which version and hash, belong to a release."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

PROJECT = "visual-behavior-ophys"
HOST = "visual-behavior-ophys-data.s3.us-west-2.amazonaws.com"


def blake2b_of(path: Path) -> str:
    """BLAKE2b-512 of a file, 128 hex digits, as `file_hash` holds it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()


def _entry(out: Path, path: Path) -> dict[str, str]:
    key = path.relative_to(out).as_posix()
    file_hash = blake2b_of(path)
    # In place of the id that S3 would assign: the same bytes under the same key give the same.
    version = hashlib.blake2b(f"{key} {file_hash}".encode(), digest_size=16).hexdigest()
    return {"url": f"https://{HOST}/{key}", "version_id": version, "file_hash": file_hash}


def write_manifest(
    out: Path, release: str, tables: list[Path], file_ids: dict[str, int], made: str
) -> Path:
    """Writes the manifest of `release`.

    Args:
        out: the bucket's root.
        release: X.Y.Z.
        tables: the project tables, already written.
        file_ids: key below the project folder -> file_id.
        made: what the data were made with, which tells samples of other data apart.

    Returns:
        The manifest's path.
    """
    project = out / PROJECT
    content = {
        "project_name": PROJECT,
        "manifest_version": release,
        "metadata_file_id_column_name": "file_id",
        "data_pipeline": [
            {
                "name": "vblake sample",
                "version": "1",
                "comment": f"synthetic data, not a recording ({made})",
            }
        ],
        "metadata_files": {table.stem: _entry(out, table) for table in tables},
        "data_files": {str(number): _entry(out, project / key) for key, number in file_ids.items()},
    }
    path = project / "manifests" / f"{PROJECT}_project_manifest_v{release}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
