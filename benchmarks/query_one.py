"""Runs all queries of a group in this process: `python -m benchmarks.query_one GROUP --lake DIR`.

Each query runs once cold (its first run in the process; the files are in the page cache) and then
`--repeats` times; the median of those is its warm time. The engines take turns within each query,
so that other load on the machine affects all alike. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[], Any]

_QUERIES = {
    "count trials": "SELECT count(*) FROM {trials}",
    "count presentations": "SELECT count(*) FROM {stimulus_presentations}",
    "trials by session": (
        "SELECT behavior_session_id, count(*), sum(hit::INT), avg(response_latency) "
        "FROM {trials} GROUP BY 1"
    ),
    "presentations by session": (
        "SELECT behavior_session_id, count(*), sum(is_change::INT) "
        "FROM {stimulus_presentations} GROUP BY 1"
    ),
    "one session's trials by id": "SELECT * FROM {trials} WHERE behavior_session_id = {session}",
    "one session's presentations by id": (
        "SELECT * FROM {stimulus_presentations} WHERE behavior_session_id = {session}"
    ),
    "one session's trials, with mouse_id": (
        "SELECT * FROM {trials} WHERE behavior_session_id = {session} AND mouse_id = {mouse}"
    ),
    "one session's presentations, with mouse_id": (
        "SELECT * FROM {stimulus_presentations} "
        "WHERE behavior_session_id = {session} AND mouse_id = {mouse}"
    ),
    "join by line and experience": (
        "SELECT cre_line, experience_level, count(*), avg(hit::INT) FROM {trials} t "
        "JOIN {behavior_sessions} s USING (behavior_session_id) WHERE go GROUP BY 1, 2"
    ),
    "licks per change": (
        "SELECT behavior_session_id, sum(len(lick_times)) / count(*) AS licks "
        "FROM {trials} WHERE stimulus_change GROUP BY 1"
    ),
}

_TABLES = ("trials", "stimulus_presentations", "behavior_sessions")
GROUPS = ("tables", "sql", "numpy")
ENGINES = ("catalog", "glob", "polars")
QUERIES = tuple(_QUERIES)
BEFORE_S, AFTER_S = 1.0, 3.0


def _materialised(result: Any) -> int:
    # Arrow, as for a user's data frame: making 4,800 Python tuples of 25 columns would take most of
    # the time.
    return (
        result.fetch_arrow_table().num_rows
        if hasattr(result, "fetch_arrow_table")
        else result.to_arrow_table().num_rows
    )


def _duckdb(lake: Path, session: int, mouse: int, *, catalog: bool) -> dict[str, Run]:
    import duckdb

    if catalog:
        import vblake

        run = vblake.open(lake).sql
        names = {t: t for t in _TABLES}
    else:
        run = duckdb.connect().sql
        names = {
            t: f"read_parquet('{lake}/{t}/**/*.parquet', hive_partitioning = true)" for t in _TABLES
        }
    texts = {
        name: sql.format(**names, session=session, mouse=mouse) for name, sql in _QUERIES.items()
    }
    return {name: lambda sql=sql: _materialised(run(sql)) for name, sql in texts.items()}


def _polars(lake: Path, session: int, mouse: int) -> dict[str, Run]:
    import polars as pl

    def scan(table: str) -> pl.LazyFrame:
        return pl.scan_parquet(
            f"{lake}/{table}/**/*.parquet", hive_partitioning=table != "behavior_sessions"
        )

    def trials() -> pl.LazyFrame:
        return scan("trials")

    def shown() -> pl.LazyFrame:
        return scan("stimulus_presentations")

    one, own = pl.col("behavior_session_id") == session, pl.col("mouse_id") == mouse
    by, by_line = "behavior_session_id", ("cre_line", "experience_level")
    plans: dict[str, Callable[[], pl.LazyFrame]] = {
        "count trials": lambda: trials().select(pl.len()),
        "count presentations": lambda: shown().select(pl.len()),
        "trials by session": lambda: (
            trials()
            .group_by(by)
            .agg(pl.len(), pl.col("hit").sum(), pl.col("response_latency").mean())
        ),
        "presentations by session": lambda: (
            shown().group_by(by).agg(pl.len(), pl.col("is_change").sum())
        ),
        "one session's trials by id": lambda: trials().filter(one),
        "one session's presentations by id": lambda: shown().filter(one),
        "one session's trials, with mouse_id": lambda: trials().filter(one & own),
        "one session's presentations, with mouse_id": lambda: shown().filter(one & own),
        "join by line and experience": lambda: (
            trials()
            .filter(pl.col("go"))
            .join(scan("behavior_sessions"), on=by)
            .group_by(by_line)
            .agg(pl.len(), pl.col("hit").mean())
        ),
        "licks per change": lambda: (
            trials()
            .filter(pl.col("stimulus_change"))
            .group_by(by)
            .agg(pl.col("lick_times").list.len().sum() / pl.len())
        ),
    }
    return {name: lambda plan=plan: plan().collect().height for name, plan in plans.items()}


# The samples at one lag of all events are picked out of the list at once. The join of unnested
# samples with frames takes as long and three to four times the memory (900 MB); a slice per event,
# 4,800 of each cell, runs out of it.
_WINDOW = """
WITH times AS (
    SELECT generate_subscripts(timestamps, 1) AS frame, unnest(timestamps) AS time
    FROM '{lake}/ophys_timestamps/**/*.parquet' WHERE ophys_experiment_id = {experiment}
),
events AS (
    SELECT start_time AS time FROM '{lake}/stimulus_presentations/**/*.parquet'
    WHERE behavior_session_id = {session} AND image_name IS NOT NULL
),
starts AS (SELECT list(t.frame) AS frames FROM events e ASOF JOIN times t ON e.time <= t.time)
SELECT cell_roi_id, lag,
    list_avg(list_select(dff, list_transform(frames, lambda frame: frame + lag))) AS dff
