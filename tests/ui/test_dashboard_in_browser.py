"""The dashboard in a real browser: every page, by mouse and keyboard, light and dark, without
requests to other hosts.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.serve import Dashboard
from tests.target_processes import killed_at_end, perfscope, until
from tests.traces.generated_ranks import generated_ranks
from tests.traces.kineto.recorded import FOLDER
from tests.ui.browsing import forget_last_page, shown_text
from tests.ui.dashboard_client import address
from tests.ui.kineto_files import HOSTILE, events, small_trace
from tests.ui.recorded import recorded_run

PICTURES = (
    Path(os.environ.get("PERFSCOPE_PICTURES", "")) if os.environ.get("PERFSCOPE_PICTURES") else None
)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("runs")
    small_trace(folder / "gpu.json")
    threads = [
        {"ph": "X", "cat": "cpu_op", "pid": 1, "tid": n, "name": HOSTILE, "ts": n, "dur": 5}
        for n in range(20_000)
    ]
    small_trace(folder / "hostile.json", [*events(3), *threads])
    recorded_run(folder / "train.perfscope")
    made = Dashboard(folder, port=0)
    yield made
    made.close()


PAGE_STATE = """
    const loading = '[data-dash-is-loading=true],._dash-loading,.dash-graph--pending';
    const text = document.getElementById('page')?.innerText ?? '';
    return [document.querySelectorAll(loading).length, text.length,
      document.querySelectorAll('.js-plotly-plot .main-svg').length,
      text.includes('loading the timeline')]"""


def settled(browser: Any) -> None:
    """Wait until nothing loads and the page no longer changes."""
    last: list[Any] = []

    def is_settled() -> bool:
        now = browser.execute_script(PAGE_STATE)
        seen, last[:] = list(last), now
        loading, length, _, timeline_loads = now
        return loading == 0 and length > 0 and not timeline_loads and seen == now

    until(is_settled)


def faults(browser: Any) -> list[str]:
    """Return console errors, requests to other hosts, and failed answers."""
    found = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            parts = urlsplit(url)
            if parts.scheme in ("http", "https", "ws") and parts.hostname != "127.0.0.1":
                found.append(url)
        if event["method"] == "Network.responseReceived":
            response = event["params"]["response"]
            if response["status"] >= 400:
                found.append(response["url"])
    return found


def sign_in(browser: Any, board: Dashboard) -> None:
    """Open the printed address once, as a user does."""
    if browser.execute_script("return location.origin") != address(board, ""):
        browser.get(board.url)


def opened(browser: Any, board: Dashboard, path: str) -> Any:
    forget_last_page(browser)
    sign_in(browser, board)
    browser.get(address(board, path))
    settled(browser)
    if PICTURES is not None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(
            str(PICTURES / f"{path.strip('/').replace('/', '-') or 'runs'}.png")
        )
    return browser


def every_page(browser: Any, board: Dashboard, run: str) -> None:
    opened(browser, board, f"/run/{run}")
    links = browser.execute_script(
        "return [...document.querySelectorAll('#links a')].map(a => new URL(a.href).pathname)"
    )
    assert len(links) >= 3
    for link in links:
        opened(browser, board, link)
        words = browser.find_element("id", "page").text
        assert (
            len(words) > 40
            and "Something went wrong" not in browser.find_element("id", "content").text
        )
    for page in PAGES:  # also those without facts explain themselves
        opened(browser, board, f"/run/{run}/{page.path}")
    assert faults(browser) == []


@pytest.mark.parametrize("run", ["gpu.json", "hostile.json", "train.perfscope"])
def test_every_page_has_a_drawing_or_an_explanation(
    browser: Any, board: Dashboard, run: str
) -> None:
    every_page(browser, board, run)
    assert browser.execute_script("return document.querySelectorAll('#page script').length") == 0


@pytest.mark.shared_traces
def test_every_page_of_a_real_gpu_trace(browser: Any, tmp_path: Path) -> None:
    trace = FOLDER / "kineto" / "h100_qwen05b.json.gz"
    if not trace.exists():
        pytest.skip(f"{trace} is not available")
    board = Dashboard(trace, port=0)
    try:
        every_page(browser, board, trace.name)
    finally:
        board.close()


def test_links_lead_from_the_list_to_the_interval_of_the_evidence(
    browser: Any, board: Dashboard
) -> None:
    opened(browser, board, "/")
    until(lambda: "Input-bound" in shown_text(browser, "#page"))
    browser.find_element("link text", "train.perfscope").click()
    until(lambda: browser.find_elements("css selector", "#page h1"))
    settled(browser)
    verdict = browser.find_element("css selector", "#page h1")
    assert verdict.text.startswith("Input-bound") and verdict.location["y"] < 500
    browser.find_element("css selector", "#page .links a.button.main").click()
    until(lambda: "/timeline#timeline?from=" in browser.current_url)
    until(
        lambda: (
            browser.execute_script("return document.getElementById('timeline')?.dataset.ready")
            == "yes"
        )
    )
    shown = browser.execute_script(
        "const v = document.getElementById('timeline').timeline.view; return [v.from, v.to]"
    )
    whole = browser.execute_script("return document.getElementById('timeline').timeline.meta.span")
    assert shown[1] - shown[0] < 0.6 * (whole[1] - whole[0])
    assert faults(browser) == []


RUNS = "gridApi('runs')"


def test_runs_are_filtered_and_sorted_and_the_address_keeps_it(
    browser: Any, board: Dashboard
) -> None:
    opened(browser, board, "/?runs.search=hostile")
    count = f"return {RUNS}?.getDisplayedRowCount()"
    until(lambda: browser.execute_script(count) == 1)
    field = browser.find_element("css selector", "#run-list .quick-search input")
    field.send_keys("\ue009a\ue009", "json")  # Ctrl+A
    until(lambda: browser.execute_script(count) == 2)
    until(lambda: "runs.search=json" in browser.current_url)
    head = "document.querySelector('#run-list [col-id=changed] .ag-header-cell-label').click()"
    browser.execute_script(head)
    until(lambda: "runs.sort=changed+desc" in browser.current_url)
    browser.refresh()
    settled(browser)
    until(lambda: browser.execute_script(count) == 2)
    assert faults(browser) == []


def test_a_job_is_unfolded_and_a_run_is_deleted_after_a_question(
    browser: Any, tmp_path: Path
) -> None:
    generated_ranks(tmp_path / "job", ranks=4)
    run = recorded_run(tmp_path / "train.perfscope")
    other = Dashboard(tmp_path, port=0)
    try:
        opened(browser, other, "/")
        count = f"return {RUNS}?.getDisplayedRowCount()"
        until(lambda: browser.execute_script(count) == 2)
        until(lambda: browser.find_elements("css selector", "#run-list .fold"))
        browser.find_element("css selector", "#run-list .fold").click()
        until(lambda: browser.execute_script(count) == 6)
        until(lambda: "open=job-" in browser.current_url)
        names = f"const n = []; {RUNS}.forEachNodeAfterFilterAndSort((x) => n.push(x.data.job));"
        jobs = browser.execute_script(names + "return n.map(Boolean)")
        assert jobs.index(True) > 0 and sum(jobs) == 4
        (box,) = browser.find_elements("css selector", "#run-list .ag-row input:enabled")
        browser.execute_script("arguments[0].click()", box)
        until(lambda: browser.find_element("id", "delete-runs").is_enabled())
        browser.find_element("id", "delete-runs").click()
        assert "train.perfscope" in shown_text(browser, "#deletion-names")
        browser.find_element("id", "cancel-deletion").click()
        assert run.exists()
        browser.find_element("id", "delete-runs").click()
        browser.find_element("id", "confirm-deletion").click()
        until(lambda: not run.exists())
        until(lambda: browser.execute_script(count) == 5)
        assert faults(browser) == []
    finally:
        other.close()


def test_every_page_is_reached_with_the_keyboard(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "/run/train.perfscope/overview")
    press = (
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], bubbles:"
        " true }))"
    )
    browser.execute_script(press, "3")
    until(lambda: browser.current_url.endswith("/by-code"))
    browser.execute_script(press, "?")
    assert browser.execute_script("return document.getElementById('keys').open")
    browser.execute_script("document.getElementById('keys').close()")
    browser.execute_script(press, "g")
    until(lambda: urlsplit(browser.current_url).path == "/")


def test_the_theme_changes_the_page_and_is_remembered(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "/run/train.perfscope/host")
    fill = "return getComputedStyle(document.querySelector('[data-chart=cpu] path')).stroke"
    before = browser.execute_script(fill)
    browser.find_element("id", "switch-theme").click()
    until(lambda: browser.execute_script(fill) != before)
    after = browser.execute_script(fill)
    opened(browser, board, "/run/train.perfscope/host")
    assert browser.execute_script(fill) == after
    browser.find_element("id", "switch-theme").click()


def test_a_slider_shows_the_prediction_of_the_analyzer(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "/run/train.perfscope/input")
    assert browser.find_element("id", "what-if").text.startswith("With 8 workers: about")
    opened(browser, board, "/run/train.perfscope/input?workers=2&cost=100")
    assert "measured" in browser.find_element("id", "what-if").text
    thumb = browser.find_element("css selector", "#what-if-workers [role=slider]")
    thumb.send_keys("\ue014")  # arrow right
    until(lambda: shown_text(browser, "#what-if").startswith("With 3 workers: about"))
    until(lambda: "workers=3&cost=100" in browser.current_url)
    opened(browser, board, "/run/train.perfscope/input?workers=4&cost=50")
    assert browser.find_element("id", "what-if").text.startswith(
        "With 4 workers and batches that take 50 %"
    )
    opened(browser, board, "/run/train.perfscope/input?workers=many&cost=-1")
    assert browser.find_element("id", "what-if").text.startswith("With 8 workers: about")
    assert faults(browser) == []


def test_the_input_page_has_the_loop_and_its_workers_where_the_finding_points(
    browser: Any, board: Dashboard
) -> None:
    opened(browser, board, "/run/train.perfscope/input")
    until(
        lambda: (
            browser.execute_script("return document.getElementById('timeline')?.dataset.ready")
            == "yes"
        )
    )
    view = "const { view, meta, tracks } = document.getElementById('timeline').timeline;"
    kinds = browser.execute_script(view + "return [...new Set(tracks.map((one) => one.kind))]")
    assert set(kinds) == {"steps", "thread", "loader"}
    begin, end, mark = browser.execute_script(view + "return [view.from, view.to, meta.marks[0]]")
    assert begin <= mark["from"] and end >= mark["to"]
    assert faults(browser) == []


KERNELS = "gridApi('kernels')"


def test_a_table_is_searched_sorted_and_saved_and_its_state_is_in_the_address(
    browser: Any, board: Dashboard
) -> None:
    opened(browser, board, "/run/gpu.json/operators?tab=kernels")
    until(lambda: browser.execute_script(f"return {KERNELS}?.getDisplayedRowCount() > 0"))
    csv = browser.execute_script(f"return gridAsCsv({KERNELS})").splitlines()
    assert csv[0].startswith("kernel,class,runs") and HOSTILE.split('"')[0] in csv[1]
    head = "document.querySelector('#section-kernels [col-id=sum_ns] .ag-header-cell-label')"
    browser.execute_script(f"{head}.click()")
    until(lambda: "kernels.sort=sum_ns+desc" in browser.current_url)
    row = "document.querySelector('#section-kernels .ag-row .ag-cell')"
    browser.execute_script(f"{row}.click()")
    until(lambda: HOSTILE in shown_text(browser, "#section-kernels .row-details"))
    browser.refresh()
    settled(browser)
    state = f"{KERNELS}?.getColumnState().find((column) => column.sort)"
    until(lambda: browser.execute_script(f"return {state}?.colId") == "sum_ns")
    assert faults(browser) == []


def test_stacks_are_searched_and_a_step_opens_the_timeline(browser: Any, board: Dashboard) -> None:
    opened(browser, board, "/run/train.perfscope/by-code?tab=flame-graph")
    field = browser.find_element("css selector", "#page .search input")
    field.send_keys("u.py")
    until(lambda: "1 frame" in shown_text(browser, "#page .search output"))
    opened(browser, board, "/run/train.perfscope/overview")
    chart = browser.find_element("css selector", ".step-chart")
    chart.send_keys("\ue014\ue007")  # arrow right, enter
    until(lambda: "/run/train.perfscope/timeline#timeline?from=" in browser.current_url)
    until(
        lambda: (
            browser.execute_script("return document.getElementById('timeline')?.dataset.ready")
            == "yes"
        )
    )
    assert faults(browser) == []


def test_a_page_says_that_the_server_is_gone_and_connects_again(
    browser: Any, tmp_path: Path
) -> None:
    small_trace(tmp_path / "gpu.json")
    probe = Dashboard(tmp_path, port=0, with_token=False)
    port = probe.access.port
    probe.close()
    command = [*perfscope("ui", tmp_path, "--no-token", "--port", port)]
    is_hidden = "return document.getElementById('unreachable')?.hidden"
    with killed_at_end(command) as first:
        assert first.stdout is not None and str(port) in first.stdout.readline()
        browser.get(f"http://127.0.0.1:{port}/")
        settled(browser)
    browser.find_element("css selector", "#page a[href*='/run/']").click()
    until(lambda: browser.execute_script(is_hidden) is False)
    with killed_at_end(command):
        until(lambda: browser.execute_script(is_hidden) is True)
        settled(browser)
        assert browser.find_elements("css selector", "#page section")
        forget_last_page(browser)
