"""One open NWB file of the release; what several tables need is read once."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np

from pipelines.nwb.hdf5.values import HdfFile, open_hdf5
from pipelines.source.range_file import RangeFile
from schemas.casts import NDArray, Values
from schemas.errors import NotNwbError
from schemas.known_defects import Occurrence, occurrence

T = TypeVar("T")

METADATA = "/general/metadata"
TASK = "/general/task_parameters"
OPHYS = "/processing/ophys"


TraceListener = Callable[[str, NDArray, slice, NDArray], None]
"""Takes the name of a trace, the places in `Cells.valid` of all cells that have it, which of them
come now, and their traces, shape (cells, time)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table: values by column name, without the keys."""

    columns: dict[str, Values]
    count: int


@dataclass
class Recording:
    """One open file of the release.

    Attributes:
        hdf: the file.
        scratch: folder for temporary files; None for the system's.
        remote: what the file is read from if it is in a bucket.
        warnings: what was unusual but did not stop the reading, for the ledger.
        known_defects: the known defects of the released data that the file shows, for the ledger.
        held_back: the tables that are held back so far.
        listeners: take the traces that are read, for the tables computed from them, by table.
    """

    hdf: HdfFile
    scratch: Path | None = None
    remote: RangeFile | None = None
    warnings: list[str] = field(default_factory=list[str])
    known_defects: list[Occurrence] = field(default_factory=list[Occurrence])
    held_back: set[str] = field(default_factory=set[str])
    listeners: dict[str, TraceListener] = field(
        default_factory=dict[str, TraceListener], repr=False
    )
    _memo: dict[Callable[[Recording], object], object] = field(
        default_factory=dict[Callable[["Recording"], object], object], repr=False
    )

    @cached_property
    def behavior_session_id(self) -> int:
        """Id of the behaviour session in the file."""
        return self.hdf.attribute_integer(METADATA, "behavior_session_id")

    @cached_property
    def is_experiment(self) -> bool:
        """Whether the file holds an imaging plane."""
        return self.hdf.has(OPHYS)

    @cached_property
    def ophys_session_id(self) -> int:
        """Id of the imaging session; experiment files only."""
        return self.hdf.attribute_integer(METADATA, "ophys_session_id")

    @cached_property
    def ophys_experiment_id(self) -> int:
        """Id of the experiment, from `/identifier`."""
        text = self.hdf.read_string("/identifier")
        if not (text.isascii() and text.isdigit()):
            raise self.hdf.error(
                "/identifier",
                "the identifier is not a number",
                expected="ophys_experiment_id",
                found=repr(text),
            )
        return int(text)

    @cached_property
    def mouse_id(self) -> int | str:
        """Id of the mouse, which files hold as text; a text that is no number is returned as it
        is.
        """
        path = "/general/subject/subject_id"
        text = (
            self.hdf.read_string(path)
            if self.hdf.is_string(path)
            else str(self.hdf.read_numbers(path, ndim=0))
        )
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text

    @cached_property
    def stimulus_timestamps(self) -> NDArray:
        """Stimulus clock, seconds, shape (n_frames,)."""
        return self.hdf.read_numbers("/processing/stimulus/timestamps/timestamps")

    @cached_property
    def licks(self) -> tuple[NDArray, NDArray]:
        """Lick times in seconds, and their stimulus frames, each of shape (n_licks,).

        Empty if the session has no licks.
        """
        if not self.hdf.has("/processing/licking"):
            return np.empty(0), np.empty(0, dtype=np.int64)
        times = self.hdf.read_numbers("/processing/licking/licks/timestamps")
        path = "/processing/licking/licks/data"
        frames = self.hdf.read_numbers(path, rows=len(times))
        back = np.flatnonzero(frames[1:] < frames[:-1])
        if len(back):
            found = f"{frames[back[0] + 1]} after {frames[back[0]]}, row {back[0] + 1}"
            raise self.hdf.error(
                path,
                "frames go backwards",
                expected="frames that ascend with the times",
                found=found,
            )
        return times, frames

    @cached_property
    def session_type(self) -> str:
        """Stage of the training, such as TRAINING_5_images_A_epilogue."""
        return self.hdf.attribute_string(METADATA, "session_type")

    @cached_property
    def image_set(self) -> str | None:
        """Name of the file's image templates, or None if it has none.

        Raises:
            DataError: there are several, which no released file has.
        """
        sets = [s for s in self.hdf.members("/stimulus/templates") if "movie" not in s.lower()]
        if len(sets) > 1:
            raise self.hdf.error(
                "/stimulus/templates",
                "several image sets in one file",
                expected="at most one",
                found=", ".join(sets),
            )
        return sets[0] if sets else None

    def once(self, read: Callable[[Recording], T]) -> T:
        """Returns `read(self)`, computed on the first call and kept for the others.

        Trials serve four tables, and the ROI table serves every trace table.
        """
        if read not in self._memo:
            self._memo[read] = read(self)
        return cast(T, self._memo[read])

    def tell(self, name: str, cells: NDArray, part: slice, traces: NDArray) -> None:
        """Passes traces on to the listeners."""
        for listener in tuple(self.listeners.values()):
            listener(name, cells, part, traces)

    def warn(self, text: str) -> None:
        """Records something unusual, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def known_defect(self, name: str, detail: str) -> None:
        """Records a defect of `schemas.known_defects` that the file shows, once."""
        if (found := occurrence(name, detail)) not in self.known_defects:
            self.known_defects.append(found)


@contextmanager
def open_recording(
    source: Path | BinaryIO | RawIOBase, name: str, scratch: Path | None = None
) -> Generator[Recording]:
    """Opens a file of the release.

    Args:
        source: a path, or a file-like object that h5py can read.
        name: what to call the file in errors, its object key.
        scratch: folder for what is too large for memory; None for the system's temporary folder.

    Raises:
        NotNwbError: not HDF5, or not an NWB file of this dataset.
    """
    with open_hdf5(source, name) as hdf:
        for path in ("/identifier", METADATA):
            if not hdf.has(path):
                raise NotNwbError(
                    "the file is HDF5, but not an NWB file of this dataset",
                    file=name,
                    column=path,
                    expected=f"{path}, which every file of the release has",
                    found="nothing",
                )
        yield Recording(hdf, scratch, source if isinstance(source, RangeFile) else None)
