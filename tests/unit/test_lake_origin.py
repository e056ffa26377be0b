"""A lake holds data of one source: copies of it are accepted, other sources refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.bucket import Bucket
from builders.lake import entry

from pipelines.lake.ledger import Entry, publish_mouse
from pipelines.lake.marker import Marker, create_lake, read_marker
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.manifest import load_release
from pipelines.release.selection import FileKind
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import SCHEMA_VERSION
from schemas.errors import LakeError
from schemas.layout import MARKER

BUCKET = "visual-behavior-ophys-data"


def _synthetic(folder: Path, comment: str, **versions: str) -> Path:
    bucket = Bucket(**versions)
    step = {"name": "vblake sample", "version": "1", "comment": comment}
    bucket.write(folder, {**bucket.manifest(), "data_pipeline": [step]})
    return folder


def _prepare(source: Path, lake: Path, release: str | None = None) -> object:
    return prepare(IngestRequest(SourceSpec(str(source)), str(lake), release=release))


def _ingested(source: Path, store: LocalStore) -> Entry:
    """Notes the file of session 1001 in the ledger, as the source's manifest has it."""
    obj = load_release(Bucket().write(source)).files[21]
    return entry(
        FileKind.BEHAVIOR_SESSION,
        1001,
        100001,
        1001,
        object_key=obj.key,
        version_id=obj.version_id,
        file_hash=obj.file_hash,
    )


def test_the_manifest_says_whose_data_they_are(tmp_path: Path) -> None:
    real = load_release(Bucket().write(tmp_path / "real"))
    assert (real.origin, real.synthetic) == (BUCKET, False)
    source = _synthetic(tmp_path / "made", "synthetic (seed 7)")
    made = load_release(Bucket().write(source, (source / _manifest(source)).read_bytes()))
    assert (made.origin, made.synthetic) == ("vblake sample, synthetic (seed 7)", True)


def _manifest(source: Path) -> Path:
    (path,) = source.rglob("*manifest_v*.json")
    return path.relative_to(source)


def test_a_copy_of_the_source_is_accepted_wherever_it_is(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "lake")
    create_lake(store, Marker("1.1.0", origin=BUCKET, source=f"s3://{BUCKET}"))
    publish_mouse(store, 100001, [_ingested(tmp_path / "mirror", store)], "1.1.0")
    assert _prepare(tmp_path / "mirror", store.folder)


def test_synthetic_data_are_refused_by_a_lake_of_real_ones_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    made = _synthetic(tmp_path / "made", "synthetic (seed 7)")
    create_lake(LocalStore(tmp_path / "lake"), Marker("1.1.0", origin=BUCKET, source="s3://there"))
    with pytest.raises(LakeError) as caught:
        _prepare(made, tmp_path / "lake")
    assert str(caught.value) == (
        f"{tmp_path}/lake holds data of another source: expected {BUCKET}, release 1.1.0, read from "
        f"s3://there; found vblake sample, synthetic (seed 7) in {made}. Their rows must not be "
        "mixed: give another --lake, or the --source that this lake was made from or a copy of it."
    )
    origin = "vblake sample, synthetic (seed 7)"
    for number, source in enumerate((Bucket().write(tmp_path / "real").spec.url, "other")):
        if source == "other":  # another seed
            source = str(_synthetic(tmp_path / "other", "synthetic (seed 8)"))
        lake = tmp_path / f"lake-{number}"
        create_lake(LocalStore(lake), Marker("1.1.0", origin=origin, synthetic=True))
        with pytest.raises(LakeError, match=r"expected vblake sample, synthetic \(seed 7\)"):
            _prepare(Path(source), lake)


def test_a_source_that_has_none_of_the_files_of_the_lake_is_another_one(tmp_path: Path) -> None:
    # A lake of an earlier version of vblake says nothing of its origin.
    store = LocalStore(tmp_path / "lake")
    store.folder.mkdir()
    marker = {"format": "vblake", "release": "1.1.0", "schema_version": SCHEMA_VERSION}
    (store.folder / MARKER).write_text(json.dumps(marker))
    publish_mouse(store, 100001, [_ingested(tmp_path / "mirror", store)], "1.1.0")
    other = Bucket()
    other.nwb = {key: f"{key} of others".encode() for key in other.files.values()}
    other.write(tmp_path / "other")
    with pytest.raises(LakeError, match="none of the 1 files of the lake is in it"):
        _prepare(tmp_path / "other", store.folder)
    assert _prepare(tmp_path / "mirror", store.folder)


def test_a_lake_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write(MARKER, Marker("1.1.0", schema_version=str(int(SCHEMA_VERSION) + 1)).to_json())
    with pytest.raises(LakeError, match="was written by a newer version of vblake"):
        read_marker(store)


def test_the_marker_is_read_as_it_was_written(tmp_path: Path) -> None:
    marker = Marker("1.1.0", "1", False, BUCKET, "s3://there", True, 4, 3)
    assert Marker.from_json(marker.to_json()) == marker
