"""Texts that are looked up without HDF5 are those that HDF5 gives."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from builders.mini import MINI
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nwb.hdf5.values import HdfFile, open_hdf5
from schemas.errors import DataError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60)


@given(
    st.lists(TEXT, max_size=400),
    st.sampled_from(
        [
            {},
            {"chunks": (7,), "maxshape": (None,)},
            {"chunks": (7,), "maxshape": (None,), "compression": "gzip"},
        ]
    ),
)
def test_any_texts(words: list[str], storage: dict[str, object]) -> None:
    with h5py.File("memory", "w", driver="core", backing_store=False) as h5:
        h5.create_dataset(
            "x",
            data=np.array(words, dtype=object),
            shape=(len(words),),
            dtype=h5py.string_dtype(),
            **storage,
        )
        h5.attrs["one"] = words[0] if words else ""
        h5.attrs["all"] = (
            np.array(words[:20], dtype=object).astype(h5py.string_dtype()) if words[:20] else "none"
        )
        file = HdfFile(h5, "name")
        assert [w.decode() for w in file.read_strings("/x").tolist()] == words
        assert file.attribute_string("/", "one") == (words[0] if words else "")
        assert file.attribute_strings("/", "all") == (words[:20] or ["none"])


@pytest.mark.parametrize(
    "path", sorted(MINI.rglob("*.nwb")), ids=lambda path: path.stem.rsplit("_", 1)[1]
)
def test_every_text_of_released_files(path: Path) -> None:
    compared = 0
    with open_hdf5(path, "name") as file:

        def visit(name: str, node: h5py.HLObject) -> None:
            nonlocal compared
            for attribute, value in node.attrs.items():
                if isinstance(value, str):
                    assert file.attribute_string(f"/{name}", attribute) == value
                    compared += 1
            if isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype) and node.size:
                assert np.array_equal(file.read_strings(f"/{name}", ndim=node.ndim), node[()])
                compared += 1

        file.h5.visititems(visit)
    assert compared > 300


def test_a_text_with_a_zero_byte(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.nwb", "w") as h5:
        h5.create_dataset("x", data=["abcdefgh"], dtype=h5py.string_dtype())
    content = (tmp_path / "x.nwb").read_bytes()
    assert content.count(b"abcdefgh") == 1
    (tmp_path / "x.nwb").write_bytes(content.replace(b"abcdefgh", b"abc\0efgh"))
    with (
        open_hdf5(tmp_path / "x.nwb", "name") as file,
        pytest.raises(DataError, match=r"found a text with a zero byte in it$"),
    ):
        file.read_strings("/x")
