"""`vblake.sdk` on the reference: every attribute is what the released reader returns."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from vblake.sdk import BehaviorSession, Coordinates, Image, VisualBehaviorOphysProjectCache

SHARED = Path(__file__).parents[3] / "shared" / "reference"
TRUTH = SHARED / "truth"
FILES = [f"{p.parent.name}/{p.name}" for p in sorted(TRUTH.glob("*/*"))]

pytestmark = pytest.mark.skipif(not FILES, reason=f"no reference beside the repository: {SHARED}")

INTERNAL = {
    "running_acquisition_internal": "an internal of the SDK; table running_acquisition",
    "events_with_invalid": "the lake has no traces of invalid ROIs",
    "dff_traces_with_invalid": "the lake has no traces of invalid ROIs",
    "cell_specimen_table_with_invalid": "not an attribute of the SDK's objects; table roi_masks",
    "segmentation_mask_image_with_invalid": "not an attribute of the SDK's objects by default",
}
"""Entries of frame_schema.json that no attribute of the SDK's objects gives, and why."""

RENAMED = {"neuropil_traces_internal": "neuropil_traces"}
"""The property of the SDK returns the demixed traces by mistake; the lake has the right ones."""

COMPUTED = {"filtered_events", "rolling_dprime"}
"""Their last bit depends on NumPy's build."""


PYTHON = os.environ.get("VBLAKE_ALLENSDK_PYTHON")
"""An interpreter with AllenSDK and brain_observatory_utilities, for the last test."""


@pytest.fixture(scope="module")
def cache(reference_lake: Path) -> VisualBehaviorOphysProjectCache:
    return VisualBehaviorOphysProjectCache.from_lake(reference_lake)


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> Path:
    return TRUTH / request.param


@pytest.fixture
def got(cache: VisualBehaviorOphysProjectCache, file: Path) -> BehaviorSession:
    if file.parent.name == "behavior_session":
        return cache.get_behavior_session(int(file.name))
    return cache.get_behavior_ophys_experiment(int(file.name))


def _attributes(file: Path) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """Attribute, its schema, and its truth without the ending."""
    schema = json.loads((file / "frame_schema.json").read_text())
    for name, expected in schema.items():
        if name not in INTERNAL and name != "neuropil_traces":
            truth = name.removesuffix("_internal")
            yield RENAMED.get(name, name), expected, file / truth


def _kind(values: pd.Series) -> str:
    """The type of a column in the words of frame_schema.json."""
    if values.dtype != object:
        return str(values.dtype)
    kinds = {
        f"ndarray[{v.dtype},{v.ndim}d]" if isinstance(v, np.ndarray) else type(v).__name__
        for v in values
    }
    return "object of " + "|".join(sorted(kinds))


def _index_class(index: pd.Index) -> str:
    """The class of an index in pandas 1.5.3, where numbers had classes of their own."""
    name = type(index).__name__
    if name != "Index" or index.dtype == object:
        return name
    return f"{str(index.dtype).capitalize()}Index"


def _scalar_kind(value: Any) -> str:
    if isinstance(value, np.generic):
        return f"{type(value).__name__}[{value.dtype}]"
    return type(value).__name__


def test_types_and_order(got: BehaviorSession, file: Path) -> None:
    for name, expected, _ in _attributes(file):
        value = getattr(got, name)
        match expected["type"]:
            case "DataFrame":
                found = {
                    "type": "DataFrame",
                    "shape": list(value.shape),
                    "index": {
                        "name": value.index.name,
                        "dtype": str(value.index.dtype),
                        "cls": _index_class(value.index),
                    },
                    "columns": {c: _kind(value[c]) for c in value.columns},
                }
                assert found == expected, name
                assert list(value.columns) == list(expected["columns"]), name
            case "ndarray":
                assert (str(value.dtype), list(value.shape)) == (
                    expected["dtype"],
                    expected["shape"],
                ), name
            case "dict":
                kinds = {key: _scalar_kind(v) for key, v in value.items()}
                assert list(kinds.items()) == list(expected["items"].items()), name
            case "int" | "int64" as kind:
                assert type(value).__name__ == kind, name
            case _:
                assert isinstance(value, Image)
                assert list(value.spacing) == expected["spacing"]
                assert value.unit == expected["unit"]
                data = expected["data"]
                assert (str(value.data.dtype), list(value.data.shape)) == (
                    data["dtype"],
                    data["shape"],
                ), name


