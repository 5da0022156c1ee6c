"""The names of metrics per inference engine and version.

Names are those on the page without the suffixes `_total`, `_bucket`, `_sum` and `_count`. Where an
engine has two names for one quantity, the newer one is first in its table, and only the first one
that a page has is used.
"""

from dataclasses import dataclass
from typing import Final

from perfscope.traces.engine_metrics.meanings import Meaning as M


@dataclass(frozen=True)
class MetricName:
    """A metric of an engine. `scale` converts its values to seconds or shares.

    `label` selects series: those whose label has one of `values`; `("", ())` takes all of them.
    `versions` says which versions of the engine have it, "" where all known ones do.
    """

    name: str
    meaning: M
    scale: float = 1.0
    label: str = ""
    values: tuple[str, ...] = ()
    versions: str = ""


@dataclass(frozen=True)
class Engine:
    """An inference engine, the prefixes of its metrics, and the metrics that are read."""

    id: str
    label: str
    prefixes: tuple[str, ...]
    metrics: tuple[MetricName, ...]
    path: str = "/metrics"
    """Where its page is."""


ABORTED: Final = ("abort", "error")

VLLM_METRICS: Final = (
    MetricName("vllm:num_requests_running", M.RUNNING),
    MetricName("vllm:num_requests_waiting", M.WAITING),
    MetricName("vllm:kv_cache_usage_perc", M.KV_USAGE, versions="v1"),
    MetricName("vllm:gpu_cache_usage_perc", M.KV_USAGE, versions="v0, v1 before 0.11"),
    MetricName("vllm:cache_config_info", M.CONFIGURATION),
    MetricName("vllm:cache_config", M.CONFIGURATION, versions="as an info metric"),
    MetricName("vllm:request_success", M.FINISHED),
    MetricName("vllm:request_success", M.FAILED, label="finished_reason", values=ABORTED),
    MetricName("vllm:prompt_tokens", M.PROMPT_TOKENS),
    MetricName("vllm:prompt_tokens_cached", M.CACHED_TOKENS, versions="from 0.2x"),
    MetricName("vllm:generation_tokens", M.OUTPUT_TOKENS),
    MetricName("vllm:prefix_cache_queries", M.PREFIX_QUERIES),
    MetricName("vllm:gpu_prefix_cache_queries", M.PREFIX_QUERIES, versions="v1 before 0.11"),
    MetricName("vllm:prefix_cache_hits", M.PREFIX_HITS),
    MetricName("vllm:gpu_prefix_cache_hits", M.PREFIX_HITS, versions="v1 before 0.11"),
    MetricName("vllm:gpu_prefix_cache_hit_rate", M.PREFIX_HIT_SHARE, versions="v0"),
    MetricName("vllm:num_preemptions", M.PREEMPTIONS),
    MetricName("vllm:spec_decode_num_draft_tokens", M.DRAFT_TOKENS),
    MetricName("vllm:spec_decode_num_accepted_tokens", M.ACCEPTED_TOKENS),
    MetricName("vllm:spec_decode_draft_acceptance_rate", M.ACCEPTED_SHARE, versions="v0"),
    MetricName("vllm:time_to_first_token_seconds", M.TTFT),
    MetricName("vllm:inter_token_latency_seconds", M.ITL, versions="v1"),
    MetricName("vllm:time_per_output_token_seconds", M.ITL, versions="v0, v1 before 0.12"),
    MetricName("vllm:request_time_per_output_token_seconds", M.TOKEN_TIME),
    MetricName("vllm:e2e_request_latency_seconds", M.E2E),
    MetricName("vllm:request_queue_time_seconds", M.QUEUE),
    MetricName("vllm:time_in_queue_requests", M.QUEUE, versions="v0"),
    MetricName("vllm:request_prefill_time_seconds", M.PREFILL),
    MetricName("vllm:request_decode_time_seconds", M.DECODE),
    MetricName("vllm:request_inference_time_seconds", M.SERVICE),
    MetricName("vllm:iteration_tokens", M.STEP_TOKENS),
)

