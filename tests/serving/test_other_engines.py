"""Pages of every engine that is read, of older versions, and of other programs."""

import pytest

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.engine_metrics.meanings import GAUGES, Meaning
from perfscope.traces.engine_metrics.names import ENGINE, ENGINES, Engine, MetricName
from perfscope.traces.engine_metrics.page import BadPage, read_page
from tests.serving.engine_pages import (
    REQUEST,
    TOKEN,
    TTFT,
    Page,
    Traffic,
    at,
    histogram,
    labeled,
    vllm_page,
)
from tests.serving.served_trace import diagnose_pages, names_of_findings

IDLE = Traffic()
LIGHT = Traffic(running=1, kv=0.02, per_second=0.5, e2e_s=2.0, queue_s=0.001)
BUSY = Traffic(running=lambda t: 20 + 12 * (t % 3), kv=0.6, per_second=10, e2e_s=3.2, queue_s=0.01)
QUEUED = Traffic(running=8, waiting=12, kv=0.2, per_second=4, e2e_s=5.0, queue_s=3.0)
WITH_SUM = (Meaning.TTFT, Meaning.ITL, Meaning.TOKEN_TIME, Meaning.E2E, Meaning.QUEUE)
STAGES = (Meaning.PREFILL, Meaning.DECODE, Meaning.SERVICE, Meaning.STEP_TOKENS)
PLAIN_COUNTERS = ("triton", "llama-cpp")
"""Engines without histograms: times are counters of seconds."""


def values_of(traffic: Traffic, seconds: float) -> dict[Meaning, float]:
    """Return gauges, and counters of events after some seconds."""
    done = float(int(traffic.per_second * (500.0 + seconds)))
    return {
        Meaning.RUNNING: at(traffic.running, seconds),
        Meaning.WAITING: at(traffic.waiting, seconds),
        Meaning.KV_USAGE: at(traffic.kv, seconds),
        Meaning.MAX_RUNNING: 256.0,
        Meaning.FINISHED: done,
        Meaning.FAILED: 0.0,
        Meaning.PROMPT_TOKENS: done * traffic.prompt,
        Meaning.OUTPUT_TOKENS: done * traffic.output,
        Meaning.STEPS: done,
        Meaning.BATCH_SIZE: max(at(traffic.running, seconds), 1.0),
        Meaning.DEVICE_BUSY: 0.9,
        Meaning.GRAPH_PASSES: 0.0,
    }


def times_of(traffic: Traffic) -> dict[Meaning, float]:
    """Return the duration of each stage of a request, in seconds."""
    service_s = max(traffic.e2e_s - traffic.queue_s, 0.001)
    return {
        Meaning.TTFT: traffic.queue_s + 0.05,
        Meaning.ITL: 0.02,
        Meaning.TOKEN_TIME: 0.02,
        Meaning.E2E: traffic.e2e_s,
        Meaning.QUEUE: traffic.queue_s,
        Meaning.PREFILL: 0.05,
        Meaning.DECODE: max(service_s - 0.05, 0.001),
        Meaning.SERVICE: service_s,
        Meaning.STEP_TOKENS: 8.0,
    }


def lines_of(metric: MetricName, engine: Engine, traffic: Traffic, seconds: float) -> list[str]:
    """Return the lines of one metric."""
    values, times = values_of(traffic, seconds), times_of(traffic)
    labels = {"model": "m"}
    if metric.label:
        return []
    if metric.meaning in times:
        done = values[Meaning.FINISHED]
        count = done * (traffic.output if metric.meaning is Meaning.ITL else 1.0)
        value = times[metric.meaning] / metric.scale
        if engine.id in PLAIN_COUNTERS:
            return [labeled(metric.name, labels, count * value)]
        bounds = TOKEN if metric.meaning is Meaning.ITL else (*TTFT[:8], *REQUEST)
        scaled = [bound / metric.scale for bound in sorted(set(bounds))]
        return histogram(metric.name, labels, scaled, {value: 1.0}, count)
    if metric.meaning not in values:
        return []
    name = metric.name if metric.meaning in GAUGES else f"{metric.name}_total"
    return [labeled(name, labels, values[metric.meaning])]


