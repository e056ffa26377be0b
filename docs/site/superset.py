"""Writes the Superset dashboard of a lake, as an archive that Superset imports.

    python -m docs.site.superset --lake demo/lake --out vblake.zip
    superset import-dashboards -p vblake.zip -u admin

Charts read the catalog's schema `bi`. Superset imports YAML, of which JSON is a part.
"""

from __future__ import annotations

import argparse
import json
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.model import Type

_NAME = "Visual Behavior"
_TOP = "vblake"  # the archive's folder
_LINES = {
    "Slc17a7-IRES2-Cre": "#0072B2",
    "Sst-IRES-Cre": "#D55E00",
    "Vip-IRES-Cre": "#009E73",
}
"""Colours that colour-blind people can tell apart (Okabe and Ito)."""

_LEVELS = {
    "Training": "#999999",
    "Familiar": "#56B4E9",
    "Novel 1": "#E69F00",
    "Novel >1": "#CC79A7",
}


@dataclass(frozen=True)
class Chart:
    """A chart of the dashboard.

    Attributes:
        view: view of the schema `bi`.
        kind: Superset's name of the type of chart.
        title: what it shows.
        width: of the 12 columns of a row.
        settings: what the type of chart asks for.
        where: SQL of a filter.
    """

    view: str
    kind: str
    title: str
    width: int
    settings: Mapping[str, Any]
    where: str = ""


def _metric(sql: str, label: str) -> dict[str, Any]:
    return {"expressionType": "SQL", "sqlExpression": sql, "label": label, "hasCustomLabel": True}


def _count(view: str, what: str) -> Chart:
    return Chart(view, "big_number_total", what, 3, {"metric": _metric("count(*)", what)})


def _bars(x: str, metric: dict[str, Any], by: str, unit: str) -> dict[str, Any]:
    return {
        "x_axis": x,
        "metrics": [metric],
        "groupby": [by],
        "x_axis_sort_asc": True,
        "show_legend": True,
        "rich_tooltip": True,
        "y_axis_title": unit,
        "y_axis_title_margin": 40,
        "y_axis_title_position": "Left",
        "row_limit": 10000,
        "y_axis_format": "SMART_NUMBER",
        "sort_series_type": "name",
        "sort_series_ascending": True,
    }


_HIT_RATE = _metric("avg(hit::INT) FILTER (go)", "hit rate")
_ROWS = (
    (
        _count("sessions", "behaviour sessions of the release"),
        _count("experiments", "imaging planes of the release"),
        _count("cells", "cells in the lake"),
        _count("trials", "trials in the lake"),
    ),
    (
        Chart(
            "trials",
            "echarts_timeseries_bar",
            "Hit rate on go trials by experience with the images",
            6,
            _bars("experience_level", _HIT_RATE, "cre_line", "hit rate"),
        ),
        Chart(
            "trials",
            "histogram_v2",
            "Response latency of hits (s)",
            6,
            {
                "column": "response_latency",
                "groupby": ["cre_line"],
                "bins": 25,
                "row_limit": 100000,
            },
            "hit",
        ),
    ),
    (
        Chart(
            "mean_traces",
            "echarts_timeseries_line",
            "Mean dF/F around changes of the image (time from the change in s)",
            6,
            _bars("time", _metric("avg(dff_trace)", "dF/F"), "experience_level", "dF/F"),
            "condition_set = 'kinds' AND condition = 'change'",
        ),
        Chart(
            "mean_traces",
            "echarts_timeseries_line",
            "Mean dF/F around omitted flashes (time from the omission in s)",
            6,
            _bars("time", _metric("avg(dff_trace)", "dF/F"), "cre_line", "dF/F"),
            "condition_set = 'kinds' AND condition = 'omission'",
        ),
    ),
    (
        Chart(
            "cells",
            "echarts_timeseries_bar",
            "Cells by area",
            6,
            _bars("targeted_structure", _metric("count(*)", "cells"), "cre_line", "cells")
            | {"stack": "Stack"},
        ),
        Chart(
            "performance",
            "echarts_timeseries_bar",
            "Median d′ by experience with the images",
            6,
            _bars("experience_level", _metric("median(rolling_dprime)", "d′"), "cre_line", "d′"),
        ),
    ),
)


