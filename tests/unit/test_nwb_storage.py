"""The data of a dataset is what HDF5 gives for a sound file; data that is not in the file is an error."""

from __future__ import annotations

import gc
import io
import struct
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
from pipelines.nwb.hdf5.storage import LARGEST, pieces, read
from pipelines.nwb.hdf5.values import HdfFile, open_hdf5
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import open_recording
from schemas.errors import DataError


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
        for stored in (dataset, h5.create_dataset("contiguous", data=values)):
            covered = np.zeros(shape, dtype=int)
            for where, part in pieces(stored, chunks[0]):
                covered[where] += 1
                assert np.array_equal(part, values[where])
            assert np.all(covered == 1)


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


def test_what_is_stored_bounds_what_may_be_claimed() -> None:
    with _file() as h5:
        few = h5.create_dataset(
            "x", shape=(8000, 1000), dtype="f8", chunks=(2000, 1000), compression=4
        )
        for start in range(0, 8000, 2000):
            few.id.write_direct_chunk((start, 0), zlib.compress(bytes(1_000_000)))
        claim = (
            r"^the chunks claim 64000000 bytes, but the \d{4} bytes that are stored can expand to"
        )
        with pytest.raises(HdfError, match=claim):
            read(few)
        with pytest.raises(HdfError, match=claim):
            next(pieces(few, 1))
        zeros = h5.create_dataset(
            "y", data=np.zeros((2000, 1000)), chunks=(2000, 500), compression=9
        )
        assert not read(zeros).any()


def test_a_shape_may_not_claim_more_than_is_stored() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        h5["x"] = np.zeros(12_345)
    content = buffer.getvalue().replace(struct.pack("<Q", 12_345), struct.pack("<Q", 12_346))
    with open_hdf5(io.BytesIO(content), "name") as file:
        found = r"found shape \(12346,\) takes 98768 bytes, but the file has room for 98760$"
        with pytest.raises(DataError, match=found):
            file.read_numbers("/x")


def test_what_is_too_large_for_a_worker_is_read_in_pieces() -> None:
    with _file() as h5:
        rows = LARGEST // 8000 + 1
        wide = h5.create_dataset("x", shape=(rows, 1000), dtype="f8")
        wide[-1] = 1.0
        with pytest.raises(
            HdfError, match=rf"^shape .* bytes; at most {LARGEST} are read at once$"
        ):
            read(wide)
        (_, first), *_, ((last, _), _) = pieces(wide, rows - 1)
        assert first.shape == (rows - 1, 1000)
        assert last == slice(rows - 1, rows)


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


def test_readers_leave_no_cycles_since_nothing_collects_them_while_a_file_is_open() -> None:
    path = next((MINI / "bucket").rglob("behavior_ophys_experiment_*.nwb"))
    for found in (None, 0):  # the first time, modules are imported
        with open_recording(path, "name") as recording:
            gc.collect()
            rows = sum(rows.count for read in READERS.values() for rows in read(recording))
            left = gc.collect()
        assert rows
        assert found is None or left == found