def test_values(got: BehaviorSession, file: Path) -> None:
    for name, expected, truth in _attributes(file):
        value = getattr(got, name)
        match expected["type"]:
            case "DataFrame" if name != "roi_masks":
                _compare_frames(value, truth, name)
            case "ndarray":
                np.testing.assert_array_equal(value, np.load(f"{truth}.npy"), err_msg=name)
            case "dict" | "int" | "int64":
                _compare_json(value, json.loads(truth.with_suffix(".json").read_text()), name)
            case "DataFrame":
                pd.testing.assert_frame_equal(value, got.cell_specimen_table[list(value.columns)])
            case _:
                np.testing.assert_array_equal(np.asarray(value), np.load(f"{truth}.npy"), name)


def _compare_frames(frame: pd.DataFrame, truth: Path, name: str) -> None:
    expected = pq.read_table(truth.with_suffix(".parquet"))
    arrays = {p.name.split(".")[1]: np.load(p) for p in truth.parent.glob(f"{truth.name}.*.npy")}
    for column in expected.column_names:
        if column == frame.index.name:
            found = frame.index
        elif column in frame.columns:
            found = frame[column]
        else:
            assert frame.index.name is None, (name, column)
            continue
        wanted = expected.column(column).to_pylist()
        assert len(found) == len(wanted), (name, column)
        for row, (a, b) in enumerate(zip(found, wanted, strict=True)):
            assert _same(a, b, column), (name, column, row, a, b)
    for column, values in arrays.items():
        np.testing.assert_array_equal(np.stack(list(frame[column])), values, f"{name}.{column}")


def _same(got: Any, expected: Any, column: str) -> bool:
    """Whether a value is the truth's, which has NULL for NaN and NA."""
    if isinstance(got, np.ndarray):
        a, b = got.astype(np.float64), np.asarray(expected or [], dtype=np.float64)
        loose = 1e-12 if column in COMPUTED else 0
        return a.shape == b.shape and np.allclose(a, b, rtol=loose, atol=0, equal_nan=True)
    if expected is None or expected != expected:
        return bool(pd.isna(got))
    return got == expected or (column in COMPUTED and bool(np.isclose(got, expected, 1e-12, 0)))


def _compare_json(got: Any, expected: Any, name: str) -> None:
    match got:
        case dict():
            assert list(got) == list(expected), name
            for key in got:
                _compare_json(got[key], expected[key], f"{name}.{key}")
        case datetime():
            assert got == datetime.fromisoformat(expected), name
        case Coordinates() | list():
            assert list(got) == expected, name
        case float() if got != got or expected in ("NaN", "Infinity"):
            assert np.isnan(got), name
            assert expected in ("NaN", None), name
        case float():
            assert np.isclose(got, expected, 1e-12, 0), name
        case None:
            assert expected in (None, "None"), name
        case _:
            assert str(got) == str(expected), name


@pytest.mark.skipif(not PYTHON, reason="`make test-allensdk` makes the environment that it needs")
def test_the_objects_equal_those_of_allensdk_beside_them(reference_lake: Path) -> None:
    root = Path(__file__).parents[2]
    script = root / "tests" / "builders" / "with_allensdk.py"
    done = subprocess.run(
        [
            str(PYTHON),
            str(script),
            str(SHARED / "bucket"),
            str(reference_lake),
            str(SHARED / "responses"),
        ],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("0 of 750 differ\n"), done.stdout + done.stderr
