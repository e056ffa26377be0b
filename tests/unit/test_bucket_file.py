"""What is requested of an object when DuckDB or PyArrow read it in parts."""

from __future__ import annotations

import threading

import pytest
from builders.remote import Remote, content

from vblake import bucket_file
from vblake.bucket_file import BucketFile, Ranges

KB = 1 << 10


@pytest.fixture(autouse=True)
def small_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"TAIL": 1, "SMALL": 8, "MEDIUM": 32, "LEAST": 2, "MOST": 64}
    for name, size in sizes.items():
        monkeypatch.setattr(bucket_file, name, size * KB)


def _read(size: int, *reads: tuple[int, int]) -> list[tuple[int, int]]:
    """The requests for some reads, in KB, of an object; what is read is compared."""
    remote = Remote(content(size * KB))
    ranges = Ranges(size * KB, lambda start, stop: memoryview(remote.fetch_now(start, stop)))
    for start, stop in reads:
        assert ranges.read(start * KB, stop * KB) == remote.content[start * KB : stop * KB]
    return [(start // KB, stop // KB) for start, stop in remote.asked]


def test_the_end_is_one_request_and_the_rest_of_a_small_object_another() -> None:
    assert _read(1, (0, 1)) == [(0, 1)]
    assert _read(8, (7, 8), (2, 3), (5, 6), (0, 1)) == [(7, 8), (0, 7)]


def test_a_medium_object_is_fetched_whole_when_it_is_read_again() -> None:
    assert _read(20, (19, 20), (4, 5), (5, 6), (15, 16), (1, 2)) == [(19, 20), (4, 6), (0, 19)]


def test_what_is_held_is_not_fetched_again() -> None:
    scan = [(19, 20), (0, 5), (5, 10), (10, 20), (0, 20)]
    assert _read(20, *scan) == [(19, 20), (0, 5), (5, 19)]


def test_of_a_large_object_only_what_is_read() -> None:
    reads = [(99, 100), (4, 20), (40, 56), (60, 76)]
    assert _read(100, *reads) == reads


def test_a_scan_of_a_large_object_fetches_the_rest_at_once() -> None:
    scan = [(50, 51), (0, 16), (16, 32), (32, 48)]
    assert _read(51, *scan) == [(50, 51), (0, 16), (16, 50)]


def test_a_scan_by_two_threads_takes_one_more_request_where_the_second_asks_first() -> None:
    scan = [(50, 51), (16, 32), (0, 16), (32, 48), (48, 50)]
    assert _read(51, *scan) == [(50, 51), (16, 32), (0, 16), (32, 50)]


def test_a_scan_leaves_out_what_another_thread_fetches() -> None:
    scan = [(99, 100), (40, 56), (0, 8), (8, 16), (16, 40), (56, 72), (72, 99)]
    assert _read(100, *scan) == [(99, 100), (40, 56), (0, 8), (8, 40), (56, 99)]


def test_threads_share_a_request_and_have_positions_of_their_own() -> None:
    remote = Remote(content(8 * KB), seconds=0.05)
    file = BucketFile(Ranges(8 * KB, lambda start, stop: memoryview(remote.fetch_now(start, stop))))
    together, wrong = threading.Barrier(4), list[int]()

    def read(n: int) -> None:
        file.seek(n * KB)
        together.wait()
        if file.read(KB) != remote.content[n * KB : (n + 1) * KB]:
            wrong.append(n)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(remote.asked) == 1


def test_a_request_that_fails_is_sent_again_by_the_next_reader() -> None:
    remote = Remote(content(KB), fail=lambda n: None if n else OSError("gone"))
    ranges = Ranges(KB, lambda start, stop: memoryview(remote.fetch_now(start, stop)))
    with pytest.raises(OSError, match="gone"):
        ranges.read(0, KB)
    assert ranges.read(0, KB) == remote.content
