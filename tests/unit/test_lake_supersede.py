"""A file that takes the place of another: its own readers get its rows, readers with an older footer the older rows or an error."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake import new_version as module
from pipelines.lake.new_version import supersede
from schemas.errors import LakeError

DAY_AND_MORE = 100_000.0


def _write(path: Path, rows: pa.Table, **options: Any) -> Path:
    pq.write_table(rows, path, **options)
    return path


def _rows(seed: int, count: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    trace = pa.list_(pa.field("element", pa.float64()))
    return pa.table(
        {
            "id": pa.array(np.arange(count) + seed * 1000),
            "trace": pa.array([rng.normal(size=n % 5).tolist() for n in range(count)], trace),
            "name": pa.array([f"name {n % 3}" if n % 4 else None for n in range(count)]),
            "go": pa.array([bool(n % 2) for n in range(count)], pa.bool_()),
        },
        metadata={"release": f"1.{seed}"},
    )


class _Name:
    """A name that stands for one version after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "t.parquet"
        self._staged, self._target = folder / "staged", folder / "target"

    def put(self, rows: pa.Table, *, after: float = 0.0, **options: Any) -> pq.FileMetaData:
        """Puts a version in place, some seconds after the standing one; gives its footer."""
        _write(self._staged, rows, **options)
        if not self.path.exists():
            self._staged.replace(self.path)
        else:
            then = time.time() - after
            os.utime(self.path, (then, then))
            assert supersede(self._staged, self.path, self._target)
            self._target.replace(self.path)
        return pq.read_metadata(self.path)

    def by(self, footer: pq.FileMetaData) -> pa.Table:
        """The rows that a reader gets who has that footer."""
        return pq.ParquetFile(self.path, metadata=footer).read()


tables = st.builds(_rows, st.integers(1, 5), st.integers(0, 40))


@given(
    st.lists(
        st.tuples(tables, st.sampled_from([0.0, 3600.0, DAY_AND_MORE]), st.integers(1, 50)),
        min_size=2,
        max_size=8,
    ),
)
@settings(max_examples=60)
def test_the_new_footer_gives_the_new_rows_and_an_old_one_never_others_than_its_own(
    tmp_path_factory: pytest.TempPathFactory, versions: list[tuple[pa.Table, float, int]]
) -> None:
    name = _Name(tmp_path_factory.mktemp("versions"))
    footers: list[tuple[pq.FileMetaData, pa.Table]] = []
    previous: pa.Table | None = None
    for rows, after, group in versions:
        if previous is not None and rows.equals(previous, check_metadata=True):
            continue
        before = name.by(footers[-1][0]) if footers else None
        footer = name.put(rows, after=after, row_group_size=group)
        assert pq.ParquetFile(name.path).read().equals(rows)
        assert pq.read_schema(name.path).metadata == rows.schema.metadata
        if before is not None:
            assert name.by(footers[-1][0]).equals(before)
        footers.append((footer, rows))
        previous = rows
        if after == DAY_AND_MORE:
            footers = footers[-2:]  # older ones may be forgotten after a day
        for old, theirs in footers:
            try:
                found = name.by(old)
            except OSError:
                continue
            assert found.equals(theirs)


def test_every_reader_gets_the_rows_of_a_version_that_lies_behind_another(tmp_path: Path) -> None:
    name, rows = _Name(tmp_path), _rows(2, 1000)
    name.put(_rows(1, 900))
    name.put(rows, row_group_size=300)
    assert pl.read_parquet(name.path).equals(pl.DataFrame(rows))
    found = pl.scan_parquet(name.path).filter(pl.col("id") == 2501).collect()
    assert found["name"].to_list() == ["name 0"]
    with duckdb.connect() as con:
        everything = con.execute("SELECT * FROM read_parquet(?)", [str(name.path)]).fetchall()
        assert everything == [tuple(r.values()) for r in rows.to_pylist()]
    assert pq.read_table(name.path).equals(rows)


def test_a_large_earlier_version_is_not_kept_and_refused_by_all_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 0)
    name = _Name(tmp_path)
    rows = [pa.table({"a": np.random.default_rng(n).normal(size=200_000)}) for n in range(2)]
    old = name.put(rows[0])
    frame = pl.scan_parquet(name.path)
    frame.collect_schema()
    taken = name.path.stat().st_blocks
    name.put(rows[1])
    with pytest.raises(OSError, match="thrift"):
        name.by(old)
    # What a reader sees that has the old footer: the new file's bytes in front of it.
    mixed = tmp_path / "mixed.parquet"
    mixed.write_bytes(name.path.read_bytes() + _footer(_write(tmp_path / "again", rows[0])))
    with pytest.raises(pl.exceptions.ComputeError, match="Invalid thrift"):
        pl.scan_parquet(mixed).sum().collect()
    with (
        pytest.raises(duckdb.Error, match="TProtocolException: Invalid data"),
        duckdb.connect() as con,
    ):
        con.execute("SELECT sum(a) FROM read_parquet(?)", [str(mixed)]).fetchall()
    assert name.path.stat().st_blocks <= taken * 1.1


def _footer(path: Path) -> bytes:
    data = path.read_bytes()
    return data[len(data) - 8 - int.from_bytes(data[-8:-4], "little") :]


def test_a_file_that_is_replaced_day_by_day_does_not_grow_without_end(tmp_path: Path) -> None:
    name = _Name(tmp_path)
    sizes: list[int] = []
    for day in range(1, 40):
        name.put(_rows(day, 500 + 10 * day), after=DAY_AND_MORE)
        sizes.append(name.path.stat().st_size)
    alone = _write(tmp_path / "alone", _rows(39, 890)).stat().st_size
    assert sizes[-1] < 4 * alone


def test_the_same_version_again_is_recognised_wherever_it_lies(tmp_path: Path) -> None:
    name = _Name(tmp_path)
    for seed in (1, 2):
        name.put(_rows(seed, 100))
    assert not supersede(_write(tmp_path / "staged", _rows(2, 100)), name.path, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    other_metadata = _rows(2, 100).replace_schema_metadata({"release": "1.3"})
    assert supersede(_write(tmp_path / "staged", other_metadata), name.path, tmp_path / "target")


def test_a_file_whose_indexes_hold_places_is_refused(tmp_path: Path) -> None:
    standing, new = (
        _write(tmp_path / f"{n}", _rows(n, 10), write_page_index=n == 2) for n in (1, 2)
    )
    with pytest.raises(LakeError, match="page indexes"):
        supersede(new, standing, tmp_path / "target")
