"""The queries behind the figures. The page runs the SQL, and offers both texts to copy.

Each gives the same rows in SQL, for `vblake sql` and `lake.sql`, and in Polars, where `lake` is an
open lake and `pl` is Polars; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import dedent

from vblake.connection import literal


@dataclass(frozen=True, slots=True)
class Query:
    """What a part of a figure is made of.

    Attributes:
        title: what the rows are.
        table: the table that has to have rows, for a message if there are none.
        sql: the query as SQL.
        polars: the query as an expression of Python.
    """

    title: str
    table: str
    sql: str
    polars: str

    def program(self, lake: str) -> str:
        """The whole program in Python.

        Args:
            lake: address of the lake.
        """
        return (
            "import polars as pl\n\nimport vblake\n\n"
            f"lake = vblake.open({lake!r})\nrows = (\n    "
            + self.polars.replace("\n", "\n    ")
            + "\n)\n"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows are looked for. The mouse is what tells which files to open.

    Attributes:
        mouse: mouse_id.
        session: behavior_session_id.
        plane: ophys_experiment_id, if it is one plane's rows.
    """

    mouse: int
    session: int
    plane: int | None = None

    @property
    def where(self) -> str:
        """The condition in SQL."""
        plane = "" if self.plane is None else f" AND ophys_experiment_id = {self.plane}"
        return f"mouse_id = {self.mouse} AND behavior_session_id = {self.session}{plane}"

    def scan(self, table: str) -> str:
        """The rows of a table in Polars."""
        if self.plane is not None:
            return f'lake.scan("{table}", ophys_experiment_id={self.plane})'
        return f'lake.scan("{table}", behavior_session_id={self.session})'

    @property
    def of_session(self) -> Place:
        """The same without the plane."""
        return Place(self.mouse, self.session)


def _query(title: str, table: str, sql: str, polars: str) -> Query:
    return Query(title, table, dedent(sql).strip(), dedent(polars).strip())


def _texts(values: Iterable[str]) -> str:
    return ", ".join(literal(value) for value in values)


def _within(time: tuple[float, float] | None) -> tuple[str, str]:
    """The condition that timestamps lie within a window, in SQL and in Polars."""
    if time is None:
        return "", ""
    begin, end = time
    return (
        f"\n    AND timestamps BETWEEN {begin!r} AND {end!r}",
        f'\n.filter(pl.col("timestamps").is_between({begin!r}, {end!r}))',
    )


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
            sql += f"\n    AND {name} IN ({_texts(wanted)})"
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
    names = ", ".join(f'"{name}"' for name in columns.split(", "))
    own = "mouse_id", "behavior_session_id", "ophys_experiment_id"
    plane = "targeted_structure", "imaging_depth"
    listed = ", ".join(f"e.{c}" if c in (*plane, own[2]) else f"b.{c}" for c in columns.split(", "))
    of_plane = ", ".join(f'"{name}"' for name in (*own[1:], *plane))
    return Query(
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
        f".select({names})\n"
        '.with_columns(pl.col("date_of_acquisition").dt.replace_time_zone(None))\n.collect()',
    )


# --- a session -----------------------------------------------------------------------------------


