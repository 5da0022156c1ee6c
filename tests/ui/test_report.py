"""The HTML report, opened as a file in a real browser."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.load import load_trace
from perfscope.ui.html.report import write_report
from perfscope.ui.phrases import short_headline
from perfscope.ui.theme import DARK, LIGHT
from tests.build import trace
from tests.target_processes import until
from tests.traces.kineto.recorded import FOLDER, WHERE
from tests.ui.browsing import forget_last_page, shown_text
from tests.ui.diagnoses import DIAGNOSIS
from tests.ui.sample_traces import MS, input_bound


def test_every_chart_is_drawn_without_errors_and_without_requests(page: Any) -> None:
    charts = page.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => [c.id,"
        " c.querySelectorAll('svg').length])"
    )
    assert {name for name, _ in charts} >= {
        "stacks-main",
        "stacks-loader-worker",
        "cpu",
        "memory",
    }
    assert all(drawings > 0 for _, drawings in charts)
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_hostile_name_is_text(page: Any) -> None:
    assert (
        page.execute_script(
            "return document.querySelectorAll('script:not([type=\"text/csv\"])').length"
        )
        == 6
    )
    assert "alert(1)" in page.execute_script(
        "return document.getElementById('figures').textContent"
    )


def test_charts_are_redrawn_in_dark_mode(page: Any) -> None:
    color = "return getComputedStyle(document.body.parentElement).backgroundColor"
    fill = "return document.getElementById('cpu').data[0].line.color"
    before = page.execute_script(color), page.execute_script(fill)
    page.execute_script("document.getElementById('theme').click()")
    until(lambda: page.execute_script(fill) != before[1])
    assert page.execute_script(color) != before[0]


def test_the_verdict_is_on_the_first_screen_with_a_link_to_its_longest_wait(page: Any) -> None:
    verdict = page.find_element("css selector", ".verdict h1")
    run = input_bound()
    assert verdict.location["y"] + verdict.size["height"] < 900
    assert verdict.text == short_headline(diagnose_trace(run))
    page.find_element("css selector", ".verdict a.button.main").click()
    until(lambda: page.execute_script(SHOWN) is not None)
    until(lambda: 0 <= page.execute_script(TOP) < 900)
    begin, end = page.execute_script(SHOWN)
    rows = page.execute_async_script(WAITS, int(begin), int(end))
    waited = sum(exclusive for name, exclusive in rows if name == "waiting for a batch")
    assert waited == pytest.approx(end - begin)


TOP = "return document.getElementById('timeline').getBoundingClientRect().top"
SHOWN = (
    "const { shown } = document.getElementById('timeline').timeline; return shown ? [shown.from,"
    " shown.to] : null"
)
VIEW = "const { view } = document.getElementById('timeline').timeline; return [view.from, view.to]"
WAITS = """const [from, to, done] = arguments, t = document.getElementById('timeline').timeline;
  const threads = t.tracks.filter((track) => track.kind === 'thread');
  const lanesOf = (track) => Array.from({ length: track.rows }, (_, row) => track.first + row);
  const lanes = threads.flatMap(lanesOf);
  t.source.select(from, to, lanes, 'name', 50)
    .then((found) => done(found.rows.map((row) => [row[0], row[5]])));"""


def test_the_report_of_a_long_run_is_small_and_its_link_leads_to_the_longest_wait(
    browser: Any, tmp_path: Path
) -> None:
    path = tmp_path / "long.html"
    run = input_bound(steps=25_000, slow={15_000: 400 * MS})
    write_report(run, diagnose_trace(run), path)
    assert path.stat().st_size < 5_000_000
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    browser.execute_script("document.querySelector('a.button[data-from]').click()")
    until(lambda: browser.execute_script(SHOWN) is not None)
    begin, end = browser.execute_script(SHOWN)
    rows = browser.execute_async_script(WAITS, int(begin), int(end))
    assert dict(rows)["waiting for a batch"] == pytest.approx(400 * MS)
    until(lambda: "To stay small" in shown_text(browser, "#timeline"))
    elsewhere = browser.execute_async_script(
        "const done = arguments[0], t ="
        " document.getElementById('timeline').timeline;t.source.tile(0, 5e9, 500, [1]).then((tile)"
        " => done([t.source.exact(0, 5e9), Math.min(...tile.lanes.get(1).busy)]))"
    )
    # Where the file does not contain the single events, it has their sums.
    assert elsewhere[0] is False and elsewhere[1] > 0
    browser.execute_script(
        "const t = document.getElementById('timeline').timeline; t.setView(...t.meta.span);"
        " t.selectView()"
    )
    until(lambda: "does not contain the single events" in shown_text(browser, ".tl-panel"))
    assert "input wait: about" in browser.find_element("css selector", ".tl-panel").text


def test_keys_zoom_and_pan_the_timeline(page: Any) -> None:
    press = (
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], bubbles:"
        " true }))"
    )
    begin, end = page.execute_script(VIEW)
    page.execute_script(press, "w")
    near = page.execute_script(VIEW)
    assert near[1] - near[0] == pytest.approx(0.7 * (end - begin))
    page.execute_script(press, "d")
    assert page.execute_script(VIEW)[0] == pytest.approx(near[0] + 0.2 * (near[1] - near[0]))


def test_a_click_on_a_frame_zooms_to_it(page: Any) -> None:
    frame = page.find_elements("css selector", "#stacks-main g.slice path")[1]
    page.execute_script(
        "const [at] = arguments; at.scrollIntoView({ behavior: 'instant' });for (const kind of"
        " ['mousemove', 'mouseover', 'click']) at.dispatchEvent(new MouseEvent(kind, { bubbles:"
        " true }));",
        frame,
    )
    until(
        lambda: page.execute_script("return document.getElementById('stacks-main').data[0].level")
    )
    assert page.execute_script(
        "return document.getElementById('stacks-main').data[0].text[1]"
    ).startswith("&lt;script")


def test_labels_are_inside_their_boxes(page: Any) -> None:
    """No part of the bar is cut off; no name is wider than its frame, no chart than its card."""
    cut = page.execute_script("""
      const isWide = (element) => element.scrollWidth > element.clientWidth + 1;
      const parts = [...document.querySelectorAll('.part span')].filter(isWide);
      const frames = [...document.querySelectorAll('g.slice')].filter((frame) => {
        const text = frame.querySelector('text');
        const box = frame.querySelector('path').getBoundingClientRect();
        return text && text.textContent && text.getBoundingClientRect().width > box.width + 1; });
      const charts = [...document.querySelectorAll('.chart')].filter(isWide);
      return [parts.map((part) => part.textContent), frames.length,
        charts.map((chart) => chart.id), isWide(document.documentElement)]""")
    assert cut == [[], 0, [], False]


def test_a_dark_page_is_printed_light_and_is_dark_again_afterwards(page: Any) -> None:
    ink = "return document.getElementById('cpu').layout.font.color"
    if not page.execute_script("return document.documentElement.classList.contains('dark')"):
        page.execute_script("document.getElementById('theme').click()")
    until(lambda: page.execute_script(ink) == DARK.muted)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    until(lambda: page.execute_script(ink) == LIGHT.muted)
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    until(lambda: page.execute_script(ink) == DARK.muted)


def test_every_finding_and_everything_not_checked_is_on_the_page(tmp_path: Path) -> None:
    write_report(input_bound(), DIAGNOSIS, tmp_path / "all.html")
    text = (tmp_path / "all.html").read_text("utf-8")
    for words in (
        "Decode smaller images",
        "image.draft(&#x27;RGB&#x27;, (256, 256))",
        "2.6× to 3.4×",
        "at most 1.03×",
        "none so far",
        "<code>collect (train.py:9)</code>",
        "no GPU in use",
        "ValueError: no such column",
        "partial: py-spy is missing",
        "2 segments of probe.records",
        'href="#section-timeline" class="button main" data-from="1.000000" data-to="1.088000"',
    ):
        assert words in text


def test_a_report_that_cannot_be_written_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_report(input_bound(), DIAGNOSIS, tmp_path / "no folder" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_run_has_a_report_without_charts(tmp_path: Path) -> None:
    empty = trace()
    write_report(empty, diagnose_trace(empty), tmp_path / "empty.html")
    text = (tmp_path / "empty.html").read_text("utf-8")
    assert "<h1>" in text and 'class="chart"' not in text


NODES = "return document.getElementsByTagName('*').length"
HIDDEN_ON_PAPER = """
    dispatchEvent(new Event('beforeprint'));
    const controls = [...document.querySelectorAll('button, input, .contents, .section-tools')];
    return controls.filter((each) => each.getClientRects().length).map((each) => each.outerHTML);
