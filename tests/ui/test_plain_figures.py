"""The charts of lines and bars that the dashboard draws without Plotly, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.load import load_trace
from perfscope.ui.dashboard.figure_cards import plain_data
from perfscope.ui.dashboard.serve import Dashboard
from perfscope.ui.html.sections import host_sections
from tests.target_processes import until
from tests.ui.browsing import forget_last_page
from tests.ui.dashboard_client import address
from tests.ui.recorded import recorded_run

CHARTS = "return [...document.querySelectorAll('.plain-figure[data-drawn]')].length"
TICKS = """return [...document.querySelectorAll(`[data-chart=${arguments[0]}] text.middle`)]
  .map((label) => label.textContent).filter((text) => text.endsWith(' s')).map(parseFloat)"""
POINT = """
const svg = document.querySelector(`[data-chart=${arguments[0]}] svg`);
const box = svg.getBoundingClientRect();
for (const [kind, share] of arguments[1])
  svg.dispatchEvent(new PointerEvent(kind, { bubbles: true, button: 0,
    clientX: box.left + share * box.width, clientY: box.top + 60 }));
return [...document.querySelectorAll('.cursor.shown')].length"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("runs")
    recorded_run(folder / "train.perfscope")
    made = Dashboard(folder, port=0)
    yield made
    made.close()


def opened(browser: Any, board: Dashboard, page: str, charts: int) -> None:
    """Open a page of the run, and wait for its charts."""
    forget_last_page(browser)
    browser.get(board.url)
    browser.get(address(board, f"/run/train.perfscope/{page}"))
    until(lambda: browser.execute_script(CHARTS) == charts)


def test_no_figure_of_a_page_needs_plotly(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "input", 3)
    assert browser.execute_script("return typeof Plotly") == "undefined"
    # A point per number of workers from 0 to 8, and the measured one.
    path = "return document.querySelector('[data-chart=what-if] path[data-name=predicted]')"
    assert browser.execute_script(f"{path}.getAttribute('d').match(/[ML]/g).length") == 9
    bars = "return document.querySelectorAll('[data-chart=fetch] .bar-part').length"
    assert browser.execute_script(bars) == 6
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def test_a_slider_changes_its_chart(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "input?workers=2&cost=100", 3)
    paths = "return document.querySelectorAll('[data-chart=what-if] path')[2].getAttribute('d')"
    before = browser.execute_script(paths)
    thumb = browser.find_element("css selector", "#what-if-workers [role=slider]")
    thumb.send_keys("\ue014")  # arrow right
    until(lambda: browser.execute_script(paths) != before)


def test_charts_of_the_same_time_share_cursor_and_zoom(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "host", 4)
    whole = browser.execute_script(TICKS, "memory")
    assert browser.execute_script(POINT, "cpu", [["pointermove", 0.5]]) == 4
    tip = browser.find_element("css selector", "[data-chart=cpu] .tip")
    assert "training process: 0.2 cores" in tip.text and tip.text.splitlines()[0].endswith(" s")
    drag = [["pointerdown", 0.4], ["pointermove", 0.6], ["pointerup", 0.6]]
    browser.execute_script(POINT, "cpu", drag)
    zoomed = browser.execute_script(TICKS, "memory")
    assert len(zoomed) > 1 and whole[0] < zoomed[0] < zoomed[-1] < whole[-1]
    browser.execute_script(POINT, "memory", [["dblclick", 0.5]])
    assert browser.execute_script(TICKS, "cpu") == whole


def test_a_saved_picture_has_the_colors_of_the_page(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "host", 4)
    picture = "return pictureText(document.querySelector('[data-chart=cpu] svg'))"
    text = browser.execute_script(picture)
    assert (
        text.startswith("<svg")
        and "var(" not in text
        and "stroke: rgb(" in text.replace("stroke:rgb", "stroke: rgb")
    )


def test_figures_are_sent_as_plain_numbers(tmp_path: Path) -> None:
    """The script does not decode Plotly's binary arrays."""
    sections = host_sections(load_trace(recorded_run(tmp_path / "train.perfscope")))
    assert len(sections) == 4 and all(section.is_plain for section in sections)
    assert not any("bdata" in plain_data(section) for section in sections)


def test_lines_end_at_the_axes(browser: Any, board: Dashboard) -> None:
    """Each chart clips what it draws by a path of its own."""
    opened(browser, board, "host", 4)
    clips = """return [...document.querySelectorAll('.plain-figure g[clip-path]')]
      .map((group) => document.querySelector(group.getAttribute('clip-path').slice(4, -1)))
      .map((clip) => clip?.closest('.plain-figure')?.dataset.chart ?? null)"""
    charts = "return [...document.querySelectorAll('.plain-figure')].map((c) => c.dataset.chart)"
    assert browser.execute_script(clips) == browser.execute_script(charts)
