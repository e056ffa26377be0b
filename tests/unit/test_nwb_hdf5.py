"""HDF5 access and the recording: what is refused, and how errors name it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from builders.nwb import (
    BEHAVIOR_SESSION_ID,
    EXPERIMENT_ID,
    NAME,
    OPHYS_SESSION_ID,
    TEMPLATE,
    Content,
    behavior_file,
    experiment_file,
    make,
    metadata,
    problem,
    recording,
    series,
    templates,
    without,
)

from pipelines.check.file import FileCheck
from pipelines.convert.file import convert_table
from pipelines.nwb.hdf5 import storage
from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.recording import Recording, open_recording
from pipelines.release.manifest import ReleaseObject
from pipelines.release.selection import FileKind, FileTask
from schemas import TABLES
from schemas.errors import DataError, NotNwbError


def hdf(content: Content) -> HdfFile:
    return HdfFile(make(content), NAME)


def message(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_arrays_come_as_they_are_stored() -> None:
    file = hdf(
        {
            "/a/x": np.array([1, 2], dtype=">i2"),
            "/a/b": np.array([True, False]),
            "/a/w": ["p", "q"],
            "/a/t": "text",
            "/a/n": 2.5,
        }
    )
    assert file.read_numbers("/a/x").tolist() == [1, 2]
    assert file.read_numbers("/a/b").dtype == bool
    assert file.read_strings("/a/w").tolist() == [b"p", b"q"]
    assert file.read_string("/a/t") == "text"
    assert file.read_number("/a/n") == 2.5
    assert file.members("/a") == ["b", "n", "t", "w", "x"]
    assert file.members("/nowhere") == []


def test_fixed_length_text_is_text() -> None:
    file = hdf({"/w": np.array([b"p", b"qq"]), "/t": np.bytes_(b"text")})
    assert file.read_strings("/w").tolist() == [b"p", b"qq"]
    assert file.read_string("/t") == "text"


PATH = f"file {NAME}, column "


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda f: f.read_numbers("/none"),
            "/none: a dataset is missing; expected a dataset; found nothing",
        ),
        (
            lambda f: f.read_numbers("/none/x"),
            "/none/x: a dataset is missing; expected a dataset; found nothing",
        ),
        (
            lambda f: f.read_numbers("/g"),
            "/g: a dataset is missing; expected a dataset; found a group",
        ),
        (lambda f: f.group("/x"), "/x: a group is missing; expected a group; found a dataset"),
        (
            lambda f: f.read_numbers("/x/y"),
            "/x/y: a dataset is missing; expected a dataset; found nothing",
        ),
        (
            lambda f: f.read_numbers("/x", ndim=2),
            "/x: a dataset has another rank; expected 2 dimensions; found shape (2,)",
        ),
        (
            lambda f: f.read_numbers("/x", rows=3),
            "/x: lengths disagree; expected 3 rows; found 2 rows",
        ),
        (
            lambda f: f.read_numbers("/w"),
            "/w: values are not numbers; expected a numeric dataset; found dtype object",
        ),
        (
            lambda f: f.read_strings("/x"),
            "/x: values are not text; expected a text dataset; found dtype float64",
        ),
        (
            lambda f: f.read_string("/n"),
            "/n: values are not text; expected a text dataset; found dtype float64",
        ),
        (
            lambda f: f.attribute("/g", "none"),
            "/g@none: an attribute is missing; expected an attribute; found nothing",
        ),
        (
            lambda f: f.attribute("/none", "a"),
            "/none@a: an attribute is missing; expected an attribute; found nothing",
        ),
        (
            lambda f: f.attribute_string("/g", "i"),
            "/g@i: a value is not text; expected text; found np.int64(5)",
        ),
        (
            lambda f: f.attribute_integer("/g", "t"),
            "/g@t: a value is not an integer; expected an integer; found 'five'",
        ),
        (
            lambda f: f.attribute_integer("/g", "f"),
            "/g@f: a value is not an integer; expected an integer; found np.float64(5.0)",
        ),
        (
            lambda f: f.attribute_integer("/g", "l"),
            "/g@l: a value is not an integer; expected an integer; found array([5, 6])",
        ),
        (
            lambda f: f.attribute_strings("/g", "l"),
            "/g@l: a value is not text; expected text; found 5",
        ),
        (
            lambda f: f.column_names("/g"),
            "/g@colnames: an attribute is missing; expected the table's column names; found nothing",
        ),
    ],
)
def test_errors_say_where_and_what(call: Any, expected: str) -> None:
    attributes = {"/g@i": np.int64(5), "/g@t": "five", "/g@f": 5.0, "/g@l": np.array([5, 6])}
    file = hdf({"/x": np.array([1.0, 2.0]), "/w": ["a"], "/n": 2.5, "/g": None, **attributes})
    assert message(call, file) == PATH + expected


def test_text_that_is_not_utf_8() -> None:
    file = hdf({"/t": b"\xff", "/w": [b"fine", b"\xff"]})
    codec = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    assert (
        message(file.read_string, "/t")
        == f"{PATH}/t: a text is not UTF-8; expected text in UTF-8; found {codec}"
    )
    assert (
        message(file.decode, "/w", file.read_strings("/w")[1])
        == f"{PATH}/w: a text is not UTF-8; expected text in UTF-8; found {codec}"
    )


def test_integers_of_any_width_are_ids() -> None:
    for dtype in (np.uint8, np.int16, np.uint32, np.int64):
        assert hdf({"/g@i": dtype(77)}).attribute_integer("/g", "i") == 77


def test_soft_links_are_followed_inside_the_file() -> None:
    content: Content = {
        "/data/deep/x": np.array([1.0]),
        "/one": h5py.SoftLink("/data/deep/x"),
        "/two": h5py.SoftLink("/one"),
        "/folder": h5py.SoftLink("/data"),
        "/data/near": h5py.SoftLink("deep/./x"),
    }
    file = hdf(content)
    for path in ("/one", "/two", "/folder/deep/x", "/data/near", "/folder/near"):
        assert file.read_numbers(path).tolist() == [1.0], path
    assert file.find("/folder/none") is None
    assert not file.has("/folder/deep/none")


def test_dangling_links_are_errors_not_absences() -> None:
    file = hdf(
        {
            "/a": h5py.SoftLink("/none/x"),
            "/b": h5py.SoftLink("/a"),
            "/c": h5py.SoftLink("/d"),
            "/d": None,
        }
    )
    assert (
        message(file.has, "/a")
        == f"{PATH}/a: a link leads nowhere; expected an object; found a link to /none/x"
    )
    assert (
        message(file.has, "/b")
        == f"{PATH}/a: a link leads nowhere; expected an object; found a link to /none/x"
    )
    assert not file.has("/c/x")


def test_links_in_a_circle() -> None:
    file = hdf({"/a": h5py.SoftLink("/b"), "/b": h5py.SoftLink("/a")})
    assert (
        message(file.find, "/a")
        == f"{PATH}/a: soft links lead in a circle; expected an object; found a link to /b"
    )


def test_links_that_leave_the_file_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as other:
        other["x"] = np.array([1.0])
    content: Content = {
        "/out": h5py.ExternalLink(str(outside), "/"),
        "/x": h5py.ExternalLink(str(outside), "/x"),
        "/soft": h5py.SoftLink("/out/x"),
    }
    file = hdf(content)
    for path, link in (("/x", "/x"), ("/out/x", "/out"), ("/soft", "/out")):
        expected = f"{PATH}{link}: a link leaves the file; expected data inside the file; found external link to {outside}"
        assert message(file.read_numbers, path) == expected


def test_data_kept_in_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(16))
    h5 = make({"/g": None})
    h5.create_dataset("external", shape=(2,), dtype="f8", external=[(str(tmp_path / "raw"), 0, 16)])
    layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(2,))
    h5.create_virtual_dataset("virtual", layout)
    for path in ("/external", "/virtual"):
        expected = f"{PATH}{path}: a dataset keeps its data in other files; expected data inside the file; found virtual or external dataset"
        assert message(HdfFile(h5, NAME).read_numbers, path) == expected


def test_damaged_data_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.nwb"
    with h5py.File(path, "w") as h5:
        h5.create_dataset("x", data=np.arange(1000), compression="gzip", chunks=(1000,))
        offset = h5["x"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    with h5py.File(path) as h5:
        file = HdfFile(h5, NAME)
        start = f"{PATH}/x: the dataset cannot be read; expected readable data; found "
        assert message(file.read_numbers, "/x").startswith(start)
        assert message(file.read_part, "/x", (0,)).startswith(start)


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_is_refused(content: bytes) -> None:
    with pytest.raises(NotNwbError) as caught, open_recording(io.BytesIO(content), NAME):
        pass
    text = str(caught.value)
    assert text.startswith(
        f"file {NAME}: the file cannot be opened as HDF5; expected a whole NWB (HDF5) file; found "
    )
    assert text.endswith(". Fetch it again, or check the object in the bucket.")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.nwb"
    with h5py.File(path, "w") as h5:
        h5["x"] = np.arange(10_000)
    content = path.read_bytes()
    with (
        pytest.raises(NotNwbError, match="the file cannot be opened as HDF5"),
        open_recording(io.BytesIO(content[:-1000]), NAME),
    ):
        pass


def test_hdf5_of_something_else_is_refused() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        h5["identifier"] = "1001"
    with pytest.raises(NotNwbError) as caught, open_recording(buffer, NAME):
        pass
    assert str(caught.value) == (
        f"file {NAME}, column /general/metadata: the file is HDF5, but not an NWB file of this dataset; "
        "expected /general/metadata, which every file of the release has; found nothing"
    )


def test_ids_of_an_experiment() -> None:
    opened = recording(experiment_file())
    assert opened.is_experiment
    assert (opened.behavior_session_id, opened.ophys_session_id, opened.ophys_experiment_id) == (
        BEHAVIOR_SESSION_ID,
        OPHYS_SESSION_ID,
        EXPERIMENT_ID,
    )
    assert not recording(behavior_file()).is_experiment


@pytest.mark.parametrize("text", ["50-01", "²", "", "5001 "])
def test_an_identifier_must_be_a_number(text: str) -> None:
    opened = recording(metadata() | {"/identifier": text})
    with pytest.raises(DataError) as caught:
        _ = opened.ophys_experiment_id
    assert (
        str(caught.value)
        == f"{PATH}/identifier: the identifier is not a number; expected ophys_experiment_id; found {text!r}"
    )


def test_the_session_id_is_not_the_identifier() -> None:
    with pytest.raises(DataError) as caught:
        _ = recording(
            without(metadata(), "/general/metadata@behavior_session_id")
        ).behavior_session_id
    assert (
        str(caught.value)
        == f"{PATH}/general/metadata@behavior_session_id: an attribute is missing; expected an attribute; found nothing"
    )


def test_the_image_set_is_the_template_that_is_no_movie() -> None:
    assert recording(metadata()).image_set is None
    assert recording(metadata() | templates("Natural_Movie_1")).image_set is None
    assert recording(metadata() | templates("Natural_Movie_1") | templates()).image_set == TEMPLATE
    expected = (
        "/stimulus/templates: several image sets in one file; expected at most one; found A, B"
    )
    assert (
        message(lambda: recording(metadata() | templates("A") | templates("B")).image_set)
        == PATH + expected
    )


def test_warnings_are_noted_once() -> None:
    opened = recording(metadata())
    opened.warn("odd")
    opened.warn("odd")
    assert opened.warnings == ["odd"]


def test_what_several_tables_need_is_read_once() -> None:
    calls: list[int] = []

    def expensive(_: Any) -> int:
        calls.append(1)
        return 42

    opened = recording(metadata())
    assert (opened.once(expensive), opened.once(expensive), len(calls)) == (42, 42, 1)


def test_written_errors_name_file_table_and_path(tmp_path: Path) -> None:
    key = "visual-behavior-ophys/behavior_sessions/behavior_session_1001.nwb"
    tables = ("running_speed",)
    task = FileTask(
        "1.1.0",
        FileKind.BEHAVIOR_SESSION,
        1001,
        7,
        1001,
        None,
        None,
        gives_behavior=True,
        object=ReleaseObject(key, None, None),
        tables=tables,
        bytes=0,
    )
    content = metadata() | series() | {"/processing/running/speed/data": np.array([1.0])}
    opened = recording(content)
    with pytest.raises(DataError) as caught:
        convert_table(TABLES["running_speed"], task, opened, FileCheck(task, opened), tmp_path)
    assert str(caught.value) == (
        f"file {NAME}, table running_speed, column /processing/running/speed/data: lengths disagree; expected 3 rows; found 1 rows"
    )
    assert (
        problem("running_speed", content)
        == f"{PATH}/processing/running/speed/data: lengths disagree; expected 3 rows; found 1 rows"
    )


def test_what_is_read_once_belongs_to_one_function() -> None:
    def private(result: str) -> Callable[[Recording], list[str]]:
        def _read(_: Recording) -> list[str]:
            return [result]

        return _read

    opened = recording(behavior_file())
    first, second = private("first"), private("second")
    assert first.__qualname__ == second.__qualname__  # as two modules may each have a `_read`
    assert opened.once(first) == ["first"]
    assert opened.once(second) == ["second"]
    assert opened.once(first) is opened.once(first)


@pytest.mark.parametrize("place", ["read", "_read_chunks"])
def test_a_mistake_of_ours_does_not_pass_for_a_damaged_file(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def mistaken(*_: Any) -> None:
        raise AttributeError("ours")

    h5 = make({"/g": None})
    h5.create_dataset("x", data=np.arange(4.0), chunks=(2,))
    monkeypatch.setattr(storage, place, mistaken)
    with pytest.raises(AttributeError, match=r"^ours$"):
        HdfFile(h5, NAME).read_numbers("/x")
