"""The HTML report in a real browser, from a file, offline."""

import json
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.ui.html.report import write_report
from perfscope.ui.theme import DARK, LIGHT
from tests.build import trace
from tests.running import until
from tests.ui.browsing import shown_text
from tests.ui.diagnoses import DIAGNOSIS
from tests.ui.runs import MS, input_bound


def test_it_draws_every_chart_without_an_error_and_asks_nobody(page: Any) -> None:
    charts = page.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => [c.id,"
        " c.querySelectorAll('svg').length])"
    )
    assert {name for name, _ in charts} >= {
        "budget",
        "steps",
        "stacks-main",
        "stacks-loader-worker",
        "cpu",
        "memory",
    }
    assert all(drawings > 0 for _, drawings in charts)
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_hostile_name_is_text(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('script').length") == 6
    assert "alert(1)" in page.execute_script(
        "return document.getElementById('figures').textContent"
    )


def test_dark_mode_repaints(page: Any) -> None:
    colour = "return getComputedStyle(document.body.parentElement).backgroundColor"
    fill = "return document.getElementById('budget').data[0].marker.color"
    before = page.execute_script(colour), page.execute_script(fill)
    page.execute_script("document.getElementById('theme').click()")
    until(lambda: page.execute_script(fill) != before[1])
    assert page.execute_script(colour) != before[0]


def test_a_newcomer_is_led_from_the_verdict_to_the_interval_that_proves_it(page: Any) -> None:
    """The verdict is on the first screen; its door leads to the wait it speaks of."""
    verdict = page.find_element("css selector", ".verdict h1")
    assert verdict.location["y"] + verdict.size["height"] < 900 and "waits for data" in verdict.text
    page.find_element("css selector", ".verdict a.button.main").click()
    until(lambda: page.execute_script(SHOWN) is not None)
    until(lambda: 0 <= page.execute_script(TOP) < 900)
    begin, end = page.execute_script(SHOWN)
    rows = page.execute_async_script(WAITS, int(begin), int(end))
    waited = sum(exclusive for name, exclusive in rows if name == "waiting for a batch")
    assert waited == pytest.approx(end - begin), "all of it is that wait"


TOP = "return document.getElementById('timeline').getBoundingClientRect().top"
SHOWN = (
    "const { shown } = document.getElementById('timeline').timeline; return shown ? [shown.from,"
    " shown.to] : null"
)
VIEW = "const { view } = document.getElementById('timeline').timeline; return [view.from, view.to]"
WAITS = """const [from, to, done] = arguments, t = document.getElementById('timeline').timeline;
  const own = t.tracks.filter((one) => one.kind === 'thread');
  const lanes = own.flatMap((one) => Array.from({ length: one.rows }, (_, row) => one.first + row));
  t.source.select(from, to, lanes, 'name', 50).then((found) => done(found.rows.map((row) => [row[0], row[5]])));"""  # noqa: E501


def test_a_long_run_fits_in_a_file_and_the_door_leads_to_what_it_says(
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
    assert elsewhere[0] is False and elsewhere[1] > 0, "what it does not hold singly is still drawn"
    browser.execute_script(
        "const t = document.getElementById('timeline').timeline; t.look(...t.meta.span);"
        " t.selectView()"
    )
    until(lambda: "does not contain the single events" in shown_text(browser, ".tl-panel"))
    told = browser.find_element("css selector", ".tl-panel").text
    assert "input wait: about" in told and "all lanes together" in told, "and said roughly"


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


def test_a_frame_that_is_clicked_is_zoomed_to(page: Any) -> None:
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
    """No part of the bar is cut off, no frame's name is wider than the frame, no chart is wider
    than its card.
    """
    cut = page.execute_script("""
      const wide = (one) => one.scrollWidth > one.clientWidth + 1;
      const bar = [...document.querySelectorAll('.part span')].filter(wide).map(one => one.textContent);
      const frames = [...document.querySelectorAll('g.slice')].filter(one => {
        const text = one.querySelector('text'), box = one.querySelector('path').getBoundingClientRect();
        return text && text.textContent && text.getBoundingClientRect().width > box.width + 1; });
      const charts = [...document.querySelectorAll('.chart')].filter(wide).map(one => one.id);
      return [bar, frames.length, charts, wide(document.documentElement)]""")  # noqa: E501
    assert cut == [[], 0, [], False]


def test_printing_is_light_and_dark_comes_back(page: Any) -> None:
    ink = "return document.getElementById('steps').layout.font.color"
    if not page.execute_script("return document.documentElement.classList.contains('dark')"):
        page.execute_script("document.getElementById('theme').click()")
    until(lambda: page.execute_script(ink) == DARK.muted)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    until(lambda: page.execute_script(ink) == LIGHT.muted)
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    until(lambda: page.execute_script(ink) == DARK.muted)


def test_every_finding_and_everything_unknown_is_on_the_page(tmp_path: Path) -> None:
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


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_report(input_bound(), DIAGNOSIS, tmp_path / "no folder" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_nothing_in_it_still_makes_a_page(tmp_path: Path) -> None:
    empty = trace()
    write_report(empty, diagnose_trace(empty), tmp_path / "empty.html")
    text = (tmp_path / "empty.html").read_text("utf-8")
    assert "<h1>" in text and 'class="chart"' not in text
