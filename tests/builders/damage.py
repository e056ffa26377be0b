"""Kinds of damaged file: one for each guard of the readers and for each promise about values."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

BEHAVIOR, EXPERIMENT = "behavior", "experiment"

TRIALS = "/intervals/trials"
LICK_ENDS = f"{TRIALS}/lick_times_index"
OPHYS = "/processing/ophys"
CELLS = f"{OPHYS}/image_segmentation/cell_specimen_table"
DFF = f"{OPHYS}/dff/traces"
EVENTS = f"{OPHYS}/event_detection"
PUPIL = "/acquisition/EyeTracking/pupil_tracking"
CLOCK = "/processing/stimulus/timestamps/timestamps"
RUNNING = "/processing/running/speed"
META = "/general/metadata"
SUBJECT = "/general/subject/subject_id"
NAMES = f"{TRIALS}/initial_image_name"

Damage = Callable[[Path], None]
Edit = Callable[[h5py.File], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of damage.

    Attributes:
        name: for people.
        file: BEHAVIOR or EXPERIMENT, the file it is done to.
        damage: changes the file at a path.
        where: `table T, column C` in the error, or a part of it; a pattern.
        what: the rest of the error, a pattern.
    """

    name: str
    file: str
    damage: Damage
    where: str
    what: str

    def says(self, key: str) -> re.Pattern[str]:
        """Pattern of the whole error for the file of this key."""
        where = f", {self.where}" if self.where else ""
        return re.compile(rf"file {re.escape(key)}{where}: {self.what}(\. [A-Z].*\.)?")


# --- ways to damage a file ------------------------------------------------------------------


