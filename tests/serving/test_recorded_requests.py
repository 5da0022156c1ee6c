"""`requests` of the JSON from recorded requests: counts, percentiles with intervals, limits."""

import argparse
import io
import math
from pathlib import Path

import numpy as np
import pytest

from perfscope.analyzer.bootstrap import resampled_quantiles
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Requests
from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.commands.options.service_levels import parse_service_levels
from perfscope.traces.trace import Trace
from perfscope.ui.answer import STDOUT, AnswerOptions, answer_trace
from perfscope.ui.html.report import page
from perfscope.ui.terminal.diagnosis_view import show
from tests.build import trace
from tests.serving.engine_pages import Traffic, vllm_page
from tests.serving.requests_trace import (
    MS,
    cut_row,
    exponential_requests,
    request_row,
    requests_trace,
)
from tests.serving.served_trace import served_trace


def requests_in(recorded: Trace, slo: str = "") -> Requests:
    levels = parse_service_levels(slo) if slo else []
    found = diagnose_trace(recorded, service_levels=levels).requests
    assert found is not None
    return found


def test_counts_rate_and_tokens() -> None:
    rows = [request_row(100.0 * place, 50.0, tokens=7) for place in range(100)]
    rows += [request_row(9950.0, 20.0, state="failed"), request_row(9960.0, 40.0)]
    rows += [cut_row("began-before", 30.0), cut_row("unfinished", 10_000.0)]
    found = requests_in(requests_trace(rows))
    assert (found.count, found.failed, found.partial) == (101, 1, 2)
    assert found.rate_per_s == pytest.approx(10.1)
    assert found.output_tokens_per_s == pytest.approx(70.0)
    assert (found.ttft_ms, found.itl_ms) == (None, None)
    assert found.server is None and found.process == 0


def test_percentiles_are_those_of_the_complete_requests() -> None:
    rows = [request_row(10.0 * place, 1.0 + place) for place in range(100)]
    rows += [request_row(1000.0, 9000.0, state="failed")]
    found = requests_in(requests_trace(rows)).e2e_ms
    assert found is not None
    assert [found.p50.value, found.p90.value, found.p99.value] == [50.0, 90.0, 99.0]
    assert {found.p50.source, found.p99.source} == {"code"}
    assert found.p50.low is not None and found.p50.low < 50.0


def test_the_99th_percentile_of_few_requests_is_not_known() -> None:
    found = requests_in(requests_trace(exponential_requests(40, 30.0))).e2e_ms
    assert found is not None
    assert found.p90.value is not None
    assert (found.p99.value, found.p99.low, found.p99.high) == (None, None, None)


def test_intervals_contain_the_true_quantile_as_often_as_they_say() -> None:
    """95 % intervals of 60 series: by chance fewer than 50 hits have a probability of 0.1 %."""
    hits = 0
    for seed in range(60):
        series = np.random.default_rng(seed).exponential(30.0, 300)
        drawn = resampled_quantiles(series, np.ones(300), [0.9])[1:, 0]
        low, high = np.quantile(drawn, [0.025, 0.975])
        hits += bool(low <= -30.0 * math.log(0.1) <= high)
    assert hits >= 50


def test_first_tokens_and_the_time_per_token() -> None:
    rows = [
        request_row(10.0 * place, 80.0, first_token_ns=20 * MS, tokens=4) for place in range(200)
    ]
    gaps = [
        {"number": place, "ts": 10 * place * MS, "dur": dur * MS, "tokens": tokens}
        for place in range(200)
        for dur, tokens in ((20, 2), (40, 1))
    ]
    found = requests_in(requests_trace(rows, token_gaps=gaps), "itl_p90=15ms,ttft_p50=20ms")
    assert found.ttft_ms is not None and found.ttft_ms.p50.value == 20.0
    assert found.itl_ms is not None
    assert (found.itl_ms.p50.value, found.itl_ms.p90.value) == (10.0, 40.0)
    shares = {level.metric: level.met_share for level in found.slo}
    assert shares == {"itl_p90": pytest.approx(2 / 3, abs=1e-5), "ttft_p50": 1.0}


