"""A mouse's file of a small table, made of what its sources gave."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
