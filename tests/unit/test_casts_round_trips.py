"""Round trips through the casts: what goes in comes out, bit for bit, or an error; never a NULL that was a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import Column, Type
from schemas.casts import NULL_WORDS, Ragged, Values, cast
from schemas.errors import CastError

BITS = st.integers(0, 2**64 - 1)


def given_back(type_: Type, values: Values, rows: int, **flags: Any) -> list[Any]:
    array = cast(Column("v", type_, "A value.", **flags), values, rows)
    array.validate(full=True)
    return array.to_pylist()


def objects(values: list[Any]) -> np.ndarray[Any, Any]:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


@given(st.lists(st.lists(BITS, max_size=6), max_size=5))
def test_lists_of_doubles_keep_every_bit(rows: list[list[int]]) -> None:
    flat = np.array([b for r in rows for b in r], dtype=np.uint64)
    offsets = np.concatenate(([0], np.cumsum([len(r) for r in rows], dtype=np.int64)))
    traces = Ragged(flat.view(np.float64), offsets)
    array = cast(Column("v", Type.LIST_FLOAT64, "Trace."), traces, len(rows))
    array.validate(full=True)
    assert (array.values.buffers()[1].to_pybytes() if len(flat) else b"") == flat.tobytes()
    assert array.offsets.to_pylist() == offsets.tolist()


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64]),
        st.integers(0, 9),
    )
)
def test_integers_come_back_or_are_refused(values: np.ndarray[Any, Any]) -> None:
    for given_values in (values, values.astype(object)):
        if (values <= 2**63 - 1).all():
            assert given_back(Type.INT64, given_values, len(values)) == values.tolist()
        else:
            with pytest.raises(CastError, match="expected a whole number"):
                given_back(Type.INT64, given_values, len(values))


@given(
    hnp.arrays(st.sampled_from([np.float16, np.float32, np.float64]), st.integers(0, 9)),
    st.booleans(),
)
def test_floats_come_back_and_only_no_values_are_null(
    values: np.ndarray[Any, Any], as_objects: bool
) -> None:
    expected = [v if np.isfinite(v) else None for v in values.tolist()]
    given_values = values.astype(object) if as_objects else values
    assert given_back(Type.FLOAT64, given_values, len(values)) == expected
    if all(v is None or (v.is_integer() and abs(v) < 2**53) for v in expected):
        assert given_back(Type.INT64, given_values, len(values)) == expected
    else:
        with pytest.raises(CastError, match="expected a whole number"):
            given_back(Type.INT64, given_values, len(values))


@given(st.lists(st.sampled_from([0, 1, None])))
def test_booleans_as_numbers_and_as_objects(values: list[int | None]) -> None:
    expected = [None if v is None else bool(v) for v in values]
    numbers = np.array([np.nan if v is None else v for v in values], dtype=float)
    assert given_back(Type.BOOL, numbers, len(values)) == expected
    assert given_back(Type.BOOL, objects(expected), len(values)) == expected


@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from(sorted(NULL_WORDS)))))
def test_texts_come_back_but_for_the_null_words(values: list[str]) -> None:
    expected = [None if v in NULL_WORDS else v for v in values]
    assert given_back(Type.STRING, values, len(values)) == expected
    assert given_back(Type.STRING, objects([v.encode() for v in values]), len(values)) == expected


@given(st.sets(st.integers(-100, 100), max_size=3), st.lists(st.integers(-101, 101)))
def test_sentinels_and_nothing_else_are_null(sentinels: set[int], values: list[int]) -> None:
    expected = [None if v in sentinels else v for v in values]
    numbers = np.array(values, dtype=np.int64)
    got = given_back(Type.INT64, numbers, len(values), sentinels=tuple(sentinels))
    assert got == expected


@given(st.datetimes(timezones=st.one_of(st.none(), st.timezones())))
def test_moments_come_back_to_the_microsecond(moment: datetime) -> None:
    instant = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    array = cast(Column("v", Type.TIMESTAMP, "When."), [moment.isoformat()], 1)
    [result] = array.cast(pa.int64()).to_pylist()
    assert result == (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
