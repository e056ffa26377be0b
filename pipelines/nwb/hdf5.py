"""Access to one HDF5 file with errors that name the file and the dataset.

Links that leave the file (external links, virtual datasets, external storage) are refused, never followed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import h5py as _h5py  # pyright: ignore[reportMissingTypeStubs]
import numpy as np

from pipelines.nwb.chunks import read_gzip
from schemas.casts import NDArray
from schemas.errors import DataError, NotNwbError

h5py: Any = _h5py  # it has no stubs: through this name all it returns is Any until a declared type takes it

_NO_VALUE = object()

_SOFT_LINKS = 32
"""Soft links followed for one path; the release's files need two."""

_READING = (OSError, RuntimeError, ValueError, MemoryError, TypeError, KeyError)
"""What h5py raises for content it cannot read (UnicodeDecodeError is a ValueError)."""


@contextmanager
def open_hdf5(source: Path | BinaryIO | RawIOBase, name: str) -> Generator[HdfFile]:
    """Opens an HDF5 file for reading.

    Args:
        source: a path, or a file-like object that h5py can read.
        name: what to call the file in errors, its object key.

    Raises:
        NotNwbError: the file cannot be opened as HDF5 (not HDF5, empty, truncated).
    """
    if not isinstance(source, Path):
        # If a Python file raises in HDF5's very first read, HDF5 keeps it, and the process crashes when it ends. So the network fails here.
        source.read(1)
        source.seek(0)
    try:
        h5 = h5py.File(source, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise NotNwbError(
            "the file cannot be opened as HDF5",
            file=name,
            expected="a whole NWB (HDF5) file",
            found=str(error),
            hint="Fetch it again, or check the object in the bucket.",
        ) from error
    with h5:
        yield HdfFile(h5, name)


@dataclass(slots=True)
class HdfFile:
    """One open HDF5 file.

    Attributes:
        h5: the file.
        name: object key, for errors.
    """

    h5: Any
    name: str

    def error(self, path: str, problem: str, *, expected: str, found: str, hint: str | None = None) -> DataError:
        """A `DataError` that names this file and the path in it."""
        return DataError(problem, file=self.name, column=path, expected=expected, found=found, hint=hint)

    def find(self, path: str) -> Any:
        """The object at an absolute path, or None if there is none. Soft links are followed inside the file.

        They are followed here, part by part: HDF5 itself would open another file where the target of a soft link lies
        behind an external one.
        """
        node: Any = self.h5
        ahead = [part for part in reversed(path.split("/")) if part]
        outside = sys.maxsize  # with fewer parts ahead, the targets of soft links are behind us
        followed = 0
        while ahead:
            part = ahead.pop()
            if len(ahead) < outside:
                outside = sys.maxsize
            try:
                link: Any = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
                child: Any = node.get(part) if isinstance(link, h5py.HardLink) else None
            except _READING as error:
                raise self.error(path, "the object cannot be opened", expected="readable HDF5", found=str(error)) from error
            if isinstance(link, h5py.ExternalLink):
                raise self.error(path, "a link leaves the file", expected="data inside the file", found=f"external link to {link.filename}")
            if isinstance(link, h5py.SoftLink):
                followed += 1
                if followed > _SOFT_LINKS:
                    raise self.error(
                        path, "soft links lead in a circle", expected=f"at most {_SOFT_LINKS} of them", found=f"link to {link.path}"
                    )
                outside = min(outside, len(ahead))
                ahead += [p for p in reversed(link.path.split("/")) if p not in ("", ".")]
                node = self.h5 if link.path.startswith("/") else node
                continue
            if child is None:
                if outside < sys.maxsize:
                    raise self.error(path, "a link leads nowhere", expected="an object", found=f"no {part} where the link leads")
                return None
            node = child
        if isinstance(node, h5py.Dataset) and (node.is_virtual or node.external):
            raise self.error(
                path, "a dataset keeps its data in other files", expected="data inside the file", found="virtual or external dataset"
            )
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
            raise self.error(path, "a group is missing", expected="a group", found="nothing" if node is None else "a dataset")
        return node

    def dataset(self, path: str) -> Any:
        """The dataset at the path.

        Raises:
            DataError: there is none.
        """
        node = self.find(path)
        if not isinstance(node, h5py.Dataset):
            raise self.error(path, "a dataset is missing", expected="a dataset", found="nothing" if node is None else "a group")
        return node

    def members(self, path: str) -> list[str]:
        """Names in a group in ascending order; empty if the group is missing."""
        node = self.find(path)
        return sorted(node) if isinstance(node, h5py.Group) else []

    def array(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """A whole dataset.

        Args:
            path: absolute path.
            ndim: rank it must have.
            rows: length its first axis must have, if known.

        Raises:
            DataError: missing, unreadable, of another rank or length.
        """
        dataset = self.dataset(path)
        self._check_shape(path, dataset, ndim, rows)
        return self.part(path, dataset, ())

    def part(self, path: str, dataset: Any, index: int | tuple[int, ...]) -> NDArray:
        """A part of a dataset.

        Raises:
            DataError: it cannot be read (truncated file, damaged chunk, unknown filter).
        """
        try:
            values: NDArray = dataset[index]
        except _READING as error:
            raise self.error(path, "the dataset cannot be read", expected="readable data", found=str(error)) from error
        return values

    def _check_shape(self, path: str, dataset: Any, ndim: int, rows: int | None) -> None:
        shape = dataset.shape
        if shape is None or len(shape) != ndim:
            raise self.error(path, "a dataset has another rank", expected=f"{ndim} dimensions", found=f"shape {shape}")
        if rows is not None and shape[0] != rows:
            raise self.error(path, "lengths disagree", expected=f"{rows} rows", found=f"{shape[0]} rows")

    def checked(self, path: str, *, ndim: int, rows: int | None = None) -> Any:
        """The numeric or bool dataset at the path after dtype, rank and length have been checked; for reading in parts."""
        dataset = self.dataset(path)
        self._check_shape(path, dataset, ndim, rows)
        if dataset.dtype.kind not in "biuf":
            raise self.error(path, "values are not numbers", expected="a numeric dataset", found=f"dtype {dataset.dtype}")
        return dataset

    def numbers(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """A whole numeric or bool dataset.

        Raises:
            DataError: as for `array`, or the values are not numbers.
        """
        dataset = self.checked(path, ndim=ndim, rows=rows)
        try:
            values = read_gzip(dataset)
        except _READING as error:
            raise self.error(path, "the dataset cannot be read", expected="readable data", found=str(error)) from error
        return self.part(path, dataset, ()) if values is None else values

    def words(self, path: str, *, rows: int | None = None) -> NDArray:
        """A whole 1-D text dataset, as bytes.

        Raises:
            DataError: as for `array`, or the values are not text.
        """
        dtype = self.dataset(path).dtype
        if h5py.check_string_dtype(dtype) is None:
            raise self.error(path, "values are not text", expected="a text dataset", found=f"dtype {dtype}")
        return self.array(path, rows=rows)

    def decoded(self, path: str, value: Any) -> str:
        """One text of a dataset or attribute.

        Raises:
            DataError: not text, or not UTF-8.
        """
        if isinstance(value, bytes):
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.error(path, "a text is not UTF-8", expected="text in UTF-8", found=str(error)) from error
        if not isinstance(value, str):
            raise self.error(path, "a value is not text", expected="text", found=repr(value))
        return value

    def text(self, path: str) -> str:
        """A scalar text dataset.

        Raises:
            DataError: missing or not text.
        """
        return self.decoded(path, self.array(path, ndim=0))

    def scalar(self, path: str) -> float:
        """A scalar numeric dataset as a float.

        Raises:
            DataError: missing or not a number.
        """
        return float(self.numbers(path, ndim=0))

    def attribute(self, path: str, name: str, default: Any = _NO_VALUE) -> Any:
        """An attribute of an object as h5py gives it: text as str, numbers as NumPy values.

        Raises:
            DataError: the attribute is missing and no default was given, or cannot be read.
        """
        node = self.find(path)
        if node is None or name not in node.attrs:
            if default is _NO_VALUE:
                raise self.error(f"{path}@{name}", "an attribute is missing", expected="an attribute", found="nothing")
            return default
        try:
            value: Any = node.attrs[name]
        except _READING as error:
            raise self.error(f"{path}@{name}", "an attribute cannot be read", expected="readable data", found=str(error)) from error
        return value

    def word(self, path: str, name: str) -> str:
        """A text attribute, which must be there.

        Raises:
            DataError: missing or not text.
        """
        return self.decoded(f"{path}@{name}", self.attribute(path, name))

    def integer(self, path: str, name: str) -> int:
        """An integer attribute, which must be there.

        Raises:
            DataError: missing or not an integer.
        """
        value = self.attribute(path, name)
        if np.ndim(value) or np.asarray(value).dtype.kind not in "iu":
            raise self.error(f"{path}@{name}", "a value is not an integer", expected="an integer", found=repr(value))
        return int(value)

    def texts(self, path: str, name: str) -> list[str] | None:
        """An attribute that holds an array of text, or None if it is missing.

        Raises:
            DataError: its items are not text.
        """
        value = self.attribute(path, name, None)
        if value is None:
            return None
        items: list[Any] = np.atleast_1d(value).tolist()
        return [self.decoded(f"{path}@{name}", item) for item in items]

    def column_names(self, path: str) -> list[str]:
        """Columns of the DynamicTable at the path, in the table's own order."""
        names = self.texts(path, "colnames")
        if names is None:
            raise self.error(f"{path}@colnames", "an attribute is missing", expected="the table's column names", found="nothing")
        return names
