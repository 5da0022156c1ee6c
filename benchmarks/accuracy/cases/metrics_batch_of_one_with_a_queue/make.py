"""A vLLM server that runs one request at a time while seven wait; its KV cache is empty."""

from benchmarks.accuracy.kineto import output_folder
from benchmarks.accuracy.metrics_run import VllmTraffic, write_metrics_run

traffic = VllmTraffic(
    gauges={"num_requests_running": 1, "num_requests_waiting": 7, "kv_cache_usage_perc": 0.01},
    per_second={"request_success": 3.0, "generation_tokens": 100.0, "prompt_tokens": 300.0},
)
write_metrics_run(output_folder(__file__) / "run.perfscope", traffic)
