"""Casts: the null rule, exactness, and what errors say. Bit for bit in test_casts_round_trips.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas import Column, Type
from schemas.casts import Ragged, Values, cast, conform
from schemas.errors import DataError, IntegrityError
from schemas.model import Storage, Subject, Table

HINT = "Nothing is changed or dropped; the table is left out until the source or the declaration is corrected."
NAN = float("nan")


def column(type_: Type, **flags: Any) -> Column:
    return Column("v", type_, "A value.", **flags)


def given_back(type_: Type, values: Values, rows: int, **flags: Any) -> list[Any]:
    array = cast(column(type_, **flags), values, rows)
    array.validate(full=True)
    assert len(array) == rows
    return array.to_pylist()


def refused(type_: Type, values: Values, rows: int, **flags: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        cast(column(type_, **flags), values, rows)
    assert caught.value.column == "v"
    return caught.value


def objects(*values: Any) -> np.ndarray[Any, Any]:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


DEFECTS = [[{"defect": "d", "table_name": "trials", "detail": "x"}], []]
EXAMPLES: list[tuple[Type, Values, list[Any]]] = [
    (Type.FLOAT64, objects(None, NAN, "N/A", b"", np.int64(7)), [None, None, None, None, 7.0]),
    (Type.FLOAT64, [], []),
    (Type.FLOAT32, np.array([0.5, NAN], dtype=np.float32), [0.5, None]),
    (Type.INT64, objects(2**53 + 1, 1.0, None, "null"), [2**53 + 1, 1, None, None]),
    (Type.BOOL, objects(True, None, np.True_, 0, NAN), [True, None, True, False, None]),
    (Type.STRING, np.array([NAN, NAN]), [None, None]),
    (Type.LIST_FLOAT64, Ragged.matrix(np.arange(4.0).reshape(2, 2)), [[0, 1], [2, 3]]),
    (Type.LIST_FLOAT64, [[0.5, 1], None, np.array([2]), ()], [[0.5, 1.0], None, [2.0], []]),
    (Type.LIST_FLOAT32, Ragged.one(np.array([True, False])), [[1.0, 0.0]]),
    (Type.LIST_UINT32, Ragged.one(np.array([0, 2**32 - 1])), [[0, 2**32 - 1]]),
    (Type.LIST_UINT8, Ragged.one(np.array([0.0, 255.0])), [[0, 255]]),
    (Type.KNOWN_DEFECTS, DEFECTS, DEFECTS),
]


@pytest.mark.parametrize(("type_", "values", "expected"), EXAMPLES)
def test_examples(type_: Type, values: Values, expected: list[Any]) -> None:
    result = given_back(type_, values, len(expected))
    assert result == expected
    # True == 1 == 1.0, so the types too.
    floats = dict.fromkeys((Type.FLOAT64, Type.FLOAT32), float)
    kinds = {**floats, Type.INT64: int, Type.BOOL: bool, Type.STRING: str}
    assert {type(v) for v in result if v is not None} <= {kinds.get(type_, list)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2019-05-17 07:46:33.5-07:00", datetime(2019, 5, 17, 14, 46, 33, 500000, tzinfo=UTC)),
        ("2019-09-20T09:59:38.123456000", datetime(2019, 9, 20, 9, 59, 38, 123456, tzinfo=UTC)),
        (
            datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2020, 1, 1, tzinfo=UTC),
        ),
        ("NaT", None),
        (NAN, None),
    ],
)
def test_timestamps_are_utc_microseconds(text: Any, expected: datetime | None) -> None:
    assert given_back(Type.TIMESTAMP, [text], 1) == [expected]
    assert cast(column(Type.TIMESTAMP), [text], 1).type == pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize("values", [np.array([-99.0, 7.0]), [-99, 7]])
def test_sentinels_are_null_in_integer_columns_that_name_them(values: Values) -> None:
    assert given_back(Type.INT64, values, 2, sentinels=(-99, -1)) == [None, 7]
    assert given_back(Type.INT64, values, 2, sentinels=(-1,)) == [-99, 7]


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (Type.INT64, np.int32(5), 5),
        (Type.FLOAT64, NAN, None),
        (Type.STRING, b"abc", "abc"),
        (Type.BOOL, np.False_, False),
        (Type.TIMESTAMP, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)),
        (Type.LIST_FLOAT64, None, None),
    ],
)
def test_a_scalar_holds_for_every_row(type_: Type, value: Any, expected: Any) -> None:
    assert given_back(type_, value, 2) == [expected] * 2


# type, values, the row at fault, what is expected there and what is found
MISFITS: list[tuple[Type, Values, int, str, str]] = [
    (Type.INT64, np.array([2.0**53]), 0, "below 2^53 if it is stored as", "9007199254740992.0"),
    (Type.INT64, [1, True], 1, "a whole number", "True"),
    (Type.FLOAT64, np.array([0, 2**53 + 1]), 1, "exact as a double", "9007199254740993"),
    (Type.FLOAT32, np.array([0.5, 0.1]), 1, "exact as a float", "0.1"),
    (Type.FLOAT64, [b"0.5"], 0, "exact as a double", "'0.5'"),
    (Type.BOOL, np.array([1, 2], dtype=np.uint8), 1, "true, false, 0, 1 or no value", "2"),
    (Type.STRING, [b"a", b"\xff"], 1, "text in UTF-8", "'\\\\xff'"),
    (Type.TIMESTAMP, ["2020-01-01", "soon"], 1, "an ISO 8601 date and time", "'soon'"),
    (Type.TIMESTAMP, ["2020-01-01T00:00:00.1234567Z"], 0, "to the microsecond", "67Z'"),
    (Type.LIST_UINT8, Ragged(np.array([1, 256]), np.array([0, 0, 1, 2])), 2, "as uint8", "256"),
    (Type.LIST_FLOAT64, Ragged.one(np.array([2**53 + 1])), 0, "as float64", "9007199254740993"),
    (Type.LIST_FLOAT32, Ragged.one(np.array([0.5, 0.1])), 0, "exact as float32", "0.1"),
    (Type.LIST_INT64, [[1], [1.5]], 1, "exact as int64", "1.5"),
    (Type.LIST_UINT8, [b"abc"], 0, "a list", "'abc'"),
    (Type.KNOWN_DEFECTS, [[{"table_name": "t"}]], 0, "a struct of", "{'table_name': 't'}"),
]


@pytest.mark.parametrize(("type_", "values", "row", "expected", "found"), MISFITS)
def test_a_value_that_does_not_fit_is_named(
    type_: Type, values: Any, row: int, expected: str, found: str
) -> None:
    error = refused(type_, values, len(values))
    assert error.problem == f"a value does not fit its declared type {type_.value} (row {row})"
    assert expected in (error.expected or "")
    assert (error.found or "").endswith(found)
    assert str(error).endswith(f". {HINT}")


BIG = np.broadcast_to(np.float64(0), 2**31)  # no memory behind it


@pytest.mark.parametrize(
    ("type_", "values", "rows", "problem", "found"),
    [
        (Type.INT64, np.array(["1"]), 1, "values are not numbers", "dtype <U1"),
        (Type.INT64, np.array([True]), 1, "values are true/false", "dtype bool"),
        (Type.INT64, np.zeros((2, 2)), 2, "wrong rank", "shape (2, 2)"),
        (Type.INT64, [1, 2], 3, "lengths disagree", "2"),
        (Type.FLOAT64, Ragged.one(np.zeros(2)), 1, "values are lists", "lists"),
        (Type.LIST_FLOAT64, Ragged.one(np.array(["a"])), 1, "list items are not", "dtype <U1"),
        (Type.LIST_FLOAT64, Ragged(BIG, np.array([0, 2**31])), 1, "too many list", "2147483648"),
    ],
)
def test_errors_about_a_column_as_a_whole(
    type_: Type, values: Values, rows: int, problem: str, found: str
) -> None:
    error = refused(type_, values, rows)
    assert error.problem.startswith(problem)
    assert error.found == found


def test_a_required_value_is_missing() -> None:
    assert str(refused(Type.FLOAT64, np.array([1.0, NAN]), 2, required=True)) == (
        f"column v: a required value is missing; expected DOUBLE, never empty; found no value in row 1. {HINT}"
    )
    with pytest.raises(IntegrityError):
        cast(column(Type.INT64, required=True), None, 1)
    assert given_back(Type.INT64, None, 0, required=True) == []
    assert given_back(Type.LIST_FLOAT64, [[]], 1, required=True) == [[]]


SMALL = Table(
    name="small",
    description="A table.",
    subject=Subject.BEHAVIOR,
    storage=Storage.MOUSE,
    columns=(
        Column("mouse_id", Type.INT64, "Mouse.", required=True),
        Column("id", Type.INT64, "Id.", source="/id", required=True),
        Column("speed", Type.FLOAT64, "Speed.", unit="cm/s"),
        Column("note", Type.STRING, "Note.", optional=True),
    ),
    primary_key=("id",),
    order=("id",),
)


def test_conform_gives_the_declared_schema() -> None:
    table = conform(SMALL, {"speed": np.array([0.5, NAN]), "id": [1, 2]}, 2)
    table.validate(full=True)
    assert table.to_pylist() == [
        {"id": 1, "speed": 0.5, "note": None},
        {"id": 2, "speed": None, "note": None},
    ]
    assert [f.nullable for f in table.schema] == [False, True, True]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"speed": [1.0]}, "column id: a column is missing; expected /id; found nothing"),
        (
            {"id": [1], "mouse_id": 5},
            "column mouse_id: a column is not declared; expected one of the declared columns; found mouse_id",
        ),
    ],
)
def test_conform_says_table_and_column(columns: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError) as caught:
        conform(SMALL, columns, 1)
    assert str(caught.value) == f"table small, {text}. {HINT}"
