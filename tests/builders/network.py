"""Buckets behind bad networks: what the tests of them share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from servers.s3 import BUCKET, S3Server

from builders.lakes import query
from pipelines.ingest import MouseReport, ingest, prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec

PATIENCE_S = 0.7
"""The tests' time-out; `servers.chaos.STALL_S` is longer."""


def source_of(server: S3Server, **spec: Any) -> SourceSpec:
    """How to reach a server, with little patience."""
    return SourceSpec(
        f"s3://{BUCKET}",
        server.url,
        **{"connect_timeout_s": PATIENCE_S, "read_timeout_s": PATIENCE_S, **spec},
    )


def ingest_from(
    source: SourceSpec,
    lake: Path,
    *,
    workers: int = 0,
    selection: Selection | None = None,
    **more: Any,
) -> list[MouseReport]:
    """An ingest, by default in this process."""
    return ingest(
        prepare(
            IngestRequest(
                source, str(lake), selection=selection or Selection(), workers=workers, **more
            )
        )
    )


def quarantined(lake: Path) -> dict[str, tuple[str, int]]:
    """Error and bytes fetched by object key, as the ledger has them."""
    rows = query(
        lake,
        "SELECT object_key, error, bytes_fetched FROM source_files WHERE status = 'quarantined'",
    )
    return {str(key): (str(error), int(moved)) for key, error, moved in rows}


def manifest_of(bucket: Path) -> Path:
    """The one manifest of a bucket."""
    (path,) = (bucket / "visual-behavior-ophys/manifests").glob("*.json")
    return path


def unversioned(bucket: Path, copy: Path) -> Path:
    """A copy of a bucket whose manifest pins no versions."""
    shutil.copytree(bucket, copy)
    path = manifest_of(copy)
    manifest = json.loads(path.read_text())
    for entry in (*manifest["metadata_files"].values(), *manifest["data_files"].values()):
        entry["version_id"] = None
    path.write_text(json.dumps(manifest))
    return copy
