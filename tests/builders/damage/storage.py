"""Shapes and storage that a file cannot hold, and links that lead out of it or nowhere."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import h5py
import numpy as np

from builders.damage.model import (
    CLOCK,
    CLOCKED,
    DFF,
    EVENTS,
    EXPERIMENT,
    MISSING,
    RUNNING,
    UNREADABLE,
    Edit,
    kind,
    link,
)

# --- shapes and storage ----------------------------------------------------------------------------------------------------------------


def _claims(path: str, shape: tuple[int, ...], **storage: Any) -> Edit:
    def edit(h5: h5py.File) -> None:
        del h5[path]
        h5.create_dataset(path, shape=shape, dtype="f8", **storage)

    return edit


def _bomb(path: str, *, shuffle: bool = False) -> Edit:
    """A chunk of a few kB that expands to 512 MB, in a dataset of the shape that it had."""

    def edit(h5: h5py.File) -> None:
        shape = h5[path].shape
        attributes = dict(h5[path].attrs)
        del h5[path]
        dataset = h5.create_dataset(
            path, data=np.zeros(shape), chunks=shape, compression="gzip", shuffle=shuffle
        )
        dataset.attrs.update(attributes)
        h5.flush()
        dataset.id.write_direct_chunk((0,) * len(shape), _much())

    return edit


@cache
def _much() -> bytes:
    """512 MB of zeros in gzip."""
    packer, block = zlib.compressobj(1), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(512)) + packer.flush()


def _zeros(path: str, count: int) -> Edit:
    """Zeros in gzip, a MB of them for every kB in the file, each chunk as it should be."""

    def edit(h5: h5py.File) -> None:
        size = 1 << 20
        del h5[path]
        dataset = h5.create_dataset(
            path, shape=(count * size,), dtype="f8", chunks=(size,), compression="gzip"
        )
        packed = zlib.compress(bytes(8 * size), 9)
        for i in range(count):
            dataset.id.write_direct_chunk((i * size,), packed)

    return edit


def _filtered(h5: h5py.File) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL)
    del h5[CLOCK]
    h5py.h5d.create(
        h5.id, CLOCK.encode(), h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((4,)), plist
    )


kind(
    "10^15 elements in chunks",
    _claims(CLOCK, (10**15,), chunks=(1 << 16,)),
    CLOCKED,
    CLOCK,
    *UNREADABLE,
    r"0 chunks, not the \d+ that make shape .*",
)
kind(
    "10^15 elements in one piece",
    _claims(CLOCK, (10**15,)),
    CLOCKED,
    CLOCK,
    *UNREADABLE,
    r"no data in the file for shape \(1000000000000000,\)",
)
kind(
    "10^15 frames of traces",
    _claims(f"{DFF}/data", (10**14, 10), chunks=(1 << 12, 10), compression="gzip"),
    "dff_traces",
    f"{DFF}/data",
    *UNREADABLE,
    r"0 chunks, not the \d+ that .*",
    file=EXPERIMENT,
)
kind(
    "a chunk of events that expands without end",
    _bomb(f"{EVENTS}/data"),
    "events",
    f"{EVENTS}/data",
    *UNREADABLE,
    r"the chunk at \(0, 0\) does not decompress to \d+ bytes: .*",
    file=EXPERIMENT,
)
kind(
    "one that HDF5 would expand",
    _bomb(f"{RUNNING}/data", shuffle=True),
    "running_speed",
    f"{RUNNING}/data",
    *UNREADABLE,
    r"the chunk at \(0,\) does not decompress to \d+ bytes: .*",
)
kind(
    "2 GB of zeros",
    _zeros(CLOCK, 256),
    CLOCKED,
    CLOCK,
    "a dataset is too large for its file",
    r"at most \d+ bytes at a time",
    "2147483648",
)
kind(
    "a chunk of 1 GB",
    _claims(CLOCK, (1 << 27,), chunks=(1 << 27,), compression="gzip"),
    CLOCKED,
    CLOCK,
    *UNREADABLE,
    r"chunks of 1073741824 bytes, more than \d+",
)
kind(
    "a filter that nobody knows",
    _filtered,
    CLOCKED,
    CLOCK,
    *UNREADABLE,
    "filter 32015; known are .*",
)
kind(
    "a chunk that was never written",
    lambda h5: (
        _claims(f"{RUNNING}/data", (10,), chunks=(5,))(h5),
        h5[f"{RUNNING}/data"].__setitem__(slice(0, 5), 1.0),
    )[0],
    "running_speed",
    f"{RUNNING}/data",
    "lengths disagree",
    r"\d+ rows",
    "10 rows",
)

# --- links -----------------------------------------------------------------------------------------------------------------------------

OUTSIDE = "data inside the file"


def _virtual(h5: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=h5[CLOCK].shape, dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=h5[CLOCK].shape)
    del h5[CLOCK]
    h5.create_virtual_dataset(CLOCK, layout)


kind(
    "links in a circle",
    link(CLOCK, h5py.SoftLink(CLOCK)),
    CLOCKED,
    CLOCK,
    "soft links lead in a circle",
    "at most 32 of them",
    f"link to {CLOCK}",
)
kind("a group within itself", link("/processing/stimulus", "/processing"), CLOCKED, CLOCK, *MISSING)
kind(
    "a link to nowhere",
    link(f"{DFF}/data", h5py.SoftLink("/nowhere")),
    "dff_traces",
    f"{DFF}/data",
    "a link leads nowhere",
    "an object",
    "no nowhere where the link leads",
    file=EXPERIMENT,
)
kind(
    "an external link",
    link(CLOCK, h5py.ExternalLink("/etc/hostname", "/x")),
    CLOCKED,
    CLOCK,
    "a link leaves the file",
    OUTSIDE,
    "external link to /etc/hostname",
)
kind(
    "an external link behind a soft one",
    lambda h5: (
        link(CLOCK, h5py.SoftLink("/out/x"))(h5),
        h5.__setitem__("/out", h5py.ExternalLink("other.nwb", "/")),
    )[0],
    CLOCKED,
    CLOCK,
    "a link leaves the file",
    OUTSIDE,
    "external link to other.nwb",
)
kind(
    "a virtual dataset",
    _virtual,
    CLOCKED,
    CLOCK,
    "a dataset keeps its data in other files",
    OUTSIDE,
    "virtual or external dataset",
)
kind(
    "data in another file",
    _claims(CLOCK, (1,), external=[("/etc/hostname", 0, 8)]),
    CLOCKED,
    CLOCK,
    "a dataset keeps its data in other files",
    OUTSIDE,
    "virtual or external dataset",
)
