"""A vLLM server with eight requests whose tokens take 310 ms each: metrics do not say why."""

from benchmarks.accuracy.kineto import output_folder
from benchmarks.accuracy.metrics_run import VllmTraffic, write_metrics_run

traffic = VllmTraffic(
    gauges={"num_requests_running": 8, "num_requests_waiting": 0, "kv_cache_usage_perc": 0.2},
    per_second={"request_success": 0.3, "generation_tokens": 26.0, "prompt_tokens": 60.0},
    token_s={0.31: 1.0},
    tokens_per_second=26.0,
)
write_metrics_run(output_folder(__file__) / "run.perfscope", traffic)
