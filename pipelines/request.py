"""What an ingest is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.release.selection import Selection
from pipelines.source.base import SourceSpec

DATA_PREFIX = "visual-behavior-ophys/"


@dataclass(frozen=True)
class IngestRequest:
    """What the user asked for.

    Attributes:
        source: where the bucket is.
        lake: folder or `s3://` prefix.
        release: `latest` or X.Y.Z.
        selection: which files and tables.
        force: convert again what is already in the lake.
        workers: processes; None for one per core, 0 for this process.
        memory: bound on the memory of all workers together, bytes; None for half of the machine's.
        dask: address of a Dask scheduler to use instead.
        verify_hash: fetch objects of a remote source whole and check them against the hash of the
            manifest. It is implied if the source ignores versions.
    """

    source: SourceSpec
    lake: str
    release: str = "latest"
    selection: Selection = field(default_factory=Selection)
    force: bool = False
    workers: int | None = None
    memory: int | None = None
    dask: str | None = None
    verify_hash: bool = False
