"""Byte ranges as a file that h5py reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from builders.remote import Remote

from pipelines.nwb.hdf5.values import open_hdf5
from schemas.errors import TransientSourceError


@pytest.fixture
def hdf5(tmp_path: Path) -> bytes:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            group = file.create_group(f"some/{name}")
            group["long"] = rng.random(400_000)
            group.create_dataset(
                "chunked", data=rng.integers(0, 9, (500, 40)), chunks=(50, 3), compression="gzip"
            )
            group["text"] = np.array([f"text {i}" for i in range(2000)], dtype=h5py.string_dtype())
            group.attrs["colnames"] = ["long", "chunked"]
    return path.read_bytes()


def everything(file: io.IOBase) -> dict[str, bytes]:
    out: dict[str, bytes] = {}

    def take(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            values = node[()]
            out[name] = b" ".join(values.tolist()) if values.dtype == object else values.tobytes()

    with open_hdf5(cast("Any", file), "file") as opened:
        opened.h5.visititems(take)
    return out


def test_h5py_reads_the_same(hdf5: bytes) -> None:
    expected = everything(io.BytesIO(hdf5))
    remote = Remote(hdf5)
    with remote.open() as file:
        assert everything(file) == expected
    assert remote.moved() <= 2 * len(hdf5)


def test_errors_pass_through_h5py_at_every_request(hdf5: bytes) -> None:
    error = TransientSourceError("gone")
    whole = Remote(hdf5)
    with whole.open() as file:
        everything(file)
    for number in range(len(whole.asked)):
        with Remote(hdf5, fail=lambda n, at=number: error if n >= at else None).open() as file:
            with pytest.raises(TransientSourceError) as caught:
                everything(file)
            assert caught.value is error
