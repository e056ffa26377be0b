"""Values of one HDF5 file, with errors that name the file and the path.

What a file says of its texts and of its storage is checked before HDF5 acts on it: see `pipelines.nwb.hdf5.strings` and `pipelines.nwb.hdf5.storage`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from traceback import clear_frames
from typing import Any, BinaryIO

import numpy as np

from pipelines.nwb.hdf5.storage import check_gzip, check_storage, read_chunks
from pipelines.nwb.hdf5.strings import REFERENCE, Read, Texts, is_variable, items
from pipelines.nwb.hdf5.tree import HdfTree, h5py
from pipelines.source.range_file import RangeFile
from schemas.casts import NDArray
from schemas.errors import NotNwbError

_NO_VALUE = object()

LARGEST = 256 << 20
"""Bytes that a file may make us hold at once, or a quarter of its own if that is more: a worker has 512 MB. The release's largest array has
99 MB in a file of 670 MB; a few kB of gzip can claim as much as they like."""

_ATTRIBUTE_BYTES = 1 << 20


@contextmanager
def open_hdf5(source: Path | BinaryIO | RawIOBase, name: str) -> Generator[HdfFile]:
    """Opens an HDF5 file for reading.

    Args:
        source: a path, or a file-like object that h5py can read.
        name: what to call the file in errors, its object key.

    Raises:
        NotNwbError: the file cannot be opened as HDF5 (not HDF5, empty, truncated).
    """
    try:
        h5 = _opened(source)
    except (OSError, RuntimeError, ValueError) as error:
        raise NotNwbError(
            "the file cannot be opened as HDF5",
            file=name,
            expected="a whole NWB (HDF5) file",
            found=str(error),
            hint="Fetch it again, or check the object in the bucket.",
        ) from error
    with h5, _reader(h5, source) as read:
        yield HdfFile(h5, name, read)


def _opened(source: Path | BinaryIO | RawIOBase) -> Any:
    try:
        return h5py.File(source, "r")
    except BaseException as error:
        # Whoever keeps the error keeps h5py's frames, and with them HDF5's settings for reading a Python file. HDF5 gives these back
        # when the process ends, by a call into Python, which has ended by then: the process crashes.
        clear_frames(error.__traceback__)
        raise


@contextmanager
def _reader(h5: Any, source: Path | BinaryIO | RawIOBase) -> Generator[Read | None]:
    """Reads bytes of the file beside HDF5."""
    if isinstance(source, RangeFile):
        yield source.peek
    elif isinstance(source, Path):
        descriptor: int = h5.id.get_vfd_handle()
        yield lambda start, stop: os.pread(descriptor, stop - start, start)
    else:
        yield None


@dataclass
class HdfFile(HdfTree):
    """The values in one open HDF5 file.

    Attributes:
        read: gives bytes of the file; None for one in memory.
    """

    read: Read | None = None
    _gzip_checked: set[str] = field(default_factory=set[str], repr=False)

    def __post_init__(self) -> None:
        if self.read is None:
            self.h5.flush()

    @cached_property
    def _bytes(self) -> int:
        return int(self.h5.id.get_filesize())

    @cached_property
    def _texts(self) -> Texts:
        image: bytes = b"" if self.read else self.h5.id.get_file_image()
        return Texts(self.read or (lambda start, stop: image[start:stop]), self._bytes)

    def read_part(self, path: str, dataset: Any, index: int | tuple[int, ...]) -> NDArray:
        """A part of a numeric dataset that `checked` gave, or all of it.

        Raises:
            DataError: it cannot be read (truncated file, damaged chunk), or is too large.
        """
        taken = 1 if isinstance(index, int) else len(index)
        self._check_room(path, math.prod(dataset.shape[taken:]) * dataset.dtype.itemsize)
        with self.reading(path, "the dataset cannot be read"):
            if path not in self._gzip_checked:
                check_gzip(dataset)
                self._gzip_checked.add(path)
            values: NDArray = dataset[index]
        return self._truth(path, values)

    def _truth(self, path: str, values: NDArray) -> NDArray:
        """Truth values after a look at their bytes, which NumPy takes as they are."""
        if (
            values.dtype.kind == "b"
            and values.size
            and int(np.asarray(values).view(np.uint8).max()) > 1
        ):
            raise self.error(
                path, "truth values are damaged", expected="bytes 0 and 1", found="others"
            )
        return values

    def _check_room(self, path: str, wanted: int) -> None:
        if wanted > self._room:
            raise self.error(
                path,
                "a dataset is too large for its file",
                expected=f"at most {self._room} bytes at a time",
                found=f"{wanted}",
            )

    def _check_shape(self, path: str, dataset: Any, ndim: int, rows: int | None) -> None:
        shape = dataset.shape
        if shape is None or len(shape) != ndim:
            raise self.error(
                path,
                "a dataset has another rank",
                expected=f"{ndim} dimensions",
                found=f"shape {shape}",
            )
        if rows is not None and shape[0] != rows:
            raise self.error(
                path, "lengths disagree", expected=f"{rows} rows", found=f"{shape[0]} rows"
            )

    def numeric_dataset(self, path: str, *, ndim: int, rows: int | None = None) -> Any:
        """The numeric or bool dataset at the path after dtype, rank and length have been checked; for reading in parts."""
        dataset = self.dataset(path)
        self._check_shape(path, dataset, ndim, rows)
        if dataset.dtype.kind not in "biuf":
            raise self.error(
                path,
                "values are not numbers",
                expected="a numeric dataset",
                found=f"dtype {dataset.dtype}",
            )
        self._check_storage(path, dataset, dataset.id.get_type().get_size())
        return dataset

    def _check_storage(self, path: str, dataset: Any, itemsize: int) -> None:
        with self.reading(path, "the dataset cannot be read"):
            check_storage(dataset, itemsize, self._bytes, self._room)

    @cached_property
    def _room(self) -> int:
        return max(LARGEST, self._bytes // 4)

    def read_numbers(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """A whole numeric or bool dataset.

        Raises:
            DataError: as for `array`, or the values are not numbers.
        """
        dataset = self.numeric_dataset(path, ndim=ndim, rows=rows)
        self._check_room(path, dataset.nbytes)
        with self.reading(path, "the dataset cannot be read"):
            values = read_chunks(dataset, dataset.dtype)
        return self.read_part(path, dataset, ()) if values is None else self._truth(path, values)

    def read_times(self, path: str, *, rows: int | None = None) -> NDArray:
        """A whole dataset of times, seconds, that are all there and never go back.

        Raises:
            DataError: as for `numbers`, or a time is missing or earlier than the one before it.
        """
        values = self.read_numbers(path, rows=rows)
        missing = ~np.isfinite(values)
        if missing.any():
            row = int(np.argmax(missing))
            raise self.error(
                path,
                "a time is missing",
                expected="a number of seconds in every row",
                found=f"{values[row]} in row {row}",
            )
        back = values[1:] < values[:-1]
        if back.any():
            row = int(np.argmax(back)) + 1
            raise self.error(
                path,
                "times go backwards",
                expected="ascending times",
                found=f"{values[row]} after {values[row - 1]}, row {row}",
            )
        return values

    def is_string(self, path: str) -> bool:
        """Whether the dataset at the path holds text."""
        return h5py.check_string_dtype(self.dataset(path).dtype) is not None

    def read_strings(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """A whole text dataset, as bytes.

        Raises:
            DataError: missing, unreadable, of another rank or length, or the values are not text.
        """
        dataset = self.dataset(path)
        info = h5py.check_string_dtype(dataset.dtype)
        if info is None:
            raise self.error(
                path,
                "values are not text",
                expected="a text dataset",
                found=f"dtype {dataset.dtype}",
            )
        self._check_shape(path, dataset, ndim, rows)
        variable = is_variable(dataset.dtype, info)
        itemsize = REFERENCE.itemsize if variable else dataset.dtype.itemsize
        self._check_storage(path, dataset, itemsize)
        self._check_room(path, dataset.size * itemsize)
        if not variable:
            return self.read_part(path, dataset, ())
        with self.reading(path, "the dataset cannot be read"):
            start: int | None = dataset.id.get_offset() if dataset.chunks is None else None
            references = (
                read_chunks(dataset, REFERENCE)
                if start is None and dataset.size
                else self._texts.read(start or 0, dataset.size)
            )
            if references is None:
                raise ValueError(
                    "texts that are stored neither in one piece nor in chunks without a filter or with gzip"
                )
            return self._texts.look_up(references.reshape(-1)).reshape(dataset.shape)

    def decode(self, path: str, value: Any) -> str:
        """One text of a dataset or attribute.

        Raises:
            DataError: not text, or not UTF-8.
        """
        if isinstance(value, bytes):
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.error(
                    path, "a text is not UTF-8", expected="text in UTF-8", found=str(error)
                ) from error
        if not isinstance(value, str):
            raise self.error(path, "a value is not text", expected="text", found=repr(value))
        return value

    def read_string(self, path: str) -> str:
        """A scalar text dataset.

        Raises:
            DataError: missing or not text.
        """
        return self.decode(path, self.read_strings(path, ndim=0).item())

    def read_number(self, path: str) -> float:
        """A scalar numeric dataset as a float.

        Raises:
            DataError: missing or not a number.
        """
        return float(self.read_numbers(path, ndim=0))

    def attribute(self, path: str, name: str, default: Any = _NO_VALUE) -> Any:
        """An attribute of an object as h5py gives it: text as str, numbers as NumPy values.

        Raises:
            DataError: the attribute is missing and no default was given, or cannot be read.
        """
        node = self.find(path)
        column = f"{path}@{name}"
        with self.reading(column, "an attribute cannot be read"):
            found: Any = (
                h5py.h5a.open(node.id, name.encode())
                if node is not None and name in node.attrs
                else None
            )
            value: Any = self._value(node, name, found) if found is not None else default
        if value is _NO_VALUE:
            raise self.error(
                column, "an attribute is missing", expected="an attribute", found="nothing"
            )
        return value

    def _value(self, node: Any, name: str, attribute: Any) -> Any:
        """An attribute's value; text of variable length is looked up here."""
        dtype, shape = attribute.dtype, attribute.shape
        if shape is None or attribute.get_storage_size() > _ATTRIBUTE_BYTES or dtype.kind == "V":
            raise ValueError(f"{dtype} of shape {shape}")
        if is_variable(dtype, h5py.check_string_dtype(dtype)):
            references = self._texts.attribute(h5py.h5o.get_info(node.id).addr, name)
            if references is not None:
                words: NDArray = np.array(
                    [text.decode() for text in self._texts.look_up(items(shape, references))],
                    dtype=object,
                )
                return words.reshape(shape) if shape else words.item()
        elif h5py.check_vlen_dtype(dtype) is not None:
            raise ValueError("lists of variable length")
        return node.attrs[name]

    def check_reference(self, path: str, name: str, target: str) -> None:
        """Sees to it that an attribute, if it is there, refers to the object at `target`.

        Raises:
            DataError: it refers to nothing or to something else.
        """
        reference = self.attribute(path, name, None)
        if reference is None:
            return
        column = f"{path}@{name}"
        with self.reading(column, "a reference cannot be followed", f"a reference to {target}"):
            found = self.h5[reference]
        if found != self.find(target):
            raise self.error(
                column,
                "a reference leads elsewhere",
                expected=f"a reference to {target}",
                found=str(found.name),
            )

    def attribute_string(self, path: str, name: str) -> str:
        """A text attribute, which must be there.

        Raises:
            DataError: missing or not text.
        """
        return self.decode(f"{path}@{name}", self.attribute(path, name))

    def attribute_integer(self, path: str, name: str) -> int:
        """An integer attribute, which must be there.

        Raises:
            DataError: missing or not an integer.
        """
        value = self.attribute(path, name)
        if np.ndim(value) or np.asarray(value).dtype.kind not in "iu":
            raise self.error(
                f"{path}@{name}",
                "a value is not an integer",
                expected="an integer",
                found=repr(value),
            )
        return int(value)

    def attribute_strings(self, path: str, name: str) -> list[str] | None:
        """An attribute that holds an array of text, or None if it is missing.

        Raises:
            DataError: its items are not text.
        """
        value = self.attribute(path, name, None)
        if value is None:
            return None
        items: list[Any] = np.atleast_1d(value).tolist()
        return [self.decode(f"{path}@{name}", item) for item in items]

    def column_names(self, path: str) -> list[str]:
        """Columns of the DynamicTable at the path, in the table's own order."""
        names = self.attribute_strings(path, "colnames")
        if names is None:
            raise self.error(
                f"{path}@colnames",
                "an attribute is missing",
                expected="the table's column names",
                found="nothing",
            )
        return names
