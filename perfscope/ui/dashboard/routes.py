"""From an address to a page: `/` is the list of runs, `/run/ID/PAGE` a page of one."""

from dataclasses import dataclass
from typing import Any

from perfscope.errors import PerfscopeError
from perfscope.ui.dashboard import live_page, run_list
from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.shell import headline, links, notice
from perfscope.ui.dashboard.source import Source
from perfscope.ui.dashboard.view import View

BY_PATH = {page.PATH: page for page in PAGES}


@dataclass(frozen=True)
class Shown:
    """What the frame shows."""

    links: list[Any]
    page: list[Any]
    title: str


def shown(source: Source, path: str, search: str | None) -> Shown:
    """The page at an address; one that says why where there is none. Never raises for what an
    address holds.
    """
    library, live = source.library, source.live is not None
    only = library.single
    parts = [part for part in path.split("/") if part]
    if not parts and only is not None:
        parts = ["run", only.id]
    if not parts:
        return Shown(
            links(None, "", False, live), run_list.layout(library, source.verdicts), "runs"
        )
    if parts == ["live"] and source.live is not None:
        return Shown(
            links(None, "live", only is not None, live), live_page.layout(source.live), "live"
        )
    if parts[0] != "run" or len(parts) not in (2, 3):
        return nowhere(source, "There is no such page", f"Nothing is at {path}.")
    try:
        view = View.of(library.get(parts[1]), search)
    except PerfscopeError as error:
        return nowhere(source, "This run cannot be opened", str(error))
    return of_run(view, parts[2] if len(parts) == 3 else PAGES[0].PATH, only is not None, live)


def of_run(view: View, name: str, single: bool, live: bool) -> Shown:
    page = BY_PATH.get(name)
    overview = ("Overview", f"{view.base}/{PAGES[0].PATH}")
    if page is None:
        pages = ", ".join(one.TITLE for one in PAGES)
        body: list[Any] = [notice("There is no such page", f"A run has these: {pages}.", overview)]
    elif (why := page.not_applicable(view.trace)) is not None:
        body = [
            notice(f"No {page.TITLE.lower()} of this run", f"{why[:1].upper()}{why[1:]}.", overview)
        ]
    else:
        body = page.layout(view)
    title = f"{page.TITLE if page is not None else 'perfscope'}: {view.opened.found.name}"
    return Shown(links(view, name, single, live), [headline(view), *body], title)


def nowhere(source: Source, title: str, words: str) -> Shown:
    single = source.library.single is not None
    link = ("Overview" if single else "All runs", "/")
    return Shown(
        links(None, "-", single, source.live is not None), [notice(title, words, link)], title
    )
