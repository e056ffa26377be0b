"""The views of the catalog's schema `bi`, which dashboards are made of.

A tool that draws charts wants one row per thing it counts, with the labels it groups by, and cannot
show lists. Each view has the scalar columns of a table, and labels of its session, experiment and
trial. No view joins two tables that are large, which would make a preview of a thousand rows read
both: at the full size of the dataset, presentations with their annotations took 16 processor s.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas import TABLES
from schemas.views import VIEWS, View

BI_SCHEMA = "bi"
"""The schema of the catalog that has these views."""


@dataclass(frozen=True, slots=True)
class _Labels:
    """Columns that rows get from the table that their ids refer to."""

    table: str
    ids: tuple[str, ...]
    columns: tuple[str, ...]


_LABELS = (
    _Labels(
        "behavior_sessions",
        ("mouse_id", "behavior_session_id"),
        (
            *("cre_line", "sex", "age_in_days", "project_code", "session_type", "session_number"),
            *("image_set", "behavior_type", "experience_level", "date_of_acquisition"),
            "equipment_name",
        ),
    ),
    _Labels(
        "ophys_experiments",
        ("mouse_id", "behavior_session_id", "ophys_experiment_id"),
        ("ophys_container_id", "targeted_structure", "imaging_depth"),
    ),
    _Labels("trials", ("mouse_id", "behavior_session_id", "trials_id"), ("start_time",)),
)

_NO_LABELS = {"file_id", "file_path", "index", "published_at"}
"""Columns that no chart shows."""


def _labelled(view: str, of: str, description: str, labels: tuple[_Labels, ...]) -> View:
    """The scalar columns of a table or view, and the labels that it lacks.

    Joins name all ids that both sides have, so that a filter on a label skips files.

    Args:
        view: name of the new view.
        of: the table or view.
        description: one sentence.
        labels: those to add.
    """
    table = {**TABLES, **VIEWS}[of]
    columns = [c for c in table if not (c.type.is_list or c.name in _NO_LABELS)]
    selected = [f't."{c.name}"' for c in columns]
    source = f"main.{of} t"
    for added in labels:
        missing = [n for n in added.columns if n not in {c.name for c in columns}]
        columns += [TABLES[added.table][name] for name in missing]
        selected += [f'{added.table}."{name}"' for name in missing]
        same = " AND ".join(f"{added.table}.{key} = t.{key}" for key in added.ids)
        source += f" JOIN main.{added.table} ON {same}"
    return View(
        name=view,
        description=description,
        subject=table.subject,
        columns=tuple(columns),
        primary_key=table.primary_key,
        query=f"SELECT {', '.join(selected)} FROM {source}",
    )


def _views() -> tuple[View, ...]:
    session, plane, trial = _LABELS
    return (
        _labelled("sessions", "behavior_sessions", "Every behaviour session of the release.", ()),
        _labelled("experiments", "ophys_experiments", "Every imaging plane of the release.", ()),
        _labelled("cells", "cells", "Every valid ROI of the planes in the lake.", ()),
        _labelled("trials", "trials", "Every trial.", (session,)),
        _labelled(
            "flashes", "stimulus_presentations", "Every presentation of a stimulus.", (session,)
        ),
        _labelled(
            "flash_annotations",
            "presentation_annotations",
            "What the mouse did at each presentation of the task.",
            (session,),
        ),
        _labelled("licks", "licks", "Every lick.", (session,)),
        _labelled("rewards", "rewards", "Every reward.", (session,)),
        _labelled(
            "performance",
            "rolling_performance",
            "Performance over the trials before each trial.",
            (session, trial),
        ),
        _labelled("running", "running_speed", "Every sample of the running speed.", (session,)),
        _labelled("pupil", "eye_tracking", "Every sample of the eye tracking.", (session,)),
        _labelled(
            "responses",
            "stimulus_responses",
            "Response of each cell to each presentation of the task; ingested by name: "
            "`vblake ingest --tables stimulus_responses`.",
            (session, plane),
        ),
        _labelled(
            "mean_responses",
            "mean_responses",
            "Mean response of each cell to each condition.",
            (session, plane),
        ),
        _labelled(
            "mean_traces",
            "mean_responses_long",
            "Mean trace of each cell around each condition: one row per point in time.",
            (session, plane),
        ),
    )


BI_VIEWS: dict[str, View] = {view.name: view for view in _views()}
