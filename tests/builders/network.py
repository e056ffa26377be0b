"""Buckets behind bad networks: what their tests share."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.s3 import BUCKET, S3Server

from builders.lakes import query
from pipelines.ingest import MouseReport, ingest
from pipelines.nwb import prefetch
from pipelines.nwb.hdf5 import headers
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source import range_file
from pipelines.source.base import SourceSpec
from vblake import s3_client

PATIENCE_S = 0.7
"""The tests' time-out; `servers.chaos.STALL_S` is longer."""


def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the waits between attempts of this process short."""
    short = timedelta(milliseconds=5)
    monkeypatch.setattr(
        s3_client, "BACKOFF", {"init_backoff": short, "max_backoff": short, "base": 2}
    )


def small_distances(patch: pytest.MonkeyPatch) -> None:
    """Scales distances to the sample's small files, so that they are fetched like real ones."""
    patch.setattr(range_file, "BLOCK", 4 << 10)
    patch.setattr(range_file, "BEFORE", 512)
    patch.setattr(range_file, "GAP", 2 << 10)
    patch.setattr(headers, "_NEAR", 16 << 10)
    patch.setattr(prefetch, "_INTERVALS", ("/intervals", 8 << 10, 64 << 10))
    patch.setattr(prefetch, "_SMALL", 1 << 10)
    patch.setattr(headers, "_INDEX", 32 << 10)


def source_of(server: S3Server, **spec: Any) -> SourceSpec:
    """Returns how to reach a server, with short time-outs."""
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
    """Runs an ingest, by default in this process."""
    return ingest(
        prepare(
            IngestRequest(
                source, str(lake), selection=selection or Selection(), workers=workers, **more
            )
        )
    )


def quarantined(lake: Path) -> dict[str, tuple[str, int]]:
    """Returns error and bytes fetched by object key, as in the ledger."""
    rows = query(
        lake,
        "SELECT object_key, error, bytes_fetched FROM source_files WHERE status = 'quarantined'",
    )
    return {str(key): (str(error), int(moved)) for key, error, moved in rows}


def manifest_of(bucket: Path) -> Path:
    """Returns the one manifest of a bucket."""
    (path,) = (bucket / "visual-behavior-ophys/manifests").glob("*.json")
    return path


def unversioned(bucket: Path, copy: Path) -> Path:
    """Copies a bucket; the copy's manifest pins no versions."""
    shutil.copytree(bucket, copy)
    path = manifest_of(copy)
    manifest = json.loads(path.read_text())
    for entry in (*manifest["metadata_files"].values(), *manifest["data_files"].values()):
        entry["version_id"] = None
    path.write_text(json.dumps(manifest))
    return copy
