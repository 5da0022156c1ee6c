"""Cost, gain and prediction on the page are those of the JSON, for every recording of the tests."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.input.what_if import what_if, workers_of_verdict
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from perfscope.ui.answer import diagnosis_json
from perfscope.ui.html.overview import answer_cards
from tests.analyzer.timeline.test_lanes import gpu_run
from tests.traces.generated_ranks import generated_ranks
from tests.traces.kineto.recorded import WHERE, each_recorded
from tests.ui.recorded import recorded_run
from tests.ui.sample_traces import input_bound

FINDING = re.compile(r'<article class="finding".*?</article>', re.DOTALL)
COST = re.compile(r'<div class="costs"><b>(.*?)</b>(.*?)</div>', re.DOTALL)
GAIN = re.compile(r'<div class="gain"><b>(.*?)</b>', re.DOTALL)
NAME = re.compile(r'<p class="id">(.*?)</p>')
FACTOR = re.compile(r'<div class="factor">(.*?)</div>')
AFTER = re.compile(r'<p class="note run">(After the change.*?)</p>')
NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")
SMALLEST_SURPLUS = 0.02
"""A saving that exceeds the cost by more has its reason on the page."""


def text_of(markup: str) -> str:
    """Return the text of markup."""
    return unescape(re.sub(r"<[^>]+>", " ", markup))


def same_number(shown: str, value: float) -> bool:
    """Return whether the first number in a text is this value, to its last digit."""
    match = NUMBER.search(shown)
    assert match is not None, shown
    digits = match[0].replace(",", "")
    decimals = len(digits.partition(".")[2])
    return abs(float(digits) - value) <= 0.51 * 10.0**-decimals + 0.005 * abs(value)


def gain_of(finding: dict[str, Any]) -> float | None:
    """Return the speedup that the page shows: the likely one, else the ceiling."""
    speedup = finding["speedup"]
    if speedup is None:
        return None
    return float(speedup["likely"] if speedup["likely"] is not None else speedup["high"])


def check_page(trace: Trace) -> Diagnosis:
    """Compare the page of a recording with its JSON."""
    diagnosis = diagnose_trace(trace)
    page, answer = answer_cards(trace, diagnosis), json.loads(diagnosis_json(diagnosis))
    findings = {finding["key"]: finding for finding in answer["findings"]}
    rows = FINDING.findall(page)
    assert len(rows) == len(findings)
    for row in rows:
        check_row(row, list(findings.values()))
    verdict = findings.get(answer["verdict"]["finding_key"] or "")
    if verdict is not None:
        check_verdict(page, verdict, answer)
    return diagnosis


def check_row(row: str, findings: list[dict[str, Any]]) -> None:
    """Compare the row of a finding with the finding of that name."""
    (name,), (cost,), (gain,) = NAME.findall(row), COST.findall(row), GAIN.findall(row)
    named = [
        each for each in findings if name == "/".join(filter(None, [each["id"], each["cause"]]))
    ]
    assert named, name
    if text_of(gain).strip():
        gains = [gain_of(each) for each in named]
        assert any(value is not None and same_number(text_of(gain), value) for value in gains), row
    share = re.search(r"([0-9.]+) %", text_of(cost[1]))
    if share is not None:
        shares = [100 * each["share"] for each in named]
        assert any(same_number(share[0], value) for value in shares), (share[0], shares)


def check_verdict(page: str, verdict: dict[str, Any], answer: dict[str, Any]) -> None:
    """Compare the first screen: the gain, the predicted step, and why the gain is larger than what
    the cost alone explains.
    """
    gain = gain_of(verdict)
    factors = [text_of(each) for each in FACTOR.findall(page)]
    if gain is None:
        assert factors == []
        return
    assert len(factors) == 1 and same_number(factors[0], gain)
    after = [text_of(each) for each in AFTER.findall(page)]
    if not after:
        return
    mean_ms = answer["steps"]["mean_ms"] if answer["budget_over"] == "steps" else None
    _, _, change = after[0].partition(": ")
    whole = change.partition(" (")[0]
    if mean_ms is not None and ("/step" in whole or "/pass" in whole):
        unit_ms = {"s": 1000.0, "ms": 1.0, "µs": 0.001}[whole.split()[1].partition("/")[0]]
        assert same_number(whole, mean_ms / gain / unit_ms), (whole, mean_ms / gain)
    else:
        assert same_number(whole, 100 / gain), (whole, 100 / gain)
    if 1 - 1 / gain - verdict["share"] > SMALLEST_SURPLUS:
        assert change.rstrip().partition(").")[2].strip(), f"no reason: {change}"


@pytest.mark.parametrize("made", [input_bound, gpu_run])
def test_the_page_of_a_made_run_has_the_numbers_of_its_json(made: Callable[[], Trace]) -> None:
    check_page(made())


def test_the_page_of_a_recording_has_the_numbers_of_its_json(tmp_path: Path) -> None:
    check_page(load_trace(recorded_run(tmp_path / "train.perfscope")))


def test_the_page_of_a_job_has_the_numbers_of_its_json(tmp_path: Path) -> None:
    generated_ranks(tmp_path / "job", ranks=4)
    check_page(load_trace(tmp_path / "job"))


@pytest.mark.shared_traces
@WHERE
@each_recorded()
def test_the_page_of_a_recorded_trace_has_the_numbers_of_its_json(path: Path) -> None:
    check_page(load_trace(path))


def test_the_sliders_give_the_verdicts_prediction_at_the_recommended_workers(
    tmp_path: Path,
) -> None:
    for trace in (input_bound(), load_trace(recorded_run(tmp_path / "train.perfscope"))):
        diagnosis = check_page(trace)
        workers, rank = workers_of_verdict(trace, diagnosis), diagnosis.budget_rank
        assert workers is not None and rank is not None
        snippet = diagnosis.findings[0].actions[0].snippet
        assert snippet is not None and f"num_workers={workers}," in snippet
        predicted = what_if(trace, rank, workers, 1.0)
        speedup = diagnosis.findings[0].speedup
        assert predicted.after is not None and speedup is not None
        assert predicted.step / predicted.after.likely == pytest.approx(speedup.likely, rel=1e-3)


def test_a_wrong_number_is_noticed() -> None:
    assert same_number("at most 1.18×", 1.1790) and not same_number("at most 1.18×", 1.3)
    assert same_number("24.4 ms/step", 24.3976) and not same_number("24 ms/step", 29.0)
