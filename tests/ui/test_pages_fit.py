"""Every page fits its window: nothing is wider than the page or sticks out of its card."""

from collections.abc import Iterator
from typing import Any

import pytest

from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.serve import Dashboard
from tests.target_processes import until
from tests.traces.generated_ranks import generated_ranks
from tests.ui.browsing import forget_last_page, use_color_scheme
from tests.ui.dashboard_client import address
from tests.ui.kineto_files import small_trace
from tests.ui.recorded import recorded_run

SIZES = ((1280, 720), (1440, 900), (3840, 2160))
RUNS = ("gpu.json", "train.perfscope", "job")
SHOWN_PAGES = "return [...document.querySelectorAll('#links a')].map((a) => a.href)"
IS_SHOWN = """
  const page = document.getElementById("page");
  const loads = document.querySelector("[data-dash-is-loading=true],._dash-loading");
  return !loads && page.innerText.length > 40 && !page.innerText.includes("loading the timeline");
"""
OVERFLOWS = """
  const found = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push("the page");
  const isCut = (element) => {
    for (let each = element.parentElement; each; each = each.parentElement)
      if (getComputedStyle(each).overflowX !== "visible") return true;
    return false;
  };
  for (const element of document.querySelectorAll("#page .card *, #page header *")) {
    if (element.closest(".ag-root-wrapper, #timeline, .js-plotly-plot") || isCut(element)) continue;
    const box = element.getBoundingClientRect();
    const around = (element.closest(".card") || document.body).getBoundingClientRect();
    if (box.width && (box.right > around.right + 1 || box.left < around.left - 1))
      found.push(`${element.tagName}.${element.className}`);
  }
  return found;
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("fitting")
    small_trace(folder / "gpu.json")
    recorded_run(folder / "train.perfscope")
    generated_ranks(folder / "job", ranks=12)
    made = Dashboard(folder, port=0)
    yield made
    made.close()


@pytest.fixture
def sized(browser: Any) -> Iterator[Any]:
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    use_color_scheme(browser, "")


def resized(browser: Any, size: tuple[int, int]) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    # Two frames: the observers of sizes have run.
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )


def pages_that_overflow(browser: Any, links: list[str]) -> list[tuple[str, tuple[int, int], str]]:
    found = []
    for number, link in enumerate(links):
        use_color_scheme(browser, ("light", "dark")[number % 2])
        browser.get(link)
        until(lambda: browser.execute_script(IS_SHOWN))
        for size in SIZES:
            resized(browser, size)
            found += [(link, size, name) for name in browser.execute_script(OVERFLOWS)]
    return found


@pytest.mark.parametrize("run", RUNS)
def test_every_page_fits_small_and_large_windows(sized: Any, board: Dashboard, run: str) -> None:
    forget_last_page(sized)
    sized.get(board.url)
    (run_id,) = [
        found.id for found in board.library.runs() if found.name.startswith(run) and not found.job
    ]
    sized.get(address(board, f"/run/{run_id}/{PAGES[0].path}"))
    until(lambda: sized.execute_script(IS_SHOWN))
    links = sized.execute_script(SHOWN_PAGES)
    assert len(links) >= 4
    assert pages_that_overflow(sized, links) == []
