"""From an address to a page: `/` is the list of runs, `/run/ID/PAGE` a page of one."""

from dataclasses import dataclass
from typing import Any

from perfscope.errors import PerfscopeError
from perfscope.ui import run_list
from perfscope.ui.library import Library
from perfscope.ui.pages import PAGES
from perfscope.ui.shell import headline, links, notice
from perfscope.ui.verdicts import Verdicts
from perfscope.ui.view import View

BY_PATH = {page.PATH: page for page in PAGES}


@dataclass(frozen=True)
class Shown:
    """What the frame shows."""

    links: list[Any]
    page: list[Any]
    title: str


def shown(library: Library, verdicts: Verdicts, path: str, search: str | None) -> Shown:
    """The page at an address; one that says why where there is none. Never raises for what an address holds."""
    only = library.single
    parts = [part for part in path.split("/") if part]
    if not parts and only is not None:
        parts = ["run", only.id]
    if not parts:
        return Shown(links(None, "", False), run_list.layout(library, verdicts), "runs")
    if parts[0] != "run" or len(parts) not in (2, 3):
        return nowhere(only is not None, "There is no such page", f"Nothing is at {path}.")
    try:
        view = View.of(library.get(parts[1]), search)
    except PerfscopeError as error:
        return nowhere(only is not None, "This run cannot be opened", str(error))
    return of_run(view, parts[2] if len(parts) == 3 else PAGES[0].PATH, only is not None)


def of_run(view: View, name: str, single: bool) -> Shown:
    page = BY_PATH.get(name)
    overview = ("Overview", f"{view.base}/{PAGES[0].PATH}")
    if page is None:
        pages = ", ".join(one.TITLE for one in PAGES)
        body: list[Any] = [notice("There is no such page", f"A run has these: {pages}.", overview)]
    elif (why := page.not_applicable(view.trace)) is not None:
        body = [notice(f"No {page.TITLE.lower()} of this run", f"{why[:1].upper()}{why[1:]}.", overview)]
    else:
        body = page.layout(view)
    title = f"{page.TITLE if page is not None else 'perfscope'}: {view.opened.found.name}"
    return Shown(links(view, name, single), [headline(view), *body], title)


def nowhere(single: bool, title: str, words: str) -> Shown:
    door = ("Overview" if single else "All runs", "/")
    return Shown(links(None, "-", single), [notice(title, words, door)], title)
