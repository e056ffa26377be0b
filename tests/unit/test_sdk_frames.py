"""The rules by which rows of the lake become the released SDK's tables and dictionaries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pytest

from schemas import TABLES, Type
from vblake.sdk import columns
from vblake.sdk.columns import Field, Frame, Kind, Scalar
from vblake.sdk.frames import to_dictionary, to_pandas

FRAMES = {name: f for name, f in vars(columns).items() if isinstance(f, Frame)}


def _frame(field: Field, values: dict[str, list[Any]]) -> pd.DataFrame:
    return to_pandas(pl.DataFrame(values), Frame("a", (field,)))


@pytest.mark.parametrize("name", FRAMES)
def test_every_declared_column_is_in_the_lake(name: str) -> None:
    frame = FRAMES[name]
    known = {c.name: c for c in TABLES[frame.table].columns}
    for field in (*frame.fields, *([frame.index] if frame.index else [])):
        source = known[field.source or field.name]
        assert source.type.is_list == (field.kind in (Kind.LIST, Kind.ARRAY)), field
        if field.kind is Kind.BOOL:
            assert source.type is Type.BOOL, field
    left = {c.name for c in TABLES[frame.table].columns if c.required} - {
        *(f.source or f.name for f in frame.fields),
        *([frame.index.name] if frame.index else []),
    }
    keys = {"mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id", "frame"}
    ours = {"engaged"}  # which the SDK does not give
    lists = {c for c in left if known[c].type.is_list} | {
        "field_of_view_height",
        "field_of_view_width",
    }
    assert left <= keys | lists | ours


@pytest.mark.parametrize(
    ("table", "declared"),
    [
        ("behavior_metadata", columns.BEHAVIOR_METADATA),
        ("experiment_metadata", columns.EXPERIMENT_METADATA),
        ("task_parameters", columns.TASK_PARAMETERS),
        ("performance_metrics", columns.PERFORMANCE_METRICS),
    ],
)
def test_every_value_of_a_dictionary_is_in_the_lake(
    table: str, declared: dict[str, Scalar]
) -> None:
    names = {c.alias or c.name for c in TABLES[table].columns}
    keys = {"mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id"}
    ours = {"roi_count", "unmatched_roi_count"}  # from which the SDK's type of other ids follows
    assert set(declared) | keys == (names | keys) - ours


def test_latency_depends_on_whether_the_trial_was_aborted() -> None:
    field = next(f for f in columns.TRIALS.fields if f.name == "response_latency")
    rows = {"response_latency": [0.4, None, None], "aborted": [False, False, True]}
    np.testing.assert_array_equal(_frame(field, rows)["response_latency"], [0.4, np.inf, np.nan])


@pytest.mark.parametrize(
    ("field", "values", "dtype", "expected"),
    [
        (Field("a", Kind.INT, missing=-99), [1, None], "int64", [1, -99]),
        (Field("a", Kind.INT), [1, None], "float64", [1.0, np.nan]),
        (Field("a", Kind.INT), [1.0, 2.0], "int64", [1, 2]),
        (Field("a", Kind.INT), [1.5, 2.0], "float64", [1.5, 2.0]),
        (Field("a", Kind.FLOAT), [0.5, None], "float64", [0.5, np.nan]),
        (Field("a", Kind.BOOL), [True, False], "bool", [True, False]),
        (Field("a", Kind.BOOL), [True, None], "boolean", [True, pd.NA]),
        (Field("a", Kind.NULLABLE_INT), [1, None], "Int64", [1, pd.NA]),
        (Field("a", Kind.TEXT), ["x", None], "object", ["x", np.nan]),
        (Field("a", Kind.TEXT), [457841], "object", ["457841"]),
        (Field("a", Kind.LIST), [[1, 2], None], "object", [[1, 2], np.nan]),
        (Field("a", Kind.DAY), [datetime(2021, 3, 25, tzinfo=UTC)], "object", ["2021-03-25"]),
    ],
)
def test_types_and_missing_values(
    field: Field, values: list[Any], dtype: str, expected: list[Any]
) -> None:
    column = _frame(field, {"a": values})["a"]
    pd.testing.assert_series_equal(column, pd.Series(expected, name="a", dtype=dtype))


def test_dates_have_nanoseconds_and_are_utc() -> None:
    moment = datetime(2019, 10, 31, 9, 11, 9, 834000, tzinfo=UTC)
    column = _frame(Field("a", Kind.TIME), {"a": [moment]})["a"]
    assert str(column.dtype) == "datetime64[ns, UTC]"
    assert column[0] == moment


def test_columns_of_other_releases_are_left_out_where_all_values_are_missing() -> None:
    frame = Frame("a", (Field("a", Kind.FLOAT), Field("b", Kind.FLOAT, optional=True)))
    assert list(to_pandas(pl.DataFrame({"a": [1.0], "b": [None]}), frame).columns) == ["a"]
    assert list(to_pandas(pl.DataFrame({"a": [1.0], "b": [2.0]}), frame).columns) == ["a", "b"]


def test_a_table_without_rows() -> None:
    rows = pl.DataFrame(
        schema={f.source or f.name: pl.Float64 for f in columns.EYE_TRACKING.fields}
    )
    frame = to_pandas(rows, columns.EYE_TRACKING)
    assert frame.shape == (0, 23)
    assert set(map(str, frame.dtypes)) == {"float64"}
    assert (frame.index.name, frame.index.dtype) == ("frame", object)


@pytest.mark.parametrize(
    ("scalar", "value", "expected"),
    [
        (Scalar.PLAIN, None, None),
        (Scalar.PLAIN, "F", "F"),
        (Scalar.NUMPY, 3, np.int64(3)),
        (Scalar.NUMPY, 2.5, np.float64(2.5)),
        (Scalar.NUMPY, None, None),
        (Scalar.NUMPY_NAN, 0.5, np.float64(0.5)),
        (Scalar.WORD, 457841, "457841"),
        (Scalar.GROUPS, 0, 0),
        (Scalar.GROUPS, 4, np.int64(4)),
        (
            Scalar.UUID,
            "2751b193-3010-407a-b76f-96bfd7d516a3",
            UUID(int=0x2751B1933010407AB76F96BFD7D516A3),
        ),
    ],
)
def test_values_of_dictionaries(scalar: Scalar, value: Any, expected: Any) -> None:
    found = to_dictionary({"a": value}, {"a": scalar})["a"]
    assert (found, type(found)) == (expected, type(expected))


def test_missing_numbers_of_dictionaries() -> None:
    for scalar, kind in (
        (Scalar.NAN, float),
        (Scalar.NUMPY_NAN, float),
        (Scalar.NUMPY_ALWAYS, np.float64),
    ):
        found = to_dictionary({"a": None}, {"a": scalar})["a"]
        assert np.isnan(found)
        assert type(found) is kind
