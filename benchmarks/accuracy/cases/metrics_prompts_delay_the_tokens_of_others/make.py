"""A vLLM server in which one step in ten computes a long prompt, and delays all tokens."""

from benchmarks.accuracy.kineto import output_folder
from benchmarks.accuracy.metrics_run import VllmTraffic, write_metrics_run

traffic = VllmTraffic(
    gauges={"num_requests_running": 16, "num_requests_waiting": 0, "kv_cache_usage_perc": 0.4},
    per_second={"request_success": 4.0, "generation_tokens": 600.0, "prompt_tokens": 30000.0},
    token_s={0.02: 0.9, 0.7: 0.1},
    step_tokens={16.0: 0.9, 8000.0: 0.1},
    tokens_per_second=600.0,
)
write_metrics_run(output_folder(__file__) / "run.perfscope", traffic)
