"""The catalog: views and macros over the tables."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from builders.lake import RELEASE, build_lake, write_rows

from pipelines.catalog.build import GrowingCatalog, build_catalog
from pipelines.catalog.connect import connect_restricted
from pipelines.catalog.macros import MACROS
from pipelines.lake.store import DamagedError, LocalStore
from pipelines.nwb.performance import dprime, rolling_rate
from schemas import TABLES
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.casts import NDArray
from schemas.views import VIEWS

PAGE = Path(__file__).parents[2] / "docs/model.md"
CLOCK = np.cumsum(np.random.default_rng(1).uniform(0.08, 0.12, 60))
EVENTS = [float(CLOCK[20]), float(CLOCK[30]) - 0.01, float(CLOCK[1]), float(CLOCK[59])]
OUTSIDE = [float(CLOCK[0]) - 1, float(CLOCK[59]) + 1]
SIGNALS = np.random.default_rng(2).normal(size=(3, 60))


def _signals(store: LocalStore) -> None:
    """Gives experiment 3001 and its session signals of 60 samples at about 10 Hz."""
    plane = {"behavior_session_id": 1002, "ophys_session_id": 2002, "ophys_experiment_id": 3001}
    where = {"mouse_id": 101, "ophys_experiment_id": 3001}
    write_rows(store, "ophys_timestamps", [{**plane, "timestamps": CLOCK}], **where)
    cells = [{**plane, "cell_roi_id": n, "values": SIGNALS[n]} for n in range(3)]
    write_rows(store, "dff_traces", [{**c, "dff": c["values"]} for c in cells], **where)
    events = [{**c, "events": c["values"], "filtered_events": -c["values"]} for c in cells]
    write_rows(store, "events", events, **where)
    samples = [
        {"behavior_session_id": 1002, "timestamps": t, "speed": v}
        for t, v in zip(CLOCK, SIGNALS[0], strict=True)
    ]
    write_rows(store, "running_speed", samples, mouse_id=101, behavior_session_id=1002)
    eyes = [
        {**s, "frame": n, "pupil_width": s["speed"], "pupil_area": None if n == 20 else 1.0}
        for n, s in enumerate(samples)
    ]
    write_rows(store, "eye_tracking", eyes, mouse_id=101, behavior_session_id=1002)


def _matched(store: LocalStore) -> None:
    """Matches the cells of experiments 3001 and 3002, of which 3002 was imaged first."""
    ids = {"mouse_id": 101, "behavior_session_id": 1002, "ophys_session_id": 2002}
    days = {3001: ("2020-02-02T00:00:00Z", "Novel 1"), 3002: ("2020-01-01T00:00:00Z", "Familiar")}
    planes = [
        {
            **ids,
            "ophys_experiment_id": plane,
            "ophys_container_id": 5,
            "cre_line": "Vip",
            "date_of_acquisition": day,
            "experience_level": level,
        }
        for plane, (day, level) in days.items()
    ]
    write_rows(store, "ophys_experiments", planes)
    roi = {**ids, "field_of_view_height": 2, "field_of_view_width": 2, "valid_roi": True}
    cells = [
        {**roi, "ophys_experiment_id": plane, "cell_roi_id": cell, "cell_specimen_id": match}
        for plane, cell, match in ((3001, 9001, 8001), (3001, 9003, None), (3002, 9002, 8001))
    ]
    write_rows(store, "cell_specimens", cells, mouse_id=101)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = build_lake(tmp_path_factory.mktemp("catalog") / "lake")
    _signals(store)
    _matched(store)
    build_catalog(store, RELEASE)
    return store


@pytest.fixture
def con(lake: LocalStore) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalog as `vblake sql` opens it."""
    with connect_restricted(lake.root) as opened:
        yield opened


