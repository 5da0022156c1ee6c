"""The first screen: verdict, first change, key figures, and the budget after the change."""

import re
from typing import Any

import msgspec
import pytest

from perfscope.analyzer.budget.step_columns import step_columns
from perfscope.analyzer.diagnosis import (
    BudgetEntry,
    CodeLocation,
    Device,
    Diagnosis,
    Interval,
    MemoryUse,
    Speedup,
)
from perfscope.analyzer.verdict.certainty import is_uncertain, unexplained_share
from perfscope.analyzer.verdict.predicted_budget import predicted_budget
from perfscope.ui.html.key_figures import key_figures, sparkline
from perfscope.ui.html.overview import answer_cards
from perfscope.ui.html.predicted_bar import predicted_bar
from perfscope.ui.html.verdict_card import verdict_card
from perfscope.ui.phrases import LONGEST_HEADLINE, short_headline
from tests.build import trace
from tests.ui.diagnoses import DECODING, DIAGNOSIS
from tests.ui.sample_traces import input_bound

WIDTH = re.compile(r'class="bar small after" style="width:([0-9.]+)%')
NEUTRAL = "--mark:var(--other-idle)"
VIEWPORTS = [(1280, 720), (1440, 900), (3840, 2160)]


def with_verdict(**changes: Any) -> Diagnosis:
    return msgspec.structs.replace(
        DIAGNOSIS, verdict=msgspec.structs.replace(DIAGNOSIS.verdict, **changes)
    )


def with_finding(**changes: Any) -> Diagnosis:
    finding = msgspec.structs.replace(DECODING, **changes)
    return msgspec.structs.replace(DIAGNOSIS, findings=[finding])


@pytest.mark.parametrize(
    ("speedup", "rest"), [(Speedup(2.6, 3.1, 3.4), 1 / 3.1), (Speedup(None, None, 1.25), 1 / 1.25)]
)
def test_the_second_bar_is_as_long_as_a_step_after_the_change(
    speedup: Speedup, rest: float
) -> None:
    diagnosis = with_finding(speedup=speedup)
    found = WIDTH.search(predicted_bar(diagnosis))
    assert found is not None and float(found[1]) == pytest.approx(100 * rest, abs=0.01)
    budget = predicted_budget(diagnosis, diagnosis.findings[0])
    assert budget is not None
    assert sum(budget.changes.values()) == pytest.approx(1.0 - rest, abs=1e-9)
    assert max(budget.changes, key=lambda name: budget.changes[name]) == "input-wait"


@pytest.mark.parametrize(("share", "beyond"), [(0.61, 1 - 1 / 3.1 - 0.61), (0.67, None)])
def test_a_saving_beyond_the_cost_has_a_reason(share: float, beyond: float | None) -> None:
    diagnosis = with_finding(share=share)
    budget = predicted_budget(diagnosis, diagnosis.findings[0])
    assert budget is not None
    assert budget.saved_beyond(diagnosis.findings[0]) == (
        None if beyond is None else pytest.approx(beyond)
    )
    has_reason = "because" in predicted_bar(diagnosis)
    assert has_reason == (beyond is not None)


def test_no_bar_where_the_parts_do_not_contain_what_is_saved() -> None:
    parts = [BudgetEntry("peer-wait", 19.0, 0.95), BudgetEntry("input-wait", 1.0, 0.05)]
    diagnosis = msgspec.structs.replace(DIAGNOSIS, time_budget=parts)
    assert predicted_bar(diagnosis) == ""
    assert predicted_bar(with_finding(speedup=None)) == ""
    assert predicted_bar(with_finding(scope="run")) == ""


def test_a_long_headline_is_replaced_by_what_the_finding_costs() -> None:
    long = with_verdict(headline="x" * (LONGEST_HEADLINE + 1))
    assert short_headline(DIAGNOSIS) == DIAGNOSIS.verdict.headline
    assert "61 %" in short_headline(long) and len(short_headline(long)) <= LONGEST_HEADLINE
    assert f"<p>{'x' * (LONGEST_HEADLINE + 1)}. " in verdict_card(long, {})


