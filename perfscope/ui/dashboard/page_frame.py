"""The frame around every page: the navigation, the headline, and notices in place of a page.

The pages, which need pandas, are imported when one is opened.
"""

from typing import TYPE_CHECKING, Any

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.traces.shown_text import shown_text

if TYPE_CHECKING:
    from perfscope.ui.dashboard.view import View

UNREACHABLE = (
    "The dashboard's server cannot be reached. This page connects again when `perfscope ui` runs."
)
KEYS = (
    ("1 to 9", "open a page"),
    ("g", "all runs"),
    ("/", "search"),
    ("w s", "zoom the timeline in and out"),
    ("a d", "move the timeline left and right; so does dragging"),
    ("Shift-drag", "select a range of the timeline"),
    ("f", "fit the selection, the event or the link into the view"),
    ("n p", "next and previous evidence"),
    ("[ ]", "previous and next step"),
    ("Home", "the whole run"),
    ("Esc", "close what the timeline shows of a selection or an event"),
    ("t", "light or dark"),
    ("?", "this list"),
)


def frame() -> Component:
    """Return what stays while pages change."""
    keys = [html.Tr([html.Th(html.Kbd(key)), html.Td(action)]) for key, action in KEYS]
    navigation = html.Nav([brand(), html.Div(id="links"), foot()], id="nav")
    unreachable = html.Div(UNREACHABLE, id="unreachable", role="alert", hidden=True)
    failure = html.Div(id="failure", role="alert")
    content = html.Div([unreachable, failure, html.Main(id="page")], id="content")
    dialog = html.Dialog(
        [
            html.H2("Keyboard shortcuts"),
            html.Table(keys),
            html.P("Esc closes this list.", className="muted"),
        ],
        id="keys",
    )
    stores = [dcc.Location(id="url"), dcc.Store(id="theme"), dcc.Store(id="title")]
    return html.Div([*stores, navigation, content, dialog], id="frame")


def brand() -> Component:
    """Return the link to the list of runs."""
    return dcc.Link("perfscope", href="/", id="brand", title="all runs")


def foot() -> Component:
    """Return the buttons at the bottom of the navigation."""
    buttons = [
        html.Button("Keyboard shortcuts", id="show-keys", type="button"),
        html.Button("◐ light / dark", id="switch-theme", type="button"),
    ]
    return html.Div(buttons, className="foot")


def links(view: "View | None", current: str, *, single: bool, live: bool) -> list[Any]:
    """Return links to the pages that this run has data for; the current one is marked."""
    entries: list[Any] = []
    if live:
        recording = [html.I(className="recording"), "Live"]
        entries.append(entry(recording, "/live", is_current=current == "live"))
    if not single:
        entries.append(entry("All runs", "/", is_current=current == ""))
    if view is None:
        return entries
    from perfscope.ui.dashboard.pages import PAGES

    if not single:
        name = view.opened.found.name
        entries.append(html.Div(name, className="run-name", title=name))
    for page in PAGES:
        if page.not_applicable(view.trace) is None:
            address = view.address(page.path)
            entries.append(entry(page.title, address, is_current=current == page.path))
    return entries


def links_so_far(run: str) -> list[Any]:
    """Return links to the pages of a run that is recorded: they show what is recorded so far."""
    from perfscope.ui.dashboard.pages import PAGES

    name = html.Div("recorded so far", className="run-name")
    return [
        name,
        *(entry(page.title, f"{run}/{page.path}", is_current=False) for page in PAGES),
    ]


def entry(words: Any, href: str, *, is_current: bool) -> Component:
    """Return a link of the navigation."""
    return dcc.Link(words, href=href, className="entry current" if is_current else "entry")


def headline(view: "View") -> Component:
    """Return the recorded program, and a link to the run as a file to send to a colleague."""
    from perfscope.ui.html.overview import subject_line

    save = html.A(
        "Save as HTML",
        href=f"{view.base}.html",
        download=f"{view.opened.found.id}.html",
        className="tool",
    )
    tools = html.Span([*rank_selector(view), save], className="header-tools")
    return html.Header([*view.shown(subject_line(view.trace, view.diagnosis)), tools])


def rank_selector(view: "View") -> list[Component]:
    """Return the selector of the rank that the pages show, where there are several."""
    if len(view.ranks) < 2:
        return []
    judged = view.diagnosis.budget_rank
    options = [
        html.Option(f"rank {rank}" + (" (verdict)" if rank == judged else ""), value=str(rank))
        for rank in view.ranks
    ]
    label: dict[str, Any] = {"aria-label": "rank that the pages show"}
    shown: dict[str, Any] = {"data-rank": str(view.rank), "data-verdict": str(judged)}
    return [html.Select(options, id="rank", className="tool", **label, **shown)]


def notice(title: str, words: str, link: tuple[str, str] | None = None) -> Component:
    """Return a card in place of a page: what is missing and why, and where to continue."""
    contents: list[Any] = [html.H1(title), html.P(shown_text(words))]
    if link is not None:
        label, address = link
        contents.append(
            html.P(dcc.Link(label, href=address, className="button"), className="links")
        )
    return html.Section(contents, className="card notice")
