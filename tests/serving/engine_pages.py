"""Metrics pages in the names of inference engines, whose counters grow with time.

Names and bounds of buckets are those that the engines' own sources declare.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
STEP = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

Mixture = Mapping[float, float]
"""Value -> its share of the observations."""
Page = Callable[[float], str]
"""The page after some seconds."""


@dataclass(frozen=True)
class Traffic:
    """What a server does: its gauges at each second, and what happens per second.

    `running` and `waiting` may be functions of the time.
    """

    running: float | Callable[[float], float] = 0.0
    waiting: float | Callable[[float], float] = 0.0
    kv: float | Callable[[float], float] = 0.0
    per_second: float = 0.0
    prompt: float = 200.0
    output: float = 100.0
    preemptions: float = 0.0
    hit_share: float = 0.0
    queue_s: float = 0.0
    e2e_s: float = 1.0
    token_s: Mixture = field(default_factory=lambda: {0.02: 1.0})
    step_tokens: Mixture = field(default_factory=lambda: {1.0: 1.0})


def at(value: float | Callable[[float], float], seconds: float) -> float:
    """Return a gauge after some seconds."""
    return value(seconds) if callable(value) else value


def labeled(name: str, labels: Mapping[str, str], value: float) -> str:
    """Return the line of a sample."""
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}"


def histogram(
    name: str,
    labels: Mapping[str, str],
    bounds: Sequence[float],
    mixture: Mixture,
    count: float,
) -> list[str]:
    """Return the lines of a histogram with `count` observations."""
    counts = [0.0] * (len(bounds) + 1)
    for value, share in mixture.items():
        counts[bisect_left(bounds, value)] += float(int(count * share))
    lines, reached = [], 0.0
    for bound, inside in zip([*map(float, bounds), "+Inf"], counts, strict=True):
        reached += inside
        lines.append(labeled(f"{name}_bucket", {**labels, "le": str(bound)}, reached))
    total = sum(value * int(count * share) for value, share in mixture.items())
    return [
        *lines,
        labeled(f"{name}_count", labels, reached),
        labeled(f"{name}_sum", labels, total),
    ]


def vllm_page(traffic: Traffic, *, engine: str = "0", config: str = "") -> Page:
    """Return the page of a vLLM v1 server; it was up for a while before."""
    labels = {"engine": engine, "model_name": "m"}

    def page(seconds: float) -> str:
        up_s = 1000.0 + seconds
        done = float(int(traffic.per_second * up_s))
        tokens = done * traffic.output
        gauges = {
            "num_requests_running": at(traffic.running, seconds),
            "num_requests_waiting": at(traffic.waiting, seconds),
            "kv_cache_usage_perc": at(traffic.kv, seconds),
        }
        counters = {
            "num_preemptions_total": float(int(traffic.preemptions * up_s)),
            "prompt_tokens_total": done * traffic.prompt,
            "generation_tokens_total": tokens,
            "prefix_cache_queries_total": done * traffic.prompt,
            "prefix_cache_hits_total": float(int(done * traffic.prompt * traffic.hit_share)),
        }
        lines = [
            "# HELP vllm:num_requests_running Number of requests in model execution batches.",
            "# TYPE vllm:num_requests_running gauge",
            *(labeled(f"vllm:{name}", labels, value) for name, value in gauges.items()),
            *(labeled(f"vllm:{name}", labels, value) for name, value in counters.items()),
        ]
        for reason, share in (("stop", 1.0), ("length", 0.0), ("abort", 0.0)):
            reasoned = {**labels, "finished_reason": reason}
            lines.append(labeled("vllm:request_success_total", reasoned, done * share))
        first_s = traffic.queue_s + 0.05
        histograms = (
            ("time_to_first_token_seconds", TTFT, {first_s: 1.0}, done),
            ("inter_token_latency_seconds", TOKEN, traffic.token_s, tokens),
            ("e2e_request_latency_seconds", REQUEST, {traffic.e2e_s: 1.0}, done),
            ("request_queue_time_seconds", REQUEST, {traffic.queue_s: 1.0}, done),
            ("iteration_tokens_total", STEP, traffic.step_tokens, 40.0 * up_s),
        )
        for name, bounds, mixture, count in histograms:
            lines += histogram(f"vllm:{name}", labels, bounds, mixture, count)
        lines += [f"vllm:cache_config_info{{{config}}} 1.0"] if config else []
        return "\n".join([*lines, "python_gc_objects_collected_total 5.0", ""])

    return page


def sglang_page(
    traffic: Traffic,
    *,
    passes: Mapping[str, float] | None = None,
    busy: float | None = None,
    retractions: str = "num_retracted_requests_total",
) -> Page:
    """Return the page of an SGLang server; `passes` are forward passes per second by mode."""
    labels = {"model_name": "m", "engine_type": "unified", "tp_rank": "0"}

    def page(seconds: float) -> str:
        up_s = 500.0 + seconds
        done = float(int(traffic.per_second * up_s))
        gauges = {
            "num_running_reqs": at(traffic.running, seconds),
            "num_queue_reqs": at(traffic.waiting, seconds),
            "token_usage": at(traffic.kv, seconds),
            "num_grammar_queue_reqs": 0.0,
        }
        counters = {
            "num_requests_total": done,
            "prompt_tokens_total": done * traffic.prompt,
            "generation_tokens_total": done * traffic.output,
            retractions: float(int(traffic.preemptions * up_s)),
        }
        lines = [
            labeled(f"sglang:{name}", labels, value)
            for name, value in {**gauges, **counters}.items()
        ]
        for mode, rate in (passes or {}).items():
            moded = {**labels, "mode": mode}
            lines.append(labeled("sglang:cuda_graph_passes_total", moded, float(int(rate * up_s))))
        if busy is not None:
            lines.append(labeled("sglang:fwd_occupancy", labels, busy))
        lines += histogram(
            "sglang:inter_token_latency_seconds",
            labels,
            TOKEN,
            traffic.token_s,
            done * traffic.output,
        )
        # The second rank of tensor parallelism works on the same requests.
        second = {**labels, "tp_rank": "1"}
        lines += [labeled(f"sglang:{name}", second, value) for name, value in gauges.items()]
        return "\n".join([*lines, ""])

    return page


def llama_page(traffic: Traffic) -> Page:
    """Return the page of a llama.cpp server, which has no labels and no histograms."""

    def page(seconds: float) -> str:
        done = traffic.per_second * (100.0 + seconds)
        values = {
            "prompt_tokens_total": done * traffic.prompt,
            "prompt_seconds_total": done * 0.1,
            "tokens_predicted_total": done * traffic.output,
            "tokens_predicted_seconds_total": done * 2.0,
            "n_decode_total": done * traffic.output,
            "requests_processing": at(traffic.running, seconds),
            "requests_deferred": at(traffic.waiting, seconds),
            "n_tokens_max": 512.0,
        }
        return "".join(f"llamacpp:{name} {value}\n" for name, value in values.items())

    return page


def triton_page(traffic: Traffic, *, infer_s: float, batch: float = 1.0) -> Page:
    """Return the page of a Triton server: cumulative microseconds per model.

    `batch` is the mean number of requests per execution.
    """
    labels = {"model": "resnet", "version": "1"}

    def page(seconds: float) -> str:
        done = float(int(traffic.per_second * (100.0 + seconds)))
        values = {
            "nv_inference_request_success": done,
            "nv_inference_count": done,
            "nv_inference_exec_count": float(int(done / batch)),
            "nv_inference_request_duration_us": done * (traffic.queue_s + infer_s) * 1e6,
            "nv_inference_queue_duration_us": done * traffic.queue_s * 1e6,
            "nv_inference_compute_infer_duration_us": done * infer_s * 1e6,
            "nv_inference_pending_request_count": at(traffic.waiting, seconds),
        }
        return "".join(labeled(name, labels, value) + "\n" for name, value in values.items())

    return page
