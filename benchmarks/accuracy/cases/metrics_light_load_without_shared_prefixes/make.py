"""A vLLM server with one request at a time, all of whose prompts are different."""

from benchmarks.accuracy.kineto import output_folder
from benchmarks.accuracy.metrics_run import VllmTraffic, write_metrics_run

traffic = VllmTraffic(
    gauges={"num_requests_running": 1, "num_requests_waiting": 0, "kv_cache_usage_perc": 0.02},
    per_second={
        "request_success": 0.5,
        "generation_tokens": 50.0,
        "prompt_tokens": 300.0,
        "prefix_cache_queries": 300.0,
        "prefix_cache_hits": 0.0,
    },
    step_tokens={1.0: 1.0},
)
write_metrics_run(output_folder(__file__) / "run.perfscope", traffic)