def flashes(place: Place) -> Query:
    """Presentations of the task and gray screens of a session; no frames of the movie."""
    columns = "stimulus_presentations_id, start_time, stop_time, image_name, is_change, omitted"
    return _query(
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
        .select({_names(columns)})
        .collect()
        """,
    )


def blocks(place: Place) -> Query:
    """What was shown when: the blocks of a session."""
    return _query(
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
    return _query(
        table.capitalize(),
        table,
        f"SELECT {columns} FROM {table} WHERE {place.where} ORDER BY timestamps",
        f'{place.scan(table)}.sort("timestamps").select({_names(columns)}).collect()',
    )


def signal(
    place: Place, table: str, column: str, title: str, time: tuple[float, float] | None = None
) -> Query:
    """Running or pupil."""
    sql, polars = _within(time)
    return Query(
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
    return Query(
        "Trials",
        "trials",
        f"SELECT {columns},\n    CASE {cases} END AS outcome\nFROM trials\nWHERE {place.where}\n"
        "ORDER BY trials_id",
        f'{place.scan("trials")}.sort("trials_id")\n.select(\n    {_names(columns)},\n'
        f"    outcome=pl{chain.replace(chr(10) + '    ', '', 1)},\n)\n.collect()",
    )


def response_window(place: Place) -> Query:
    """When a lick counts as a response, in seconds after the change."""
    return _query(
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
    return _query(
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
            lake.scan("behavior_sessions").select({_names(of_session)}),
            on="behavior_session_id",
        )
        .sort("date_of_acquisition", "behavior_session_id")
        .select({_names(columns)})
        .with_columns(pl.col("date_of_acquisition").dt.replace_time_zone(None))
        .collect()
        """,
    )


# --- a plane -------------------------------------------------------------------------------------


def cells(place: Place) -> Query:
    """The ROIs of a plane."""
    columns = (
        "cell_roi_id, cell_specimen_id, x, y, width, height, field_of_view_width, "
        "field_of_view_height, roi_mask"
    )
    return _rows("Outlines of the ROIs", "cell_specimens", place, columns, "cell_roi_id")


def projection(place: Place, image: str) -> Query:
    """An image of a plane."""
    columns = "image_name, height, width, spacing_x, spacing_y, pixels"
    return _query(
        "The image",
        "projections",
        f"""
        SELECT {columns}
        FROM projections
        WHERE {place.where}
            AND image_name = {literal(image)}
        """,
        f"""
        {place.scan("projections")}
        .filter(image_name={image!r})
        .select({_names(columns)})
        .collect()
        """,
    )


def trace(
    place: Place, cell: int, table: str, column: str, time: tuple[float, float] | None = None
) -> Query:
    """The samples of a cell's trace; of its events only those that are not 0."""
    sql, polars = _within(time)
    if column == "events":
        sql += "\n    AND events > 0"
        polars += '\n.filter(pl.col("events") > 0)'
    where = f"\nWHERE {sql.lstrip().removeprefix('AND ')}" if sql else ""
    keys = '"mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id"'
    return Query(
        {"dff": "dF/F of the cell", "events": "Calcium events of the cell"}[column],
        table,
        # The clock may go on after the last frame.
        f"SELECT timestamps, {column}\nFROM (\n"
        f"    SELECT unnest(timestamps[:len({column})]) AS timestamps, unnest({column}) AS {column}"
        f"\n    FROM {table} JOIN ophys_timestamps\n"
        "        USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)\n"
        f"    WHERE {place.where} AND cell_roi_id = {cell}\n){where}\nORDER BY timestamps",
        f"{place.scan(table)}.filter(cell_roi_id={cell})\n"
        f".join({place.scan('ophys_timestamps')}, on=[{keys}], nulls_equal=True)\n"
        f'.select(pl.col("timestamps").list.head(pl.col("{column}").list.len()), "{column}")\n'
        f'.explode("timestamps", "{column}"){polars}\n.sort("timestamps").collect()',
    )


def responses(place: Place, cell: int) -> Query:
    """Mean responses of a cell to images, changes, repeats and omissions."""
    columns = (
        "condition_set, condition, image_name, is_change, omitted, n, dff_mean, dff_sem, dff_trace"
    )
    sets = ("images", "kinds")
    return _query(
        "Mean responses of the cell",
        "mean_responses",
        f"""
        SELECT {columns}
        FROM mean_responses
        WHERE {place.where} AND cell_roi_id = {cell}
            AND condition_set IN ({_texts(sets)})
        ORDER BY condition_set, condition
        """,
        f"""
        {place.scan("mean_responses")}
        .filter(pl.col("condition_set").is_in({list(sets)!r}), cell_roi_id={cell})
        .sort("condition_set", "condition")
        .select({_names(columns)})
        .collect()
        """,
    )


