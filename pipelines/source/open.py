"""From a source's address to the source."""

from __future__ import annotations

from pipelines.source.base import Source, SourceSpec, Traffic
from pipelines.source.folder import LocalSource


def open_source(spec: SourceSpec, traffic: Traffic | None = None) -> Source:
    """The source a spec describes.

    Args:
        spec: how to reach it.
        traffic: what it is to add its traffic to.

    Raises:
        UsageError: the folder does not exist. A bucket is first asked when it is first read.
    """
    if spec.url.startswith("s3://"):
        from pipelines.source.object_store import S3Source

        return S3Source(spec, traffic)
    return LocalSource(spec)
