"""The marker of a lake, `_lake.json`: what the lake is, and which release of which source it holds.

It is written when a lake is created, and when an upgrade replaces what the lake holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from shlex import quote

from pipelines.lake.store import LocalStore, Store
from pipelines.os_errors import within_limits
from schemas import SCHEMA_VERSION
from schemas.errors import LakeError
from schemas.layout import DAGSTER, MARKER, STAGING

LATEST = "latest"


@dataclass(frozen=True)
class Marker:
    """What a lake is.

    Attributes:
        release: the release that it holds.
        schema_version: the version of the tables' declarations that its files have.
        follows_latest: whether an ingest upgrades it when the source has a newer release; else it
            stays at its release until another is asked for.
        origin: whose data it holds, `pipelines.release.manifest.Release.origin`; empty if it was
            made before this was noted.
        source: address that the data were last read from.
        synthetic: whether the source says that its data are synthetic.
        generation: number of the state that the lake is in; upgrades and rollbacks add one.
        previous: number of the state that a rollback goes back to; None if there is none.
    """

    release: str
    schema_version: str = SCHEMA_VERSION
    follows_latest: bool = True
    origin: str = ""
    source: str = ""
    synthetic: bool = False
    generation: int = 1
    previous: int | None = None

    def to_json(self) -> bytes:
        """The content of the file."""
        content = {
            "format": "vblake",
            "release": self.release,
            "schema_version": self.schema_version,
            "follows": LATEST if self.follows_latest else self.release,
            "origin": self.origin,
            "source": self.source,
            "synthetic": self.synthetic,
            "generation": self.generation,
            "previous": self.previous,
        }
        return json.dumps(content, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Marker:
        """The inverse of `to_json`; lakes of earlier versions of vblake have fewer fields.

        Raises:
            ValueError, LookupError, TypeError: it is something else.
        """
        content = json.loads(data)
        previous = content.get("previous")
        return cls(
            release=str(content["release"]),
            schema_version=str(int(content["schema_version"])),
            follows_latest=content.get("follows", LATEST) == LATEST,
            origin=str(content.get("origin", "")),
            source=str(content.get("source", "")),
            synthetic=bool(content.get("synthetic", False)),
            generation=int(content.get("generation", 1)),
            previous=None if previous is None else int(previous),
        )


def read_marker(store: Store, path: str = MARKER) -> Marker | None:
    """Returns the marker of a lake, None if there is no lake.

    Raises:
        LakeError: the marker is damaged, or a newer version of vblake has written the lake.
    """
    data = store.read(path)
    if data is None:
        return None
    try:
        marker = Marker.from_json(data)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LakeError(
            f"{store.root}/{path} is damaged ({error}); "
            "expected a JSON object with the release and the schema version of the lake"
        ) from error
    if int(marker.schema_version) > int(SCHEMA_VERSION):
        raise LakeError(
            f"{store.root} was written by a newer version of vblake: it has schema version "
            f"{marker.schema_version}, this one knows versions up to {SCHEMA_VERSION}. "
            "Update vblake, or give another --lake."
        )
    return marker


def require_lake(store: Store) -> Marker:
    """Returns the marker of an existing lake whose files have the declared schema.

    Raises:
        LakeError: there is no lake there, or it has another schema version.
    """
    marker = read_marker(store)
    if marker is None:
        raise LakeError(
            f"{store.root} is not a vblake lake: it has no {MARKER}. "
            "Check --lake (or VBLAKE_LAKE), "
            f"or make one with `vblake ingest --lake {quote(store.root)}`."
        )
    if marker.schema_version != SCHEMA_VERSION:
        raise LakeError(
            f"{store.root} has schema version {marker.schema_version}, of an earlier version of "
            f"vblake; this one reads and writes version {SCHEMA_VERSION}. "
            f"`vblake ingest --lake {quote(store.root)}` upgrades it; "
            "`vblake plan` shows what that takes."
        )
    return marker


_NOT_FOR_DUCKDB = frozenset("?\\")
"""Characters that DuckDB 1.5 misreads in the path of a database.

It takes what follows a question mark for the query of a URL when it names its write-ahead log, and
a backslash for a slash."""


def create_lake(store: Store, marker: Marker) -> None:
    """Creates a lake unless there is one.

    Raises:
        LakeError: the folder holds something else.
    """
    if isinstance(store, LocalStore) and (odd := _NOT_FOR_DUCKDB & set(store.root)):
        raise LakeError(
            f"{store.root} has {' and '.join(sorted(odd))} in its path, where DuckDB cannot work. "
            "Give another --lake."
        )
    if read_marker(store) is not None:
        return
    if isinstance(store, LocalStore):
        if store.folder.exists() and not store.folder.is_dir():
            raise LakeError(f"{store.root} is a file, not a folder. Give another --lake.")
        ours = (STAGING, DAGSTER)  # `vblake ui` may have been there before
        if store.folder.is_dir() and any(p.name not in ours for p in store.folder.iterdir()):
            raise LakeError(
                f"{store.root} is not empty and not a vblake lake (it has no {MARKER}). "
                "Give an empty or new folder as --lake."
            )
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(
                f"{store.root} cannot be made: {error}. "
                "Give a folder that you may write to as --lake."
            ) from error
    with within_limits(store.staging):
        store.write(MARKER, marker.to_json())