def content(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: (path.write_bytes(change(path.read_bytes())), None)[1]


def edit(change: Edit) -> Damage:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as h5:
            change(h5)

    return damage


def at(place: Callable[[h5py.File], int], new: bytes) -> Damage:
    """Overwrites bytes at a place in the file."""

    def damage(path: Path) -> None:
        with h5py.File(path) as h5:
            start = place(h5)
        whole = bytearray(path.read_bytes())
        whole[start : start + len(new)] = new
        path.write_bytes(whole)

    return damage


def remove(path: str) -> Damage:
    where, _, name = path.partition("@")
    return edit(lambda h5: h5[where].attrs.__delitem__(name) if name else h5.__delitem__(where))


def replace(path: str, change: Callable[[Any], Any]) -> Damage:
    """Replaces a dataset's values, or an attribute, by what a function makes of them."""

    def damage(h5: h5py.File) -> None:
        where, _, name = path.partition("@")
        if name:
            h5[where].attrs[name] = change(h5[where].attrs[name])
            return
        attributes, value = dict(h5[where].attrs), change(h5[where][()])
        del h5[where]
        h5.create_dataset(where, data=value).attrs.update(attributes)

    return edit(damage)


def put(path: str, index: Any, value: Any) -> Damage:
    return edit(lambda h5: h5[path].__setitem__(index, value))


def link(path: str, target: Any) -> Damage:
    return edit(lambda h5: (h5.__delitem__(path), h5.__setitem__(path, target)))


def claim(path: str, shape: tuple[int, ...] | None = None, **storage: Any) -> Damage:
    """A dataset that claims a shape, its own if none is given, and stores nothing."""

    def damage(h5: h5py.File) -> None:
        claimed = shape or h5[path].shape
        del h5[path]
        h5.create_dataset(path, shape=claimed, dtype="f8", **storage)

    return edit(damage)


def chunk(path: str, packed: bytes) -> Damage:
    """The dataset as one chunk that holds other bytes."""

    def damage(h5: h5py.File) -> None:
        attributes, shape = dict(h5[path].attrs), h5[path].shape
        del h5[path]
        data = h5.create_dataset(path, data=np.zeros(shape), chunks=shape, compression="gzip")
        data.attrs.update(attributes)
        h5.flush()
        data.id.write_direct_chunk((0,) * len(shape), packed)

    return edit(damage)


def _half_written(h5: h5py.File) -> None:
    """The last chunk of running speed was never written."""
    speed = h5[f"{RUNNING}/data"][()]
    del h5[f"{RUNNING}/data"]
    half = len(speed) // 2 + 1
    new = h5.create_dataset(f"{RUNNING}/data", shape=speed.shape, dtype="f8", chunks=(half,))
    new[:half] = speed[:half]


def _virtual(h5: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=h5[CLOCK].shape, dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=h5[CLOCK].shape)
    del h5[CLOCK]
    h5.create_virtual_dataset(CLOCK, layout)


def _moved(path: Path) -> None:
    """The address of the clock's data leads out of the file."""
    with h5py.File(path) as h5:
        place = struct.pack("<QQ", h5[CLOCK].id.get_offset(), h5[CLOCK].id.get_storage_size())
    whole = path.read_bytes()
    assert whole.count(place) == 1
    path.write_bytes(whole.replace(place, struct.pack("<Q", 10**15) + place[8:]))


def _presentations(h5: h5py.File) -> list[str]:
    return [f"/intervals/{n}" for n in h5["intervals"] if n.endswith("_presentations")]


def _offset(path: str, byte: int = 0) -> Callable[[h5py.File], int]:
    return lambda h5: int(h5[path].id.get_offset()) + byte


def _image_names_twice(h5: h5py.File) -> None:
    group = f"/stimulus/templates/{next(iter(h5['/stimulus/templates']))}"
    names = h5[f"{group}/control_description"]
    names[:] = [names[0]] * len(names)


# --- the kinds ------------------------------------------------------------------------------

NOT_OPENED = r"the file cannot be opened as HDF5; expected a whole NWB \(HDF5\) file; found "
NOT_NWB = (
    "the file is HDF5, but not an NWB file of this dataset; expected {0}, which every file of "
)
CLOSED = "the object cannot be opened; expected readable HDF5; found .+"
UNREADABLE = "the dataset cannot be read; expected readable data; found "
MISSING = "a dataset is missing; expected a dataset; found "
OUTSIDE = "expected data inside the file; found "
LEAVES = f"a link leaves the file; {OUTSIDE}external link to "
ELSEWHERE = f"a dataset keeps its data in other files; {OUTSIDE}virtual or external dataset"
RANK = "a dataset has another rank; expected "
LENGTHS = r"lengths disagree; expected \d+ rows; found \d+ rows"
MISFIT = r"a value does not fit its declared type {} \(row 0\); expected .*; found {}"
OTHER = r"the file is of another recording than the release says; expected \d+; found \d+"
BACK = "times go back or are missing; expected times that are finite and do not decrease; found "

_CLOCK = f"table (trials|stimulus_timestamps), column {CLOCK}"
_RUNNING = f"table running_speed, column {RUNNING}/"
_TRIALS = f"table trials, column {TRIALS}/"
_DFF = f"table dff_traces, column {DFF}/"
_EVENTS = f"table events, column {EVENTS}/"
_CELLS = f"table cell_specimens, column {CELLS}/"

_MUCH = zlib.compress(bytes(64 << 20))
_REFERENCE = struct.pack("<I", 2**20)  # the length that a string claims

KINDS = [
    Kind(*row)
    for row in (
        # Whole files.
        ("no bytes", BEHAVIOR, content(lambda _: b""), "", f"{NOT_OPENED}.+"),
        (
            "a third of the file",
            BEHAVIOR,
            content(lambda c: c[: len(c) // 3]),
            "",
            f"{NOT_OPENED}.*truncated.*",
        ),
        (
            "without the last byte",
            BEHAVIOR,
            content(lambda c: c[:-1]),
            "",
            f"{NOT_OPENED}.*truncated.*",
        ),
        (
            "an error page",
            BEHAVIOR,
            content(lambda _: b"<Error/>" * 99),
            "",
            f"{NOT_OPENED}.*signature.*",
        ),
        (
            "HDF5, but empty",
            BEHAVIOR,
            edit(lambda h5: [h5.__delitem__(n) for n in list(h5)]),
            "column /identifier",
            NOT_NWB.format("/identifier") + ".*",
        ),
        (
            "NWB of another project",
            BEHAVIOR,
            remove(META),
            f"column {META}",
            NOT_NWB.format(META) + ".*",
        ),
        # HDF5's own structures, strings included.
        (
            "a damaged tree",
            BEHAVIOR,
            content(lambda c: c.replace(b"TREE", b"tree")),
            "column /identifier",
            CLOSED,
        ),
        (
            "a damaged heap of strings",
            BEHAVIOR,
            content(lambda c: c.replace(b"GCOL", b"gcol")),
            f"column {SUBJECT}",
            f"{UNREADABLE}.*heap.*",
        ),
        (
            "a damaged header",
            BEHAVIOR,
            at(lambda h5: h5py.h5o.get_info(h5[CLOCK].id).addr, b"\x77" * 8),
            _CLOCK,
            CLOSED,
        ),
        ("data beyond the file", BEHAVIOR, _moved, _CLOCK, CLOSED),
        (
            "a string of another length",
            BEHAVIOR,
            at(_offset(NAMES), _REFERENCE),
            f"{_TRIALS}initial_image_name",
            f"{UNREADABLE}.*size does not match.*",
        ),
        (
            "a bit flipped in a truth value",
            BEHAVIOR,
            at(_offset(f"{TRIALS}/hit", 3), b"\x40"),
            f"{_TRIALS}hit",
            "truth values are damaged; expected bytes 0 and 1; found others",
        ),
        # Storage: HDF5 would make data up.
        (
            "nothing stored",
            BEHAVIOR,
            claim(f"{RUNNING}/data"),
            f"{_RUNNING}data",
            f"{UNREADABLE}no data in the file for shape .*",
        ),
        (
            "far too much claimed",
            BEHAVIOR,
            claim(CLOCK, (10**15,)),
            _CLOCK,
            r"a dataset is too large for its file; expected at most \d+ bytes at a time; found 8000000000000000",
        ),
        (
            "a chunk that was never written",
            BEHAVIOR,
            edit(_half_written),
            f"{_RUNNING}data",
            rf"{UNREADABLE}1 chunks, not the 2 that make shape .*",
        ),
        (
            "a chunk that expands without end",
            EXPERIMENT,
            chunk(f"{EVENTS}/data", _MUCH),
            f"{_EVENTS}data",
            rf"{UNREADABLE}the chunk at \(0, 0\) does not decompress to \d+ bytes: .*",
        ),
        (
            "a chunk that is too short",
            EXPERIMENT,
            chunk(f"{EVENTS}/data", zlib.compress(bytes(8))),
            f"{_EVENTS}data",
            rf"{UNREADABLE}the chunk at \(0, 0\) has 8 bytes, not \d+",
        ),
        (
            "a filter of another kind",
            EXPERIMENT,
            edit(
                lambda h5: (
                    h5.move(CLOCK, "/x")
                    or h5.create_dataset(CLOCK, data=h5["/x"][()], compression="lzf")
                )
            ),
            _CLOCK,
            rf"{UNREADABLE}filters \[32000\], which are not .*",
        ),
        # Links.
        (
            "links in a circle",
            BEHAVIOR,
            link(CLOCK, h5py.SoftLink(CLOCK)),
            _CLOCK,
            f"soft links lead in a circle; expected an object; found a link to {CLOCK}",
        ),
        (
            "a link to nowhere",
            EXPERIMENT,
            link(f"{DFF}/data", h5py.SoftLink("/nowhere")),
            f"{_DFF}data",
            "a link leads nowhere; expected an object; found a link to /nowhere",
        ),
        (
            "an external link",
            BEHAVIOR,
            link(CLOCK, h5py.ExternalLink("/etc/hostname", "/x")),
            _CLOCK,
            f"{LEAVES}/etc/hostname",
        ),
        (
            "an external link behind a soft one",
            BEHAVIOR,
            edit(
                lambda h5: (
                    h5.__delitem__(CLOCK),
                    h5.__setitem__(CLOCK, h5py.SoftLink("/out/x")),
                    h5.__setitem__("/out", h5py.ExternalLink("other.nwb", "/")),
                )
            ),
            "table (trials|stimulus_timestamps), column /out",
            f"{LEAVES}other.nwb",
        ),
        ("a virtual dataset", BEHAVIOR, edit(_virtual), _CLOCK, ELSEWHERE),
        (
            "data in another file",
            BEHAVIOR,
            claim(CLOCK, (1,), external=[("/etc/hostname", 0, 8)]),
            _CLOCK,
            ELSEWHERE,
        ),
        # Something is missing.
        (
            "no running",
            BEHAVIOR,
            remove("/processing/running"),
            f"{_RUNNING}timestamps",
            f"{MISSING}nothing",
        ),
        (
            "no licks of trials",
            BEHAVIOR,
            remove(f"{TRIALS}/lick_times"),
            f"{_TRIALS}lick_times",
            f"{MISSING}nothing",
        ),
        ("no dF/F", EXPERIMENT, remove(f"{OPHYS}/dff"), f"{_DFF}data", f"{MISSING}nothing"),
        (
            "no angle of the pupil",
            EXPERIMENT,
            remove(f"{PUPIL}/angle"),
            f"table eye_tracking, column {PUPIL}/angle",
            f"{MISSING}nothing",
        ),
        (
            "no presentations",
            BEHAVIOR,
            edit(lambda h5: [h5.__delitem__(n) for n in _presentations(h5)]),
            r"table stimulus_presentations, column /intervals/\*_presentations",
            "no stimulus presentations; expected at least one group; found none",
        ),
        (
            "no imaging plane",
            EXPERIMENT,
            remove("/general/optophysiology"),
            f"table experiment_metadata, column {CELLS}/imaging_plane",
            "a link leads nowhere; expected an object; found a link to .*",
        ),
        (
            "no id",
            BEHAVIOR,
            remove(f"{META}@behavior_session_id"),
            f"column {META}@behavior_session_id",
            "an attribute is missing; expected an attribute; found nothing",
        ),
        (
            "no column names",
            BEHAVIOR,
            remove(f"{TRIALS}@colnames"),
            f"table trials, column {TRIALS}@colnames",
            "an attribute is missing; expected the table's column names; found nothing",
        ),
        # Types, ranks and lengths.
        (
            "dF/F in one dimension",
            EXPERIMENT,
            replace(f"{DFF}/data", lambda v: v[:, 0]),
            f"{_DFF}data",
            rf"{RANK}2 dimensions; found shape \(\d+,\)",
        ),
        (
            "numbers as text",
            BEHAVIOR,
            replace(f"{TRIALS}/start_time", lambda v: [str(x) for x in v]),
            f"{_TRIALS}start_time",
            "values are not numbers; expected a numeric dataset; found dtype object",
        ),
        (
            "text as numbers",
            BEHAVIOR,
            replace(NAMES, lambda v: np.zeros(len(v))),
            f"{_TRIALS}initial_image_name",
            "values are not text; expected a text dataset; found dtype float64",
        ),
        (
            "a group instead of a dataset",
            BEHAVIOR,
            edit(lambda h5: (h5.__delitem__(CLOCK), h5.create_group(CLOCK))),
            _CLOCK,
            f"{MISSING}a group",
        ),
        (
            "an attribute without a value",
            BEHAVIOR,
            replace(f"{META}@session_type", lambda _: h5py.Empty("f8")),
            f"table behavior_metadata, column {META}@session_type",
            "a value is not text; expected text; found Empty.*",
        ),
        (
            "an id as text",
            BEHAVIOR,
            replace(f"{META}@behavior_session_id", str),
            f"column {META}@behavior_session_id",
            r"a value is not an integer; expected an integer; found '\d+'",
        ),
        (
            "half a frame",
            BEHAVIOR,
            replace("/processing/licking/licks/data", lambda v: v + 0.5),
            "table licks, column frame",
            MISFIT.format("BIGINT", r"\d+\.5"),
        ),
        (
            "2 for true",
            BEHAVIOR,
            replace(f"{TRIALS}/hit", lambda v: np.full(len(v), 2)),
            "table trials, column hit",
            MISFIT.format("BOOLEAN", "2"),
        ),
        (
            "text that is not UTF-8",
            BEHAVIOR,
            put(NAMES, 0, b"im\xff"),
            "table trials, column initial_image_name",
            MISFIT.format("VARCHAR", ".*xff.*"),
        ),
        (
            "a time too few",
            BEHAVIOR,
            replace(f"{RUNNING}/timestamps", lambda v: v[:-1]),
            f"{_RUNNING}data",
            LENGTHS,
        ),
        (
            "a clock shorter than the traces",
            EXPERIMENT,
            replace(f"{DFF}/timestamps", lambda v: v[:-9]),
            f"{_DFF}data",
            r"traces and clock do not match; expected at most \d+ frames, and some; found \d+ frames",
        ),
        (
            "traces of other lengths",
            EXPERIMENT,
            replace(f"{OPHYS}/corrected_fluorescence/traces/data", lambda v: v[:-1]),
            "table corrected_fluorescence_traces, column .*/data",
            r"traces differ in length; expected \d+ frames, as dF/F has; found shape .*",
        ),
        (
            "three coordinates of the eye",
            EXPERIMENT,
            replace(f"{PUPIL}/data", lambda v: np.hstack((v, v[:, :1]))),
            f"table eye_tracking, column {PUPIL}/data",
            r"a dataset has another shape; expected \(\d+, 2\); found \(\d+, 3\)",
        ),
        (
            "a ragged index that decreases",
            EXPERIMENT,
            put(LICK_ENDS, 0, 200),
            f"{_TRIALS}lick_times_index",
            r"a ragged index is damaged; expected integers that ascend to .*; found \w+ from .*",
        ),
        # ROIs, keys and ids.
        (
            "traces in another order",
            EXPERIMENT,
            replace(f"{DFF}/rois", lambda v: v[::-1]),
            f"{_DFF}rois",
            r"traces are not in the order of the ROI table; expected 0 to \d+; found another order",
        ),
        (
            "a trace too few",
            EXPERIMENT,
            replace(f"{DFF}/data", lambda v: v[:, :-1]),
            f"{_DFF}data",
            r"traces and ROIs do not match; expected \d+ columns, one per ROI; found shape \(\d+, \d+\)",
        ),
        (
            "events of an ROI that does not exist",
            EXPERIMENT,
            put(f"{EVENTS}/rois", 0, 99),
            f"{_EVENTS}rois",
            r"events refer to ROIs that do not exist; expected integers from 0 to \d+; found int\d+ from \d+ to 99",
        ),
        (
            "events of an ROI twice",
            EXPERIMENT,
            put(f"{EVENTS}/rois", 0, 1),
            f"{_EVENTS}rois",
            r"an ROI has events twice; expected each ROI once; found \d+ columns, \d+ ROIs",
        ),
        (
            "ROIs of another table",
            EXPERIMENT,
            edit(lambda h5: h5[f"{DFF}/rois"].attrs.__setitem__("table", h5[TRIALS].ref)),
            f"{_DFF}rois@table",
            f"a reference leads elsewhere; expected a reference to {CELLS}; found {TRIALS}",
        ),
        (
            "ROIs of nothing",
            EXPERIMENT,
            replace(f"{DFF}/rois@table", lambda _: h5py.Reference()),
            f"{_DFF}rois@table",
            f"a reference cannot be followed; expected a reference to {CELLS}; found .+",
        ),
        (
            "an ROI twice",
            EXPERIMENT,
            replace(f"{CELLS}/id", lambda v: np.append(v[1], v[1:])),
            f"{_CELLS}id",
            r"an ROI id repeats; expected unique ids; found \d+ ids, \d+ different",
        ),
        (
            "a trial twice",
            BEHAVIOR,
            put(f"{TRIALS}/id", 1, 0),
            "table trials, column trials_id",
            "a primary key repeats; expected unique keys; found trials_id 0 twice",
        ),
        (
            "image names twice",
            EXPERIMENT,
            edit(_image_names_twice),
            r"column /stimulus/templates/[^:]+/control_description",
            "an image name repeats; expected unique names; found .*",
        ),
        (
            "another session",
            EXPERIMENT,
            replace(f"{META}@ophys_session_id", lambda v: v + 1),
            "column ophys_session_id",
            OTHER,
        ),
        ("another mouse", BEHAVIOR, put(SUBJECT, (), b"123"), "column mouse_id", OTHER),
        (
            "an identifier that is no number",
            EXPERIMENT,
            put("/identifier", (), b"x1"),
            "column /identifier",
            "the identifier is not a number; expected ophys_experiment_id; found 'x1'",
        ),
        # Times.
        (
            "NaN in the stimulus clock",
            BEHAVIOR,
            put(CLOCK, 5, np.nan),
            "table stimulus_timestamps, column timestamps",
            f"{BACK}nan as item 5 in row 0",
        ),
        (
            "a trial without a start",
            BEHAVIOR,
            put(f"{TRIALS}/start_time", 1, np.nan),
            f"{_TRIALS}start_time",
            rf"{BACK}nan after [\d.]+ in row 1",
        ),
        (
            "a stimulus clock that goes back",
            BEHAVIOR,
            replace(CLOCK, lambda v: v[::-1]),
            "table stimulus_timestamps, column timestamps",
            rf"{BACK}[\d.]+ as item 1 in row 0",
        ),
        (
            "an imaging clock that goes back",
            EXPERIMENT,
            put(f"{DFF}/timestamps", 9, -1.0),
            "table ophys_timestamps, column timestamps",
            f"{BACK}-1.0 as item 9 in row 0",
        ),
        (
            "a presentation without a start",
            BEHAVIOR,
            edit(
                lambda h5: [
                    h5[f"{g}/start_time"].__setitem__(0, np.nan) for g in _presentations(h5)
                ]
            ),
            "table stimulus_presentations, column start_time",
            r"a required value is missing; expected DOUBLE, never empty; found no value in row \d+",
        ),
    )
]
