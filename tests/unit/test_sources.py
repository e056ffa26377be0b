"""Sources: folders here, object stores in tests/network."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pipelines.source import base as sources
from pipelines.source.base import SourceSpec
from pipelines.source.folder import FolderSource
from pipelines.source.object_store import ObjectStoreSource
from pipelines.source.open import open_source
from schemas.errors import SourceError, UsageError

KEY = "visual-behavior-ophys/a/b.nwb"


def _folder(root: Path) -> FolderSource:
    (root / "visual-behavior-ophys/a").mkdir(parents=True)
    (root / KEY).write_bytes(b"twelve bytes")
    (root / "visual-behavior-ophys/a/c.nwb").write_bytes(b"")
    (root / "visual-behavior-ophys/ab.csv").write_bytes(b"1")
    return FolderSource(SourceSpec(str(root)))


def test_a_spec_goes_to_other_processes_and_opens_the_right_source(tmp_path: Path) -> None:
    spec = pickle.loads(pickle.dumps(SourceSpec(str(tmp_path), attempts=2)))
    assert spec == SourceSpec(str(tmp_path), attempts=2)
    assert isinstance(open_source(spec), FolderSource)
    assert isinstance(
        open_source(SourceSpec("s3://bucket/prefix", "http://localhost:9")), ObjectStoreSource
    )


@pytest.mark.parametrize("url", ["s3://", "gs://bucket"])
def test_urls_that_are_no_source(url: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be used. Give a folder or s3://bucket"):
        SourceSpec(url)


def test_endpoints_are_http() -> None:
    with pytest.raises(
        UsageError, match=r"The endpoint url 'localhost:9000' does not start with http"
    ):
        SourceSpec("s3://bucket", "localhost:9000")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://AKIAKEY:hunter2@bucket", None),
        ("s3://bucket?X-Amz-Signature=hunter2", None),
        ("s3://bucket", "http://admin:hunter2@localhost:9000"),
    ],
)
def test_credentials_in_urls_are_refused_and_not_repeated(url: str, endpoint: str | None) -> None:
    with pytest.raises(UsageError, match="must not hold credentials") as caught:
        SourceSpec(url, endpoint)
    assert "hunter2" not in str(caught.value)


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"There is no source folder {tmp_path}/none. Give the one that holds"
    ):
        open_source(SourceSpec(f"{tmp_path}/none"))


def test_local_listing(tmp_path: Path) -> None:
    source = _folder(tmp_path)
    inside = {KEY: 12, "visual-behavior-ophys/a/c.nwb": 0}
    assert source.sizes("") == inside | {"visual-behavior-ophys/ab.csv": 1}
    assert source.sizes("visual-behavior-ophys/a/") == inside
    assert source.sizes("visual-behavior-ophys/none/") == {}


def test_local_object_that_is_not_there(tmp_path: Path) -> None:
    source = _folder(tmp_path)
    for call in (lambda k: source.read(k, None), source.path):
        with pytest.raises(SourceError) as caught:
            call("visual-behavior-ophys/none.nwb")
        assert str(caught.value) == (
            f"visual-behavior-ophys/none.nwb in {tmp_path} does not exist. Complete the folder, or read from the bucket."
        )


@pytest.mark.parametrize("key", ["/etc/passwd", "a/../../outside", "a//b", "a\\b", "a\0b"])
def test_keys_that_are_no_plain_paths_are_not_opened(tmp_path: Path, key: str) -> None:
    (tmp_path / "outside").write_text("secret")
    source = _folder(tmp_path / "bucket")
    with pytest.raises(SourceError, match=r"is not a plain relative path"):
        source.read(key, None)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    source = _folder(tmp_path / "bucket")
    inside = tmp_path / "bucket/visual-behavior-ophys"
    (inside / "file").symlink_to(tmp_path / "outside/secret")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "round").symlink_to(inside / "round")
    (inside / "dangling").symlink_to(inside / "none")
    (inside / "good").symlink_to(inside / "a/b.nwb")
    for key in ("visual-behavior-ophys/file", "visual-behavior-ophys/folder/secret"):
        for call in (lambda k: source.read(k, None), source.path):
            with pytest.raises(
                SourceError, match="leads outside that folder through a link; it was not opened"
            ):
                call(key)
    with pytest.raises(SourceError, match="leads outside"):
        source.sizes("visual-behavior-ophys/folder/")
    with pytest.raises(SourceError, match=r"cannot be resolved|cannot be read"):
        source.read("visual-behavior-ophys/round", None)
    assert source.read("visual-behavior-ophys/good", None) == b"twelve bytes"
    listed = {
        key.removeprefix("visual-behavior-ophys/") for key in source.sizes("visual-behavior-ophys/")
    }
    assert listed == {"a/b.nwb", "a/c.nwb", "ab.csv", "good"}


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    source = _folder(tmp_path)
    os.mkfifo(tmp_path / "visual-behavior-ophys/pipe")
    for name in ("pipe", "a"):
        with pytest.raises(SourceError, match="expected a regular file"):
            source.read(f"visual-behavior-ophys/{name}", None)


def test_read_is_for_small_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "READ_LIMIT", 11)
    with pytest.raises(
        SourceError,
        match=r"b.nwb in .* has 12 bytes; expected a manifest or table of at most 11 bytes",
    ):
        _folder(tmp_path).read(KEY, None)