FROM '{lake}/dff_traces/**/*.parquet', starts, range(-{before}, {after} + 1) r(lag)
WHERE ophys_experiment_id = {experiment}
"""


def _experiment(lake: Path) -> tuple[int, int]:
    """Returns the experiment with the largest traces, and its session."""
    import duckdb

    path = max(lake.glob("dff_traces/**/*.parquet"), key=lambda p: p.stat().st_size)
    found = duckdb.execute(
        f"SELECT ophys_experiment_id, behavior_session_id FROM '{path}' LIMIT 1"
    ).fetchone()
    assert found is not None
    return found


def _triggered_sql(lake: Path) -> dict[str, Run]:
    import duckdb

    con = duckdb.connect()
    experiment, session = _experiment(lake)
    clock = f"FROM '{lake}/ophys_timestamps/**/*.parquet' WHERE ophys_experiment_id = {experiment}"
    step = (
        "unnest(list_transform(range(1, 1001), lambda i: timestamps[i + 1] - timestamps[i])) AS d"
    )
    row = con.execute(f"SELECT median(d) FROM (SELECT {step} {clock})").fetchone()
    assert row is not None
    lags = {"before": int(BEFORE_S / row[0] + 1e-6), "after": int(AFTER_S / row[0] + 1e-6)}
    sql = _WINDOW.format(lake=lake, experiment=experiment, session=session, **lags)
    cell = f"FROM '{lake}/dff_traces/**/*.parquet' WHERE ophys_experiment_id = {experiment}"
    roi = con.execute(f"SELECT max(cell_roi_id) {cell}").fetchone()
    assert roi is not None
    return {
        "one cell's trace": lambda: _materialised(
            con.execute(f"SELECT unnest(dff) {cell} AND cell_roi_id = {roi[0]}")
        ),
        "event-triggered average": lambda: _materialised(con.execute(sql)),
    }


def _triggered_numpy(lake: Path) -> dict[str, Run]:
    import duckdb
    import numpy as np

    from vblake import event_triggered_average, read_traces

    experiment, session = _experiment(lake)
    times = (
        f"SELECT start_time FROM '{lake}/stimulus_presentations/**/*.parquet' "
        f"WHERE behavior_session_id = {session} AND image_name IS NOT NULL"
    )
    starts = np.asarray(duckdb.execute(times).fetchnumpy()["start_time"])
    return {
        "all cells' traces": lambda: read_traces(str(lake), experiment).values.shape,
        "event-triggered average": lambda: (
            event_triggered_average(
                read_traces(str(lake), experiment), starts, BEFORE_S, AFTER_S
            ).mean.shape
        ),
    }


def _session(lake: Path) -> tuple[int, int]:
    """Returns a session from the middle of the table, and its mouse."""
    import pyarrow.parquet as pq

    rows = (
        pq.ParquetFile(next(lake.glob("behavior_sessions/*.parquet")))
        .read(["behavior_session_id", "mouse_id"])
        .to_pylist()
    )
    chosen = rows[len(rows) // 2]
    return chosen["behavior_session_id"], chosen["mouse_id"]


def queries(group: str, lake: Path) -> dict[str, dict[str, Run]]:
    """Returns the runs by query and engine; each returns the size of its result."""
    if group == "tables":
        session, mouse = _session(lake)
        engines = {
            "catalog": _duckdb(lake, session, mouse, catalog=True),
            "glob": _duckdb(lake, session, mouse, catalog=False),
            "polars": _polars(lake, session, mouse),
        }
    else:
        engines = {group: _triggered_sql(lake) if group == "sql" else _triggered_numpy(lake)}
    names = dict.fromkeys(name for runs in engines.values() for name in runs)
    return {name: {engine: runs[name] for engine, runs in engines.items()} for name in names}


def main() -> None:
    """Prints the seconds of each query."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "group",
        choices=GROUPS,
        metavar="GROUP",
        help="tables: " + ", ".join(ENGINES) + "; sql or numpy: traces",
    )
    parser.add_argument("--lake", type=Path, required=True, metavar="DIR", help="lake to query")
    parser.add_argument(
        "--repeats", type=int, default=7, metavar="N", help="warm runs of each query [%(default)s]"
    )
    options = parser.parse_args()
    facts: dict[str, float | str] = {}
    for name, engines in queries(options.group, options.lake.resolve()).items():
        seconds: dict[str, list[float]] = {engine: [] for engine in engines}
        for _ in range(options.repeats + 1):
            for engine, run in engines.items():
                started = time.perf_counter()
                run()
                seconds[engine].append(time.perf_counter() - started)
        for engine, all_ in seconds.items():
            facts |= {
                f"{name}: {engine} cold": all_[0],
                f"{name}: {engine}": statistics.median(all_[1:]),
            }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
