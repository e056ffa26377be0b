"""Gzip chunks through libdeflate give what HDF5 gives."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nwb.chunks import read_gzip


def _file() -> h5py.File:
    return h5py.File("memory", "w", driver="core", backing_store=False)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 17), st.integers(1, 5), st.sampled_from(["f8", "f4", "i8"]))
def test_chunks_of_any_shape(frames: int, rois: int, chunk_frames: int, chunk_rois: int, dtype: str) -> None:
    values = np.random.default_rng(frames * rois).normal(size=(frames, rois)).astype(dtype)
    with _file() as h5:
        dataset = h5.create_dataset("x", data=values, chunks=(min(chunk_frames, frames), min(chunk_rois, rois)), compression="gzip")
        found = read_gzip(dataset)
        assert found is not None
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)


@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (2, 2)}, {"chunks": (2, 2), "compression": "gzip", "shuffle": True}, {"chunks": (2, 2), "compression": "lzf"}],
)
def test_other_storage_is_left_to_hdf5(options: dict[str, object]) -> None:
    with _file() as h5:
        assert read_gzip(h5.create_dataset("x", data=np.arange(12.0).reshape(4, 3), **options)) is None


def test_a_dataset_with_missing_chunks_is_left_to_hdf5() -> None:
    with _file() as h5:
        dataset = h5.create_dataset("x", shape=(4, 4), dtype="f8", chunks=(2, 2), compression="gzip", fillvalue=7.0)
        dataset[:2, :2] = 1.0
        assert read_gzip(dataset) is None


def test_a_damaged_chunk_is_an_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        dataset = h5.create_dataset("x", data=np.arange(64.0).reshape(8, 8), chunks=(8, 8), compression="gzip")
        h5.flush()
        dataset.id.write_direct_chunk((0, 0), b"no zlib stream at all")
        with pytest.raises(OSError, match=r"^the chunk at \(0, 0\) does not decompress: "):
            read_gzip(dataset)


def test_a_chunk_that_would_expand_beyond_its_size_is_an_error(tmp_path: Path) -> None:
    import zlib

    with h5py.File(tmp_path / "x.h5", "w") as h5:
        dataset = h5.create_dataset("x", data=np.zeros((8, 8)), chunks=(8, 8), compression="gzip")
        h5.flush()
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(50_000_000)))
        with pytest.raises(OSError, match=r"^the chunk at \(0, 0\) does not decompress: "):
            read_gzip(dataset)