"""
SCALES = """const t = document.getElementById('timeline').timeline;
    const box = t.canvas.getBoundingClientRect();
    return [t.canvas.width / box.width, t.canvas.height / box.height, box.right,
      document.querySelector('main').getBoundingClientRect().right]"""


def report_of(browser: Any, trace_name: str, path: Path) -> None:
    """Open the report of a recorded trace."""
    run = load_trace(FOLDER / "kineto" / f"{trace_name}.json.gz")
    write_report(run, diagnose_trace(run), path)
    forget_last_page(browser)
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")


@pytest.mark.shared_traces
@WHERE
@pytest.mark.parametrize("name", ["a100_16ranks_rank0", "h100_qwen05b"])
def test_a_report_has_few_nodes_and_four_printed_pages(
    browser: Any, name: str, tmp_path: Path
) -> None:
    report_of(browser, name, tmp_path / "report.html")
    assert browser.execute_script(NODES) <= 3000
    options = {"preferCSSPageSize": True, "printBackground": True}
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", options)["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 4
    sizes = set(re.findall(rb"/MediaBox\s*\[0 0 ([0-9]+)[0-9.]* ([0-9]+)", pdf))
    assert sizes == {(b"594", b"841")}
    assert browser.execute_script("return document.querySelectorAll('details[open]').length") == 0


def test_paper_has_no_controls_and_no_stretched_picture(browser: Any, tmp_path: Path) -> None:
    run, path = input_bound(), tmp_path / "report.html"
    write_report(run, diagnose_trace(run), path)
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.execute_script(HIDDEN_ON_PAPER) == []
        across, down, right, page_right = browser.execute_script(SCALES)
        assert across == pytest.approx(down, rel=0.02) and right <= page_right + 1
        dispatched = "dispatchEvent(new Event('afterprint'))"
        browser.execute_script(dispatched)
        assert browser.execute_script("return document.querySelectorAll('details[open]')") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_link_of_the_contents_opens_its_section_and_draws_its_chart(
    browser: Any, tmp_path: Path
) -> None:
    run, path = input_bound(), tmp_path / "report.html"
    write_report(run, diagnose_trace(run), path)
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    assert browser.execute_script("return typeof Plotly") == "undefined"
    links = browser.execute_script(
        "return [...document.querySelectorAll('.contents a')].map((a) => a.getAttribute('href'))"
    )
    assert {"#budget", "#changes", "#facts", "#section-cpu", "#coverage"} <= set(links)
    targets = "return arguments[0].every((link) => document.querySelector(link))"
    assert browser.execute_script(targets, links)
    browser.find_element("css selector", '.contents a[href="#section-cpu"]').click()
    until(lambda: browser.execute_script("return document.querySelector('#cpu svg') !== null"))
    browser.get("about:blank")
    browser.get(f"file://{path}#section-memory")
    until(lambda: browser.execute_script("return document.querySelector('#memory svg') !== null"))


def test_the_facts_of_a_run_are_those_of_its_manifest(tmp_path: Path) -> None:
    run, path = input_bound(), tmp_path / "report.html"
    write_report(run, diagnose_trace(run), path)
    text = path.read_text("utf-8")
    facts = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]*)</dd>", text))
    assert facts["command"] == " ".join(run.manifest.command)
    assert facts["instrumentation"] == run.manifest.depth and facts["usable cores"] == "2"
