"""The HTML report in a real browser, from a file, offline."""

import json
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.engine import diagnose
from perfscope.ui.report import write_report
from perfscope.ui.theme import DARK, LIGHT
from tests.build import trace
from tests.running import until
from tests.ui.diagnoses import DIAGNOSIS
from tests.ui.runs import MS, input_bound


def test_it_draws_every_chart_without_an_error_and_asks_nobody(page: Any) -> None:
    charts = page.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => [c.id, c.querySelectorAll('svg').length])"
    )
    assert {name for name, _ in charts} >= {
        "budget",
        "steps",
        "workers",
        "stacks-main",
        "stacks-loader-worker",
        "cpu",
        "memory",
    }
    assert all(drawings > 0 for _, drawings in charts)
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_hostile_name_is_text(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('script').length") == 5
    assert "alert(1)" in page.execute_script("return document.getElementById('figures').textContent")


def test_dark_mode_repaints(page: Any) -> None:
    colour = "return getComputedStyle(document.body.parentElement).backgroundColor"
    fill = "return document.getElementById('budget').data[0].marker.color"
    before = page.execute_script(colour), page.execute_script(fill)
    page.execute_script("document.getElementById('theme').click()")
    until(lambda: page.execute_script(fill) != before[1])
    assert page.execute_script(colour) != before[0]


def test_evidence_opens_the_timeline_where_it_is(page: Any) -> None:
    links = page.execute_script("return document.querySelectorAll('a[data-from]').length")
    assert links > 0
    page.execute_script("document.querySelector('a[data-from]').click()")
    until(lambda: page.execute_script("return (document.getElementById('workers').layout.shapes || []).length") == 1)


def test_a_long_run_fits_in_a_file_and_the_door_leads_to_what_it_says(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.html"
    run = input_bound(steps=20_000, slow={15_000: 400 * MS})
    write_report(run, diagnose(run), path)
    assert path.stat().st_size < 5_000_000
    browser.get(f"file://{path}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    browser.execute_script("document.querySelector('a.button[data-from]').click()")
    until(lambda: browser.execute_script("return (document.getElementById('workers').layout.shapes || []).length") == 1)
    longest = """const chart = document.getElementById('workers'), [from, to] = chart.layout.xaxis.range;
      return Math.max(...chart.data.filter(t => t.name === 'waiting for a batch').flatMap(
        t => t.x.filter((_, at) => t.base[at] >= from && t.base[at] + t.x[at] <= to)))"""
    assert browser.execute_script(longest) == pytest.approx(0.4)
    assert "To keep the file small it holds" in browser.find_element("id", "section-workers").text


def test_keys_zoom_and_pan_the_timeline(page: Any) -> None:
    span = "return document.getElementById('workers').layout.xaxis.range.map(Number)"
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], bubbles: true }))"
    begin, end = page.execute_script(span)
    page.execute_script(press, "w")
    until(lambda: page.execute_script(span) != [begin, end])
    near = page.execute_script(span)
    assert near[1] - near[0] == pytest.approx((end - begin) / 2)
    page.execute_script(press, "d")
    until(lambda: page.execute_script(span) != near)
    assert page.execute_script(span)[0] == pytest.approx(near[0] + (end - begin) / 8)


def test_a_frame_that_is_clicked_is_zoomed_to(page: Any) -> None:
    frame = page.find_elements("css selector", "#stacks-main g.slice path")[1]
    page.execute_script(
        "const [at] = arguments; at.scrollIntoView({ behavior: 'instant' });"
        "for (const kind of ['mousemove', 'mouseover', 'click']) at.dispatchEvent(new MouseEvent(kind, { bubbles: true }));",
        frame,
    )
    until(lambda: page.execute_script("return document.getElementById('stacks-main').data[0].level"))
    assert page.execute_script("return document.getElementById('stacks-main').data[0].text[1]").startswith("&lt;script")


def test_labels_are_inside_their_boxes(page: Any) -> None:
    """No part of the bar is cut off, no frame's name is wider than the frame, no chart is wider than its card."""
    cut = page.execute_script("""
      const wide = (one) => one.scrollWidth > one.clientWidth + 1;
      const bar = [...document.querySelectorAll('.part span')].filter(wide).map(one => one.textContent);
      const frames = [...document.querySelectorAll('g.slice')].filter(one => {
        const text = one.querySelector('text'), box = one.querySelector('path').getBoundingClientRect();
        return text && text.textContent && text.getBoundingClientRect().width > box.width + 1; });
      const charts = [...document.querySelectorAll('.chart')].filter(wide).map(one => one.id);
      return [bar, frames.length, charts, wide(document.documentElement)]""")
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
        "no time yet",
        "<code>collect (train.py:9)</code>",
        "no GPU in use",
        "its rule broke: ValueError: no such column",
        "partial: py-spy is missing",
        "2 segments of probe.records",
        'href="#section-workers" class="button main" data-from="1.000000" data-to="1.088000"',
    ):
        assert words in text


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_report(input_bound(), DIAGNOSIS, tmp_path / "no folder" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_nothing_in_it_still_makes_a_page(tmp_path: Path) -> None:
    empty = trace()
    write_report(empty, diagnose(empty), tmp_path / "empty.html")
    text = (tmp_path / "empty.html").read_text("utf-8")
    assert "Not measured, and why" in text and 'class="chart"' not in text
