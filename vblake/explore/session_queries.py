"""The queries behind the choice of a session, and of what happened in one."""

from __future__ import annotations

from vblake.explore.query import Place, Query, names, query, texts, within

_INGESTED = "SELECT {} FROM source_files WHERE status IN ('ingested', 'partial')"


def recordings(
    mouse: int | None = None,
    line: tuple[str, ...] = (),
    area: tuple[str, ...] = (),
    depth: tuple[float, float] | None = None,
    experience: tuple[str, ...] = (),
) -> Query:
    """Sessions in the lake with their planes: a row per plane, or one without plane."""
    sql, polars = "", ""
    if mouse is not None:
        sql += f"\n    AND b.mouse_id = {mouse}"
        polars += f"\n.filter(mouse_id={mouse})"
    for name, wanted in (
        ("b.cre_line", line),
        ("e.targeted_structure", area),
        ("b.experience_level", experience),
    ):
        if wanted:
            sql += f"\n    AND {name} IN ({texts(wanted)})"
            polars += f'\n.filter(pl.col("{name[2:]}").is_in({list(wanted)!r}))'
    if depth is not None:
        sql += f"\n    AND e.imaging_depth BETWEEN {depth[0]!r} AND {depth[1]!r}"
        polars += f'\n.filter(pl.col("imaging_depth").is_between({depth[0]!r}, {depth[1]!r}))'
    ingested = 'lake.scan("source_files").filter(pl.col("status").is_in(["ingested", "partial"]))'
    columns = (
        "mouse_id, behavior_session_id, ophys_experiment_id, date_of_acquisition, session_type, "
        "experience_level, behavior_type, cre_line, sex, age_in_days, targeted_structure, "
        "imaging_depth"
    )
    own = "mouse_id", "behavior_session_id", "ophys_experiment_id"
    plane = "targeted_structure", "imaging_depth"
    listed = ", ".join(f"e.{c}" if c in (*plane, own[2]) else f"b.{c}" for c in columns.split(", "))
    of_plane = names(", ".join((*own[1:], *plane)))
    return query(
        "The sessions that can be chosen, with their planes",
        "behavior_sessions",
        f"SELECT {listed}\nFROM behavior_sessions b LEFT JOIN (\n"
        "    SELECT * FROM ophys_experiments WHERE ophys_experiment_id IN (\n"
        f"        {_INGESTED.format('ophys_experiment_id')})\n"
        ") e USING (mouse_id, behavior_session_id)\n"
        f"WHERE b.behavior_session_id IN (\n    {_INGESTED.format('behavior_session_id')})"
        f"{sql}\nORDER BY b.mouse_id, b.date_of_acquisition, b.behavior_session_id, "
        "e.ophys_experiment_id",
        'lake.scan("behavior_sessions").drop("ophys_experiment_id")\n'
        f'.join({ingested}, on="behavior_session_id", how="semi")\n'
        f'.join(\n    lake.scan("ophys_experiments")\n    .join({ingested}, '
        f'on="ophys_experiment_id", how="semi")\n    .select({of_plane}),\n'
        f'    on="behavior_session_id",\n    how="left",\n){polars}\n'
        f'.sort("mouse_id", "date_of_acquisition", "behavior_session_id", "ophys_experiment_id")\n'
        f".select({names(columns)})\n"
        '.with_columns(pl.col("date_of_acquisition").dt.replace_time_zone(None))\n.collect()',
    )


def flashes(place: Place) -> Query:
    """Presentations of the task and gray screens of a session; no frames of the movie."""
    columns = "stimulus_presentations_id, start_time, stop_time, image_name, is_change, omitted"
    return query(
        "Flashes, changes and omissions",
        "stimulus_presentations",
        f"""
        SELECT {columns}
        FROM stimulus_presentations
        WHERE {place.where} AND active
        ORDER BY stimulus_presentations_id
        """,
        f"""
        {place.scan("stimulus_presentations")}
        .filter("active")
        .sort("stimulus_presentations_id")
        .select({names(columns)})
        .collect()
        """,
    )


