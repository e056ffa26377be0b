"""Casts: the null rule, exactness, and what errors say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas import Column, Type
from schemas.casts import NULL_WORDS, Ragged, Values, cast, conform
from schemas.errors import DataError, IntegrityError
from schemas.model import Storage, Subject, Table

HINT = "Nothing is changed or dropped; the file is left out until the source or the declaration is corrected."
WHOLE = "a whole number of at most 64 bits, below 2^53 if it is stored as a float"
NAN = float("nan")
INF = float("inf")


def column(type_: Type, **flags: Any) -> Column:
    return Column("v", type_, "A value.", **flags)


def given_back(type_: Type, values: Values, rows: int, **flags: Any) -> list[Any]:
    array = cast(column(type_, **flags), values, rows)
    array.validate(full=True)
    assert len(array) == rows
    return array.to_pylist()


def message(type_: Type, values: Values, rows: int, **flags: Any) -> str:
    with pytest.raises(DataError) as caught:
        cast(column(type_, **flags), values, rows)
    return str(caught.value)


def objects(*values: Any) -> np.ndarray[Any, Any]:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


EXAMPLES: list[tuple[Type, Values, list[Any]]] = [
    (Type.FLOAT64, np.array([1.5, NAN, INF, -INF, -0.0]), [1.5, None, None, None, -0.0]),
    (Type.FLOAT64, np.array([0, -3], dtype=np.int8), [0.0, -3.0]),
    (Type.FLOAT64, np.array([2**53, -(2**53)]), [2.0**53, -(2.0**53)]),
    (
        Type.FLOAT64,
        objects(1.5, None, NAN, "N/A", b"", 2, np.float32(0.5), np.int64(7)),
        [1.5] + [None] * 4 + [2, 0.5, 7],
    ),
    (Type.FLOAT64, [], []),
    (Type.INT64, np.array([1.0, NAN, INF, -3.0]), [1, None, None, -3]),
    (Type.INT64, np.array([0, 2**63 - 1], dtype=np.uint64), [0, 2**63 - 1]),
    (Type.INT64, np.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1]),
    (
        Type.INT64,
        objects(2**53 + 1, 1.0, None, "null", np.uint8(255)),
        [2**53 + 1, 1, None, None, 255],
    ),
    (Type.INT64, [457841, None], [457841, None]),
    (Type.BOOL, np.array([0.0, 1.0, NAN]), [False, True, None]),
    (Type.BOOL, np.array([True, False]), [True, False]),
    (Type.BOOL, np.array([0, 1], dtype=np.int8), [False, True]),
    (
        Type.BOOL,
        objects(True, None, np.True_, 0, 1.0, NAN, "N/A"),
        [True, None, True, False, True, None, None],
    ),
    (
        Type.STRING,
        objects(b"im065", "im066", None, NAN, b"\xc3\xa9"),
        ["im065", "im066", None, None, "é"],
    ),
    (Type.STRING, objects(*[w.encode() for w in sorted(NULL_WORDS)]), [None] * len(NULL_WORDS)),
    (Type.STRING, np.array([NAN, NAN]), [None, None]),
    (
        Type.LIST_FLOAT64,
        Ragged(np.array([1.0, 2.0, 3.0]), np.array([0, 2, 2, 3], dtype=np.uint8)),
        [[1, 2], [], [3]],
    ),
    (Type.LIST_FLOAT64, Ragged(np.empty(0), np.array([0])), []),
    (Type.LIST_FLOAT64, Ragged.matrix(np.arange(6.0).reshape(3, 2)), [[0, 1], [2, 3], [4, 5]]),
    (Type.LIST_FLOAT64, Ragged.matrix(np.empty((0, 4))), []),
    (
        Type.LIST_FLOAT64,
        [[0.5, 1], None, np.array([2], dtype=np.int16), ()],
        [[0.5, 1.0], None, [2.0], []],
    ),
    (Type.LIST_FLOAT32, Ragged.one(np.array([0, 255], dtype=np.uint8)), [[0.0, 255.0]]),
    (Type.LIST_FLOAT32, Ragged.one(np.array([True, False])), [[1.0, 0.0]]),
    (Type.LIST_UINT32, Ragged.one(np.array([0, 2**32 - 1])), [[0, 2**32 - 1]]),
    (Type.LIST_UINT8, Ragged.one(np.array([0.0, 255.0])), [[0, 255]]),
    (
        Type.ROW_COUNTS,
        [[{"table_name": "trials", "row_count": 3}], [{"table_name": "licks", "row_count": 2}], []],
        [[{"table_name": "trials", "row_count": 3}], [{"table_name": "licks", "row_count": 2}], []],
    ),
]


@pytest.mark.parametrize(("type_", "values", "expected"), EXAMPLES)
def test_examples(type_: Type, values: Values, expected: list[Any]) -> None:
    result = given_back(type_, values, len(expected))
    assert result == expected
    # True == 1 == 1.0, so the types too.
    kind = {Type.INT64: int, Type.FLOAT64: float, Type.BOOL: bool, Type.STRING: str}.get(
        type_, list
    )
    assert {type(v) for v in result if v is not None} <= {kind}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-05-17 14:46:33.550000+00:00", datetime(2019, 5, 17, 14, 46, 33, 550000, tzinfo=UTC)),
        (b"2019-05-17T07:46:33.5-07:00", datetime(2019, 5, 17, 14, 46, 33, 500000, tzinfo=UTC)),
        ("2019-09-20 09:59:38.837000", datetime(2019, 9, 20, 9, 59, 38, 837000, tzinfo=UTC)),
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


def test_sentinels_are_null_in_integer_columns_that_name_them() -> None:
    for values in (
        np.array([-99, 7]),
        np.array([-99.0, 7.0]),
        [-99, 7],
        np.array([-99, 7], dtype=np.int8),
    ):
        assert given_back(Type.INT64, values, 2, sentinels=(-99, -1)) == [None, 7]
        assert given_back(Type.INT64, values, 2, sentinels=(-1,)) == [-99, 7]
    assert given_back(Type.INT64, np.array([-99.0, NAN, -1]), 3, sentinels=(-99, -1)) == [
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (Type.INT64, 5, 5),
        (Type.INT64, np.int32(5), 5),
        (Type.FLOAT64, NAN, None),
        (Type.STRING, "abc", "abc"),
        (Type.STRING, b"abc", "abc"),
        (Type.BOOL, True, True),
        (Type.BOOL, np.False_, False),
        (Type.TIMESTAMP, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)),
        (Type.LIST_FLOAT64, None, None),
        (Type.ROW_COUNTS, None, None),
    ],
)
@pytest.mark.parametrize(
    "rows",
    [
        1,
    ],
)
def test_a_scalar_holds_for_every_row(type_: Type, value: Any, expected: Any, rows: int) -> None:
    assert given_back(type_, value, rows) == [expected] * rows


MISFITS: list[tuple[Type, Values, int, str, str]] = [
    (Type.INT64, np.array([1.0, 2.5]), 1, WHOLE, "2.5"),
    (Type.INT64, np.array([2.0**53]), 0, WHOLE, "9007199254740992.0"),
    (Type.INT64, [1, 2**63], 1, WHOLE, "9223372036854775808"),
    (Type.INT64, [1, True], 1, WHOLE, "True"),
    (
        Type.FLOAT64,
        np.array([0, 2**53 + 1]),
        1,
        "a number that is exact as a double",
        "9007199254740993",
    ),
    (Type.FLOAT64, [b"0.5"], 0, "a number that is exact as a double", "'0.5'"),
    (Type.BOOL, np.array([1, 2], dtype=np.uint8), 1, "true, false, 0, 1 or no value", "2"),
    (Type.STRING, [None, "a", 5], 2, "text in UTF-8", "5"),
    (Type.STRING, [b"a", b"\xff"], 1, "text in UTF-8", "'\\\\xff'"),
    (Type.STRING, np.array([NAN, 1.5]), 1, "text in UTF-8", "1.5"),
    (
        Type.TIMESTAMP,
        ["2020-01-01", "soon"],
        1,
        "an ISO 8601 date and time, to the microsecond",
        "'soon'",
    ),
    (
        Type.TIMESTAMP,
        ["2020-01-01T00:00:00.1234567Z"],
        0,
        "an ISO 8601 date and time, to the microsecond",
        "'2020-01-01T00:00:00.1234567Z'",
    ),
    (
        Type.LIST_UINT8,
        Ragged(np.array([1, 256]), np.array([0, 0, 1, 2])),
        2,
        "numbers that are exact as uint8",
        "256",
    ),
    (
        Type.LIST_UINT8,
        Ragged.one(np.array([0.0, NAN])),
        0,
        "numbers that are exact as uint8",
        "nan",
    ),
    (
        Type.LIST_FLOAT64,
        Ragged.one(np.array([2**53 + 1])),
        0,
        "numbers that are exact as float64",
        "9007199254740993",
    ),
    (
        Type.LIST_FLOAT32,
        Ragged.one(np.array([0.5, 0.1])),
        0,
        "numbers that are exact as float32",
        "0.1",
    ),
    (Type.LIST_INT64, [[1], [1.5]], 1, "numbers that are exact as int64", "1.5"),
    (Type.LIST_FLOAT64, [[1.0, None]], 0, "numbers that are exact as float64", "None"),
    (Type.LIST_FLOAT64, [["0.5"]], 0, "numbers that are exact as float64", "'0.5'"),
    (Type.LIST_UINT8, [b"abc"], 0, "a list", "'abc'"),
    (
        Type.ROW_COUNTS,
        [[{"table_name": "trials", "row_count": 1.5}]],
        0,
        "a struct of table_name string, row_count int64",
        "{'table_name': 'trials', 'row_count': 1.5}",
    ),
    (
        Type.ROW_COUNTS,
        [[{"table_name": "t"}]],
        0,
        "a struct of table_name string, row_count int64",
        "{'table_name': 't'}",
    ),
]


@pytest.mark.parametrize(("type_", "values", "row", "expected", "found"), MISFITS)
def test_a_value_that_does_not_fit_is_named(
    type_: Type, values: Any, row: int, expected: str, found: str
) -> None:
    assert message(type_, values, len(values)) == (
        f"column v: a value does not fit its declared type {type_.value} (row {row}); expected {expected}; found {found}. {HINT}"
    )


BIG = np.broadcast_to(np.float64(0), 2**31)  # no memory behind it
OTHER_ERRORS: list[tuple[Type, Values, int, str]] = [
    (Type.INT64, np.array(["1"]), 1, "values are not numbers; expected BIGINT; found dtype <U1"),
    (Type.INT64, np.array([True]), 1, "values are true/false; expected BIGINT; found dtype bool"),
    (Type.INT64, np.zeros((2, 2)), 2, "wrong rank; expected one value per row; found shape (2, 2)"),
    (Type.INT64, [1, 2], 3, "lengths disagree; expected 3 values; found 2"),
    (Type.FLOAT64, Ragged.one(np.zeros(2)), 1, "values are lists; expected DOUBLE; found lists"),
    (
        Type.LIST_FLOAT64,
        Ragged.one(np.array(["a"])),
        1,
        "list items are not numbers; expected DOUBLE[]; found dtype <U1",
    ),
]


@pytest.mark.parametrize(("type_", "values", "rows", "text"), OTHER_ERRORS)
def test_errors_about_a_column_as_a_whole(
    type_: Type, values: Values, rows: int, text: str
) -> None:
    assert message(type_, values, rows) == f"column v: {text}. {HINT}"


def test_too_many_items_for_one_array() -> None:
    assert message(Type.LIST_FLOAT64, Ragged(BIG, np.array([0, 2**31])), 1) == (
        "column v: too many list items in one batch; expected fewer than 2^31; found 2147483648. Write fewer rows at a time."
    )


def test_a_required_value_is_missing() -> None:
    assert message(Type.FLOAT64, np.array([1.0, NAN]), 2, required=True) == (
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
        Column("mouse_id", Type.INT64, "Mouse.", required=True, partition=True),
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
    assert conform(SMALL, {"speed": np.empty(0), "id": 7}, 0).num_rows == 0


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"speed": [1.0]}, "column id: a column is missing; expected /id; found nothing"),
        (
            {"id": [1], "mouse_id": 5},
            "column mouse_id: a column is not declared; expected one of the declared columns; found mouse_id",
        ),
        (
            {"id": np.array(["x"]), "speed": 0.5},
            "column id: values are not numbers; expected BIGINT; found dtype <U1",
        ),
    ],
)
def test_conform_says_table_and_column(columns: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError) as caught:
        conform(SMALL, columns, 1)
    assert str(caught.value) == f"table small, {text}. {HINT}"
