"""A mouse's file of a small table, made of what its sources gave."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake import merge, writer
from pipelines.lake.merge import merge_mouse
from pipelines.lake.store import LocalStore
from pipelines.lake.writer import write_table
from schemas import TABLES
from schemas.casts import conform
from schemas.layout import relative_path

LICKS = TABLES["licks"]
PATH = relative_path(LICKS, mouse_id=1)


def _rows(session: int, first: int, count: int) -> pa.Table:
    frames = list(range(first, first + count))
    times = [float(frame) for frame in frames]
    columns = {"behavior_session_id": session, "timestamps": times, "frame": frames}
    return conform(LICKS, columns, count)


def _staged(folder: Path, session: int, *counts: int) -> Path:
    path = folder / f"{session}.parquet"
    parts = [_rows(session, sum(counts[:n]), count) for n, count in enumerate(counts)]
    write_table(LICKS, path, parts, release="1.1.0")
    return path


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(tmp_path / "lake")
    made.staging.mkdir(parents=True)
    return made


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    return tmp_path / "merged"


def _merge(store: LocalStore, merged: Path, sources: dict[int, Path | None]) -> Path | None:
    return merge_mouse(LICKS, store, PATH, sources, merged, release="1.1.0")


def test_the_only_source_is_the_mouses_file_as_it_was_staged(
    tmp_path: Path, store: LocalStore, merged: Path
) -> None:
    staged = _staged(tmp_path, 7, 5)
    assert _merge(store, merged, {7: staged, 9: None}) == staged
    # It is, byte for byte, what a merge makes of the same rows.
    store.publish(_staged(tmp_path, 8, 4), PATH)
    assert _merge(store, merged, {7: staged, 8: None}) == merged
    assert merged.read_bytes() == staged.read_bytes()


def test_an_only_source_in_pieces_is_put_together(
    tmp_path: Path, store: LocalStore, merged: Path
) -> None:
    staged = _staged(tmp_path, 7, 3, 2)
    assert pq.read_metadata(staged).num_row_groups == 2
    assert _merge(store, merged, {7: staged}) == merged
    assert pq.read_metadata(merged).num_row_groups == 1
    assert pq.read_table(merged).equals(_rows(7, 0, 5))


def test_an_only_source_joins_what_the_lake_has(
    tmp_path: Path, store: LocalStore, merged: Path
) -> None:
    store.publish(_staged(tmp_path, 8, 4), PATH)
    assert _merge(store, merged, {7: _staged(tmp_path, 7, 2)}) == merged
    assert pq.read_table(merged).equals(pa.concat_tables([_rows(7, 0, 2), _rows(8, 0, 4)]))


def test_without_any_row_there_is_no_file(tmp_path: Path, store: LocalStore, merged: Path) -> None:
    assert _merge(store, merged, {7: None}) is None
    store.publish(_staged(tmp_path, 7, 4), PATH)
    assert _merge(store, merged, {7: None}) is None
    assert not merged.exists()


# --- row groups ---------------------------------------------------------------------------------------

GROUP = 10
"""Rows of a row group in these tests."""


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (merge, writer):
        monkeypatch.setattr(module, "ROW_GROUP_ROWS", GROUP)


def _groups(path: Path) -> list[list[int]]:
    """The sessions of each row group, in the order of the rows."""
    file = pq.ParquetFile(path)
    ids = [
        file.read_row_group(n, ["behavior_session_id"]).column(0).to_pylist()
        for n in range(file.num_row_groups)
    ]
    return [list(dict.fromkeys(group)) for group in ids]


def _lake_of(tmp_path: Path, store: LocalStore, merged: Path, rows: dict[int, int]) -> Path:
    """Publishes a file with that many rows of each session."""
    sources = {session: _staged(tmp_path, session, count) for session, count in rows.items()}
    made = _merge(store, merged, dict(sources))
    assert made is not None
    store.publish(made, PATH)
    return store.folder / PATH


@pytest.mark.usefixtures("small_groups")
def test_a_session_is_in_one_row_group(tmp_path: Path, store: LocalStore, merged: Path) -> None:
    path = _lake_of(tmp_path, store, merged, {1: 4, 2: 4, 3: 4, 4: 25, 5: 3})
    assert _groups(path) == [[1, 2], [3], [4], [4], [4], [5]]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(
    ("source", "rows", "read", "groups"),
    [
        (9, 4, [], [[1, 3], [5, 7], [9]]),  # behind all
        (9, 2, [1], [[1, 3], [5, 7, 9]]),  # it fits into the last
        (4, 4, [], [[1, 3], [4], [5, 7]]),  # between two
        (6, 4, [1], [[1, 3], [5, 6], [7]]),  # in the middle of one
        (1, 5, [0], [[1, 3], [5, 7]]),  # it has other rows now
        (5, 0, [1], [[1, 3], [7]]),  # it has none any more
    ],
)
def test_only_row_groups_with_changes_are_decoded(
    tmp_path: Path,
    store: LocalStore,
    merged: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: int,
    rows: int,
    read: list[int],
    groups: list[list[int]],
) -> None:
    _lake_of(tmp_path, store, merged, {1: 4, 3: 4, 5: 4, 7: 4})
    decoded: list[int] = []
    original = merge.Source.read

    def noted(self: merge.Source, group: int, columns: list[str] | None = None) -> pa.Table:
        decoded.extend([group] if columns is None else [])
        return original(self, group, columns)

    monkeypatch.setattr(merge.Source, "read", noted)
    staged = _staged(tmp_path, source, rows) if rows else None
    made = _merge(store, merged, {source: staged})
    assert made is not None
    assert decoded == read
    assert _groups(made) == groups


@pytest.mark.usefixtures("small_groups")
def test_row_groups_of_another_library_are_written_again(
    tmp_path: Path, store: LocalStore, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lake_of(tmp_path, store, merged, {1: 8, 2: 8})
    monkeypatch.setattr(merge, "_WRITER", "parquet-cpp-arrow version 99.0.0")
    made = _merge(store, merged, {3: _staged(tmp_path, 3, 8)})
    assert made is not None
    monkeypatch.undo()
    assert pq.read_table(made).equals(pa.concat_tables([_rows(n, 0, 8) for n in (1, 2, 3)]))


@pytest.mark.usefixtures("small_groups")
def test_more_row_groups_than_a_short_list_has(
    tmp_path: Path, store: LocalStore, merged: Path
) -> None:
    path = _lake_of(tmp_path, store, merged, dict.fromkeys(range(1, 21), 8))
    made = _merge(store, merged, {21: _staged(tmp_path, 21, 8)})
    assert made is not None
    store.publish(made, PATH)
    assert len(_groups(path)) == 21
    _check(path, pa.concat_tables([_rows(n, 0, 8) for n in range(1, 22)]))


changes = st.lists(
    st.dictionaries(st.integers(1, 12), st.integers(0, 14), min_size=1, max_size=5), max_size=6
)


@pytest.mark.usefixtures("small_groups")
@given(changes)
@settings(max_examples=25)
def test_whatever_is_added_replaced_and_removed_every_reader_gets_the_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    store, merged = LocalStore(folder / "lake"), folder / "merged"
    store.staging.mkdir(parents=True)
    held: dict[int, int] = {}
    for number, step in enumerate(steps):
        sources = {s: _staged(folder, s, count) if count else None for s, count in step.items()}
        made = merge_mouse(LICKS, store, PATH, sources, merged, release=f"1.{number}")
        held |= step
        expected = [_rows(s, 0, count) for s, count in sorted(held.items()) if count]
        if made is None:
            assert not expected
            store.remove(PATH)
            continue
        store.publish(made, PATH)
        _check(store.folder / PATH, pa.concat_tables(expected))
        if max(held.values()) <= GROUP:
            # Two neighbours would not fit into one.
            sizes = [group.num_rows for group in _metadata(store.folder / PATH)]
            assert all(one + other > GROUP for one, other in pairwise(sizes))


def _metadata(path: Path) -> list[pq.RowGroupMetaData]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(number) for number in range(metadata.num_row_groups)]


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """A database that keeps nothing of files; a new one for each would take most of the time."""
    con = duckdb.connect()
    con.execute("SET enable_external_file_cache = false")
    return con


def _check(path: Path, expected: pa.Table) -> None:
    file = pq.ParquetFile(path)
    assert file.read().equals(expected)
    assert file.metadata.num_rows == len(expected)
    for group, sessions in zip(_metadata(path), _groups(path), strict=True):
        assert group.num_rows <= GROUP
        known = group.column(0).statistics
        assert (known.min, known.max) == (sessions[0], sessions[-1])
    frame = pl.DataFrame(expected)
    assert pl.read_parquet(path).equals(frame)
    some = expected.column("behavior_session_id")[0].as_py()
    wanted = pl.col("behavior_session_id") == some
    assert pl.scan_parquet(path).filter(wanted).collect().equals(frame.filter(wanted))
    query = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
    rows = _duckdb().execute(query, [str(path)]).fetchall()
    assert rows == [tuple(row.values()) for row in expected.to_pylist()]
