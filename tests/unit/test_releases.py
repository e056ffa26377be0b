"""Manifests: which releases there are, and what a hostile or broken manifest may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.bucket import HOST, PROJECT, Bucket, manifest_key

from pipelines.release.manifest import load_release, versions
from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from schemas.errors import IntegrityError, ReleaseError, UsageError

KEY = f"{PROJECT}/behavior_sessions/behavior_session_1001.nwb"


def test_latest_release_maps_tables_and_files_to_pinned_objects(tmp_path: Path) -> None:
    bucket = Bucket()
    release = load_release(bucket.write(tmp_path))
    manifest = bucket.manifest()
    assert release.version == "1.1.0"
    assert list(release.tables) == list(bucket.tables)
    assert {file_id: obj.key for file_id, obj in release.files.items()} == bucket.files
    assert release.files[21].version_id == manifest["data_files"]["21"]["version_id"]
    assert release.files[21].file_hash == manifest["data_files"]["21"]["file_hash"]


def test_versions_are_ordered_as_numbers_and_other_names_are_passed_over(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "1.0.0", "0.2.0"):
        source = Bucket(version).write(tmp_path)
    for name in (
        "_project_manifest_v1.2.json",
        "_project_manifest_v2.0.0.json.bak",
        "_project_manifest_v03.0.0.json",
    ):
        (tmp_path / PROJECT / "manifests" / f"{PROJECT}{name}").write_text("{}")
    assert versions(source) == ["0.2.0", "0.9.0", "0.10.0", "1.0.0"]
    assert load_release(source).version == "1.0.0"
    assert load_release(source, "0.9.0").version == "0.9.0"


@pytest.mark.parametrize("asked", ["1.2.0", "../1.1.0"])
def test_unknown_release_lists_what_there_is(tmp_path: Path, asked: str) -> None:
    Bucket("1.0.0").write(tmp_path)
    source = Bucket("1.1.0").write(tmp_path)
    with pytest.raises(UsageError) as caught:
        load_release(source, asked)
    assert (
        str(caught.value)
        == f"There is no release {asked!r} in {tmp_path}. Give latest or one of 1.0.0, 1.1.0."
    )


def test_folder_that_is_no_bucket(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(
        UsageError,
        match=r"has no release: expected visual-behavior-ophys/manifests/.*found no such",
    ):
        versions(open_source(SourceSpec(str(tmp_path))))


def test_releases_before_1_0_0_have_no_cells_table(tmp_path: Path) -> None:
    bucket = Bucket("0.3.0")
    del bucket.tables["ophys_cells_table"]
    assert "ophys_cells_table" not in load_release(bucket.write(tmp_path / "old")).tables
    bucket.version = "1.0.0"
    with pytest.raises(
        ReleaseError, match=r"metadata_files: expected the tables .*; found no ophys_cells_table"
    ):
        load_release(bucket.write(tmp_path / "new"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[" * 100_000, b"[]"],
    ids=["empty", "not UTF-8", "nested", "list"],
)
def test_file_that_is_no_manifest(tmp_path: Path, content: bytes) -> None:
    source = Bucket().write(tmp_path, content)
    with pytest.raises(
        ReleaseError,
        match=rf"manifest {manifest_key('1.1.0')}, .*expected .*found .*Nothing of this",
    ):
        load_release(source)


NOTHING = object()


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("project_name", "visual-coding", "project_name: expected 'visual-behavior-ophys'; found"),
        ("manifest_version", "1.0.0", "manifest_version: expected '1.1.0'; found '1.0.0'"),
        ("metadata_files/ophys_session_table", NOTHING, "metadata_files: expected the tables"),
        ("data_files", {}, "data_files: expected the NWB files"),
        ("data_files", [], "data_files: expected a JSON object; found a list"),
        ("data_files/21/file_hash", NOTHING, "data_files['21']: expected url, version_id and"),
        ("data_files/21/file_hash", "G" * 128, "['21'].file_hash: expected a BLAKE2b-512"),
        ("data_files/21/version_id", "a\nb", "data_files['21'].version_id"),
        ("data_files/21/url", None, "data_files['21'].url: expected https://"),
    ],
)
def test_broken_entries_are_named(tmp_path: Path, path: str, value: object, where: str) -> None:
    bucket = Bucket()
    manifest = bucket.manifest()
    *parents, name = path.split("/")
    place = manifest
    for parent in parents:
        place = place[parent]
    place[name] = value
    if value is NOTHING:
        del place[name]
    with pytest.raises(ReleaseError) as caught:
        load_release(bucket.write(tmp_path, manifest))
    assert str(caught.value).startswith(f"manifest {manifest_key('1.1.0')}, ")
    assert where in str(caught.value)


@pytest.mark.parametrize("file_id", ["-1", "007", "²"])
def test_file_ids_are_plain_whole_numbers(tmp_path: Path, file_id: str) -> None:
    bucket = Bucket()
    manifest = bucket.manifest()
    manifest["data_files"][file_id] = manifest["data_files"]["21"]
    with pytest.raises(ReleaseError, match="expected a file_id"):
        load_release(bucket.write(tmp_path, manifest))


@pytest.mark.parametrize(
    ("url", "key"),
    [
        (f"https://visual-behavior-ophys-data.s3.amazonaws.com/{KEY}", KEY),
        (f"{HOST}/{PROJECT}/a%20b%2Bc.nwb", f"{PROJECT}/a b+c.nwb"),
        (f"{HOST}/{PROJECT}/%252e%252e/a.nwb", f"{PROJECT}/%2e%2e/a.nwb"),
    ],
)
def test_good_urls_are_decoded_once(tmp_path: Path, url: str, key: str) -> None:
    bucket = Bucket()
    manifest = bucket.manifest()
    manifest["data_files"]["21"]["url"] = url
    assert load_release(bucket.write(tmp_path, manifest)).files[21].key == key


def test_wrong_hash_says_what_was_expected_and_found(tmp_path: Path) -> None:
    obj = load_release(Bucket().write(tmp_path)).files[21]
    with pytest.raises(IntegrityError) as caught:
        obj.check("0" * 128)
    assert str(caught.value) == (
        f"file {KEY}: the content is not what the manifest pins (version {obj.version_id}); "
        f"expected BLAKE2b-512 {obj.file_hash}; found {'0' * 128}. "
        "The copy is damaged or of another version: fetch it again, or read from the released bucket."
    )