SGLANG_METRICS: Final = (
    MetricName("sglang:num_running_reqs", M.RUNNING),
    MetricName("sglang:num_queue_reqs", M.WAITING),
    MetricName("sglang:num_grammar_queue_reqs", M.GRAMMAR_QUEUE),
    MetricName("sglang:token_usage", M.KV_USAGE),
    MetricName("sglang:max_total_num_tokens", M.KV_TOKENS),
    MetricName("sglang:max_running_requests", M.MAX_RUNNING),
    MetricName("sglang:cache_config_info", M.CONFIGURATION),
    MetricName("sglang:num_requests", M.FINISHED),
    MetricName("sglang:num_aborted_requests", M.FAILED),
    MetricName("sglang:prompt_tokens", M.PROMPT_TOKENS),
    MetricName("sglang:cached_tokens", M.CACHED_TOKENS),
    MetricName("sglang:generation_tokens", M.OUTPUT_TOKENS),
    MetricName("sglang:cache_hit_rate", M.PREFIX_HIT_SHARE),
    MetricName("sglang:num_retracted_requests", M.PREEMPTIONS, versions="from 0.5.4"),
    MetricName("sglang:num_retractions", M.PREEMPTIONS, versions="before 0.5.4"),
    MetricName("sglang:spec_accept_rate", M.ACCEPTED_SHARE),
    MetricName("sglang:time_to_first_token_seconds", M.TTFT),
    MetricName("sglang:inter_token_latency_seconds", M.ITL, versions="from 0.4.6"),
    MetricName("sglang:time_per_output_token_seconds", M.ITL, versions="before 0.4.6"),
    MetricName("sglang:request_time_per_output_token_seconds", M.TOKEN_TIME),
    MetricName("sglang:e2e_request_latency_seconds", M.E2E),
    MetricName("sglang:queue_time_seconds", M.QUEUE),
    MetricName("sglang:cuda_graph_passes", M.GRAPH_PASSES, versions="from 0.5.6"),
    MetricName("sglang:is_cuda_graph", M.IS_GRAPH),
    MetricName("sglang:fwd_occupancy", M.DEVICE_BUSY),
    MetricName("sglang:scheduler_process_cpu_seconds", M.SCHEDULER_CPU),
    MetricName("sglang:scheduler_idle_seconds", M.SCHEDULER_IDLE),
)

LLAMA_METRICS: Final = (
    MetricName("llamacpp:requests_processing", M.RUNNING),
    MetricName("llamacpp:requests_deferred", M.WAITING),
    MetricName("llamacpp:kv_cache_usage_ratio", M.KV_USAGE, versions="before b6000"),
    MetricName("llamacpp:prompt_tokens", M.PROMPT_TOKENS),
    MetricName("llamacpp:prompt_seconds", M.PREFILL),
    MetricName("llamacpp:tokens_predicted", M.OUTPUT_TOKENS),
    MetricName("llamacpp:tokens_predicted_seconds", M.DECODE),
    MetricName("llamacpp:n_decode", M.STEPS),
    MetricName("llamacpp:n_busy_slots_per_decode", M.BATCH_SIZE),
)

TGI_METRICS: Final = (
    MetricName("tgi_batch_current_size", M.RUNNING),
    MetricName("tgi_queue_size", M.WAITING),
    MetricName("tgi_request_success", M.FINISHED),
    MetricName("tgi_request_failure", M.FAILED),
    MetricName("tgi_request_duration", M.E2E),
    MetricName("tgi_request_queue_duration", M.QUEUE),
    MetricName("tgi_request_inference_duration", M.SERVICE),
    MetricName("tgi_request_mean_time_per_token_duration", M.TOKEN_TIME),
    MetricName("tgi_request_input_length", M.PROMPT_TOKENS),
    MetricName("tgi_request_generated_tokens", M.OUTPUT_TOKENS),
    MetricName("tgi_batch_next_size", M.BATCH_SIZE),
)

US: Final = 1e-6
TRITON_METRICS: Final = (
    MetricName("nv_inference_pending_request_count", M.WAITING),
    MetricName("nv_inference_request_success", M.FINISHED),
    MetricName("nv_inference_request_failure", M.FAILED),
    MetricName("nv_inference_exec_count", M.STEPS),
    MetricName("nv_inference_request_duration_us", M.E2E, US),
    MetricName("nv_inference_queue_duration_us", M.QUEUE, US),
    MetricName("nv_inference_compute_infer_duration_us", M.SERVICE, US),
    MetricName("nv_inference_first_response_histogram_ms", M.TTFT, 1e-3),
)

TRTLLM_METRICS: Final = (
    MetricName("trtllm_num_requests_running", M.RUNNING),
    MetricName("trtllm_num_requests_waiting", M.WAITING),
    MetricName("trtllm_kv_cache_utilization", M.KV_USAGE),
    MetricName("trtllm_kv_cache_hit_rate", M.PREFIX_HIT_SHARE),
    MetricName("trtllm_max_batch_size_static", M.MAX_RUNNING),
    MetricName("trtllm_request_success", M.FINISHED),
    MetricName("trtllm_prompt_tokens", M.PROMPT_TOKENS),
    MetricName("trtllm_generation_tokens", M.OUTPUT_TOKENS),
    MetricName("trtllm_time_to_first_token_seconds", M.TTFT),
    MetricName("trtllm_time_per_output_token_seconds", M.TOKEN_TIME),
    MetricName("trtllm_e2e_request_latency_seconds", M.E2E),
    MetricName("trtllm_request_queue_time_seconds", M.QUEUE),
    MetricName("trtllm_request_prefill_time_seconds", M.PREFILL),
    MetricName("trtllm_request_decode_time_seconds", M.DECODE),
    MetricName("trtllm_request_inference_time_seconds", M.SERVICE),
)