def blocks(place: Place) -> Query:
    """What was shown when: the blocks of a session."""
    return query(
        "Blocks of stimuli",
        "stimulus_presentations",
        f"""
        SELECT stimulus_block_name, min(start_time) AS start_time, max(stop_time) AS stop_time
        FROM stimulus_presentations
        WHERE {place.where} AND stimulus_block_name IS NOT NULL
        GROUP BY stimulus_block_name ORDER BY start_time
        """,
        f"""
        {place.scan("stimulus_presentations")}
        .filter(pl.col("stimulus_block_name").is_not_null())
        .group_by("stimulus_block_name")
        .agg(pl.col("start_time").min(), pl.col("stop_time").max())
        .sort("start_time")
        .collect()
        """,
    )


def times(place: Place, table: str) -> Query:
    """Times of licks or rewards."""
    columns = {"licks": "timestamps", "rewards": "timestamps, volume, autorewarded"}[table]
    return query(
        table.capitalize(),
        table,
        f"SELECT {columns} FROM {table} WHERE {place.where} ORDER BY timestamps",
        f'{place.scan(table)}.sort("timestamps").select({names(columns)}).collect()',
    )


def signal(
    place: Place, table: str, column: str, title: str, time: tuple[float, float] | None = None
) -> Query:
    """Running or pupil."""
    sql, polars = within(time)
    return query(
        title,
        table,
        f"SELECT timestamps, {column}\nFROM {table}\nWHERE {place.where}{sql}\nORDER BY timestamps",
        f'{place.scan(table)}{polars}\n.sort("timestamps").select("timestamps", "{column}")\n'
        ".collect()",
    )


OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject", "auto_rewarded", "aborted")
"""Columns of trials, exactly one of which is true."""


def trials(place: Place) -> Query:
    """Trials with outcome, licks and reward."""
    cases = " ".join(f"WHEN {name} THEN '{name}'" for name in OUTCOMES)
    chain = "".join(f'\n    .when("{name}").then(pl.lit("{name}"))' for name in OUTCOMES)
    columns = (
        "trials_id, start_time, stop_time, change_time, initial_image_name, change_image_name, "
        "lick_times, reward_time, response_latency"
    )
    return query(
        "Trials",
        "trials",
        f"SELECT {columns},\n    CASE {cases} END AS outcome\nFROM trials\nWHERE {place.where}\n"
        "ORDER BY trials_id",
        f'{place.scan("trials")}.sort("trials_id")\n.select(\n    {names(columns)},\n'
        f"    outcome=pl{chain.replace(chr(10) + '    ', '', 1)},\n)\n.collect()",
    )


def response_window(place: Place) -> Query:
    """When a lick counts as a response, in seconds after the change."""
    return query(
        "Response window",
        "task_parameters",
        f"""
        SELECT response_window_sec[1] AS begin, response_window_sec[2] AS end
        FROM task_parameters
        WHERE {place.where} AND len(response_window_sec) = 2
        """,
        f"""
        {place.scan("task_parameters")}
        .filter(pl.col("response_window_sec").list.len() == 2)
        .select(
            begin=pl.col("response_window_sec").list.first(),
            end=pl.col("response_window_sec").list.last(),
        )
        .collect()
        """,
    )


def training(mouse: int) -> Query:
    """Performance in each session of a mouse, in order."""
    columns = (
        "behavior_session_id, date_of_acquisition, session_type, experience_level, behavior_type, "
        "trial_count, go_trial_count, catch_trial_count, hit_trial_count, engaged_trial_count, "
        "mean_hit_rate, mean_false_alarm_rate, mean_dprime, max_dprime"
    )
    of_session = (
        "behavior_session_id, date_of_acquisition, session_type, experience_level, behavior_type"
    )
    listed = columns.replace("trial_count", "m.trial_count", 1)
    for name in ("go", "catch", "hit", "engaged"):
        listed = listed.replace(f" {name}_trial_count", f" m.{name}_trial_count")
    return query(
        "Performance in each session",
        "performance_metrics",
        f"""
        SELECT {listed}
        FROM performance_metrics m JOIN behavior_sessions b USING (mouse_id, behavior_session_id)
        WHERE mouse_id = {mouse}
        ORDER BY date_of_acquisition, behavior_session_id
        """,
        f"""
        lake.scan("performance_metrics", mouse_id={mouse})
        .join(
            lake.scan("behavior_sessions").select({names(of_session)}),
            on="behavior_session_id",
        )
        .sort("date_of_acquisition", "behavior_session_id")
        .select({names(columns)})
        .with_columns(pl.col("date_of_acquisition").dt.replace_time_zone(None))
        .collect()
        """,
    )
