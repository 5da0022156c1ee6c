"""The timeline in a real browser, from a server and from a file: mouse, keyboard, statistics,
search, flow and themes.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from selenium.webdriver import ActionChains, Keys
from werkzeug.serving import make_server

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Evidence
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from perfscope.ui.html.page_style import report_style
from perfscope.ui.html.report import write_report
from perfscope.ui.timeline.component_files import timeline_script, timeline_style
from perfscope.ui.timeline.routes import add_timeline_routes
from tests.analyzer.timeline.test_lanes import gpu_run
from tests.build import MAIN, trace
from tests.target_processes import until
from tests.traces.kineto.recorded import FOLDER, WHERE
from tests.ui.browsing import forget_last_page, shown_text
from tests.ui.sample_traces import HOSTILE, input_bound

PAGE = (
    '<html><style>{style}</style><body><div id="timeline"'
    ' data-timeline="/timeline/{run}" {more}></div><script>{script}</script>'
)
FILL = 'data-height="fill" style="height: 80vh"'
T = "const t = document.getElementById('timeline').timeline; "
ROW = (
    T + "const own = perfscopeTimeline, row = own.rowOfLane(t, arguments[0]); const box ="
    " t.canvas.getBoundingClientRect();"
)
ROW += (
    "return [box.left + own.xOf(t, arguments[1]), box.top + t.size.ruler + row.y - t.view.scroll +"
    " row.h / 2]"
)


def hostile() -> Trace:
    ops = [
        {"process": 0, "tid": 5, "ts": 10 * at, "dur": 8, "name": f"{HOSTILE} {at % 3}"}
        for at in range(50)
    ]
    return trace(ops=ops)


def many_ranks() -> Trace:
    """Return a trace of six ranks with an operator each."""
    ranks = [{**MAIN, "process": at, "pid": 50 + at, "rank": at} for at in range(6)]
    ops = [{"process": at, "tid": 5, "ts": 10, "dur": 8, "name": "aten::mm"} for at in range(6)]
    return trace(processes=ranks, ops=ops)


def with_two_places(diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis with a second place of its first finding's evidence."""
    first, *others = diagnosis.findings
    second = Evidence("the second wait", start_ns=20_000_000, end_ns=27_000_000)
    finding = msgspec.structs.replace(first, evidence=[*first.evidence, second])
    return msgspec.structs.replace(diagnosis, findings=[finding, *others])


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    runs = {
        "gpu": gpu_run(),
        "hostile": hostile(),
        "empty": trace(),
        "input": input_bound(),
        "ranks": many_ranks(),
    }
    answers = {"input": with_two_places(diagnose_trace(runs["input"]))}
    app = Flask("test")
    add_timeline_routes(app, runs.__getitem__, answers.get)

    def page_of(run: str, more: str = "") -> str:
        style = report_style() + timeline_style()
        return PAGE.format(style=style, script=timeline_script(), run=run, more=more)

    app.add_url_rule("/<run>", "page", page_of)
    app.add_url_rule("/fill/<run>", "fill", lambda run: page_of(run, FILL))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()


def opened(browser: Any, address: str) -> Any:
    forget_last_page(browser)
    browser.get(address)
    until(
        lambda: browser.execute_script("return document.getElementById('timeline').dataset.ready")
    )
    browser.execute_async_script(T + "const done = arguments[0]; t.settled().then(() => done())")
    return browser


def lane_called(browser: Any, title: str, row: int = 0) -> int:
    """Return the number of a lane: a row of the track with this title."""
    first = T + "return t.tracks.find((track) => track.title === arguments[0]).first"
    return int(browser.execute_script(first, title)) + row


def point(browser: Any, lane: int, at_ns: float) -> Any:
    left, top = browser.execute_script(ROW, lane, at_ns)
    chain = ActionChains(browser)
    chain.w3c_actions.pointer_action.move_to_location(round(left), round(top))
    return chain


def panel(browser: Any) -> str:
    return shown_text(browser, ".tl-panel")


