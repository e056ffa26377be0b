"""Objects of an HDF5 file and the links between them, with errors that name the file and the path.

Links that leave the file (external links, virtual datasets, external storage) are refused, never followed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import h5py as _h5py  # pyright: ignore[reportMissingTypeStubs]

from schemas.errors import DataError

h5py: Any = (
    _h5py  # it has no stubs: through this name all it returns is Any until a declared type takes it
)

_SOFT_LINKS = 32
"""Soft links followed for one path; the release's files need two."""

_READING = (
    OSError,
    RuntimeError,
    ValueError,
    MemoryError,
    TypeError,
    KeyError,
    OverflowError,
    AttributeError,
)
"""What h5py and the checks of storage raise for content that cannot be read (UnicodeDecodeError is a ValueError)."""


@dataclass
class HdfTree:
    """The objects of one open HDF5 file.

    Attributes:
        h5: the file.
        name: object key, for errors.
    """

    h5: Any
    name: str
    _found: dict[str, Any] = field(init=False, default_factory=dict[str, Any], repr=False)

    @contextmanager
    def reading(self, path: str, problem: str, expected: str = "readable data") -> Generator[None]:
        """Errors of h5py, and of the checks of storage, as a `DataError`."""
        try:
            yield
        except _READING as error:
            raise self.error(
                path, problem, expected=expected, found=str(error) or type(error).__name__
            ) from error

    def error(
        self, path: str, problem: str, *, expected: str, found: str, hint: str | None = None
    ) -> DataError:
        """A `DataError` that names this file and the path in it."""
        return DataError(
            problem, file=self.name, column=path, expected=expected, found=found, hint=hint
        )

    def find(self, path: str) -> Any:
        """The object at an absolute path, or None if there is none. Soft links are followed inside the file.

        They are followed here, part by part: HDF5 itself would open another file where the target of a soft link lies
        behind an external one.
        """
        if path in self._found:
            return self._found[path]
        parts = [part for part in path.split("/") if part]
        node, known = self.h5, 0
        if parts and (parent := f"/{'/'.join(parts[:-1])}") in self._found:
            node, known = self._found[parent], len(parts) - 1
        ahead = parts[known:][::-1]
        outside = sys.maxsize  # with fewer parts ahead, the targets of soft links are behind us
        followed = 0
        while ahead:
            part = ahead.pop()
            if len(ahead) < outside:
                outside = sys.maxsize
            with self.reading(path, "the object cannot be opened", "readable HDF5"):
                # Not `in` and `get`, to which what cannot be read is not there.
                there = isinstance(node, h5py.Group) and node.id.links.exists(part.encode())
                link: Any = _link(node, part) if there else None
                child: Any = node[part] if isinstance(link, h5py.HardLink) else None
            if isinstance(link, h5py.ExternalLink):
                raise self.error(
                    path,
                    "a link leaves the file",
                    expected="data inside the file",
                    found=f"external link to {link.filename}",
                )
            if isinstance(link, h5py.SoftLink):
                followed += 1
                if followed > _SOFT_LINKS:
                    raise self.error(
                        path,
                        "soft links lead in a circle",
                        expected=f"at most {_SOFT_LINKS} of them",
                        found=f"link to {link.path}",
                    )
                outside = min(outside, len(ahead))
                ahead += [p for p in reversed(link.path.split("/")) if p not in ("", ".")]
                node = self.h5 if link.path.startswith("/") else node
                continue
            if child is None:
                if outside < sys.maxsize:
                    raise self.error(
                        path,
                        "a link leads nowhere",
                        expected="an object",
                        found=f"no {part} where the link leads",
                    )
                return None
            node = child
            if len(ahead) < outside and ahead:
                self._found[f"/{'/'.join(parts[: -len(ahead)])}"] = node
        if isinstance(node, h5py.Dataset):
            with self.reading(path, "the dataset cannot be opened", "readable HDF5"):
                elsewhere: bool = node.is_virtual or bool(node.external)
                # Asked for here once, so that nobody else need be ready for what a damaged description raises.
                _ = (node.dtype, node.shape, node.chunks)
            if elsewhere:
                raise self.error(
                    path,
                    "a dataset keeps its data in other files",
                    expected="data inside the file",
                    found="virtual or external dataset",
                )
        self._found[path] = node
        return node

    def has(self, path: str) -> bool:
        """Whether there is an object at the path."""
        return self.find(path) is not None

    def group(self, path: str) -> Any:
        """The group at the path.

        Raises:
            DataError: there is none.
        """
        node = self.find(path)
        if not isinstance(node, h5py.Group):
            raise self.error(path, "a group is missing", expected="a group", found=_kind(node))
        return node

    def dataset(self, path: str) -> Any:
        """The dataset at the path.

        Raises:
            DataError: there is none.
        """
        node = self.find(path)
        if not isinstance(node, h5py.Dataset):
            raise self.error(path, "a dataset is missing", expected="a dataset", found=_kind(node))
        return node

    def members(self, path: str) -> list[str]:
        """Names in a group in ascending order; empty if the group is missing."""
        node = self.find(path)
        with self.reading(path, "the group cannot be listed", "readable HDF5"):
            names: list[str] = sorted(node) if isinstance(node, h5py.Group) else []
        return names


def _link(group: Any, name: str) -> Any:
    """The link of a member that is there. As `group.get(name, getlink=True)`, but it is looked up once."""
    encoded = name.encode()
    kind = group.id.links.get_info(encoded).type
    if kind == h5py.h5l.TYPE_HARD:
        return h5py.HardLink()
    value = group.id.links.get_val(encoded)
    return (
        h5py.SoftLink(value.decode())
        if kind == h5py.h5l.TYPE_SOFT
        else h5py.ExternalLink(value[0].decode(), value[1].decode())
    )


def _kind(node: Any) -> str:
    """What an object is that should be another."""
    return {h5py.Group: "a group", h5py.Dataset: "a dataset"}.get(
        type(node), "nothing" if node is None else "a data type"
    )