def _files_read(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, int]:
    """The number of files that a query opens of each table, by EXPLAIN ANALYZE."""
    row = con.execute(f"EXPLAIN (ANALYZE, FORMAT json) {query}").fetchone()
    assert row is not None
    read: dict[str, int] = {}
    nodes = [json.loads(row[1])]
    while nodes:
        node = nodes.pop()
        nodes += node.get("children", node.get("operator", []))  # DuckDB 2 names the root's so
        facts = node.get("extra_info", {})
        if "Total Files Read" in facts:
            table = str(facts["Filename(s)"]).rsplit("/", 1)[1].removesuffix(".parquet")
            read[table] = max(read.get(table, 0), int(facts["Total Files Read"]))
    return read


SESSION_1001 = "SELECT behavior_session_id FROM behavior_sessions WHERE ophys_session_id IS NULL AND mouse_id = 101"
PLANE_3002 = "SELECT * FROM ophys_experiments WHERE experience_level = 'Familiar'"


@pytest.mark.parametrize(
    ("table", "query"),
    [
        ("running_speed", "FROM running_speed WHERE behavior_session_id = 1001"),
        ("running_speed", f"FROM running_speed WHERE behavior_session_id IN ({SESSION_1001})"),
        ("running_speed", f"FROM running_speed JOIN ({SESSION_1001}) USING (behavior_session_id)"),
        ("running_speed", f"FROM running_speed SEMI JOIN ({SESSION_1001}) USING (behavior_session_id)"),
        ("dff_traces", "FROM dff_traces WHERE ophys_experiment_id = 3002"),
        ("dff_traces", f"FROM dff_traces JOIN ({PLANE_3002}) USING (ophys_experiment_id)"),
        ("dff_traces", "FROM dff_traces WHERE behavior_session_id = 1002 AND ophys_experiment_id > 3001"),
    ],
)  # fmt: skip
def test_a_query_of_a_session_or_experiment_opens_its_file_only(
    con: duckdb.DuckDBPyConnection, table: str, query: str
) -> None:
    assert _files_read(con, f"SELECT * FROM {table}")[table] == 2
    assert _files_read(con, f"SELECT * {query}")[table] == 1


@pytest.mark.parametrize("column", ["ophys_experiment_id", "ophys_session_id"])
def test_a_filter_reaches_both_tables_of_a_long_view(
    con: duckdb.DuckDBPyConnection, column: str
) -> None:
    wanted = {"ophys_experiment_id": 3002, "ophys_session_id": 2002}[column]
    files = {"ophys_experiment_id": 1, "ophys_session_id": 2}[column]
    read = _files_read(con, f"SELECT * FROM dff_traces_long WHERE {column} = {wanted}")
    assert read == {"dff_traces": files, "ophys_timestamps": files}


def test_what_is_around_events_opens_the_files_of_the_recording_only(
    con: duckdb.DuckDBPyConnection,
) -> None:
    read = _files_read(con, "SELECT * FROM dff_around(3001, [2.0])")
    assert (read["dff_traces"], read["ophys_timestamps"]) == (1, 1)
    assert _files_read(con, "SELECT * FROM running_around(1002, [2.0])")["running_speed"] == 1


def test_any_two_tables_join_without_an_ambiguous_id(con: duckdb.DuckDBPyConnection) -> None:
    joins = con.execute("FROM _joins").fetchall()
    assert len(joins) > 500
    both_ways = {(one, other): columns for one, other, columns in joins}
    assert both_ways == {(other, one): columns for one, other, columns in joins}
    with duckdb.connect() as empty:  # which DuckDB knows in a tenth of the time of views on files
        for (name,) in con.execute("SELECT DISTINCT table_name FROM _joins").fetchall():
            empty.from_arrow(con.sql(f"FROM {name} LIMIT 0").to_arrow_table()).create(name)
        for one, other in filter(lambda pair: pair[0] < pair[1], both_ways):
            named = ", ".join(both_ways[one, other])
            empty.execute(f"SELECT {named} FROM {one} JOIN {other} USING ({named})")
    keys = "SELECT columns FROM _joins WHERE table_name = 'stimulus_responses' AND other_table = ?"
    others = {
        "events": ["mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id", "cell_roi_id"],
        "stimulus_presentations": ["mouse_id", "behavior_session_id", "stimulus_presentations_id"],
        "behavior_sessions": ["mouse_id", "behavior_session_id", "ophys_session_id"],
    }  # fmt: skip
    for other, columns in others.items():
        assert con.execute(keys, [other]).fetchall() == [(columns,)]
    # A training session has no imaging session, so it must not be in this key.
    files = "SELECT columns FROM _joins WHERE table_name = 'source_files' AND other_table = ?"
    assert con.execute(files, ["behavior_sessions"]).fetchall() == [
        (["mouse_id", "behavior_session_id"],)
    ]