LMDEPLOY_METRICS: Final = (
    MetricName("lmdeploy:num_requests_running", M.RUNNING),
    MetricName("lmdeploy:num_requests_waiting", M.WAITING),
    MetricName("lmdeploy:gpu_cache_usage_perc", M.KV_USAGE),
    MetricName("lmdeploy:request_success", M.FINISHED),
    MetricName("lmdeploy:prompt_tokens", M.PROMPT_TOKENS),
    MetricName("lmdeploy:generation_tokens", M.OUTPUT_TOKENS),
    MetricName("lmdeploy:time_to_first_token_seconds", M.TTFT),
    MetricName("lmdeploy:iter_token_latency", M.ITL, versions="from 0.10"),
    MetricName("lmdeploy:time_per_output_token_seconds", M.ITL, versions="before 0.10"),
    MetricName("lmdeploy:e2e_request_latency_seconds", M.E2E),
    MetricName("lmdeploy:request_queue_time_seconds", M.QUEUE),
    MetricName("lmdeploy:request_prefill_time_seconds", M.PREFILL),
    MetricName("lmdeploy:request_decode_time_seconds", M.DECODE),
    MetricName("lmdeploy:request_inference_time_seconds", M.SERVICE),
    MetricName("lmdeploy:iteration_tokens", M.STEP_TOKENS),
)

TEI_METRICS: Final = (
    MetricName("te_queue_size", M.WAITING),
    MetricName("te_request_success", M.FINISHED),
    MetricName("te_request_failure", M.FAILED),
    MetricName("te_request_duration", M.E2E),
    MetricName("te_request_queue_duration", M.QUEUE),
    MetricName("te_request_inference_duration", M.SERVICE),
    MetricName("te_request_input_length", M.PROMPT_TOKENS),
    MetricName("te_batch_next_size", M.BATCH_SIZE),
)

RAY_METRICS: Final = (
    MetricName("ray_serve_num_ongoing_requests_at_replicas", M.RUNNING),
    MetricName("ray_serve_replica_processing_queries", M.RUNNING, versions="before 2.35"),
    MetricName("ray_serve_deployment_queued_queries", M.WAITING),
    MetricName("ray_serve_deployment_request_counter", M.FINISHED),
    MetricName("ray_serve_deployment_error_counter", M.FAILED),
    MetricName("ray_serve_deployment_processing_latency_ms", M.SERVICE, 1e-3),
)


def renamed_for_ray(metric: MetricName) -> MetricName:
    """Return the name under which Ray Serve exports a metric of vLLM: with `_` for `:`."""
    name = "ray_" + metric.name.replace(":", "_")
    return MetricName(
        name, metric.meaning, metric.scale, metric.label, metric.values, metric.versions
    )


ENGINES: Final = (
    Engine("vllm", "vLLM", ("vllm:",), VLLM_METRICS),
    Engine("sglang", "SGLang", ("sglang:",), SGLANG_METRICS),
    Engine("llama-cpp", "llama.cpp", ("llamacpp:",), LLAMA_METRICS),
    Engine("tgi", "TGI", ("tgi_",), TGI_METRICS),
    Engine("triton", "Triton", ("nv_inference_",), TRITON_METRICS),
    Engine("tensorrt-llm", "TensorRT-LLM", ("trtllm_",), TRTLLM_METRICS, "/prometheus/metrics"),
    Engine("lmdeploy", "LMDeploy", ("lmdeploy:",), LMDEPLOY_METRICS),
    Engine(
        "tei", "Text Embeddings Inference", ("te_request_", "te_queue_", "te_batch_"), TEI_METRICS
    ),
    Engine(
        "ray-serve-llm", "Ray Serve LLM", ("ray_vllm_",), tuple(map(renamed_for_ray, VLLM_METRICS))
    ),
    Engine("ray-serve", "Ray Serve", ("ray_serve_",), RAY_METRICS),
)
ENGINE: Final = {engine.id: engine for engine in ENGINES}


def engine_of_names(names: "set[str]") -> Engine | None:
    """Return the engine that a page with these names is from, None where it is from none.

    Where several match, such as vLLM in a Ray cluster, it is the first in ENGINES.
    """
    for engine in ENGINES:
        if any(name.startswith(engine.prefixes) for name in names):
            return engine
    return None


def name_without_suffix(name: str) -> str:
    """Return the name of a metric as the tables have it."""
    return name.removesuffix("_total")
