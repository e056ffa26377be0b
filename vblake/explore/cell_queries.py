"""The queries behind the figures of a plane, of its cells, and of a cell across sessions."""

from __future__ import annotations

from dataclasses import dataclass

from vblake.connection import literal
from vblake.explore.query import Place, Query, names, query, texts, within


def cells(place: Place) -> Query:
    """The ROIs of a plane."""
    columns = (
        "cell_roi_id, cell_specimen_id, x, y, width, height, field_of_view_width, "
        "field_of_view_height, roi_mask"
    )
    return query(
        "Outlines of the ROIs",
        "cell_specimens",
        f"""
        SELECT {columns}
        FROM cell_specimens
        WHERE {place.where}
        ORDER BY cell_roi_id
        """,
        f"""
        {place.scan("cell_specimens")}
        .sort("cell_roi_id")
        .select({names(columns)})
        .collect()
        """,
    )


def projection(place: Place, image: str) -> Query:
    """An image of a plane."""
    columns = "image_name, height, width, spacing_x, spacing_y, pixels"
    return query(
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
        .select({names(columns)})
        .collect()
        """,
    )


def trace(
    place: Place, cell: int, table: str, column: str, time: tuple[float, float] | None = None
) -> Query:
    """The samples of a cell's trace; of its events only those that are not 0."""
    sql, polars = within(time)
    if column == "events":
        sql += "\n    AND events > 0"
        polars += '\n.filter(pl.col("events") > 0)'
    where = f"\nWHERE {sql.lstrip().removeprefix('AND ')}" if sql else ""
    keys = '"mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id"'
    return query(
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
    return query(
        "Mean responses of the cell",
        "mean_responses",
        f"""
        SELECT {columns}
        FROM mean_responses
        WHERE {place.where} AND cell_roi_id = {cell}
            AND condition_set IN ({texts(sets)})
        ORDER BY condition_set, condition
        """,
        f"""
        {place.scan("mean_responses")}
        .filter(pl.col("condition_set").is_in({list(sets)!r}), cell_roi_id={cell})
        .sort("condition_set", "condition")
        .select({names(columns)})
        .collect()
        """,
    )


def conditions(place: Place) -> Query:
    """The conditions for which the lake has mean responses of a plane."""
    return query(
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
    return query(
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
    return query(
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
        .select({names(columns)})
        .collect()
        """,
    )


def same_cell(mouse: int, specimen: int) -> Query:
    """Mean responses of a matched cell in each of its sessions, in order of acquisition."""
    columns = (
        "behavior_session_id, ophys_experiment_id, cell_roi_id, date_of_acquisition, session_type, "
        "experience_level, condition, n, dff_mean, dff_sem, dff_trace"
    )
    of_plane = "ophys_experiment_id, date_of_acquisition, session_type, experience_level"
    return query(
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
            lake.scan("ophys_experiments").select({names(of_plane)}),
            on="ophys_experiment_id",
        )
        .sort("date_of_acquisition", "ophys_experiment_id", "condition")
        .select({names(columns)})
        .with_columns(pl.col("date_of_acquisition").dt.replace_time_zone(None))
        .collect()
        """,
    )


def same_rois(mouse: int, specimen: int) -> Query:
    """The ROIs of a matched cell, with the maximum projections they lie in."""
    columns = "ophys_experiment_id, cell_roi_id, field_of_view_width, roi_mask"
    image = "image_height, image_width, spacing_x, pixels"
    renamed = "height AS image_height, width AS image_width, spacing_x, pixels"
    return query(
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
        .select({names(columns)})
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
        .select({names(f"{columns}, {image}")})
        .collect()
        """,
    )
