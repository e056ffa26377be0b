"""Checked access to one HDF5 file: every error names the file and the path in it."""

from __future__ import annotations

import gc
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from traceback import clear_frames
from typing import Any, BinaryIO

import numpy as np

from pipelines.nwb.hdf5 import storage
from pipelines.nwb.hdf5.errors import HdfError, h5py, hdf5_errors
from schemas.casts import NDArray
from schemas.errors import DataError, NotNwbError

_REQUIRED = object()


@contextmanager
def open_hdf5(source: Path | BinaryIO | RawIOBase, name: str) -> Generator[HdfFile]:
    """Opens an HDF5 file for reading.

    Args:
        source: a path, or a file-like object that h5py can read.
        name: what to call the file in errors, its object key.

    Raises:
        NotNwbError: the file cannot be opened as HDF5 (not HDF5, empty, truncated).
    """
    with _no_automatic_collection():
        try:
            h5 = _opened(source)
        except (OSError, RuntimeError, ValueError) as error:
            raise NotNwbError(
                "the file cannot be opened as HDF5",
                file=name,
                expected="a whole NWB (HDF5) file",
                found=_why(str(error)),
                hint="Fetch it again, or check the object in the bucket.",
            ) from error
        with h5:
            yield HdfFile(h5, name)


def _why(error: str) -> str:
    """What is wrong with a file, from the message of the HDF5 library."""
    if "file signature not found" in error:
        return "no HDF5 signature: it is empty, or a file of another kind"
    if cut := re.search(r"truncated file: eof = (\d+), .*stored_eof = (\d+)", error):
        return f"a truncated file: {int(cut[1]):,} of {int(cut[2]):,} bytes"
    return "HDF5 whose head is damaged"


