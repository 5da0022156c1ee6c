"""Reading metrics pages: names of engines and versions, histograms, and hostile pages."""

import math

import pytest

from perfscope.analyzer.serving.engine_samples import engine_samples
from perfscope.analyzer.serving.histograms import Quantile
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.engine_metrics.names import ENGINES, engine_of_names
from perfscope.traces.engine_metrics.page import BadPage, read_page
from tests.serving.engine_pages import Traffic, labeled, llama_page, sglang_page, vllm_page
from tests.serving.served_trace import diagnose_pages, served_trace

BUSY = Traffic(running=3, waiting=1, kv=0.4, per_second=2, queue_s=0.1, token_s={0.02: 1.0})


def test_each_engine_is_recognized_by_its_prefix() -> None:
    pages = {"vllm": vllm_page(BUSY), "sglang": sglang_page(BUSY), "llama-cpp": llama_page(BUSY)}
    for engine, page in pages.items():
        assert read_page(page(0.0).encode()).engine == engine


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.id)
def test_each_name_in_the_tables_is_read(engine) -> None:
    for metric in engine.metrics:
        body = f"{metric.name} 1\n".encode()
        found = read_page(body)
        assert found.engine == engine.id
        assert [series.name for series in found.samples] == [metric.name]
    named = {metric.name for metric in engine.metrics}
    assert engine_of_names(named) is engine


def test_ray_serve_exports_the_metrics_of_vllm_under_its_own_names() -> None:
    text = vllm_page(BUSY)(0.0).replace("vllm:", "ray_vllm_")
    found = read_page(text.encode())
    assert (found.engine, found.other_names) == ("ray-serve-llm", [])


@pytest.mark.parametrize(
    ("new", "old", "meaning"),
    [
        ("kv_cache_usage_perc", "gpu_cache_usage_perc", Meaning.KV_USAGE),
        (
            "inter_token_latency_seconds",
            "time_per_output_token_seconds",
            Meaning.ITL,
        ),
        ("prefix_cache_queries", "gpu_prefix_cache_queries", Meaning.PREFIX_QUERIES),
    ],
)
def test_old_names_of_vllm_have_the_same_meaning(new: str, old: str, meaning: Meaning) -> None:
    page = vllm_page(BUSY)
    both = [
        engine_samples(served_trace(each))[0]
        for each in (page, lambda t: page(t).replace(f"vllm:{new}", f"vllm:{old}"))
    ]
    known = [samples.metric(meaning) for samples in both]
    assert [metric.name for metric in known if metric is not None] == [
        f"vllm:{new}",
        f"vllm:{old}",
    ]


def test_a_page_with_an_old_and_a_new_name_counts_once() -> None:
    page = vllm_page(BUSY)

    def doubled(t: float) -> str:
        usage = labeled("vllm:gpu_cache_usage_perc", {"engine": "0"}, 0.9)
        return page(t) + usage + "\n"

    found = diagnose_pages(doubled)
    assert found.requests is not None and found.requests.server is not None
    assert found.requests.server.kv_cache_mean == 0.4


def test_unknown_names_are_reported_and_not_read() -> None:
    created = "vllm:e2e_request_latency_seconds_created 1.7e9\n"
    body = (
        vllm_page(BUSY)(0.0)
        + created
        + "vllm:time_warp_seconds_sum 3\nvllm:time_warp_seconds_count 1\n"
    )
    assert read_page(body.encode()).other_names == ["vllm:time_warp_seconds"]


def test_a_quantile_has_its_bucket_as_interval() -> None:
    samples = engine_samples(served_trace(vllm_page(BUSY)))[0]
    queue, tokens = samples.histogram(Meaning.QUEUE), samples.histogram(Meaning.ITL)
    assert queue is not None and tokens is not None
    assert queue.quantile(0.5) == Quantile(None, 0.0, 0.3)  # "under 0.3 s"
    assert queue.mean == pytest.approx(0.1)
    median = tokens.quantile(0.5)
    assert median is not None
    assert (median.low, median.high) == (0.01, 0.025)
    assert median.value == pytest.approx(0.0175)
    assert tokens.count == 5800  # 2 requests/s of 100 tokens for 29 s