@pytest.mark.parametrize("where", ["served", "file"])
def test_a_click_on_a_kernel_shows_its_details_and_its_launch(
    browser: Any, served: str, where: str, tmp_path: Path
) -> None:
    if where == "file":
        run = gpu_run()
        write_report(run, diagnose_trace(run), tmp_path / "gpu.html")
    opened(browser, f"{served}/gpu" if where == "served" else f"file://{tmp_path}/gpu.html")
    browser.execute_script(
        "document.getElementById('timeline').scrollIntoView({ behavior: 'instant' })"
    )
    chain = point(browser, lane_called(browser, "stream 7"), 400)
    chain.w3c_actions.pointer_action.click()
    chain.perform()
    until(lambda: "nccl_all_reduce" in panel(browser))
    details = panel(browser)
    assert all(name in details for name in ("aten::addmm", "cudaLaunchKernel", "communication"))
    assert browser.execute_script(T + "return t.chosen.causes.map((one) => one.lane)") == [
        lane_called(browser, "main thread", 2),
        lane_called(browser, "runtime calls"),
    ]
    browser.find_element("css selector", ".tl-flow").click()
    until(lambda: browser.execute_script(T + "return t.chosen.name") == "aten::addmm")
    effects = browser.execute_script(
        T + "return t.chosen.effects.map((one) => [one.role, one.ts_ns])"
    )
    assert sorted(effects) == [["kernel", 200], ["kernel", 300], ["launch", 120], ["launch", 140]]
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in messages if "favicon" not in message] == []


def test_a_selection_dragged_with_shift_has_its_statistics_in_the_panel(
    browser: Any, served: str
) -> None:
    opened(browser, f"{served}/gpu")
    stream = lane_called(browser, "stream 7")
    begin = browser.execute_script(ROW, stream, 250)
    right, _ = browser.execute_script(ROW, stream, 400)
    chain = ActionChains(browser).key_down(Keys.SHIFT)
    pointer = chain.w3c_actions.pointer_action
    pointer.move_to_location(round(begin[0]), round(begin[1])).pointer_down()
    pointer.move_to_location(round(right), round(begin[1])).pointer_up()
    chain.perform()
    ActionChains(browser).key_up(Keys.SHIFT).perform()
    until(lambda: "Selected" in panel(browser))
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.tl-panel tbody tr')].map((one) =>"
        " one.innerText.split('\\t'))"
    )
    assert [(row[0].strip(), row[1]) for row in rows] == [("nccl_all_reduce", "1"), ("gemm", "1")]
    assert "stream 7" in panel(browser) and "communication" in panel(browser)
    browser.find_element("xpath", "//button[text()='by range']").click()
    until(lambda: "<b>forward</b>" in panel(browser))
    until(lambda: "by=range" in browser.current_url)
    address = browser.current_url
    browser.get("about:blank")
    opened(browser, address)
    until(lambda: "<b>forward</b>" in panel(browser) and "stream 7" in panel(browser))


def test_wheel_and_keys_zoom_the_window_and_its_tiles_are_loaded(browser: Any, served: str) -> None:
    opened(browser, f"{served}/gpu")
    wide = T + "return t.view.to - t.view.from"
    whole = browser.execute_script(wide)
    stream = lane_called(browser, "stream 7")
    left, top = browser.execute_script(ROW, stream, 250)
    browser.execute_script(
        T + "const [clientX, clientY] = arguments, turned = { deltaY: -240, clientX, clientY,"
        " cancelable: true };t.canvas.dispatchEvent(new WheelEvent('wheel', turned))",
        left,
        top,
    )
    near = browser.execute_script(wide)
    assert near < whole
    # The time at the pointer stays at the pointer.
    assert browser.execute_script(ROW, stream, 250)[0] == pytest.approx(left, abs=1)
    ActionChains(browser).send_keys("w").perform()
    assert browser.execute_script(wide) == pytest.approx(0.7 * near)
    browser.execute_async_script(T + "const done = arguments[0]; t.settled().then(() => done())")
    shown = browser.execute_script(
        T + "return [t.picture.from <= t.view.from, t.picture.to >= t.view.to,"
        " t.picture.tile.lanes.size]"
    )
    assert shown[:2] == [True, True] and shown[2] == 5
    until(lambda: browser.execute_script("return location.hash").startswith("#timeline?from="))


EDGES = """const t = document.getElementById('timeline').timeline;
    const box = (element) => element.getBoundingClientRect();
    return [box(t.canvas).bottom, box(t.edge).top, box(t.panel).top, box(t.panel).bottom,
      box(t.element).bottom, box(t.panel).height]"""


