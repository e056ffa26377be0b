"""A lake holds data of one source, wherever its copies are, and refuses those of another."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.lake.ledger import Entry
from pipelines.lake.marker import Marker
from pipelines.release.manifest import Release, ReleaseObject
from schemas.errors import LakeError


def check_origin(
    root: str, marker: Marker, entries: Iterable[Entry], url: str, releases: Iterable[Release]
) -> None:
    """Checks that a source is the one that a lake was made from, or a copy of it.

    The origin that the manifests name has to be the same. If the source has the release that the
    lake holds, at least one of the lake's files has to be in it, too.

    Args:
        root: the lake, for the message.
        marker: of the lake.
        entries: the lake's ledger.
        url: address of the source.
        releases: what is known of the source's releases; the one to be ingested first.

    Raises:
        LakeError: it is another source.
    """
    wanted, *_ = known = list(releases)
    if marker.origin and marker.origin != wanted.origin:
        raise _refusal(root, marker, url, wanted, "")
    held = [
        ReleaseObject(entry.object_key, entry.version_id, entry.file_hash)
        for entry in entries
        if entry.object_key is not None
    ]
    for release in known:
        objects = set(release.files.values())
        if release.version == marker.release and held and objects.isdisjoint(held):
            what = f", and none of the {len(held):,} files of the lake is in it"
            raise _refusal(root, marker, url, wanted, what)


def _refusal(root: str, marker: Marker, url: str, release: Release, what: str) -> LakeError:
    holds = f"{marker.origin or 'data of another source'}, release {marker.release}"
    place = f", read from {marker.source}" if marker.source else ""
    return LakeError(
        f"{root} holds data of another source: expected {holds}{place}; found {release.origin} in "
        f"{url}{what}. Their rows must not be mixed: give another --lake, or the --source that "
        "this lake was made from or a copy of it."
    )
