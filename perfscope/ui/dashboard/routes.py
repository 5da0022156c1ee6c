"""From an address to a page: `/` is the list of runs, `/run/ID/PAGE` a page of a run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfscope.analyzer.number_text import capitalized
from perfscope.errors import PerfscopeError
from perfscope.traces.folder_contents import url_id
from perfscope.ui.dashboard import run_list
from perfscope.ui.dashboard.address_query import query_of
from perfscope.ui.dashboard.dashboard_data import DashboardSource
from perfscope.ui.dashboard.page_frame import headline, links, links_so_far, notice

if TYPE_CHECKING:
    from perfscope.ui.dashboard.view import View

FIRST_PAGE = "overview"
NO_SUCH_PAGE = "Page not found"


@dataclass(frozen=True)
class Shown:
    """What the frame shows: the navigation, the page, and the title of the window."""

    links: list[Any]
    page: list[Any]
    title: str


def shown(source: DashboardSource, path: str, search: str | None) -> Shown:
    """Return the page at an address, or a page that says why there is none.

    Never raises because of what an address holds.
    """
    library, is_live = source.library, source.live is not None
    only_run = library.single
    parts = [part for part in path.split("/") if part]
    if not parts and only_run is not None:
        parts = ["live"] if is_live else ["run", only_run.id]
    if not parts:
        runs = run_list.layout(source, query_of(search))
        return Shown(links(None, "", single=False, live=is_live), runs, "runs")
    if parts == ["live"] and source.live is not None:
        from perfscope.ui.dashboard import live_page

        navigation = links(None, "live", single=only_run is not None, live=True)
        navigation += links_so_far(f"/run/{url_id(source.live.watch.path.name)}")
        return Shown(navigation, live_page.layout(source.live), "live")
    if parts[0] != "run" or len(parts) not in (2, 3):
        return missing_page(source, NO_SUCH_PAGE, f"Nothing is at {path}.")
    from perfscope.ui.dashboard.view import View

    try:
        view = View.of(library.get(parts[1]), search)
    except PerfscopeError as error:
        return missing_page(source, "This run cannot be opened", str(error))
    name = parts[2] if len(parts) == 3 else FIRST_PAGE
    return page_of_run(view, name, single=only_run is not None, live=is_live)


def page_of_run(view: "View", name: str, *, single: bool, live: bool) -> Shown:
    """Return a page of a run, or why the run does not have it."""
    from perfscope.ui.dashboard.pages import PAGES

    page = next((each for each in PAGES if each.path == name), None)
    overview = ("Overview", f"{view.base}/{PAGES[0].path}")
    if page is None:
        titles = ", ".join(each.title for each in PAGES)
        body: list[Any] = [notice(NO_SUCH_PAGE, f"A run has these pages: {titles}.", overview)]
    elif (reason := page.not_applicable(view.trace)) is not None:
        title = f"{page.title}: no data in this run"
        body = [notice(title, f"{capitalized(reason)}.", overview)]
    else:
        body = page.layout(view)
    title = f"{page.title if page is not None else 'perfscope'}: {view.opened.found.name}"
    navigation = links(view, name, single=single, live=live)
    return Shown(navigation, [headline(view), *body], title)


def missing_page(source: DashboardSource, title: str, words: str) -> Shown:
    """Return a page that says what is not there, with a link to what is."""
    single = source.library.single is not None
    link = ("Overview" if single else "All runs", "/")
    navigation = links(None, "-", single=single, live=source.live is not None)
    return Shown(navigation, [notice(title, words, link)], title)
