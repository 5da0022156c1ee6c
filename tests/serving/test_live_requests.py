"""The requests of the last seconds, as the live page and `perfscope top` show them."""

import pytest

from perfscope.analyzer.serving.live_requests import live_requests
from perfscope.ui.dashboard.live_now import request_figures
from tests.build import trace
from tests.serving.engine_pages import Traffic, vllm_page
from tests.serving.requests_trace import MS, request_row, requests_trace
from tests.serving.served_trace import served_trace


def test_only_the_last_seconds_count() -> None:
    """Requests become slow: 10 ms in the first minute, 40 ms afterwards."""
    facts = {"first_token_ns": 5 * MS, "tokens": 3}
    rows = [request_row(100.0 * place, 10.0, **facts) for place in range(600)]
    facts = {"first_token_ns": 20 * MS, "tokens": 3}
    rows += [request_row(60_000.0 + 100.0 * place, 40.0, **facts) for place in range(100)]
    gap = {"tid": 1, "dur": 7 * MS, "number": 0, "tokens": 1}
    gaps = [{**gap, "ts": (1000 * place) * MS} for place in range(70)]
    found = live_requests(requests_trace(rows, token_gaps=gaps))
    assert found is not None
    assert found.per_s == pytest.approx(10.0, rel=0.03)
    assert (found.e2e_ms, found.ttft_ms, found.itl_ms) == pytest.approx((40.0, 20.0, 7.0))


def test_means_of_the_newest_readings_of_an_engine() -> None:
    slow, fast = Traffic(running=1, per_second=4, queue_s=0.4), Traffic(running=1, per_second=2)
    pages = (vllm_page(slow), vllm_page(fast))
    found = live_requests(served_trace(lambda t: pages[0](t) if t < 20 else pages[1](t + 3000.0)))
    assert found is not None and found.are_means
    assert found.per_s == pytest.approx(2.0)
    assert found.ttft_ms == pytest.approx(50.0)
    assert found.itl_ms == pytest.approx(20.0)
    names = [name for name, _ in request_figures(found)]
    assert names[1:] == ["TTFT mean", "inter-token mean", "end to end mean"]


def test_there_are_none_without_requests() -> None:
    assert live_requests(trace()) is None