@pytest.mark.parametrize(("confidence", "neutral"), [(0.49, True), (0.51, False)])
def test_below_half_the_confidence_a_verdict_is_only_possible(
    confidence: float, *, neutral: bool
) -> None:
    diagnosis = with_verdict(confidence=confidence)
    card = verdict_card(diagnosis, {})
    assert (NEUTRAL in card) == neutral == is_uncertain(diagnosis)
    assert (DIAGNOSIS.verdict.headline in short_headline(diagnosis)) != neutral


def test_a_verdict_is_only_possible_where_more_of_the_time_is_unexplained() -> None:
    parts = [BudgetEntry("other-idle", 14.0, 0.7), BudgetEntry("input-wait", 6.0, 0.3)]
    diagnosis = msgspec.structs.replace(with_finding(share=0.3), time_budget=parts)
    assert unexplained_share(diagnosis) == 0.7
    assert "70 %" in short_headline(diagnosis)
    server = msgspec.structs.replace(diagnosis, workload="server")
    assert unexplained_share(server) is None  # it waits for requests
    explained = msgspec.structs.replace(with_finding(share=0.6), time_budget=parts)
    assert unexplained_share(explained) is None and not is_uncertain(explained)


def test_the_first_change_has_its_code_and_its_line() -> None:
    place = CodeLocation("load", "images.py", 34, None, 0, Interval(0.5, 0.6, 0.7))
    card = verdict_card(with_finding(where=place), {})
    panel = card[card.index("<aside>") :]
    assert "images.py:34" in panel and 'class="copy"' in panel
    assert panel.count("<pre>") == 1 and "3.1×" in panel


def test_key_figures_are_those_that_are_known() -> None:
    names = re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", key_figures(DIAGNOSIS))
    assert dict(names) == {"step, median": "104 ms", "steps/s": "9.43", "samples/s": "302"}
    on_device = msgspec.structs.replace(
        DIAGNOSIS,
        devices=[Device(0, "node", None, "NVIDIA H100", [0])],
        time_budget=[
            BudgetEntry("device-compute", 8.0, 0.4),
            BudgetEntry("exposed-communication", 2.0, 0.1),
            BudgetEntry("host-bound", 10.0, 0.5),
        ],
        memory=[MemoryUse(0, 0, 12_800_000_000, 80_000_000_000, None, None)],
    )
    figures = dict(re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", key_figures(on_device)))
    assert figures["device busy"] == "50 %"
    assert figures["peak memory, device"] == "12.8 GB"


@pytest.mark.parametrize("size", VIEWPORTS)
def test_change_and_gain_are_on_the_first_screen(page: Any, size: tuple[int, int]) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for css in (".verdict aside", ".verdict .factor", ".verdict h1"):
            box = page.find_element("css selector", css).rect
            assert box["y"] + box["height"] <= height and box["x"] + box["width"] <= width, css
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_cards_follow_the_verdict_in_order() -> None:
    cards = answer_cards(trace(), DIAGNOSIS)
    places = [cards.index(part) for part in ('class="verdict', 'class="figures', 'class="bar"')]
    assert places == sorted(places)


def test_the_course_of_the_step_time_is_drawn_from_zero_and_leads_to_the_steps() -> None:
    drawn = sparkline([1.0] * 59 + [4.0])
    places = re.findall(r"([\d.]+)% (\d+)%", drawn)
    assert len(places) == 62 and places[1] == ("0.0", "75") and places[-2] == ("100.0", "0")
    run = input_bound(steps=100)
    assert '<a href="#section-steps">' in key_figures(DIAGNOSIS, step_columns(run, 0))
    assert "spark" not in key_figures(DIAGNOSIS)
