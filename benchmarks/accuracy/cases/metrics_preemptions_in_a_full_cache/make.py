"""A vLLM server whose KV cache is full, and which preempts running requests."""

from benchmarks.accuracy.kineto import output_folder
from benchmarks.accuracy.metrics_run import VllmTraffic, write_metrics_run

traffic = VllmTraffic(
    gauges={
        "num_requests_running": lambda t: 12 + t % 3,
        "num_requests_waiting": 9,
        "kv_cache_usage_perc": lambda t: 0.95 + 0.01 * (t % 5),
    },
    per_second={
        "request_success": 2.0,
        "generation_tokens": 400.0,
        "prompt_tokens": 600.0,
        "num_preemptions": 1.5,
    },
)
write_metrics_run(output_folder(__file__) / "run.perfscope", traffic)
