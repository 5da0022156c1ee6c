"""The first screen: verdict, first change, key figures, and the budget after the change."""

import re
from typing import Any

import msgspec
import pytest

from perfscope.analyzer.budget.step_columns import step_columns
from perfscope.analyzer.diagnosis import (
    BoundBy,
    BudgetEntry,
    CodeLocation,
    Device,
    Diagnosis,
    Interval,
    MemoryUse,
    RunPhase,
    Speedup,
)
from perfscope.analyzer.verdict.certainty import is_uncertain, unexplained_share
from perfscope.analyzer.verdict.predicted_budget import predicted_budget
from perfscope.ui.html.key_figures import key_figures, sparkline
from perfscope.ui.html.markup import prose
from perfscope.ui.html.overview import answer_cards, budget_card, subject_line
from perfscope.ui.html.predicted_bar import predicted_bar
from perfscope.ui.html.verdict_card import verdict_card
from perfscope.ui.phrases import LONGEST_HEADLINE, bound_by_text, short_headline, verdict_texts
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


def test_a_possible_verdict_begins_with_what_was_seen() -> None:
    """Unexplained time first, then the finding, then the caveats of the finding."""
    named = {"headline": "Input-bound: it waits", "explanation": "Seen.", "confidence": 0.4}
    finding = msgspec.structs.replace(DECODING, caveat="Own.", share=0.3)
    diagnosis = with_verdict(**named, caveat="Own. Few steps.")
    diagnosis = msgspec.structs.replace(diagnosis, findings=[finding])
    expected = ["Possible: input-bound, it waits. Seen.", "Own. Few steps."]
    assert verdict_texts(diagnosis, short_headline(diagnosis))[:2] == expected
    parts = [BudgetEntry("other-idle", 14.0, 0.7), BudgetEntry("input-wait", 6.0, 0.3)]
    verdict = with_verdict(**named, caveat="Idle. Own. Few steps.").verdict
    unexplained = msgspec.structs.replace(diagnosis, verdict=verdict, time_budget=parts)
    texts = verdict_texts(unexplained, short_headline(unexplained))[:3]
    assert texts == ["Idle.", *expected]


def test_the_name_of_a_verdict_is_not_repeated() -> None:
    long = with_verdict(headline=f"Input-bound: {'x' * LONGEST_HEADLINE}", explanation="Seen.")
    assert short_headline(long) == "Input-bound: costs 61 % of step time"
    assert verdict_texts(long, short_headline(long))[0] == f"X{'x' * (LONGEST_HEADLINE - 1)}. Seen."
    hung = with_verdict(headline=f"Nothing has progressed: {'x' * LONGEST_HEADLINE}")
    assert short_headline(hung) == "Nothing has progressed"


def test_shares_that_count_waits_for_a_core_as_the_hosts_say_so() -> None:
    starved = with_finding(id="cpu-oversubscription", cause=None)
    words = "waits for a core count as host"
    assert words in bound_by_text(starved) and words not in bound_by_text(DIAGNOSIS)
    assert "confidence" not in bound_by_text(starved, has_confidence=False)


def test_the_first_screen_names_one_resource() -> None:
    other = msgspec.structs.replace(DIAGNOSIS, bound_by=BoundBy("host", 0.7, 0.9))
    assert "Bound by" in verdict_card(DIAGNOSIS, {})
    assert "Bound by" not in verdict_card(other, {}) and "host" in bound_by_text(other)


def test_no_line_ends_between_a_number_and_its_unit() -> None:
    assert prose(
        "38 % of 12.3 ms, 4 steps"
    ) == "38\N{NO-BREAK SPACE}% of 12.3\N{NO-BREAK SPACE}ms," + (" 4 steps")


def test_the_header_has_one_line_of_facts_without_rates() -> None:
    line = subject_line(input_bound(), DIAGNOSIS)
    assert "188 steady steps in 20 s" in line and "ms/step" not in line
    assert line.count("<div") == 2


def test_what_a_trace_leaves_out_is_named_next_to_its_budget() -> None:
    phases = [RunPhase("not-recorded", 10.0, 0.5, 0), RunPhase("steps", 10.0, 0.5, 0)]
    cut = msgspec.structs.replace(DIAGNOSIS, budget_over="recording", run_budget=phases)
    assert "20 s of the 20 s recorded" in budget_card(cut, {})
    whole = msgspec.structs.replace(cut, run_budget=DIAGNOSIS.run_budget)
    assert "recorded</small>" not in budget_card(whole, {})


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
