"""Opens the source that an address names."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pipelines.source.base import SourceSpec, Traffic
from pipelines.source.folder import FolderSource

if TYPE_CHECKING:
    from pipelines.source.object_store import ObjectStoreSource

Source: TypeAlias = "FolderSource | ObjectStoreSource"


def open_source(spec: SourceSpec, traffic: Traffic | None = None) -> Source:
    """Opens the source that a spec describes.

    Args:
        spec: how to reach it.
        traffic: counts the bytes that are read from a bucket.

    Raises:
        UsageError: the folder does not exist. A bucket is first contacted when it is first read.
    """
    if spec.is_bucket:
        from pipelines.source.object_store import ObjectStoreSource

        return ObjectStoreSource(spec, traffic)
    return FolderSource(spec)