@pytest.mark.parametrize("size", [(1280, 720), (1440, 900), (2560, 1440)])
def test_the_panel_never_covers_the_lanes(browser: Any, served: str, size: tuple[int, int]) -> None:
    browser.set_window_size(*size)
    try:
        opened(browser, f"{served}/fill/gpu")
        chain = point(browser, lane_called(browser, "stream 7"), 400)
        chain.w3c_actions.pointer_action.click()
        chain.perform()
        until(lambda: "nccl_all_reduce" in panel(browser))
        clicked = browser.execute_script(EDGES)
        browser.execute_script(T + "t.selectView()")
        until(lambda: "Selected" in panel(browser))
        for bottom, edge, top, end, whole, _ in (clicked, browser.execute_script(EDGES)):
            assert bottom <= edge <= top < end <= whole + 1
    finally:
        browser.set_window_size(1280, 1600)


def test_the_edge_of_the_panel_is_dragged_and_moved_with_keys(browser: Any, served: str) -> None:
    opened(browser, f"{served}/fill/gpu")
    before = browser.execute_script(EDGES)
    edge = browser.find_element("css selector", ".tl-edge")
    ActionChains(browser).drag_and_drop_by_offset(edge, 0, -80).perform()
    after = browser.execute_script(EDGES)
    assert after[5] == pytest.approx(before[5] + 80, abs=2) and after[0] <= after[1]
    edge.send_keys(Keys.ARROW_DOWN)
    assert browser.execute_script(EDGES)[5] < after[5]
    browser.execute_script("localStorage.removeItem('perfscope-panel')")


def test_ranks_after_the_fourth_are_folded(browser: Any, served: str) -> None:
    opened(browser, f"{served}/ranks")
    folded = browser.execute_script(T + "return [...t.collapsedGroups]")
    assert folded == [4, 5]
    shown = browser.execute_script(T + "return t.layout.rows.map((row) => row.track.group)")
    assert sorted(set(shown)) == [0, 1, 2, 3]


def test_rows_without_an_event_in_view_are_left_out(browser: Any, served: str) -> None:
    opened(browser, f"{served}/gpu")
    rows = "return t.layout.rows.filter((row) => row.track.title === 'main thread').length"
    assert browser.execute_script(T + rows) == 3
    browser.execute_script(T + "t.setView(520, 580)")
    until(lambda: browser.execute_script(T + rows) == 1)
    browser.execute_script(T + "t.setView(...t.meta.span)")
    until(lambda: browser.execute_script(T + rows) == 3)


def test_a_category_of_the_legend_is_dimmed_and_a_track_is_pinned(
    browser: Any, served: str
) -> None:
    browser.get("about:blank")
    opened(browser, f"{served}/gpu")
    pixel = T + (
        "const [x, y] = arguments, box = t.canvas.getBoundingClientRect();"
        "return [...t.pen.getImageData(x - box.left, y - box.top, 1, 1).data]"
    )
    place = browser.execute_script(ROW, lane_called(browser, "stream 7"), 280)
    before = browser.execute_script(pixel, *place)
    (entry,) = (
        button
        for button in browser.find_elements("css selector", ".tl-legend button")
        if button.text == "compute"
    )
    entry.click()
    until(lambda: browser.execute_script(pixel, *place) != before)
    entry.click()
    until(lambda: browser.execute_script(pixel, *place) == before)
    _, top = browser.execute_script(ROW, lane_called(browser, "runtime calls"), 300)
    left = browser.execute_script(
        T + "return t.canvas.getBoundingClientRect().left + t.size.gutter - 8"
    )
    chain = ActionChains(browser)
    chain.w3c_actions.pointer_action.move_to_location(round(left), round(top)).click()
    chain.perform()
    first = T + "return t.layout.rows[0].track.title"
    until(lambda: browser.execute_script(first) == "runtime calls")
    until(lambda: "pinned=" in browser.current_url)
    address = browser.current_url
    browser.get("about:blank")
    opened(browser, address)
    assert browser.execute_script(first) == "runtime calls"