@contextmanager
def _no_automatic_collection() -> Generator[None]:
    """Prevents a deadlock: Python collects garbage in whichever thread makes the next object.

    A thread that fetches for a file-like source would wait there for h5py's lock, which h5py takes
    to free its objects; the reading thread holds that lock and waits for the fetch. Readers leave
    no cycles behind, so memory does not grow meanwhile; those of a conversion are collected after
    each file (`convert_file`).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _opened(source: Path | BinaryIO | RawIOBase) -> Any:
    try:
        return h5py.File(source, "r")
    except BaseException as error:
        # An error that is kept keeps h5py's frames, and with them HDF5's driver for Python files.
        # HDF5 frees the driver at exit by calling into Python, which has ended: a crash.
        clear_frames(error.__traceback__)
        raise


@dataclass
class HdfFile:
    """One open HDF5 file.

    `read_...` methods read datasets, `attribute...` methods read attributes.

    Attributes:
        h5: the open `h5py.File`.
        name: object key, for errors.
    """

    h5: Any
    name: str
    _found: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def error(
        self, path: str, problem: str, *, expected: str, found: str, hint: str | None = None
    ) -> DataError:
        """Makes a `DataError` that names this file and the path in it."""
        return DataError(
            problem, file=self.name, column=path, expected=expected, found=found, hint=hint
        )

    @contextmanager
    def _reading(self, path: str, problem: str, expected: str = "readable HDF5") -> Generator[None]:
        """Turns what h5py raises for damaged content into a `DataError`."""
        try:
            with hdf5_errors():
                yield
        except HdfError as error:
            raise self.error(path, problem, expected=expected, found=str(error)) from error

    # --- objects -----------------------------------------------------------------------------

    def find(self, path: str) -> Any:
        """Returns the object at an absolute path, or None if there is none.

        Soft links are followed here, one member at a time: HDF5 itself would open another file if
        the target of a soft link lies behind an external link.

        Raises:
            DataError: an object cannot be opened, or a link leads out of the file or nowhere.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts:
            return self.h5
        path = "/" + "/".join(parts)
        if path not in self._found:
            parent = self.find("/".join(parts[:-1]))
            self._found[path] = (
                self._member(path, parent) if isinstance(parent, h5py.Group) else None
            )
        return self._found[path]

    def _member(self, path: str, group: Any) -> Any:
        name = path.rpartition("/")[2]
        node: Any = None
        outside = ""
        with self._reading(path, "the object cannot be opened"):
            # Not `name in group` or `group.get(name)`: to both, a member that cannot be read does
            # not exist.
            if not group.id.links.exists(name.encode()):
                return None
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.HardLink):
                node = group[name]
            if isinstance(node, h5py.Dataset):
                # Asked for here, so that callers need not expect a damaged description.
                _ = (node.dtype, node.shape, node.chunks)
                outside = "virtual or external dataset" if node.is_virtual or node.external else ""
        if isinstance(link, h5py.ExternalLink):
            outside = f"external link to {link.filename}"
        if outside:
            raise self.error(
                path, "data is not in the file", expected="data inside the file", found=outside
            )
        return self._target(path, link.path) if isinstance(link, h5py.SoftLink) else node

    def _target(self, path: str, target: str) -> Any:
        """The object that a soft link leads to."""
        parent = "" if target.startswith("/") else path.rpartition("/")[0]
        self._found[path] = None  # so that links in a circle lead nowhere
        try:
            node = self.find(f"{parent}/{target}")
        finally:
            del self._found[path]
        if node is None:
            raise self.error(
                path, "a link leads nowhere", expected="an object", found=f"a link to {target}"
            )
        return node

    def has(self, path: str) -> bool:
        """Whether there is an object at the path."""
        return self.find(path) is not None

    def group(self, path: str) -> Any:
        """Returns the group at the path.

        Raises:
            DataError: there is none.
        """
        node = self.find(path)
        if not isinstance(node, h5py.Group):
            raise self.error(path, "a group is missing", expected="a group", found=_kind(node))
        return node

    def dataset(self, path: str) -> Any:
        """Returns the dataset at the path.

        Raises:
            DataError: there is none.
        """
        node = self.find(path)
        if not isinstance(node, h5py.Dataset):
            raise self.error(path, "a dataset is missing", expected="a dataset", found=_kind(node))
        return node

    def members(self, path: str) -> list[str]:
        """Names in a group, ascending; empty if the group is missing."""
        node = self.find(path)
        with self._reading(path, "the group cannot be listed"):
            return sorted(node) if isinstance(node, h5py.Group) else []

    def datasets(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Path, type and shape of every dataset, by path.

        Links are not followed, and the format's own specification is left out.

        Raises:
            DataError: the file cannot be listed.
        """
        found: list[tuple[str, str, tuple[int, ...]]] = []

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and not name.startswith("specifications/"):
                kind = _kind_of_values(node.dtype)
                found.append((f"/{name}", kind, tuple(node.shape or ())))

        with self._reading("/", "the file cannot be listed"):
            self.h5.visititems(visit)
        return sorted(found)

    # --- datasets ----------------------------------------------------------------------------

    def numeric_dataset(self, path: str, *, ndim: int, rows: int | None = None) -> Any:
        """Returns a dataset of numbers or truth values, its rank and length checked, unread.

        Raises:
            DataError: missing, of another rank or length, or the values are not numbers.
        """
        dataset = self.dataset(path)
        self._check_shape(path, dataset, ndim, rows)
        if dataset.dtype.kind not in "biuf":
            raise self.error(
                path,
                "values are not numbers",
                expected="a numeric dataset",
                found=f"dtype {dataset.dtype}",
            )
        return dataset

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

    @contextmanager
    def _reading_data(self, path: str) -> Generator[None]:
        try:
            yield
        except HdfError as error:
            raise self.error(
                path,
                "the dataset cannot be read",
                expected="readable data",
                found=str(error),
            ) from error

    def _read(self, path: str, dataset: Any, index: tuple[int, ...] = ()) -> NDArray:
        with self._reading_data(path):
            return storage.read(dataset, index)

    def read_part(self, path: str, index: tuple[int, ...]) -> NDArray:
        """Reads a part of a numeric dataset.

        Args:
            path: of the dataset.
            index: leading indices of the part.

        Raises:
            DataError: it cannot be read (truncated file, damaged chunk), or is too large.
        """
        return self._read_numbers(path, self.dataset(path), index)

    def read_pieces(self, path: str, rows: int) -> Iterator[storage.Piece]:
        """Reads a whole numeric dataset in pieces, which cover it exactly once.

        Args:
            path: of the dataset.
            rows: length of a piece along the first axis, unless the data is stored in chunks.

        Raises:
            DataError: as for `read_part`.
        """
        with self._reading_data(path):
            for where, values in storage.pieces(self.dataset(path), rows):
                yield where, self._checked(path, values)

    def _read_numbers(self, path: str, dataset: Any, index: tuple[int, ...] = ()) -> NDArray:
        return self._checked(path, self._read(path, dataset, index))

    def _checked(self, path: str, values: NDArray) -> NDArray:
        # NumPy takes the bytes of truth values as they are.
        if values.dtype.kind == "b" and values.size and int(values.view(np.uint8).max()) > 1:
            raise self.error(
                path, "truth values are damaged", expected="bytes 0 and 1", found="others"
            )
        return values

    def read_numbers(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """Reads a whole dataset of numbers or truth values.

        Raises:
            DataError: as for `numeric_dataset` and `read_part`.
        """
        return self._read_numbers(path, self.numeric_dataset(path, ndim=ndim, rows=rows))

    def read_number(self, path: str) -> float:
        """Reads a scalar numeric dataset as a float.

        Raises:
            DataError: missing or not a number.
        """
        return float(self.read_numbers(path, ndim=0))

    def is_string(self, path: str) -> bool:
        """Whether the dataset at the path holds strings."""
        return storage.is_string(self.dataset(path))

    def read_strings(self, path: str, *, ndim: int = 1, rows: int | None = None) -> NDArray:
        """Reads a whole dataset of strings, as bytes.

        Raises:
            DataError: missing, unreadable, of another rank or length, or not strings.
        """
        dataset = self.dataset(path)
        if not storage.is_string(dataset):
            raise self.error(
                path,
                "values are not text",
                expected="a text dataset",
                found=f"dtype {dataset.dtype}",
            )
        self._check_shape(path, dataset, ndim, rows)
        return self._read(path, dataset)

    def read_string(self, path: str) -> str:
        """Reads a scalar string dataset.

        Raises:
            DataError: missing or not text.
        """
        return self.decode(path, self.read_strings(path, ndim=0).item())

    def decode(self, path: str, value: Any) -> str:
        """Returns one string of a dataset or attribute as `str`.

        Raises:
            DataError: not text, or not UTF-8.
        """
        try:
            if isinstance(value, bytes):
                return value.decode()
            if isinstance(value, str):
                value.encode()  # h5py decodes what is not UTF-8 to half surrogate pairs
                return value
        except UnicodeError as error:
            raise self.error(
                path, "a text is not UTF-8", expected="text in UTF-8", found=str(error)
            ) from error
        raise self.error(path, "a value is not text", expected="text", found=repr(value))

    # --- attributes --------------------------------------------------------------------------

    def attribute(self, path: str, name: str, default: Any = _REQUIRED) -> Any:
        """Reads an attribute: text as str, numbers as NumPy values.

        Raises:
            DataError: the attribute is missing and no default was given, or cannot be read.
        """
        node = self.find(path)
        column = f"{path}@{name}"
        with self._reading(column, "an attribute cannot be read", "readable data"):
            # Not get(), to which an unreadable attribute does not exist.
            value = node.attrs[name] if node is not None and name in node.attrs else default
        if value is _REQUIRED:
            raise self.error(
                column, "an attribute is missing", expected="an attribute", found="nothing"
            )
        return value

    def attribute_string(self, path: str, name: str) -> str:
        """Reads a text attribute, which must be there.

        Raises:
            DataError: missing or not text.
        """
        return self.decode(f"{path}@{name}", self.attribute(path, name))

    def attribute_strings(self, path: str, name: str) -> list[str] | None:
        """Reads an attribute that holds an array of text, or returns None if it is missing.

        Raises:
            DataError: its items are not text.
        """
        value = self.attribute(path, name, None)
        if value is None:
            return None
        items: list[Any] = np.atleast_1d(value).tolist()
        return [self.decode(f"{path}@{name}", item) for item in items]

    def attribute_integer(self, path: str, name: str) -> int:
        """Reads an integer attribute, which must be there.

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

    def check_reference(self, path: str, name: str, target: str) -> None:
        """Checks that an attribute, if it is there, refers to the object at `target`.

        Raises:
            DataError: it refers to nothing or to something else.
        """
        reference = self.attribute(path, name, None)
        if reference is None:
            return
        column, expected = f"{path}@{name}", f"a reference to {target}"
        with self._reading(column, "a reference cannot be followed", expected):
            found = self.h5[reference]
        if found != self.find(target):
            raise self.error(
                column, "a reference leads elsewhere", expected=expected, found=str(found.name)
            )

    def column_names(self, path: str) -> list[str]:
        """Names of the columns of the DynamicTable at the path, in the table's own order."""
        names = self.attribute_strings(path, "colnames")
        if names is None:
            raise self.error(
                f"{path}@colnames",
                "an attribute is missing",
                expected="the table's column names",
                found="nothing",
            )
        return names


def _kind(node: Any) -> str:
    """What an object is that should be another."""
    return {h5py.Group: "a group", h5py.Dataset: "a dataset"}.get(
        type(node), "nothing" if node is None else "a data type"
    )


def _kind_of_values(dtype: Any) -> str:
    """The type of a dataset's values, in a word."""
    if h5py.check_string_dtype(dtype):
        return "text"
    if h5py.check_ref_dtype(dtype):
        return "reference"
    return "compound" if dtype.kind == "V" else str(dtype)