def test_the_last_bucket_has_no_upper_bound() -> None:
    traffic = Traffic(running=1, per_second=1, token_s={200.0: 1.0})
    found = diagnose_pages(vllm_page(traffic))
    assert found.requests is not None and found.requests.itl_ms is not None
    p99 = found.requests.itl_ms.p99
    assert (p99.value, p99.low, p99.high, p99.source) == (None, 80_000.0, None, "metrics")


def test_a_restart_does_not_make_a_rate_negative() -> None:
    page = vllm_page(Traffic(running=1, per_second=10))

    def restarted(t: float) -> str:
        return page(t if t < 10 else t - 1000.0)  # counters begin at zero after 10 s

    samples = engine_samples(served_trace(restarted))[0]
    assert samples.finished == 90 + 290  # 9 s before, and 29 s after the start


def test_a_series_that_appears_later_began_at_zero() -> None:
    page = vllm_page(Traffic(running=1, per_second=1))
    late = labeled("vllm:request_success_total", {"finished_reason": "error"}, 4.0)
    found = diagnose_pages(lambda t: page(t) + (f"{late}\n" if t >= 5 else ""))
    assert found.requests is not None
    assert (found.requests.count, found.requests.failed) == (29 + 4, 4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>It works!</body></html>\n",
        b'{"object": "list", "data": []}\n',
        b"node_cpu_seconds_total 5\n",
        b'vllm:num_requests_running{engine="0"} 1',  # cut: it may have been 12
        b'vllm:num_requests_running{engine="0} 1\n',
        b"vllm:num_requests_running many\n",
        b"vllm:num_requests_running NaN\n",
        b"vllm:unheard_of 1\n",
        bytes(range(256)) * 64 + b"\n",
    ],
)
def test_what_is_not_a_page_of_an_engine_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(BadPage) as refused:
        read_page(body)
    assert "\n" not in str(refused.value)


def test_a_damaged_line_costs_only_itself() -> None:
    body = vllm_page(BUSY)(0.0) + 'vllm:num_preemptions_total{engine="0} 7\n'
    found = read_page(body.encode())
    assert found.damaged_lines == 1
    assert len(found.samples) == len(read_page(vllm_page(BUSY)(0.0).encode()).samples)


def test_pages_are_bounded() -> None:
    many = "".join(f'vllm:num_requests_running{{engine="{n}"}} 1\n' for n in range(20_001))
    long = f'vllm:num_requests_running{{model_name="{"x" * 300}"}} 1\n'
    wide = "vllm:num_requests_running{" + ",".join(f'l{n}="x"' for n in range(60)) + "} 1\n"
    repeated = 'vllm:num_requests_running{engine="0"} 1\n' * 20_001
    for body in (many, long, wide, repeated, "#" * (8 << 20) + "\n"):
        with pytest.raises(BadPage):
            read_page(body.encode())


@pytest.mark.parametrize("value", ["-1", "-6e18", "-Inf"])
def test_a_number_below_zero_is_damaged(value: str) -> None:
    text = f"vllm:num_requests_waiting {value}\nvllm:num_requests_running 3\n"
    found = read_page(text.encode())
    assert found.damaged_lines == 1 and list(found.samples.values()) == [3.0]


@pytest.mark.parametrize("bound", ["NaN", "-Inf", "x", ""])
def test_a_bucket_without_a_bound_is_damaged(bound: str) -> None:
    bucket = f'vllm:inter_token_latency_seconds_bucket{{le="{bound}"}} 1'
    found = read_page(f"{bucket}\nvllm:num_requests_running 1\n".encode())
    assert found.damaged_lines == 1
    assert all(math.isnan(series.le) for series in found.samples)
