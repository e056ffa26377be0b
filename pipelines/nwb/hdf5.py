"""Access to one HDF5 file with errors that name the file and the dataset.

Links that leave the file (external links, virtual datasets, external storage) are refused, never followed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from schemas.casts import NDArray
from schemas.errors import DataError, NotNwbError

_NO_VALUE = object()


@contextmanager
def open_hdf5(source: Path | BinaryIO, name: str) -> Iterator[HdfFile]:
    """Opens an HDF5 file for reading.

    Args:
        source: a path, or a file-like object that h5py can read.
        name: what to call the file in errors, its object key.

    Raises:
        NotNwbError: the file cannot be opened as HDF5 (not HDF5, empty, truncated).
    """
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

    h5: h5py.File
    name: str

    def error(self, path: str, problem: str, *, expected: str, found: str, hint: str | None = None) -> DataError:
        """A `DataError` that names this file and the path in it."""
        return DataError(problem, file=self.name, column=path, expected=expected, found=found, hint=hint)

    def find(self, path: str) -> h5py.Group | h5py.Dataset | None:
        """The object at an absolute path, or None if there is none. Soft links are followed inside the file."""
        node: Any = self.h5
        for part in path.strip("/").split("/"):
            if not isinstance(node, h5py.Group):
                return None
            try:
                link: Any = node.get(part, getlink=True)
                if link is None:
                    return None
                if isinstance(link, h5py.ExternalLink):
                    raise self.error(path, "a link leaves the file", expected="data inside the file", found=f"external link to {link.filename}")
                child: Any = node.get(part)
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                raise self.error(path, "the object cannot be opened", expected="readable HDF5", found=str(error)) from error
            if child is None:
                raise self.error(path, "a link leads nowhere", expected="an object", found=f"dangling link {part}")
            node = child
        if isinstance(node, h5py.Dataset) and (node.is_virtual or node.external):
            raise self.error(path, "a dataset keeps its data in other files", expected="data inside the file", found="virtual or external dataset")
        return node

    def has(self, path: str) -> bool:
        """Whether there is an object at the path."""
        return self.find(path) is not None

    def group(self, path: str) -> h5py.Group:
        """The group at the path.

        Raises:
            DataError: there is none.
        """
        node = self.find(path)
        if not isinstance(node, h5py.Group):
            raise self.error(path, "a group is missing", expected="a group", found="nothing" if node is None else "a dataset")
        return node

    def dataset(self, path: str) -> h5py.Dataset:
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
        try:
            values: NDArray = dataset[()]
        except (OSError, RuntimeError, ValueError, MemoryError, TypeError, UnicodeDecodeError) as error:
            raise self.error(path, "the dataset cannot be read", expected="readable data", found=str(error)) from error
        return values

    def _check_shape(self, path: str, dataset: h5py.Dataset, ndim: int, rows: int | None) -> None:
        shape = dataset.shape
        if shape is None or len(shape) != ndim:
            raise self.error(path, "a dataset has another rank", expected=f"{ndim} dimensions", found=f"shape {shape}")
        if rows is not None and shape[0] != rows:
            raise self.error(path, "lengths disagree", expected=f"{rows} rows", found=f"{shape[0]} rows")

    def checked(self, path: str, *, ndim: int, rows: int | None = None) -> h5py.Dataset:
        """The dataset at the path after its rank and length have been checked; for reading in slices."""
        dataset = self.dataset(path)
        self._check_shape(path, dataset, ndim, rows)
        return dataset

    def numbers(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """A whole numeric or bool dataset.

        Raises:
            DataError: as for `array`, or the values are not numbers.
        """
        values = self.array(path, ndim=ndim, rows=rows)
        if values.dtype.kind not in "biuf":
            raise self.error(path, "values are not numbers", expected="a numeric dataset", found=f"dtype {values.dtype}")
        return values

    def text(self, path: str) -> str:
        """A scalar text dataset.

        Raises:
            DataError: missing or not text.
        """
        value: Any = self.array(path, ndim=0)
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if not isinstance(value, str):
            raise self.error(path, "a value is not text", expected="text", found=repr(value))
        return value

    def scalar(self, path: str) -> float:
        """A scalar numeric dataset as a float.

        Raises:
            DataError: missing or not a number.
        """
        return float(self.numbers(path, ndim=0))

    def attribute(self, path: str, name: str, default: Any = _NO_VALUE) -> Any:
        """An attribute of an object: text as str, numbers as NumPy values.

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
        except (OSError, RuntimeError, ValueError, TypeError, UnicodeDecodeError) as error:
            raise self.error(f"{path}@{name}", "an attribute cannot be read", expected="readable data", found=str(error)) from error
        return value.decode("utf-8") if isinstance(value, bytes) else value

    def texts(self, path: str, name: str) -> list[str] | None:
        """An attribute that holds an array of text, or None if it is missing."""
        value = self.attribute(path, name, None)
        if value is None:
            return None
        return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in np.atleast_1d(value).tolist()]

    def column_names(self, path: str) -> list[str]:
        """Columns of the DynamicTable at the path, in the table's own order."""
        names = self.texts(path, "colnames")
        if names is None:
            raise self.error(f"{path}@colnames", "an attribute is missing", expected="the table's column names", found="nothing")
        return names


def join(*parts: str) -> str:
    """Joins parts of a path inside a file."""
    return posixpath.join(*parts)
