"""The page's application: what follows from a link, a choice, a click or a zoom.

The URL is the state. One callback takes every change, writes the URL, and fills the lists; a second
draws what the state says.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from vblake.explore import choices, layout, views
from vblake.explore.figures.style import LIGHT, THEMES, message
from vblake.explore.source import Source
from vblake.explore.state import State as Shown

_FILTERS = ("mouse", "line", "area", "depth", "experience")
_CHOICES = ("session", "plane", "cell", "condition")
_CONTROLS = ("view", *_FILTERS, *_CHOICES, "align", "image", "measure")
_EVENTS = (
    ("zoom", "data"),
    ("figure", "clickData"),
    ("picture", "clickData"),
    ("whole", "n_clicks"),
)


def build(source: Source) -> Dash:
    """The application over an open lake.

    Every script, style and font is in the packages: the page asks no other host.
    """
    app = Dash(
        title="vblake",
        update_title="",
        serve_locally=True,
        assets_folder=str(Path(__file__).parent / "assets"),
        name="vblake.explore",
    )
    app.layout = layout.page(source)
    _navigation(app, source)
    _drawing(app, source)
    _in_browser(app)
    return app


def _navigation(app: Dash, source: Source) -> None:
    @app.callback(
        output={
            "url": Output("url", "search"),
            "state": Output("state", "data"),
            "values": {name: Output(name, "value") for name in _CONTROLS},
            "options": {name: Output(name, "options") for name in _CHOICES},
            "styles": {name: Output(name, "style") for name in layout.OF_VIEW},
        },
        inputs={
            "search": Input("url", "search"),
            "chosen": {name: Input(name, "value") for name in _CONTROLS},
            "events": [Input(name, prop) for name, prop in _EVENTS],
        },
        state={"before": State("state", "data")},
    )
    def navigate(
        search: str, chosen: dict[str, Any], events: list[Any], before: dict[str, Any] | None
    ) -> Any:
        del events  # what happened is in ctx
        # A link was opened, or the way back was taken. Dash also tells of the address that the
        # last answer has set, and maybe together with a click.
        arrived = before is None or search not in ("", before["url"])
        state, notes = Shown.from_url(search if before is None or arrived else before["url"])
        if not arrived:
            state = changed(state, ctx.triggered_prop_ids, ctx.inputs, chosen, source)
        settled, more = choices.settled(source, state)
        url, offered = settled.to_url(), _offered(settled)
        data = {"url": url, "notes": notes + more, "offered": offered}
        if before == data:
            raise PreventUpdate
        known = {} if before is None else before["offered"]
        return {
            "url": no_update if url == (search or "?") else url,
            "state": data,
            "values": _values(settled, source),
            "options": {
                name: no_update if known.get(name) == key else _options(name, settled, source)
                for name, key in offered.items()
            },
            "styles": {n: _if(settled.view in those) for n, those in layout.OF_VIEW.items()},
        }

    del navigate


def _if(shown: bool) -> dict[str, str]:
    return {} if shown else {"display": "none"}


def changed(
    state: Shown,
    triggers: Any,
    inputs: dict[str, Any],
    chosen: dict[str, Any],
    source: Source,
) -> Shown:
    """The state after what the user did.

    A control counts by its value, whether or not Dash names it: of two calls at about the same time
    Dash drops the answer to the first.

    Args:
        state: before.
        triggers: the events that Dash names, e.g. `figure.clickData`.
        inputs: values by that name.
        chosen: values of the controls; a list without items clears its value, which is no choice.
        source: the lake.
    """
    values = {n: _value(n, v, source) for n, v in chosen.items() if n in _FILTERS or v is not None}
    state = state.with_(**{n: v for n, v in values.items() if v != getattr(state, n)})
    for trigger in triggers:
        name, _, prop = trigger.rpartition(".")
        if prop == "clickData":
            state = state.with_(**views.clicked(state.view, inputs[trigger]))
        elif name == "zoom" and state.view in ("session", "plane"):
            state = state.with_(time=zoomed(inputs[trigger]["range"]))
        elif name == "whole":
            state = state.with_(time=None)
    return state


def zoomed(span: list[float] | None) -> tuple[float, float] | None:
    """What is seen after a zoom, to the millisecond; None for all.

    Example:
        >>> zoomed([-3, 20.00049])
        (0.0, 20.0)
    """
    if span is None:
        return None
    begin = max(round(span[0], 3), 0.0)
    return begin, max(round(span[1], 3), begin + 0.01)


def _value(name: str, value: Any, source: Source) -> Any:
    """The value of a control as the state has it."""
    if name in ("line", "area", "experience"):
        return tuple(sorted(value or ()))
    if name == "depth":
        span = choices.depths(source)
        pair = None if value is None else (float(value[0]), float(value[1]))
        return None if span is None or pair == (float(span[0]), float(span[1])) else pair
    return value


def _values(state: Shown, source: Source) -> dict[str, Any]:
    """The values of the controls."""
    found = {name: asdict(state)[name] for name in _CONTROLS}
    for name in ("line", "area", "experience"):
        found[name] = list(found[name])
    found["depth"] = list(state.depth or choices.depths(source) or (0, 1))
    return found


def _offered(state: Shown) -> dict[str, str]:
    """What the items of each list depend on: 4,782 sessions are not sent at every click."""
    imaging = state.plane if state.view in ("plane", "cell", "population") else None
    filters = [str(getattr(state, name)) for name in _FILTERS]
    return {
        "session": " ".join(filters),
        "plane": str(state.session),
        "cell": str(imaging),
        "condition": str(imaging),
    }


def _options(name: str, state: Shown, source: Source) -> list[dict[str, Any]]:
    """The items of a list."""
    place = choices.place_of(source, state)
    imaging = place if state.view in ("plane", "cell", "population") else None
    match name:
        case "session":
            found = choices.sessions(source, state)
        case "plane":
            found = choices.planes(source, state.session)
        case "cell":
            found = choices.cells(source, imaging)
        case _:
            found = choices.conditions(source, imaging)
    return [{"value": choice.value, "label": choice.label} for choice in found]


def _drawing(app: Dash, source: Source) -> None:
    @app.callback(
        output={
            "figures": {slot: Output(slot, "figure") for slot in layout.SLOTS},
            "styles": {slot: Output(f"{slot}-card", "style") for slot in layout.SLOTS},
            "title": Output("title", "children"),
            "notes": Output("notes", "children"),
            "queries": Output("queries", "children"),
            "whole": Output("whole", "style"),
        },
        inputs={"data": Input("state", "data"), "theme": Input("theme", "data")},
        prevent_initial_call=True,
    )
    def draw(data: dict[str, Any] | None, theme: str | None) -> Any:
        if data is None or theme is None:
            raise PreventUpdate
        state, _ = Shown.from_url(data["url"])
        colours = THEMES.get(theme, LIGHT)
        try:
            view = views.show(source, state, colours)
        except (LookupError, OSError, duckdb.Error) as error:
            view = views.View({"figure": message(colours, f"This cannot be shown. {error}")})
        for figure in view.figures.values():
            figure["layout"]["uirevision"] = data["url"]
        return {
            "figures": {slot: view.figures.get(slot, no_update) for slot in layout.SLOTS},
            "styles": {slot: _if(slot in view.figures) for slot in layout.SLOTS},
            "title": " · ".join(views.title(source, state)),
            "notes": [html.P(note) for note in (*data["notes"], *view.notes)],
            "queries": layout.shown_queries([*view.queries, choices.query_of(state)], source.name),
            "whole": _if(state.time is not None and state.view in ("session", "plane")),
        }

    del draw


def _in_browser(app: Dash) -> None:
    """What needs no server: light and dark, saving figures, copying the link."""
    app.clientside_callback(
        ClientsideFunction("vblake", "theme"),
        Output("theme", "data"),
        Output("theme-kept", "data"),
        Input("theme-button", "n_clicks"),
        State("theme-kept", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("vblake", "zoom"),
        Output("zoom", "data"),
        Input("figure", "relayoutData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("vblake", "save"),
        Output("exported", "data"),
        Input({"type": "export", "slot": ALL, "format": ALL}, "n_clicks"),
        State("title", "children"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("vblake", "copyLink"),
        Output("link", "children"),
        Input("link", "n_clicks"),
        prevent_initial_call=True,
    )