def _id(*of: str) -> str:
    """The same for the same thing, so that importing again replaces."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("vblake", *of))))


def _database(lake: Path) -> dict[str, Any]:
    return {
        "database_name": "vblake",
        "uuid": _id("database"),
        "version": "1.0.0",
        "sqlalchemy_uri": f"duckdb:///{lake.resolve()}/catalog.duckdb?access_mode=READ_ONLY",
        "expose_in_sqllab": True,
        "allow_dml": False,
        "extra": {},
    }


def _dataset(view: str) -> dict[str, Any]:
    declared = BI_VIEWS[view]
    columns = [
        {
            "column_name": c.name,
            "type": c.type.value,
            "description": c.comment,
            "is_dttm": c.type is Type.TIMESTAMP,
            "groupby": True,
            "filterable": True,
        }
        for c in declared
    ]
    return {
        "table_name": view,
        "schema": BI_SCHEMA,
        "uuid": _id("dataset", view),
        "database_uuid": _id("database"),
        "version": "1.0.0",
        "columns": columns,
        "description": declared.description,
        "metrics": [],
        "main_dttm_col": None,
    }


def _chart(chart: Chart) -> dict[str, Any]:
    filters = (
        [{"expressionType": "SQL", "clause": "WHERE", "sqlExpression": chart.where}]
        if chart.where
        else []
    )
    return {
        "slice_name": chart.title,
        "viz_type": chart.kind,
        "uuid": _id("chart", chart.title),
        "dataset_uuid": _id("dataset", chart.view),
        "version": "1.0.0",
        "params": {"viz_type": chart.kind, "adhoc_filters": filters, **chart.settings},
    }


def _dashboard() -> dict[str, Any]:
    position: dict[str, Any] = {"DASHBOARD_VERSION_KEY": "v2"}

    def place(key: str, kind: str, children: list[str], **meta: Any) -> str:
        position[key] = {"id": key, "type": kind, "children": children, "meta": meta}
        return key

    rows: list[str] = []
    for i, charts in enumerate(_ROWS):
        height = 16 if charts[0].kind == "big_number_total" else 50
        cells = [
            place(
                f"CHART-{i}-{j}",
                "CHART",
                [],
                width=chart.width,
                height=height,
                chartId=0,
                uuid=_id("chart", chart.title),
                sliceName=chart.title,
            )
            for j, chart in enumerate(charts)
        ]
        rows.append(place(f"ROW-{i}", "ROW", cells, background="BACKGROUND_TRANSPARENT"))
    place("GRID_ID", "GRID", rows)
    place("ROOT_ID", "ROOT", ["GRID_ID"])
    place("HEADER_ID", "HEADER", [], text=_NAME)
    return {
        "dashboard_title": _NAME,
        "slug": "visual-behavior",
        "uuid": _id("dashboard"),
        "position": position,
        "version": "1.0.0",
        "published": True,
        "metadata": {"label_colors": {**_LINES, **_LEVELS}, "color_scheme": "supersetColors"},
    }


def _files(lake: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    charts = [chart for row in _ROWS for chart in row]
    yield "metadata", {"version": "1.0.0", "type": "Dashboard", "timestamp": "2026-01-01T00:00:00"}
    yield "databases/vblake", _database(lake)
    for view in dict.fromkeys(chart.view for chart in charts):
        yield f"datasets/vblake/{view}", _dataset(view)
    for number, chart in enumerate(charts):
        yield f"charts/{number:02}", _chart(chart)
    yield "dashboards/visual_behavior", _dashboard()


def main() -> None:
    """Writes the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lake", type=Path, required=True, help="folder of the lake")
    parser.add_argument("--out", type=Path, required=True, help="the archive, e.g. vblake.zip")
    options = parser.parse_args()
    with zipfile.ZipFile(options.out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _files(options.lake):
            archive.writestr(f"{_TOP}/{name}.yaml", json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
