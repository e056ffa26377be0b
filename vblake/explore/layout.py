"""The page: header, the list of choices on the left, figures and their queries on the right."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from vblake.explore import choices
from vblake.explore.query import Query
from vblake.explore.source import Source
from vblake.explore.state import ALIGNED, IMAGES, MEASURES, VIEWS

SLOTS = {"picture": "plane", "figure": "figure", "more": "cell"}
"""The places for figures, each with the name of an exported file."""

FORMATS = ("svg", "png")

_CONFIG: Any = {
    "displaylogo": False,
    "scrollZoom": True,
    "responsive": True,
    "doubleClick": "autosize",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "toImage", "autoScale2d"],
}

OF_VIEW = {
    "plane-field": ("plane", "cell", "population"),
    "cell-field": ("plane", "cell", "population"),
    "align-field": ("trials",),
    "image-field": ("plane",),
    "condition-field": ("plane", "population"),
    "measure-field": ("population",),
}
"""The choices that only some views have."""


def page(source: Source) -> Any:
    """The page of a lake; nothing is chosen yet."""
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Store(id="state"),
            dcc.Store(id="theme"),
            dcc.Store(id="theme-kept", storage_type="local"),
            dcc.Store(id="exported"),
            dcc.Store(id="zoom"),
            _header(source),
            html.Div([_side(source), _main()], className="body"),
        ],
        className="page",
    )


def _header(source: Source) -> Any:
    short = "/".join(source.name.split("/")[-2:])
    synthetic = html.Span(
        "synthetic data, not a recording",
        className="badge",
        title="Every number is simulated. Nothing here says anything about mice.",
    )
    return html.Header(
        [
            html.Div(
                [
                    html.Span("vblake", className="brand"),
                    html.Span(short, className="lake", title=source.name),
                    *([synthetic] if source.is_synthetic else []),
                ],
                className="where",
            ),
            dcc.RadioItems(
                [{"value": k, "label": v} for k, v in VIEWS.items()],
                id="view",
                className="tabs",
                inline=True,
            ),
            html.Button("◐", id="theme-button", title="Light or dark", className="quiet"),
        ]
    )


def _side(source: Source) -> Any:
    span = choices.depths(source)
    return html.Nav(
        [
            html.H2("Sessions"),
            _field("Mouse", _list("mouse", _items(choices.values(source, "mouse_id")))),
            _field(
                "Cre line", _list("line", _items(choices.values(source, "cre_line")), multi=True)
            ),
            _field(
                "Area",
                _list("area", _items(choices.values(source, "targeted_structure")), multi=True),
            ),
            _field("Depth (µm)", _depth(span)),
            _field(
                "Experience",
                _list("experience", _items(choices.values(source, "experience_level")), multi=True),
            ),
            html.Hr(),
            _field("Session", _list("session", [], clearable=False), "session-field"),
            _field("Plane", _list("plane", [], clearable=False), "plane-field"),
            _field("Cell", _list("cell", [], clearable=False), "cell-field"),
            _field("Trials aligned", _radio("align", ALIGNED), "align-field"),
            _field("Image", _radio("image", IMAGES), "image-field"),
            _field("Flashes", _list("condition", [], clearable=False), "condition-field"),
            _field("Measure", _radio("measure", MEASURES), "measure-field"),
        ]
    )


def _main() -> Any:
    cards = {slot: _card(slot) for slot in SLOTS}
    return html.Main(
        [
            html.Div(
                [
                    html.H1(id="title"),
                    html.Button("Whole session", id="whole", className="quiet"),
                    html.Button("Copy link", id="link", className="quiet"),
                ],
                className="top",
            ),
            html.Div(id="notes", className="notes"),
            html.Div([cards["picture"], cards["figure"]], className="row"),
            cards["more"],
            html.Details(
                [
                    html.Summary("The queries behind these figures: SQL and Polars"),
                    html.Div(id="queries"),
                ],
                className="queries",
                id="queries-part",
            ),
        ]
    )


def _card(slot: str) -> Any:
    buttons = [
        html.Button(
            name.upper(),
            id={"type": "export", "slot": slot, "format": name},
            className="quiet",
            title=f"Save this figure as {name.upper()}",
        )
        for name in FORMATS
    ]
    graph = dcc.Graph(id=slot, config=_CONFIG, className="graph", figure={"layout": _BLANK})
    return html.Section(
        [
            html.Div(buttons, className="export"),
            dcc.Loading(
                graph, delay_show=400, overlay_style={"visibility": "visible", "opacity": 0.5}
            ),
        ],
        id=f"{slot}-card",
        className=f"card {slot}",
    )


_BLANK = {
    "xaxis": {"visible": False},
    "yaxis": {"visible": False},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
}


def _field(label: str, control: Any, id_: str | None = None) -> Any:
    more: dict[str, Any] = {} if id_ is None else {"id": id_}
    return html.Div([html.Label(label), control], className="field", **more)


def _list(id_: str, options: list[dict[str, Any]], **more: Any) -> Any:
    return dcc.Dropdown(
        options,
        id=id_,
        placeholder="all" if more.get("clearable", True) else "none",
        maxHeight=420,
        optionHeight="auto",
        **more,
    )


def _radio(id_: str, known: dict[str, str]) -> Any:
    return dcc.RadioItems([{"value": k, "label": v} for k, v in known.items()], id=id_)


def _items(found: list[choices.Choice]) -> list[dict[str, Any]]:
    return [{"value": choice.value, "label": choice.label} for choice in found]


def _depth(span: tuple[int, int] | None) -> Any:
    low, high = span or (0, 0)
    return dcc.RangeSlider(
        low,
        high if high > low else low + 1,
        id="depth",
        step=5,
        marks={low: f"{low}", high: f"{high}"},
        disabled=span is None or low == high,
        tooltip={"placement": "bottom"},
        allow_direct_input=False,
    )


def shown_queries(queries: list[Query], lake: str) -> list[Any]:
    """The queries as texts to copy.

    Args:
        queries: what the figures are made of.
        lake: address of the lake.
    """
    return [
        html.Section(
            [
                html.H3(query.title),
                html.Div(
                    [
                        _text("SQL", query.sql, f"sql-{number}"),
                        _text("Polars", query.program(lake), f"polars-{number}"),
                    ],
                    className="texts",
                ),
            ]
        )
        for number, query in enumerate(queries)
    ]


def _text(kind: str, words: str, id_: str) -> Any:
    return html.Div(
        [
            html.Div(
                [kind, dcc.Clipboard(target_id=id_, title=f"Copy the {kind}")], className="kind"
            ),
            html.Pre(words, id=id_),
        ]
    )
