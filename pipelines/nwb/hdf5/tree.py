"""Objects, links and attributes of an HDF5 file, as h5py reads them.

Each `with hdf5_errors()` block holds calls to h5py and nothing else, so that a mistake in our own
code never passes for a damaged file.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import h5py as _h5py  # pyright: ignore[reportMissingTypeStubs]

h5py: Any = _h5py  # it has no stubs, so what it returns is Any until a declared type takes it


class HdfError(Exception):
    """HDF5 cannot read something, or would invent data that the file does not hold."""


@contextmanager
def hdf5_errors() -> Generator[None]:
    """Turns what h5py raises for damaged content into an `HdfError`."""
    try:
        yield
    # h5py chooses among these by HDF5's error number; UnicodeDecodeError is a ValueError.
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise HdfError(str(error) or type(error).__name__) from error


def link_of(group: Any, name: str) -> Any:
    """Returns a member's link, or None if the group has no such member.

    Not `name in group` or `group.get(name)`: to both, a member that cannot be read does not exist.
    """
    key = name.encode()
    with hdf5_errors():
        if not group.id.links.exists(key):
            return None
        kind: int = group.id.links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            return h5py.HardLink()
        value: Any = group.id.links.get_val(key)
        return (
            h5py.SoftLink(value.decode())
            if kind == h5py.h5l.TYPE_SOFT
            else h5py.ExternalLink(value[0].decode(), value[1].decode())
        )


def open_member(group: Any, name: str) -> Any:
    """Opens the member behind a hard link."""
    with hdf5_errors():
        node: Any = group[name]
        if isinstance(node, h5py.Dataset):
            # Asked for here, so that callers need not expect a damaged description.
            _ = (node.dtype, node.shape, node.chunks)
        return node


def leaves_file(dataset: Any) -> bool:
    """Whether a dataset keeps its data in other files."""
    with hdf5_errors():
        return bool(dataset.is_virtual or dataset.external)


def names_in(group: Any) -> list[str]:
    """Names of a group's members, ascending."""
    with hdf5_errors():
        return sorted(group)


def read_attribute(node: Any, name: str) -> Any:
    """Returns an attribute's value, or None if the object has no such attribute."""
    with hdf5_errors():
        if name in node.attrs:  # not get(), to which an unreadable attribute does not exist
            return node.attrs[name]
    return None


def follow(file: Any, reference: Any) -> Any:
    """Opens the object that a reference points to."""
    with hdf5_errors():
        return file[reference]