def conditions(place: Place) -> Query:
    """The conditions for which the lake has mean responses of a plane."""
    return _query(
        "Conditions",
        "mean_responses",
        f"""
        SELECT DISTINCT condition_set, condition, image_name, is_change, omitted, outcome
        FROM mean_responses
        WHERE {place.where} AND condition_set IN ('kinds', 'images')
        ORDER BY condition_set DESC, condition
        """,
        f"""
        {place.scan("mean_responses")}
        .filter(pl.col("condition_set").is_in(["kinds", "images"]))
        .select("condition_set", "condition", "image_name", "is_change", "omitted", "outcome")
        .unique()
        .sort("condition_set", "condition", descending=[True, False])
        .collect()
        """,
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """Presentations of one kind.

    Attributes:
        image: only of this image.
        change: whether they are changes.
        omitted: whether they are omissions.
    """

    image: str | None
    change: bool
    omitted: bool

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        image = "" if self.image is None else f" AND image_name = {literal(self.image)}"
        omitted = "omitted" if self.omitted else "NOT omitted"
        return f"{'' if self.change else 'NOT '}is_change AND {omitted}{image}"

    @property
    def polars(self) -> str:
        """The arguments of `filter`."""
        image = "" if self.image is None else f", image_name={self.image!r}"
        return f"is_change={self.change}, omitted={self.omitted}{image}"


def single_flashes(place: Place, cell: int, shown: Shown, before: int, after: int) -> Query:
    """A cell's dF/F around each presentation, by imaging frames.

    Args:
        place: the plane.
        cell: cell_roi_id.
        shown: which presentations.
        before: frames before the onset.
        after: frames after it.
    """
    keys = '"mouse_id", "behavior_session_id", "stimulus_presentations_id"'
    return _query(
        "dF/F of the cell around each flash",
        "presentation_frames",
        f"""
        WITH trace AS (
            SELECT unnest(dff) AS dff, unnest(range(len(dff))) AS frame
            FROM dff_traces
            WHERE {place.where} AND cell_roi_id = {cell}
        ), windows AS (
            SELECT stimulus_presentations_id, lag, onset_frame + lag AS frame
            FROM presentation_frames JOIN stimulus_presentations
                USING (mouse_id, behavior_session_id, stimulus_presentations_id),
                unnest(range({-before}, {after + 1})) AS lags(lag)
            WHERE {place.where}
                AND active AND {shown.sql}
        )
        SELECT stimulus_presentations_id, lag, dff
        FROM windows JOIN trace USING (frame)
        ORDER BY stimulus_presentations_id, lag
        """,
        f"""
        {place.scan("presentation_frames")}
        .join(
            {place.of_session.scan("stimulus_presentations")}
            .filter("active", {shown.polars}),
            on=[{keys}],
        )
        .select(
            "stimulus_presentations_id", "onset_frame",
            lag=pl.lit(list(range({-before}, {after + 1}))),
        )
        .explode("lag")
        .with_columns(frame=pl.col("onset_frame") + pl.col("lag"))
        .join(
            {place.scan("dff_traces")}
            .filter(cell_roi_id={cell})
            .select("dff", frame=pl.int_ranges(pl.col("dff").list.len()))
            .explode("dff", "frame"),
            on="frame",
        )
        .sort("stimulus_presentations_id", "lag")
        .select("stimulus_presentations_id", "lag", "dff")
        .collect()
        """,
    )


def population(place: Place, condition: str, measure: str) -> Query:
    """Mean trace of every cell in one condition, the largest response first."""
    columns = f"cell_roi_id, cell_specimen_id, n, {measure}_mean, {measure}_trace"
    return _query(
        "Mean trace of every cell",
        "mean_responses",
        f"""
        SELECT {columns}
        FROM mean_responses
        WHERE {place.where}
            AND condition_set IN ('kinds', 'images') AND condition = {literal(condition)}
        ORDER BY {measure}_mean DESC NULLS LAST, cell_roi_id
        """,
        f"""
        {place.scan("mean_responses")}
        .filter(pl.col("condition_set").is_in(["kinds", "images"]), condition={condition!r})
        .sort("{measure}_mean", "cell_roi_id", descending=[True, False], nulls_last=True)
        .select({_names(columns)})
        .collect()
        """,
    )


# --- a cell across sessions ----------------------------------------------------------------------


def same_cell(mouse: int, specimen: int) -> Query:
    """Mean responses of a matched cell in each of its sessions, in order of acquisition."""
    columns = (
        "behavior_session_id, ophys_experiment_id, cell_roi_id, date_of_acquisition, session_type, "
        "experience_level, condition, n, dff_mean, dff_sem, dff_trace"
    )
    of_plane = "ophys_experiment_id, date_of_acquisition, session_type, experience_level"
    return _query(
        "Responses of the matched cell in each session",
        "mean_responses",
        f"""
        SELECT {columns}
        FROM mean_responses JOIN ophys_experiments
            USING (mouse_id, behavior_session_id, ophys_session_id, ophys_experiment_id)
        WHERE mouse_id = {mouse} AND cell_specimen_id = {specimen} AND condition_set = 'kinds'
        ORDER BY date_of_acquisition, ophys_experiment_id, condition
        """,
        f"""
        lake.scan("mean_responses", mouse_id={mouse})
        .filter(cell_specimen_id={specimen}, condition_set="kinds")
        .join(
            lake.scan("ophys_experiments").select({_names(of_plane)}),
            on="ophys_experiment_id",
        )
        .sort("date_of_acquisition", "ophys_experiment_id", "condition")
        .select({_names(columns)})
        .with_columns(pl.col("date_of_acquisition").dt.replace_time_zone(None))
        .collect()
        """,
    )


def same_rois(mouse: int, specimen: int) -> Query:
    """The ROIs of a matched cell, with the maximum projections they lie in."""
    columns = "ophys_experiment_id, cell_roi_id, field_of_view_width, roi_mask"
    image = "image_height, image_width, spacing_x, pixels"
    renamed = "height AS image_height, width AS image_width, spacing_x, pixels"
    return _query(
        "Its ROI in each session, and the maximum projections",
        "cell_specimens",
        f"""
        SELECT {columns}, {image}
        FROM cell_specimens LEFT JOIN (
            SELECT ophys_experiment_id, {renamed}
            FROM projections WHERE mouse_id = {mouse} AND image_name = 'max_projection'
        ) USING (ophys_experiment_id)
        WHERE mouse_id = {mouse} AND cell_specimen_id = {specimen}
        ORDER BY ophys_experiment_id
        """,
        f"""
        lake.scan("cell_specimens", mouse_id={mouse})
        .filter(cell_specimen_id={specimen})
        .select({_names(columns)})
        .join(
            lake.scan("projections", mouse_id={mouse})
            .filter(image_name="max_projection")
            .select(
                "ophys_experiment_id", "spacing_x", "pixels",
                image_height="height", image_width="width",
            ),
            on="ophys_experiment_id",
            how="left",
        )
        .sort("ophys_experiment_id")
        .select({_names(f"{columns}, {image}")})
        .collect()
        """,
    )


def _rows(title: str, table: str, place: Place, columns: str, order: str) -> Query:
    return _query(
        title,
        table,
        f"""
        SELECT {columns}
        FROM {table}
        WHERE {place.where}
        ORDER BY {order}
        """,
        f"""
        {place.scan(table)}
        .sort("{order}")
        .select({_names(columns)})
        .collect()
        """,
    )


def _names(columns: str) -> str:
    return ", ".join(f'"{name}"' for name in columns.split(", "))