def page_of_engine(engine: Engine, traffic: Traffic) -> Page:
    """Return a page with the names of an engine's table, those of the newest version."""

    def page(seconds: float) -> str:
        lines, seen = [], set()
        for metric in engine.metrics:
            if metric.meaning not in seen:
                seen.add(metric.meaning)
                lines += lines_of(metric, engine, traffic, seconds)
        return "\n".join([*lines, ""])

    return page


def diagnosed(engine: Engine, traffic: Traffic) -> Diagnosis:
    found = diagnose_pages(page_of_engine(engine, traffic))
    assert found.failed == []
    return found


@pytest.mark.parametrize("traffic", [IDLE, LIGHT, BUSY], ids=["idle", "light", "busy"])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.id)
def test_no_engine_that_delays_nobody_gets_a_finding(engine: Engine, traffic: Traffic) -> None:
    assert names_of_findings(diagnosed(engine, traffic)) == []


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.id)
def test_a_queue_is_one_in_every_engine(engine: Engine) -> None:
    found = diagnosed(engine, QUEUED)
    assert [finding.id for finding in found.findings] == ["queueing"]
    assert found.requests is not None and found.requests.server is not None
    assert found.requests.server.waiting_mean == pytest.approx(12.0)


VERSION_0 = {
    "kv_cache_usage_perc": "gpu_cache_usage_perc",
    "inter_token_latency_seconds": "time_per_output_token_seconds",
    "request_queue_time_seconds": "time_in_queue_requests",
}
ONLY_IN_VERSION_0 = (
    "num_requests_swapped",
    "cpu_cache_usage_perc",
    "cpu_prefix_cache_hit_rate",
    "avg_prompt_throughput_toks_per_s",
    "avg_generation_throughput_toks_per_s",
)


def vllm_0_page(traffic: Traffic) -> Page:
    """Return a page of vLLM v0, with gauges that no later version has."""
    page = vllm_page(traffic)

    def renamed(seconds: float) -> str:
        text = page(seconds)
        for new, old in VERSION_0.items():
            text = text.replace(f"vllm:{new}", f"vllm:{old}")
        return text + "".join(f"vllm:{name} 1.0\n" for name in ONLY_IN_VERSION_0)

    return renamed


def test_vllm_0_has_the_same_answers_and_its_other_metrics_are_listed() -> None:
    for traffic, names in ((LIGHT, []), (QUEUED, ["queueing/admission-limit"])):
        found = diagnose_pages(vllm_0_page(traffic))
        assert names_of_findings(found) == names
        assert found.requests is not None and found.requests.server is not None
        server = found.requests.server
        assert set(server.other_metrics) == {f"vllm:{name}" for name in ONLY_IN_VERSION_0}


ROUTER = "".join(
    f'{name}{{worker="http://w:8000"}} 5\n'
    for name in (
        "sgl_router_requests_total",
        "sgl_router_active_workers",
        "sgl_router_running_requests",
        "sgl_router_processed_requests_total",
    )
)
NOT_AN_ENGINE = {
    "a router": ROUTER,
    "iteration statistics of TensorRT-LLM": '[{"iter": 1, "numActiveRequests": 3}]\n',
    "a node": "node_load1 0.5\nprocess_cpu_seconds_total 9\n",
    "names that only begin alike": "tei_request_count 5\nvllm_other 3\nsglang_x 1\n",
}


@pytest.mark.parametrize("text", NOT_AN_ENGINE.values(), ids=NOT_AN_ENGINE)
def test_a_page_that_is_not_of_an_engine_is_refused(text: str) -> None:
    with pytest.raises(BadPage, match="no metrics of an inference engine"):
        read_page(text.encode())


def test_a_page_with_only_unknown_names_of_an_engine_is_refused() -> None:
    for engine in ENGINE.values():
        name = f"{engine.prefixes[0]}a_quantity_of_the_future"
        with pytest.raises(BadPage, match="none of the"):
            read_page(f"{name} 1\n".encode())
