"""The report's HTML as components of the dashboard: one markup, two ways to show it.

docs/decisions/0023 says why. The result is a tree of React elements: names of the recorded program
reach the page as text, never as markup.
"""

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

VOID_ELEMENTS = {"br", "hr", "img", "input"}
REACT_NAMES = {
    "class": "className",
    "colspan": "colSpan",
    "rowspan": "rowSpan",
    "tabindex": "tabIndex",
    "for": "htmlFor",
}
KEPT_ATTRIBUTES = {"id", "title", "href", "role", "hidden", "open", "download", "type"}
LINK_PROPERTIES = ("className", "style", "title", "id")


def components(
    markup: str, timeline: str, charts: Mapping[str, Component] | None = None
) -> list[Any]:
    """Return the components of trusted, escaped markup.

    `timeline` is the address of the run's timeline, for links to it. `charts` has the component
    that replaces an element of the class `chart`, by the element's id.
    """
    parser = ComponentBuilder(timeline, charts or {})
    parser.feed(markup)
    parser.close()
    return parser.top


class ComponentBuilder(HTMLParser):
    """Builds a tree of components, element by element."""

    def __init__(self, timeline: str, charts: Mapping[str, Component]) -> None:
        super().__init__(convert_charrefs=True)
        self.timeline, self.charts = timeline, charts
        self.top: list[Any] = []
        self.open: list[tuple[str, dict[str, Any], list[Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element, or add it where it cannot have children."""
        attributes = {name: value or "" for name, value in attrs}
        if tag in VOID_ELEMENTS:
            self.add(component(tag, attributes, [], self.timeline))
        else:
            self.open.append((tag, attributes, []))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element and add its component, or the chart that replaces it."""
        if tag in VOID_ELEMENTS or not self.open:
            return
        name, attributes, children = self.open.pop()
        assert name == tag, f"<{name}> is closed by </{tag}>"
        chart = None
        if attributes.get("class") == "chart":
            chart = self.charts.get(attributes.get("id", ""))
        if chart is None:
            chart = component(name, attributes, children, self.timeline)
        self.add(chart)

    def handle_data(self, data: str) -> None:
        """Add text."""
        self.add(data)

    def add(self, child: Any) -> None:
        """Add a child to the innermost open element."""
        siblings = self.open[-1][2] if self.open else self.top
        siblings.append(child)


def component(
    tag: str, attributes: dict[str, str], children: list[Any], timeline: str
) -> Component:
    """Return the component of an element; links inside the dashboard do not reload the page."""
    if tag == "input":
        return search_input(attributes)
    properties: dict[str, Any] = {
        REACT_NAMES.get(name, name): value
        for name, value in attributes.items()
        if is_kept_attribute(name)
    }
    if "style" in attributes:
        properties["style"] = react_style(attributes["style"])
    if tag == "a" and "data-from" in attributes:
        begin, end = attributes["data-from"], attributes["data-to"]
        return link(f"{timeline}#timeline?from={begin}&to={end}", properties, children)
    if tag == "a" and "data-page" in attributes:
        return link(page_address(timeline, attributes["data-page"]), properties, children)
    if tag == "a" and attributes.get("href", "").startswith("/"):
        return link(attributes["href"], properties, children)
    made: Component = getattr(html, tag.capitalize())(children, **properties)
    return made


def page_address(timeline: str, page: str) -> str:
    """Return the address of another page of the run whose timeline is at an address."""
    path, _, query = timeline.partition("?")
    base = path.rpartition("/")[0]
    joined = "&".join(filter(None, [page.partition("?")[2], query]))
    return f"{base}/{page.partition('?')[0]}" + (f"?{joined}" if joined else "")


def is_kept_attribute(name: str) -> bool:
    """Return whether an attribute becomes a property of the component."""
    is_known = name in KEPT_ATTRIBUTES or name in REACT_NAMES
    return is_known or name.startswith(("data-", "aria-"))


def link(href: str, properties: dict[str, Any], children: list[Any]) -> Component:
    """Return a link to another page of the dashboard."""
    kept = {name: properties[name] for name in LINK_PROPERTIES if name in properties}
    return dcc.Link(children, href=href, **kept)


def search_input(attributes: dict[str, str]) -> Component:
    """Return a search field; a script finds it by its class."""
    return dcc.Input(
        type="search",
        placeholder=attributes.get("placeholder", ""),
        className=attributes.get("class", ""),
    )


def react_style(text: str) -> dict[str, str]:
    """Return `flex:1;--c:red` as React needs it."""
    pairs = (part.partition(":") for part in text.split(";") if part.strip())
    return {camel_case(name.strip()): value.strip() for name, _, value in pairs}


def camel_case(name: str) -> str:
    """Return the name of a CSS property in camel case; a custom property keeps its name."""
    if name.startswith("--"):
        return name
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)
