"""Accessibility of every page of the dashboard and of the report, as axe-core judges it."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.serve import Dashboard
from tests.ui.browsing import forget_last_page, use_color_scheme
from tests.ui.kineto_files import small_trace
from tests.ui.recorded import recorded_run
from tests.ui.test_dashboard_in_browser import opened

AXE = (files("axe_core_python") / "axe.min.js").read_text("utf-8")
RULES = "{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }"
CHECK = (
    f"const done = arguments[0]; axe.run(document, {RULES}).then(({{ violations }}) =>"
    " done(violations.map(({ id, impact, nodes }) => [id, impact, nodes.slice(0, 3).map((node) =>"
    " node.html.slice(0, 200))])), (error) => done([['error', 'critical', [String(error)]]]))"
)


def violations(browser: Any) -> list[Any]:
    """Return what axe-core finds on the page: rule, impact, and elements."""
    browser.execute_script(AXE)
    found: list[Any] = browser.execute_async_script(CHECK)
    return found


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("runs")
    small_trace(folder / "gpu.json")
    recorded_run(folder / "train.perfscope")
    made = Dashboard(folder, port=0)
    yield made
    made.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("run", ["train.perfscope", "gpu.json"])
def test_no_page_has_a_violation(browser: Any, board: Dashboard, run: str, scheme: str) -> None:
    use_color_scheme(browser, scheme)
    try:
        found = {}
        for path in ["/", *(f"/run/{run}/{page.path}" for page in PAGES)]:
            opened(browser, board, path)
            found[path] = violations(browser)
        assert {path: each for path, each in found.items() if each} == {}
    finally:
        use_color_scheme(browser, "light")
        forget_last_page(browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_has_no_violation(page: Any, scheme: str) -> None:
    use_color_scheme(page, scheme)
    try:
        page.refresh()
        assert violations(page) == []
    finally:
        use_color_scheme(page, "light")
