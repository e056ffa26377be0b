"""The data of a dataset is what HDF5 gives for a sound file; data that is not in the file is an error."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from builders.mini import MINI
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nwb.hdf5.errors import HdfError
from pipelines.nwb.hdf5.storage import read
from pipelines.nwb.hdf5.values import HdfFile, open_hdf5


def _file() -> h5py.File:
    return h5py.File("memory", "w", driver="core", backing_store=False)


STORAGES: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True},
]


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 12)),
    st.tuples(st.integers(1, 17), st.integers(1, 5)),
    st.sampled_from(["f8", "f4", "i8", "i2", "?"]),
    st.sampled_from(STORAGES),
)
def test_chunks_of_any_shape(
    shape: tuple[int, int], chunks: tuple[int, int], dtype: str, storage: dict[str, Any]
) -> None:
    values = (np.random.default_rng(shape[0]).normal(size=shape) * 9).astype(dtype)
    with _file() as h5:
        narrow = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        dataset = h5.create_dataset("x", data=values, chunks=narrow, **storage)
        found = read(dataset)
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)
        assert np.array_equal(read(dataset, (shape[0] - 1,)), values[-1])
        assert read(dataset, (shape[0] // 2, shape[1] - 1)) == values[shape[0] // 2, -1]


@pytest.mark.parametrize("storage", [{"compression": "lzf"}, {"fletcher32": True}])
def test_other_filters_are_refused(storage: dict[str, Any]) -> None:
    with _file() as h5:
        dataset = h5.create_dataset("x", data=np.arange(12.0), chunks=(4,), **storage)
        with pytest.raises(
            HdfError, match=r"^filters \[\d+\], which are not none, gzip, or shuffle and gzip$"
        ):
            read(dataset)


def test_what_is_not_in_the_file_is_not_made_up() -> None:
    with _file() as h5:
        chunked = h5.create_dataset(
            "x", shape=(4, 4), dtype="f8", chunks=(2, 2), compression="gzip", fillvalue=7.0
        )
        chunked[:2, :2] = 1.0
        with pytest.raises(HdfError, match=r"^1 chunks, not the 4 that make shape \(4, 4\)$"):
            read(chunked)
        with pytest.raises(HdfError, match=r"^no data in the file for shape \(3,\)$"):
            read(h5.create_dataset("y", shape=(3,), dtype="f8"))
        huge = h5.create_dataset("z", shape=(10**15,), dtype="f8", chunks=(1000,))
        with pytest.raises(HdfError, match=r"^0 chunks, not the 1000000000000 that make shape"):
            read(huge)
        words = h5.create_dataset("w", shape=(4,), dtype=h5py.string_dtype(), chunks=(2,))
        words[:2] = ["a", "b"]
        with pytest.raises(HdfError, match=r"^1 chunks, not the 2 that make shape"):
            read(words)


BOMB = zlib.compress(bytes(10_000_000))


@pytest.mark.parametrize("content", [b"no zlib stream at all", BOMB, zlib.compress(bytes(8))])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_chunk_that_does_not_decompress_to_its_size(content: bytes, shuffle: bool) -> None:
    with _file() as h5:
        dataset = h5.create_dataset(
            "x", data=np.arange(64.0).reshape(8, 8), chunks=(8, 8), compression=4, shuffle=shuffle
        )
        h5.flush()
        dataset.id.write_direct_chunk((0, 0), content)
        with pytest.raises(
            HdfError,
            match=r"^the chunk at \(0, 0\) (does not decompress to 512 bytes: |has 8 bytes, not 512)",
        ):
            read(dataset)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60)


@given(
    st.lists(TEXT, max_size=60),
    st.sampled_from([{}, *({"chunks": (7,), "maxshape": (None,)} | s for s in STORAGES)]),
)
def test_any_strings(words: list[str], storage: dict[str, object]) -> None:
    with _file() as h5:
        h5.create_dataset(
            "x",
            data=np.array(words, dtype=object),
            shape=(len(words),),
            dtype=h5py.string_dtype(),
            **storage,
        )
        h5.attrs["one"] = words[0] if words else ""
        h5.attrs["all"] = np.array(words or ["none"], dtype=object).astype(h5py.string_dtype())
        file = HdfFile(h5, "name")
        assert [w.decode() for w in file.read_strings("/x").tolist()] == words
        assert file.attribute_string("/", "one") == (words[0] if words else "")
        assert file.attribute_strings("/", "all") == (words or ["none"])


@pytest.mark.parametrize(
    "path", sorted(MINI.rglob("*.nwb")), ids=lambda path: path.stem.rsplit("_", 1)[1]
)
def test_every_dataset_of_released_files(path: Path) -> None:
    compared = 0
    with open_hdf5(path, "name") as file:

        def visit(_: str, node: h5py.HLObject) -> None:
            nonlocal compared
            if not isinstance(node, h5py.Dataset) or h5py.check_ref_dtype(node.dtype):
                return
            if node.dtype.kind in "biufOS" and node.size:
                assert np.array_equal(read(node), node[()], equal_nan=node.dtype.kind == "f")
                compared += 1

        file.h5.visititems(visit)
    assert compared > 100
