"""Sources and the cache: folders here, S3 in tests/integration/test_s3_source.py."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders.bucket import blake2b

from pipelines.convert.whole_file import FileCache
from pipelines.release.manifest import ReleaseObject
from pipelines.source import base as sources
from pipelines.source.base import SourceSpec
from pipelines.source.folder import LocalSource
from pipelines.source.object_store import S3Source
from pipelines.source.open import open_source
from schemas.errors import IntegrityError, LakeError, SourceError, TransientSourceError, UsageError

KEY = "visual-behavior-ophys/a/b.nwb"


def _folder(root: Path) -> LocalSource:
    (root / "visual-behavior-ophys/a").mkdir(parents=True)
    (root / KEY).write_bytes(b"twelve bytes")
    (root / "visual-behavior-ophys/a/c.nwb").write_bytes(b"")
    (root / "visual-behavior-ophys/ab.csv").write_bytes(b"1")
    return LocalSource(SourceSpec(str(root)))


def test_a_spec_goes_to_other_processes_and_opens_the_right_source(tmp_path: Path) -> None:
    spec = pickle.loads(pickle.dumps(SourceSpec(str(tmp_path), attempts=2)))
    assert spec == SourceSpec(str(tmp_path), attempts=2)
    assert isinstance(open_source(spec), LocalSource)
    assert isinstance(open_source(SourceSpec("s3://bucket/prefix", "http://localhost:9")), S3Source)


@pytest.mark.parametrize(
    "url", ["", "s3://", "s3:///key", "gs://bucket", "https://example.org/x", "file:///tmp"]
)
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
        ("s3://bucket", "http://localhost:9000/?token=hunter2"),
        ("s3://bucket#hunter2", None),
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
    everything = {
        "visual-behavior-ophys/a/b.nwb": 12,
        "visual-behavior-ophys/a/c.nwb": 0,
        "visual-behavior-ophys/ab.csv": 1,
    }
    assert source.sizes("") == everything
    assert source.sizes("visual-behavior-ophys/") == everything
    assert source.sizes("visual-behavior-ophys/a") == everything
    assert source.sizes("visual-behavior-ophys/a/b") == {KEY: 12}
    assert source.sizes("visual-behavior-ophys/none/") == {}
    assert source.sizes("visual-behavior-ophys/ab.csv/") == {}


def test_local_reading(tmp_path: Path) -> None:
    source = _folder(tmp_path)
    assert source.pin(KEY, "any version").size == 12
    assert source.read(KEY, None) == b"twelve bytes"
    to = tmp_path / "copy"
    to.write_bytes(b"something longer than twelve bytes")
    assert source.fetch(KEY, None, to) == 12
    assert to.read_bytes() == b"twelve bytes"
    assert source.local_path(KEY) == tmp_path / KEY


def test_local_object_that_is_not_there(tmp_path: Path) -> None:
    source = _folder(tmp_path)
    for call in (lambda k: source.read(k, None), lambda k: source.pin(k, None), source.local_path):
        with pytest.raises(SourceError) as caught:
            call("visual-behavior-ophys/none.nwb")
        assert str(caught.value) == (
            f"visual-behavior-ophys/none.nwb in {tmp_path} does not exist. Complete the folder, or read from the bucket."
        )


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../outside",
        "visual-behavior-ophys/../../outside",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\0b",
    ],
)
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
        for call in (
            lambda k: source.read(k, None),
            lambda k: source.fetch(k, None, tmp_path / "x"),
            source.local_path,
        ):
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
    assert not (tmp_path / "x").exists()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    source = _folder(tmp_path)
    os.mkfifo(tmp_path / "visual-behavior-ophys/pipe")
    for name in ("pipe", "a"):
        with pytest.raises(SourceError, match="expected a regular file"):
            source.read(f"visual-behavior-ophys/{name}", None)


def test_read_is_for_small_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "READ_LIMIT", 11)
    with pytest.raises(
        SourceError, match=r"b.nwb in .* has 12 bytes; expected a manifest or table, at most 11"
    ):
        _folder(tmp_path).read(KEY, None)


def test_target_that_cannot_be_written(tmp_path: Path) -> None:
    source = _folder(tmp_path / "bucket")
    with pytest.raises(
        LakeError, match=r"none/copy cannot be written: No such file or directory\. Give a folder"
    ):
        source.fetch(KEY, None, tmp_path / "none" / "copy")


def test_bucket_that_cannot_be_reached_is_worth_retrying() -> None:
    # Port 9 (discard) is closed wherever tests run.
    source = open_source(
        SourceSpec("s3://bucket", "http://127.0.0.1:9", attempts=2, connect_timeout_s=1)
    )
    with pytest.raises(TransientSourceError) as caught:
        source.read("some/key", "v1")
    assert str(caught.value) == (
        "some/key (version v1) in s3://bucket at http://127.0.0.1:9: 127.0.0.1:9 refuses connections (2 attempts). "
        "Check endpoint url, or try again later."
    )
    assert caught.value.retryable


# --- cache


class Counting:
    """A source of bytes that counts how often they are fetched, and may hand out other ones first."""

    def __init__(self, *contents: bytes) -> None:
        self.spec = SourceSpec("s3://counted")
        self.contents = contents
        self.fetches = 0
        self._lock = threading.Lock()

    def fetch(self, key: str, version_id: str | None, to: Path) -> int:
        with self._lock:
            content = self.contents[min(self.fetches, len(self.contents) - 1)]
            self.fetches += 1
        return to.write_bytes(content)

    def sizes(self, prefix: str) -> dict[str, int]:
        raise NotImplementedError

    def size(self, key: str, version_id: str | None) -> int:
        raise NotImplementedError

    def read(self, key: str, version_id: str | None) -> bytes:
        raise NotImplementedError

    def local_path(self, key: str) -> Path | None:
        return None


def _object(content: bytes, key: str = KEY) -> ReleaseObject:
    return ReleaseObject(key, "v1", blake2b(content))


def test_cache_fetches_once(tmp_path: Path) -> None:
    cache, source = FileCache(tmp_path / "cache", 1000), Counting(b"content")
    with cache.get(source, _object(b"content")) as first:
        assert (first.path.read_bytes(), first.bytes_fetched) == (b"content", 7)
        assert first.path.name == blake2b(b"content")
    with cache.get(source, _object(b"content")) as again:
        assert (again.path, again.bytes_fetched) == (first.path, 0)
    with FileCache(tmp_path / "cache", 1000).get(
        source, _object(b"content", "another/key")
    ) as same:
        assert (same.path, same.bytes_fetched) == (first.path, 0)
    assert source.fetches == 1
    assert list((tmp_path / "cache").iterdir()) == [first.path]


def test_damaged_transfer_is_fetched_once_more(tmp_path: Path) -> None:
    source = Counting(b"damaged!", b"content")
    with FileCache(tmp_path, 1000).get(source, _object(b"content")) as file:
        assert (file.path.read_bytes(), file.bytes_fetched) == (b"content", 15)


def test_wrong_content_is_an_error_and_not_kept(tmp_path: Path) -> None:
    source = Counting(b"other")
    with pytest.raises(IntegrityError) as caught:
        FileCache(tmp_path, 1000).get(source, _object(b"content"))
    assert caught.value.file == KEY
    assert "version v1" in str(caught.value)
    assert blake2b(b"content") in str(caught.value)
    assert blake2b(b"other") in str(caught.value)
    assert source.fetches == 2
    assert list(tmp_path.iterdir()) == []


def test_objects_without_a_hash_are_fetched_every_time(tmp_path: Path) -> None:
    cache, source = FileCache(tmp_path, 1000), Counting(b"one", b"two")
    unchecked = ReleaseObject(KEY, None, None)
    with cache.get(source, unchecked) as first, cache.get(source, unchecked) as second:
        assert (first.path.read_bytes(), second.path.read_bytes()) == (b"one", b"two")


def test_eviction_takes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 30)
    contents = [bytes([i]) * 10 for i in range(4)]
    for age, content in zip((400, 300, 200), contents[:3], strict=True):
        with cache.get(Counting(content), _object(content)) as file:
            os.utime(file.path, (0, 10_000 - age))
    with cache.get(Counting(), _object(contents[0])):
        pass  # used again, so the second is the oldest now
    with cache.get(Counting(contents[3]), _object(contents[3])):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {blake2b(contents[i]) for i in (0, 2, 3)}


def test_files_in_use_are_not_evicted(tmp_path: Path) -> None:
    cache, other = FileCache(tmp_path, 5), FileCache(tmp_path, 5)
    with cache.get(Counting(b"a" * 10), _object(b"a" * 10)) as held:
        with other.get(Counting(b"b" * 10), _object(b"b" * 10)) as too:
            assert held.path.exists()
            assert too.path.exists()
        with other.get(Counting(b"c" * 10), _object(b"c" * 10)) as third:
            assert {path.name for path in tmp_path.iterdir()} == {held.path.name, third.path.name}


def test_leftovers_of_killed_processes_are_used_or_removed(tmp_path: Path) -> None:
    (tmp_path / f"{blake2b(b'content')}.part").write_bytes(b"much longer than the content")
    (tmp_path / f"{'0' * 128}.part").write_bytes(b"half a file")
    with FileCache(tmp_path, 1000).get(Counting(b"content"), _object(b"content")) as file:
        assert file.path.read_bytes() == b"content"
        assert list(tmp_path.iterdir()) == [file.path]


def test_many_at_once_fetch_each_object_once(tmp_path: Path) -> None:
    contents = [bytes([i]) * 1000 for i in range(5)]
    held = {content: Counting(content) for content in contents}

    def use(content: bytes) -> bytes:
        # A cache of its own, as every process has one.
        with FileCache(tmp_path, 5000).get(held[content], _object(content)) as file:
            return file.path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        wanted = contents * 40
        assert list(pool.map(use, wanted)) == wanted
    assert {source.fetches for source in held.values()} == {1}


def test_many_at_once_under_pressure_always_read_the_right_bytes(tmp_path: Path) -> None:
    contents = [bytes([i]) * 1000 for i in range(6)]

    def use(content: bytes) -> bytes:
        with FileCache(tmp_path, 2000).get(Counting(content), _object(content)) as file:
            return file.path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        wanted = contents * 40
        assert list(pool.map(use, wanted)) == wanted
    assert not list(tmp_path.glob("*.part"))


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LakeError, match=r"The cache folder .*/file/cache cannot be made"):
        FileCache(tmp_path / "file" / "cache", 1000)
