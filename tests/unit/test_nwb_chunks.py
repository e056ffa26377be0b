"""What a file says of its storage is checked; gzip chunks through libdeflate give what HDF5 gives."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nwb.hdf5.storage import check_gzip, check_storage, read_chunks

ROOM = 1 << 20


def _file() -> h5py.File:
    return h5py.File("memory", "w", driver="core", backing_store=False)


def _check(dataset: h5py.Dataset, *, size: int | None = None, room: int = ROOM) -> None:
    dataset.file.flush()
    check_storage(dataset, dataset.dtype.itemsize, size or dataset.file.id.get_filesize(), room)


@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 17),
    st.integers(1, 5),
    st.sampled_from(["f8", "f4", "i8"]),
    st.booleans(),
)
def test_chunks_of_any_shape(
    frames: int, rois: int, chunk_frames: int, chunk_rois: int, dtype: str, gzip: bool
) -> None:
    values = np.random.default_rng(frames * rois).normal(size=(frames, rois)).astype(dtype)
    with _file() as h5:
        storage = {"compression": "gzip"} if gzip else {}
        dataset = h5.create_dataset(
            "x", data=values, chunks=(min(chunk_frames, frames), min(chunk_rois, rois)), **storage
        )
        _check(dataset)
        found = read_chunks(dataset, dataset.dtype)
        assert found is not None
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)


SHUFFLED: dict[str, Any] = {"chunks": (2, 2), "compression": "gzip", "shuffle": True}


@pytest.mark.parametrize(
    "options",
    [
        {},
        SHUFFLED,
        {"chunks": (2, 2), "compression": "lzf"},
        SHUFFLED | {"fletcher32": True},
        {"chunks": (2, 2), "fletcher32": True},
    ],
)
def test_other_storage_is_left_to_hdf5(options: dict[str, Any]) -> None:
    with _file() as h5:
        dataset = h5.create_dataset("x", data=np.arange(12.0).reshape(4, 3), **options)
        _check(dataset)
        check_gzip(dataset)
        assert read_chunks(dataset, dataset.dtype) is None


def test_nothing_need_be_stored_of_nothing() -> None:
    with _file() as h5:
        _check(h5.create_dataset("x", data=np.empty((0, 3))))


def test_what_is_not_in_the_file_is_not_made_up() -> None:
    with _file() as h5:
        chunked = h5.create_dataset(
            "x", shape=(4, 4), dtype="f8", chunks=(2, 2), compression="gzip", fillvalue=7.0
        )
        chunked[:2, :2] = 1.0
        with pytest.raises(ValueError, match=r"^1 chunks, not the 4 that make shape \(4, 4\)$"):
            _check(chunked)
        with pytest.raises(ValueError, match=r"^no data in the file for shape \(3,\)$"):
            _check(h5.create_dataset("y", shape=(3,), dtype="f8"))
        huge = h5.create_dataset("z", shape=(10**15,), dtype="f8", chunks=(1000,))
        with pytest.raises(ValueError, match=r"^0 chunks, not the 1000000000000 that make shape"):
            _check(huge)


def test_what_lies_outside_the_file() -> None:
    with _file() as h5:
        whole = h5.create_dataset("x", data=np.arange(4.0))
        with pytest.raises(
            ValueError,
            match=r"^shape \(4,\), which takes 32 bytes, stored in 32 bytes at \d+ of 100$",
        ):
            _check(whole, size=100)
        chunked = h5.create_dataset("y", data=np.arange(4.0), chunks=(2,))
        with pytest.raises(ValueError, match=r"^the chunk at \(0,\) has 16 bytes at \d+ of 100$"):
            _check(chunked, size=100)


def test_chunks_larger_than_there_is_room() -> None:
    with _file() as h5:
        dataset = h5.create_dataset("x", data=np.zeros(100), chunks=(100,), compression="gzip")
        with pytest.raises(ValueError, match=r"^chunks of 800 bytes, more than 799$"):
            _check(dataset, room=799)


def test_a_filter_that_nobody_knows() -> None:
    with _file() as h5:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(h5.id, b"x", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((4,)), plist)
        with pytest.raises(
            ValueError, match=r"^filter 32015; known are gzip, shuffle, fletcher32, lzf$"
        ):
            _check(h5["x"])


BOMB = zlib.compress(bytes(10_000_000))


@pytest.mark.parametrize("content", [b"no zlib stream at all", BOMB, zlib.compress(bytes(8))])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_chunk_that_does_not_decompress_to_its_size(
    tmp_path: Path, content: bytes, shuffle: bool
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        dataset = h5.create_dataset(
            "x",
            data=np.arange(64.0).reshape(8, 8),
            chunks=(8, 8),
            compression="gzip",
            shuffle=shuffle,
        )
        h5.flush()
        dataset.id.write_direct_chunk((0, 0), content)
        with pytest.raises(
            OSError,
            match=r"^the chunk at \(0, 0\) (does not decompress to 512 bytes: |has 8 bytes, not 512)",
        ):
            check_gzip(dataset) if shuffle else read_chunks(dataset, dataset.dtype)