def test_a_link_of_the_evidence_says_why_and_leads_to_the_next(browser: Any, served: str) -> None:
    opened(browser, f"{served}/input")
    marks = browser.execute_script(T + "return t.meta.marks")
    assert len(marks) > 1
    begin, end = marks[1]["from"] / 1e9, marks[1]["to"] / 1e9
    browser.get("about:blank")
    opened(browser, f"{served}/input#timeline?from={begin:.6f}&to={end:.6f}")
    why = shown_text(browser, ".tl-why")
    assert f"2 of {len(marks)}" in why and marks[1]["id"] in why
    view = browser.execute_script(T + "return [t.view.from, t.view.to, t.shown.from]")
    assert view[0] < marks[1]["from"] and view[1] > marks[1]["to"] and view[2] > 0
    ActionChains(browser).send_keys("p").perform()
    until(lambda: f"1 of {len(marks)}" in shown_text(browser, ".tl-why"))
    place = browser.execute_script(T + "return t.meta.places[0]")
    browser.get("about:blank")
    opened(
        browser,
        f"{served}/input#timeline?from={place['from'] / 1e9:.6f}&to={place['to'] / 1e9:.6f}",
    )
    until(lambda: shown_text(browser, ".tl-why") != "")


def test_a_link_opens_its_window(browser: Any, served: str) -> None:
    browser.get("about:blank")
    opened(browser, f"{served}/gpu#timeline?from=0.0000002&to=0.0000003")
    assert browser.execute_script(T + "return [t.view.from, t.view.to]") == pytest.approx(
        [200, 300]
    )


def test_search_counts_its_hits_and_steps_through_them(browser: Any, served: str) -> None:
    opened(browser, f"{served}/gpu")
    ActionChains(browser).send_keys("/").send_keys("launchk").perform()
    until(lambda: shown_text(browser, ".tl-find output") == "2 hits")
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    until(lambda: browser.execute_script(T + "return t.chosen && t.chosen.ts_ns") == 120)
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    until(lambda: browser.execute_script(T + "return t.chosen && t.chosen.ts_ns") == 140)


def test_colors_follow_the_theme_and_waits_are_striped(browser: Any, served: str) -> None:
    opened(browser, f"{served}/gpu")
    pixel = T + "const [x, y] = arguments, box = t.canvas.getBoundingClientRect();"
    pixel += (
        "return [...t.pen.getImageData(x - box.left, y - box.top, 1, 12).data].filter((_, at) => at"
        " % 4 === 0)"
    )
    calls, stream = lane_called(browser, "runtime calls"), lane_called(browser, "stream 7")
    left, top = browser.execute_script(ROW, calls, 400)
    assert len(set(browser.execute_script(pixel, left, top - 6))) > 1  # a sync call is striped
    compute, middle = browser.execute_script(ROW, stream, 250)
    before = browser.execute_script(pixel, compute, middle - 6)
    browser.execute_script("document.documentElement.classList.add('dark')")
    until(lambda: browser.execute_script(pixel, compute, middle - 6) != before)
    browser.execute_script("document.documentElement.classList.remove('dark')")


def test_a_hostile_name_is_text_and_an_empty_run_has_a_note(browser: Any, served: str) -> None:
    opened(browser, f"{served}/hostile")
    thread = browser.execute_script(
        T + "return t.tracks.find((one) => one.kind === 'thread').first"
    )
    chain = point(browser, thread, 14)
    chain.w3c_actions.pointer_action.click()
    chain.perform()
    until(lambda: "alert(1)" in panel(browser))
    assert (
        browser.execute_script("return document.querySelectorAll('#timeline script').length") == 0
    )
    browser.get(f"{served}/empty")
    until(lambda: "no events" in shown_text(browser, "#timeline"))


@pytest.mark.shared_traces
@WHERE
@pytest.mark.parametrize("name", ["v100_2ranks_rank1_nccl_memory", "mtia_inference"])
def test_the_report_of_a_recorded_trace_is_small_and_shows_it(
    browser: Any, name: str, tmp_path: Path
) -> None:
    run, path = load_trace(FOLDER / "kineto" / f"{name}.json.gz"), tmp_path / "report.html"
    write_report(run, diagnose_trace(run), path)
    assert path.stat().st_size < 5_000_000
    opened(browser, f"file://{path}")
    drawn = (
        T + "return [...t.picture.tile.lanes.values()].filter((one) => one && one.x.length).length"
    )
    assert browser.execute_script(drawn) > 3
    assert browser.get_log("browser") == []
