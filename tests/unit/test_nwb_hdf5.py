"""HDF5 access and the recording: what is refused, and how errors name it."""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread
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
    recording,
    templates,
)

from pipelines.nwb.hdf5 import storage
from pipelines.nwb.hdf5.values import HdfFile, open_hdf5
from pipelines.nwb.recording import Recording, open_recording
from schemas.errors import DataError, NotNwbError


def hdf(content: Content) -> HdfFile:
    return HdfFile(make(content), NAME)


def message(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


PATH = f"file {NAME}, column "


@pytest.mark.parametrize(
    ("call", "problem", "found"),
    [
        (lambda f: f.read_numbers("/none"), "a dataset is missing", "nothing"),
        (lambda f: f.group("/x"), "a group is missing", "a dataset"),
        (lambda f: f.read_numbers("/w"), "values are not numbers", "dtype object"),
        (lambda f: f.read_strings("/x"), "values are not text", "dtype float64"),
        (lambda f: f.attribute("/g", "none"), "an attribute is missing", "nothing"),
        (lambda f: f.attribute_string("/g", "i"), "a value is not text", "np.int64(5)"),
        (lambda f: f.attribute_integer("/g", "t"), "a value is not an integer", "'five'"),
        (lambda f: f.column_names("/g"), "an attribute is missing", "nothing"),
    ],
)
def test_errors_say_where_and_what(call: Any, problem: str, found: str) -> None:
    attributes = {"/g@i": np.int64(5), "/g@t": "five"}
    file = hdf({"/x": np.array([1.0, 2.0]), "/w": ["a"], "/g": None, **attributes})
    with pytest.raises(DataError) as caught:
        call(file)
    assert (caught.value.file, caught.value.problem, caught.value.found) == (NAME, problem, found)
    assert re.fullmatch("/(none|x|w|g(@.*)?)", caught.value.column or "")


def test_text_that_is_not_utf_8() -> None:
    file = hdf({"/t": b"\xff", "/w": [b"fine", b"\xff"]})
    codec = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    text = f"a text is not UTF-8; expected text in UTF-8; found {codec}"
    assert message(file.read_string, "/t") == f"{PATH}/t: {text}"
    assert message(file.decode, "/w", file.read_strings("/w")[1]) == f"{PATH}/w: {text}"


def test_soft_links_are_followed_inside_the_file_and_lead_somewhere() -> None:
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
    nowhere = {"/a": h5py.SoftLink("/b"), "/b": h5py.SoftLink("/a"), "/c": h5py.SoftLink("/none/x")}
    file = hdf(nowhere)
    for path, where, target in (("/a", "/b", "/a"), ("/b", "/a", "/b"), ("/c", "/c", "/none/x")):
        expected = "a link leads nowhere; expected an object; found a link to"
        assert message(file.has, path) == f"{PATH}{where}: {expected} {target}"


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
        expected = f"{PATH}{link}: data is not in the file; expected data inside the file; found external link to {outside}"
        assert message(file.read_numbers, path) == expected


def test_data_kept_in_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(16))
    h5 = make({"/g": None})
    h5.create_dataset("external", shape=(2,), dtype="f8", external=[(str(tmp_path / "raw"), 0, 16)])
    layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(2,))
    h5.create_virtual_dataset("virtual", layout)
    for path in ("/external", "/virtual"):
        expected = f"{PATH}{path}: data is not in the file; expected data inside the file; found virtual or external dataset"
        assert message(HdfFile(h5, NAME).read_numbers, path) == expected


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_is_refused(content: bytes) -> None:
    with pytest.raises(NotNwbError) as caught, open_recording(io.BytesIO(content), NAME):
        pass
    text = str(caught.value)
    assert text.startswith(
        f"file {NAME}: the file cannot be opened as HDF5; expected a whole NWB (HDF5) file; found "
    )
    assert text.endswith(". Fetch it again, or check the object in the bucket.")


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
    found = (opened.behavior_session_id, opened.ophys_session_id, opened.ophys_experiment_id)
    assert found == (BEHAVIOR_SESSION_ID, OPHYS_SESSION_ID, EXPERIMENT_ID)
    assert not recording(behavior_file()).is_experiment


@pytest.mark.parametrize("text", ["50-01", "²"])
def test_an_identifier_must_be_a_number(text: str) -> None:
    opened = recording(metadata() | {"/identifier": text})
    assert message(lambda: opened.ophys_experiment_id) == (
        f"{PATH}/identifier: the identifier is not a number; expected ophys_experiment_id; found {text!r}"
    )


def test_the_image_set_is_the_template_that_is_no_movie() -> None:
    assert recording(metadata()).image_set is None
    assert recording(metadata() | templates("Natural_Movie_1")).image_set is None
    assert recording(metadata() | templates("Natural_Movie_1") | templates()).image_set == TEMPLATE
    two = recording(metadata() | templates("A") | templates("B"))
    assert message(lambda: two.image_set) == (
        f"{PATH}/stimulus/templates: several image sets in one file; expected at most one; found A, B"
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


def test_a_file_may_fetch_in_threads_while_there_is_garbage(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(10)

    class Remote(io.BytesIO):
        """Its bytes come from a thread, which makes more objects than Python lets pass."""

        def readinto(self, buffer: Any, /) -> int:
            fetch = Thread(target=lambda: [[n] for n in range(5000)], daemon=True)
            fetch.start()
            fetch.join(timeout=60)
            assert not fetch.is_alive()
            return super().readinto(buffer)

    with open_hdf5(Remote(path.read_bytes()), "x.h5") as remote, h5py.File(path) as other:
        gc.collect()
        garbage: list[Any] = [other["data"]]
        garbage.append(garbage)
        del garbage
        assert remote.read_numbers("/data").tolist() == list(range(10))
    assert gc.isenabled()
