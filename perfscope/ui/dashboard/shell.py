"""The frame around every page: the navigation, the line that says who was looked at, what stands
where a page cannot.
"""

from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.overview import subject_line

KEYS = (
    ("1 to 9", "go to a page"),
    ("g", "all runs"),
    ("/", "search"),
    ("w s", "zoom in and out in time"),
    ("a d", "earlier and later"),
    ("t", "light or dark"),
    ("?", "these keys"),
)


def frame() -> Component:
    """What stands still while pages change."""
    keys = [html.Tr([html.Th(html.Kbd(key)), html.Td(what)]) for key, what in KEYS]
    return html.Div(
        [
            dcc.Location(id="url"),
            dcc.Store(id="theme"),
            dcc.Store(id="title"),
            html.Nav([brand(), html.Div(id="links"), foot()], id="nav"),
            html.Div([html.Div(id="failure", role="alert"), html.Main(id="page")], id="room"),
            html.Dialog(
                [html.H2("Keys"), html.Table(keys), html.P("Esc closes this.", className="muted")],
                id="keys",
            ),
        ],
        id="frame",
    )


def brand() -> Component:
    return dcc.Link("perfscope", href="/", id="brand", title="all runs")


def foot() -> Component:
    return html.Div(
        [
            html.Button("? keys", id="show-keys", type="button"),
            html.Button("◐ light / dark", id="switch-theme", type="button"),
        ],
        className="foot",
    )


def links(view: View | None, here: str, single: bool, live: bool) -> list[Any]:
    """The pages that this run has facts for, the one that is shown marked."""
    shown: list[Any] = (
        [entry([html.I(className="recording"), "Live"], "/live", here == "live")] if live else []
    )
    shown += [] if single else [entry("All runs", "/", here == "")]
    if view is None:
        return shown
    if not single:
        shown.append(
            html.Div(view.opened.found.name, className="run-name", title=view.opened.found.name)
        )
    for page in PAGES:
        if page.not_applicable(view.trace) is None:
            shown.append(entry(page.TITLE, f"{view.base}/{page.PATH}", here == page.PATH))
    return shown


def entry(words: Any, href: str, here: bool) -> Component:
    return dcc.Link(words, href=href, className="entry here" if here else "entry")


def headline(view: View) -> Component:
    """Who was looked at, and the door to the file that can be sent to a colleague."""
    save = html.A(
        "save as HTML",
        href=f"{view.base}.html",
        download=f"{view.opened.found.id}.html",
        className="tool",
    )
    return html.Header([*view.shown(subject_line(view.trace, view.diagnosis)), save])


def notice(title: str, words: str, link: tuple[str, str] | None = None) -> Component:
    """A page that is not there: what and why, and where to go instead."""
    more = (
        []
        if link is None
        else [html.P(dcc.Link(link[0], href=link[1], className="button"), className="links")]
    )
    return html.Section([html.H1(title), html.P(words), *more], className="card notice")
