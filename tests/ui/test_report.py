"""The HTML report in a real browser, from a file, offline."""

import json
from pathlib import Path
from typing import Any

from perfscope.analyzer.engine import diagnose
from perfscope.ui.report import write_report
from tests.build import trace
from tests.running import until


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


def test_a_run_with_nothing_in_it_still_makes_a_page(tmp_path: Path) -> None:
    empty = trace()
    write_report(empty, diagnose(empty), tmp_path / "empty.html")
    text = (tmp_path / "empty.html").read_text("utf-8")
    assert "Not measured, and why" in text and 'class="chart"' not in text
