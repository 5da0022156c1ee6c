"""HTML that the report prints, as components of the dashboard: one markup, two ways to show it.

What comes out are React elements: whatever a run is called by reaches the page as text, never as
markup.
"""

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

VOID = {"br", "hr", "img", "input"}
RENAMED = {
    "class": "className",
    "colspan": "colSpan",
    "rowspan": "rowSpan",
    "tabindex": "tabIndex",
    "for": "htmlFor",
}
KEPT = {"id", "title", "href", "role", "hidden", "open", "download", "type"}


def components(markup: str, base: str, charts: Mapping[str, Component] | None = None) -> list[Any]:
    """The components of trusted, escaped markup; a door onto the timeline leads to it under `base`,
    the run's address.

    `charts`: id of an element of class `chart` -> what stands in its place.
    """
    parser = Builder(base, charts or {})
    parser.feed(markup)
    parser.close()
    return parser.top


class Builder(HTMLParser):
    """Builds a tree of components, element by element."""

    def __init__(self, base: str, charts: Mapping[str, Component]) -> None:
        super().__init__(convert_charrefs=True)
        self.base, self.charts = base, charts
        self.top: list[Any] = []
        self.open: list[tuple[str, dict[str, Any], list[Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in VOID:
            self.put(element(tag, given, [], self.base))
        else:
            self.open.append((tag, given, []))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or not self.open:
            return
        name, given, children = self.open.pop()
        assert name == tag, f"<{name}> is closed by </{tag}>"
        chart = self.charts.get(given.get("id", "")) if given.get("class") == "chart" else None
        self.put(chart if chart is not None else element(name, given, children, self.base))

    def handle_data(self, data: str) -> None:
        self.put(data)

    def put(self, child: Any) -> None:
        (self.open[-1][2] if self.open else self.top).append(child)


def element(tag: str, given: dict[str, str], children: list[Any], base: str) -> Component:
    """One element; links inside the dashboard change the page without loading it anew."""
    props: dict[str, Any] = {
        RENAMED.get(name, name): value for name, value in given.items() if is_kept(name)
    }
    if "style" in given:
        props["style"] = style_of(given["style"])
    if tag == "input":
        return search_field(given)
    if tag == "a" and "data-from" in given:
        place = f"{base}/timeline#timeline?from={given['data-from']}&to={given['data-to']}"
        return link(place, props, children)
    if tag == "a" and given.get("href", "").startswith("/"):
        return link(given["href"], props, children)
    made: Component = getattr(html, tag.capitalize())(children, **props)
    return made


def is_kept(name: str) -> bool:
    return name in KEPT or name in RENAMED or name.startswith(("data-", "aria-"))


def link(href: str, props: dict[str, Any], children: list[Any]) -> Component:
    known = {name: props[name] for name in ("className", "style", "title", "id") if name in props}
    return dcc.Link(children, href=href, **known)


def search_field(given: dict[str, str]) -> Component:
    """A field to type into; what it does is told by its class."""
    return dcc.Input(
        type="search", placeholder=given.get("placeholder", ""), className=given.get("class", "")
    )


def style_of(text: str) -> dict[str, str]:
    """`flex:1;--c:red` as React wants it; a custom property keeps its name."""
    pairs = (part.partition(":") for part in text.split(";") if part.strip())
    return {camel(name.strip()): value.strip() for name, _, value in pairs}


def camel(name: str) -> str:
    if name.startswith("--"):
        return name
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)