def test_a_view_has_the_declared_columns_each_with_a_comment(
    con: duckdb.DuckDBPyConnection,
) -> None:
    columns = (
        "SELECT column_name, data_type, comment FROM duckdb_columns() "
        "WHERE schema_name = ? AND table_name = ? ORDER BY column_index"
    )
    views = (*(("main", v) for v in VIEWS.values()), *((BI_SCHEMA, v) for v in BI_VIEWS.values()))
    for schema, view in views:
        found = con.execute(columns, [schema, view.name]).fetchall()
        aliased = [c for c in view if c.alias]
        assert found == [
            *((c.name, c.type.value, c.comment) for c in view),
            *((c.alias, c.type.value, f"Newer name of {c.name}. {c.comment}") for c in aliased),
        ], view.name
        assert con.execute(f"FROM {schema}.{view.name}").fetchall() is not None
    listed = "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name = ?"
    comments = dict(con.execute(listed, ["main"]).fetchall())
    assert comments == {d.name: d.description for d in (*TABLES.values(), *VIEWS.values())}
    assert dict(con.execute(listed, [BI_SCHEMA]).fetchall()) == {
        name: view.description for name, view in BI_VIEWS.items()
    }


def test_views_for_charts_have_no_lists_and_a_row_per_row_of_their_table(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert not [(v.name, c.name) for v in BI_VIEWS.values() for c in v if c.type.is_list]
    for view, of in {"trials": "trials", "cells": "cells", "running": "running_speed"}.items():
        counts = f"SELECT (SELECT count(*) FROM bi.{view}), (SELECT count(*) FROM {of})"
        seen, expected = con.execute(counts).fetchall()[0]
        assert seen == expected > 0, view


def test_tables_and_views_are_listed(con: duckdb.DuckDBPyConnection) -> None:
    listed = con.execute("SELECT table_name FROM _tables ORDER BY rowid").fetchall()
    assert [name for (name,) in listed] == [*TABLES, *VIEWS]
    columns = "SELECT column_name FROM _columns WHERE table_name = 'cells' ORDER BY position"
    assert [name for (name,) in con.execute(columns).fetchall()] == [c.name for c in VIEWS["cells"]]


def test_a_view_offers_newer_names(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT count(*) FROM annotated_presentations WHERE end_time IS DISTINCT FROM stop_time"
    assert con.execute(query).fetchone() == (0,)


def test_foreign_keys_of_tables_and_views(con: duckdb.DuckDBPyConnection) -> None:
    keys = con.execute("FROM _foreign_keys").fetchall()
    for name, columns, other, referenced in keys:
        on = " AND ".join(f"a.{c} = b.{r}" for c, r in zip(columns, referenced, strict=True))
        con.execute(f"SELECT 1 FROM {name} a JOIN {other} b ON {on} LIMIT 0")
    of_view = {(tuple(c), other) for name, c, other, _ in keys if name == "annotated_presentations"}
    assert of_view == {
        (("behavior_session_id",), "behavior_sessions"),
        (("behavior_session_id", "trials_id"), "trials"),
        (("behavior_session_id", "change_trials_id"), "trials"),
        (("behavior_session_id", "stimulus_presentations_id"), "stimulus_presentations"),
    }


def test_files_are_listed_with_the_ids_of_their_folders(
    lake: LocalStore, con: duckdb.DuckDBPyConnection
) -> None:
    rows = con.execute("SELECT path, bytes FROM _files ORDER BY path").fetchall()
    files = sorted(lake.folder.rglob("*.parquet"))
    assert rows == [(p.relative_to(lake.folder).as_posix(), p.stat().st_size) for p in files]
    ids = con.execute(
        "SELECT DISTINCT * EXCLUDE (table_name, path, bytes) FROM _files "
        "WHERE ophys_experiment_id = 3001"
    )
    assert ids.fetchall() == [(101, 1002, 2002, 3001)]


def test_the_catalog_knows_the_files_that_views_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for table in ("licks", "rewards"):
        write_rows(store, table, [{"behavior_session_id": 1}], mouse_id=1)
    (licks, *_), (rewards, *_) = store.files("licks"), store.files("rewards")
    shutil.copyfile(tmp_path / licks, tmp_path / licks.replace("licks.parquet", "copy.parquet"))
    (tmp_path / rewards).rename(tmp_path / rewards.replace("rewards.parquet", "copy.parquet"))
    build_catalog(store, RELEASE)
    with connect_restricted(str(tmp_path)) as con:
        assert con.execute("SELECT path FROM _files").fetchall() == [(licks,)]
        assert con.execute("SELECT count(*) FROM licks").fetchall() == [(1,)]
        assert con.execute("SELECT count(*) FROM rewards").fetchall() == [(0,)]


def test_a_growing_catalog_lists_all_files_at_the_end(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_rows(store, "licks", [{"behavior_session_id": 1}], mouse_id=1)
    with closing(GrowingCatalog(store, RELEASE)) as catalog:
        catalog.keep_up()
        first = (tmp_path / "catalog.duckdb").stat().st_mtime_ns
        write_rows(store, "licks", [{"behavior_session_id": 2}], mouse_id=2)
        catalog.keep_up()
        assert (tmp_path / "catalog.duckdb").stat().st_mtime_ns == first, "views find the file"
        catalog.settle()
    with connect_restricted(str(tmp_path)) as con:
        listed = con.execute("SELECT mouse_id FROM _files ORDER BY 1").fetchall()
    assert listed == [(1,), (2,)]


def _content(folder: Path) -> list[object]:
    """All that a catalog contains, except when it was built."""
    with connect_restricted(str(folder)) as con:
        own = "WHERE NOT internal AND database_name = current_database() ORDER BY ALL"
        described = [
            con.execute(f"SELECT {columns} FROM {source}() {own}").fetchall()
            for source, columns in {
                "duckdb_views": "schema_name, view_name, comment, sql",
                "duckdb_tables": "table_name, comment, sql",
                "duckdb_columns": "table_name, column_name, data_type, comment",
                "duckdb_functions": "function_name, comment, macro_definition",
            }.items()
        ]
        names = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        rows = [con.execute(f"FROM {n} ORDER BY ALL").fetchall() for (n,) in names if n != "_lake"]
    return [*described, *rows]


def test_a_grown_catalog_is_that_of_a_whole_build(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_rows(store, "licks", [{"behavior_session_id": 1}], mouse_id=1)
    with closing(GrowingCatalog(store, RELEASE)) as catalog:
        catalog.keep_up()
        write_rows(store, "rewards", [{"behavior_session_id": 1}], mouse_id=1)
        write_rows(store, "licks", [{"behavior_session_id": 1}] * 2, mouse_id=1)
        catalog.keep_up()
        grown = _content(tmp_path)
    build_catalog(store, RELEASE)
    assert _content(tmp_path) == grown


def test_a_growing_catalog_goes_on_after_a_damaged_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_rows(store, "licks", [{"behavior_session_id": 1}], mouse_id=1)
    rewards = tmp_path / "rewards" / "mouse_id=1" / "rewards.parquet"
    with closing(GrowingCatalog(store, RELEASE)) as catalog:
        catalog.keep_up()
        rewards.parent.mkdir(parents=True)
        rewards.write_bytes(b"no Parquet")
        catalog.keep_up()
        with pytest.raises(DamagedError, match=r"was not rebuilt"):
            catalog.settle()
        rewards.unlink()
        write_rows(store, "rewards", [{"behavior_session_id": 1}], mouse_id=1)
        catalog.keep_up()
    with connect_restricted(str(tmp_path)) as con:
        assert con.execute("SELECT mouse_id FROM rewards").fetchall() == [(1,)]


def test_dates_need_no_time_zone(con: duckdb.DuckDBPyConnection) -> None:
    """Without pytz, DuckDB hands no TIMESTAMP WITH TIME ZONE to Python."""
    zoned = "FROM duckdb_columns() SELECT table_name WHERE data_type LIKE '%TIME ZONE%'"
    assert con.execute(f"{zoned} AND NOT internal").fetchall() == []
    row = con.execute("SELECT max(date_of_acquisition)::VARCHAR FROM ophys_experiments").fetchone()
    assert row == ("2020-02-02 00:00:00",)


def test_cells_have_the_columns_of_experiment_and_session(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute("SELECT cell_roi_id, cre_line, experience_level FROM cells ORDER BY 1")
    assert rows.fetchall() == [
        (9001, "Vip", "Novel 1"),
        (9002, "Vip", "Familiar"),
        (9003, "Vip", "Novel 1"),
    ]


def test_matched_cells_are_in_two_experiments(con: duckdb.DuckDBPyConnection) -> None:
    (row,) = con.execute("SELECT * EXCLUDE session_types FROM matched_cells").fetchall()
    levels = ["Familiar", "Novel 1"]
    assert row == (101, 8001, 5, "Vip", None, 2, [3002, 3001], [9002, 9001], levels)


def _computed(expression: str, **columns: NDArray) -> NDArray:
    """What an expression with the macros makes of columns."""
    with duckdb.connect() as con:
        macro = MACROS[expression.split("(")[0]]
        con.execute(f"CREATE MACRO {macro.signature} AS {macro.body}")
        con.register("given", pa.table(dict(columns)))
        return con.execute(f"SELECT {expression} AS v FROM given").fetchnumpy()["v"]


def test_dprime_is_the_readers() -> None:
    rates = np.concatenate([np.linspace(0, 1, 201), [1e-300, 0.135335, 0.135336, 0.864665]])
    hit, alarm = (grid.ravel() for grid in np.meshgrid(rates, rates))
    found = _computed("dprime(hit, alarm)", hit=hit, alarm=alarm)
    assert np.max(np.abs(found - dprime(hit, alarm))) < 1e-9


def test_dprime_from_counts_is_the_readers() -> None:
    counts = np.array([(n, k) for n in range(1, 101) for k in range(n + 1)])
    total, yes = counts.T
    rates = [rolling_rate(np.arange(n) < k, np.arange(n) >= k)[1][-1] for n, k in counts.tolist()]
    found = _computed("dprime_from_counts(yes, no, 1, 1)", yes=yes, no=total - yes)
    assert np.max(np.abs(found - dprime(np.array(rates), np.full(len(rates), 0.5)))) < 1e-9


@pytest.mark.parametrize(
    "call",
    [
        "dprime(NULL, 0.5)",
        "dprime(0.5, NULL)",
        "dprime(0.5, 'nan'::DOUBLE)",
        "dprime_from_counts(0, 0, 1, 1)",
        "dprime_from_counts(1, 1, NULL, 1)",
    ],
)
def test_dprime_of_nothing_is_null(con: duckdb.DuckDBPyConnection, call: str) -> None:
    assert con.execute(f"SELECT {call}").fetchone() == (None,)


def test_dprime_takes_averages(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute(
        "SELECT k, dprime(avg(h::INT) FILTER (go), avg(a::INT) FILTER (NOT go)) FROM (VALUES "
        "(1, true, true, false), (1, true, false, false), (1, false, false, true)) v(k, go, h, a) "
        "GROUP BY k"
    ).fetchall()
    (expected,) = dprime(np.array([0.5]), np.array([1.0]))
    assert rows == [(1, pytest.approx(expected, abs=1e-9))]


def _around(values: NDArray, before: float, after: float) -> list[tuple[Any, ...]]:
    """Event, lag and value of all samples around the events."""
    period = np.median(np.diff(CLOCK))
    lags = range(-int(before / period + 1e-6), int(after / period + 1e-6) + 1)
    at = np.searchsorted(CLOCK, sorted(EVENTS))
    pairs = zip(sorted(EVENTS), at.tolist(), strict=True)
    return [
        (event, lag, pytest.approx(lag * period), CLOCK[k + lag], values[k + lag])
        for event, k in pairs
        for lag in lags
        if 0 <= k + lag < len(CLOCK)
    ]


@pytest.mark.parametrize(
    ("call", "column", "sign"),
    [
        ("dff_around(3001, {}, 0.3, 0.5)", "dff", 1),
        ("events_around(3001, {}, 0.3, 0.5)", "events", 1),
        ("events_around(3001, {}, 0.3, 0.5)", "filtered_events", -1),
    ],
)
def test_traces_around_events(
    con: duckdb.DuckDBPyConnection, call: str, column: str, sign: int
) -> None:
    rows = con.execute(
        f"SELECT cell_roi_id, event_time, lag, seconds, timestamps, {column} "
        f"FROM {call.format([*EVENTS, *OUTSIDE, None]).replace('None', 'NULL')} ORDER BY ALL"
    ).fetchall()
    expected = [(n, *row) for n in range(3) for row in _around(sign * SIGNALS[n], 0.3, 0.5)]
    assert rows == expected


@pytest.mark.parametrize(
    ("macro", "column"), [("running_around", "speed"), ("pupil_around", "pupil_width")]
)
def test_samples_of_a_session_around_events(
    con: duckdb.DuckDBPyConnection, macro: str, column: str
) -> None:
    rows = con.execute(
        f"SELECT event_time, lag, seconds, timestamps, {column} "
        f"FROM {macro}(1002, {EVENTS}, before := 0, after := 0.2) ORDER BY ALL"
    ).fetchall()
    assert rows == _around(SIGNALS[0], 0, 0.2)


@pytest.mark.parametrize(
    ("table", "query"),
    [
        (
            "running_speed",
            "behavior_sessions r, running_around(r.behavior_session_id, [2.0]) "
            "WHERE r.behavior_session_id IN (1002, -1)",
        ),
        (
            "dff_traces",
            "ophys_experiments r, dff_around(r.ophys_experiment_id, [2.0]) "
            "WHERE r.ophys_experiment_id IN (3001, -1)",
        ),
    ],
)
def test_recordings_of_another_table_open_their_files_only(
    con: duckdb.DuckDBPyConnection, table: str, query: str
) -> None:
    assert _files_read(con, f"SELECT * FROM {table}")[table] == 2
    assert _files_read(con, f"SELECT * FROM {query}")[table] == 1


@pytest.mark.parametrize(
    ("call", "times"),
    [
        ("dff_around(3001, {}, before := 0.1, after := 0.2)", "timestamps, dff"),
        ("running_around(1002, {}, before := 0.1, after := 0.2)", "timestamps, speed"),
    ],
)
def test_what_is_around_presentations_is_around_their_starts(
    con: duckdb.DuckDBPyConnection, call: str, times: str
) -> None:
    shown = con.execute(
        "SELECT stimulus_presentations_id, start_time FROM stimulus_presentations "
        "WHERE behavior_session_id = 1002"
    ).fetchall()
    ids, starts = ([row[n] for row in shown] for n in (0, 1))
    assert len(shown) > 1
    query = f"SELECT event_time, {times} FROM {call} ORDER BY ALL"
    expected = con.execute(query.format(starts)).fetchall()
    assert expected
    assert con.execute(query.format(f"presentations := {ids}")).fetchall() == expected
    with pytest.raises(duckdb.Error, match="Not all of the presentations are in stimulus_pres"):
        con.execute(query.format(f"presentations := {[*ids, 99]}"))


def test_a_sample_without_a_value_stays(con: duckdb.DuckDBPyConnection) -> None:
    query = f"SELECT lag, pupil_area FROM pupil_around(1002, [{EVENTS[0]}], 0, 0.12) ORDER BY lag"
    assert con.execute(query).fetchall() == [(0, None), (1, 1.0)]


def test_events_of_a_query_in_several_experiments(con: duckdb.DuckDBPyConnection) -> None:
    asked = "(SELECT list(start) FROM (VALUES (1.0), (2.0)) v(start))"
    rows = con.execute(
        "SELECT e.ophys_experiment_id, count(DISTINCT event_time) FROM ophys_experiments e, "
        f"dff_around(e.ophys_experiment_id, {asked}) WHERE e.ophys_experiment_id = 3001 GROUP BY 1"
    ).fetchall()
    assert rows == [(3001, 2)]


@pytest.mark.parametrize("times", ["[]", "NULL", "[NULL]"])
def test_no_events_have_no_samples(con: duckdb.DuckDBPyConnection, times: str) -> None:
    assert con.execute(f"FROM dff_around(3001, {times})").fetchall() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "dff_around(31, [1])",
            "The lake has no ophys_timestamps of experiment 31. source_files says why, or ingest "
            "it with vblake ingest --experiment 31.",
        ),
        (
            "running_around(7, [1])",
            "The lake has no running_speed of session 7. source_files says why, or ingest it with "
            "vblake ingest --behavior-session 7.",
        ),
        (
            "dff_around(3001, [1], -1, 1)",
            "before and after are seconds and must be at least 0.",
        ),
        (
            "dff_around(3001, [1000, 2000])",
            f"None of the events is in the recording of experiment 3001, {CLOCK[0]} s to "
            f"{CLOCK[-1]} s. Times are seconds on the clock of the file.",
        ),
    ],
)
def test_what_cannot_be_right_is_an_error(
    con: duckdb.DuckDBPyConnection, call: str, message: str
) -> None:
    with pytest.raises(duckdb.Error, match=re.escape(message)):
        con.execute(f"FROM {call}").fetchall()


@pytest.mark.parametrize(
    "call",
    [
        "dff_around(3001, [])",
        "events_around(3001, [])",
        "running_around(1002, [])",
        "pupil_around(1002, [])",
    ],
)
def test_macros_return_the_declared_columns(con: duckdb.DuckDBPyConnection, call: str) -> None:
    found = [row[:2] for row in con.execute(f"DESCRIBE FROM {call}").fetchall()]
    name = call.partition("(")[0]
    assert found == [(c.name, c.type.value) for c in MACROS[name]]
    listed = f"SELECT column_name, type FROM _columns WHERE table_name = '{name}' ORDER BY position"
    assert con.execute(listed).fetchall() == found


def test_macros_have_comments(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute(
        "SELECT function_name, comment FROM duckdb_functions() WHERE database_name = 'lake'"
    ).fetchall()
    assert dict(found) == {macro.name: macro.description for macro in MACROS.values()}


def test_the_queries_of_the_page_on_the_tables(con: duckdb.DuckDBPyConnection) -> None:
    queries = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert queries
    for text in queries:
        text = text.replace("802088043", "3001").replace("802082008", "1002")
        con.execute(text).fetchall()
