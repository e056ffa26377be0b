"""Lists of byte ranges as sets of bytes: merged, and without others."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.range_file import Range, merged, without

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
