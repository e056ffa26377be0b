"""Lists of byte ranges as sets of bytes: merged, and without others."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.range_file import Range, merged, without


@pytest.mark.parametrize(
    ("given", "gap", "expected"),
    [
        ([], 0, []),
        ([(5, 5), (7, 3)], 0, []),
        ([(4, 6), (0, 2)], 0, [(0, 2), (4, 6)]),
        ([(0, 2), (2, 4)], 0, [(0, 4)]),
        ([(0, 2), (3, 4)], 0, [(0, 2), (3, 4)]),
        ([(0, 2), (3, 4)], 1, [(0, 4)]),
        ([(0, 9), (1, 2), (8, 12)], 0, [(0, 12)]),
    ],
)
def test_merged(given: list[Range], gap: int, expected: list[Range]) -> None:
    assert merged(given, gap) == expected


@pytest.mark.parametrize(
    ("given", "held", "expected"),
    [
        ([(0, 10)], [], [(0, 10)]),
        ([(0, 10)], [(0, 10)], []),
        ([(0, 10)], [(3, 5)], [(0, 3), (5, 10)]),
        ([(0, 10)], [(0, 1), (9, 20)], [(1, 9)]),
        ([(0, 4), (6, 10)], [(2, 8)], [(0, 2), (8, 10)]),
        ([(0, 4), (6, 10)], [(1, 2), (3, 7), (8, 9)], [(0, 1), (2, 3), (7, 8), (9, 10)]),
        ([(5, 6)], [(0, 5), (6, 9)], [(5, 6)]),
        ([(0, 1), (2, 3), (4, 5)], [(0, 9)], []),
    ],
)
def test_without(given: list[Range], held: list[Range], expected: list[Range]) -> None:
    assert without(given, held) == expected


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


@given(SPANS, SPANS, st.integers(0, 4))
def test_ranges_are_sets_of_bytes(some: list[Range], others: list[Range], gap: int) -> None:
    def members(given: list[Range]) -> set[int]:
        return {b for start, stop in given for b in range(start, stop)}

    one, other = merged(some), merged(others)
    assert members(one) == members(some)
    assert members(without(one, other)) == members(one) - members(other)
    wide = merged(some, gap)
    assert members(one) <= members(wide)
    assert all(b - a > gap for (_, a), (b, _) in itertools.pairwise(wide))
