# Share of each session that the mouse was engaged, in Polars
# Nothing is read before `collect`, and then only the columns that are named.
import polars as pl

import vblake

lake = vblake.open("demo/lake")
sessions = lake.scan("behavior_sessions").select(
    "behavior_session_id", "cre_line", "date_of_acquisition", "session_type"
)
answer = (
    lake.scan("rolling_performance")
    .join(lake.scan("trials"), on=["mouse_id", "behavior_session_id", "trials_id"])
    .group_by("mouse_id", "behavior_session_id")
    .agg(
        pl.col("trial_length").filter(pl.col("engaged")).sum().alias("engaged_s"),
        pl.col("trial_length").sum().alias("trials_s"),
    )
    .with_columns((pl.col("engaged_s") / pl.col("trials_s")).alias("engaged"))
    .join(sessions, on="behavior_session_id")
    .sort("mouse_id", "date_of_acquisition")
    .collect()
)