def test_a_limit_on_a_latency_that_was_not_recorded() -> None:
    found = requests_in(requests_trace(exponential_requests(50, 30.0)), "ttft_p99=1s,e2e_p50=20ms")
    assert [level.limit_ms for level in found.slo] == [1000.0, 20.0]
    assert found.slo[0].met_share is None
    assert 0.2 < (found.slo[1].met_share or 0.0) < 0.8


def test_limits_by_metrics_count_only_whole_buckets() -> None:
    served = served_trace(vllm_page(Traffic(running=4, per_second=5, e2e_s=1.7)))
    found = diagnose_trace(
        served, service_levels=(LatencyLimit("e2e_p99", 2000.0), LatencyLimit("e2e_p50", 1800.0))
    ).requests
    assert found is not None
    assert [level.met_share for level in found.slo] == [1.0, 0.0]


@pytest.mark.parametrize("text", ["ttft_p99", "ttft_p95=3ms", "e2e_p50=0ms", "e2e_p50=9m", "p50=1"])
def test_a_limit_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as ttft_p99=500ms"):
        parse_service_levels(text)


def test_a_server_with_requests_and_nothing_else_is_healthy_or_unknown() -> None:
    healthy = diagnose_trace(requests_trace(exponential_requests(200, 30.0)))
    assert (healthy.workload, healthy.verdict.id) == ("server", "healthy")
    assert healthy.failed == []
    few = diagnose_trace(requests_trace(exponential_requests(4, 30.0)))
    assert (few.verdict.id, few.verdict.scope) == ("unknown", "requests")


def test_a_service_level_without_requests_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = tuple(parse_service_levels("e2e_p99=1ms"))
    options = AnswerOptions(json=STDOUT, service_levels=levels)
    assert answer_trace(trace(), options) == 0
    assert "--slo" in capsys.readouterr().err
    assert answer_trace(requests_trace(exponential_requests(40, 30.0)), options) == 0
    assert capsys.readouterr().err == ""


def test_a_server_that_finishes_few_of_its_requests_is_not_called_healthy() -> None:
    done = [request_row(100.0 * place, 30.0) for place in range(20)]
    cut = [cut_row("unfinished", 100.0 * place + 50.0) for place in range(40)]
    found = diagnose_trace(requests_trace([*done, *cut]))
    assert (found.verdict.id, found.verdict.scope) == ("unknown", "requests")
    few_cut = diagnose_trace(requests_trace([*done, *cut[:5]]))
    assert few_cut.verdict.id == "healthy"


def test_two_processes_have_a_row_each() -> None:
    rows = exponential_requests(100, 30.0)
    second = [{**row, "process": 1} for row in exponential_requests(50, 30.0)]
    processes = [{"process": code, "pid": 100 + code, "role": "main"} for code in (0, 1)]
    numbered = [{"number": number, **row} for number, row in enumerate(rows + second)]
    found = requests_in(trace(requests=numbered, processes=processes))
    assert found.count == 150
    assert [(row.process, row.count) for row in found.per_server] == [(0, 100), (1, 50)]


def test_the_screens_show_latencies_limits_and_what_was_cut() -> None:
    rows = [*exponential_requests(300, 30.0), cut_row("unfinished", 2990.0)]
    recorded = requests_trace(rows)
    diagnosis = diagnose_trace(recorded, service_levels=parse_service_levels("e2e_p99=1ms"))
    text = io.StringIO()
    show(diagnosis, recorded, text)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert any("service level" in line and "missed" in line for line in lines)
    assert any("1 cut by" in line for line in lines)
    html = page(recorded, diagnosis)
    card = html[html.index("<h2>Requests</h2>") :].split("</section>")[0]
    assert "missed" in card and "bucket" not in card
