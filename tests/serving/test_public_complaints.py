"""Fourteen public complaints about slow servers, rebuilt from what their threads report.

Each is a metrics page in the engine's names, with the stacks, counters or kernels that an attached
recording has where the page cannot show the cause.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import Gpu
from tests.build import Rows
from tests.serving.engine_pages import Page, Traffic, sglang_page, triton_page, vllm_page
from tests.serving.engine_stacks import (
    API_SERVER,
    DEVICES,
    ENGINE_LOOP,
    MODEL,
    PROCESSES,
    RECEIVE,
    grown,
    sampled,
)
from tests.serving.served_trace import actions_of, names_of_findings, served_trace

STEADY = Traffic(running=8, kv=0.2, per_second=0.5, e2e_s=16, step_tokens={8.0: 1.0})
SLOW_TOKENS = Traffic(
    running=8, kv=0.2, per_second=0.5, e2e_s=16, token_s={0.15: 1.0}, step_tokens={8.0: 1.0}
)
AFTER_IDLE = Traffic(running=lambda t: float(t % 10 < 1), kv=0.01, per_second=0.1, e2e_s=1.6)
GRAMMAR = f"{ENGINE_LOOP};compile_grammar (vllm/v1/structured_output/backend_xgrammar.py:90)"


@dataclass(frozen=True)
class Complaint:
    """A complaint: its thread, what was recorded, and the finding (`id/cause`), None: nothing."""

    thread: str
    recorded: Callable[[], Trace]
    finding: str | None
    action: str | None = None


def attached(page: Page, stacks: Rows | None = None, **more: object) -> Trace:
    """Return the recording of an engine that was attached to, on a host with a GPU."""
    facts = {**DEVICES, **more.pop("manifest", {})}  # type: ignore[dict-item]
    tables = {"outside_stacks": stacks} if stacks is not None else {}
    return served_trace(
        page,
        process=0,
        manifest=facts,
        processes=PROCESSES,
        **tables,
        **more,  # type: ignore[arg-type]
    )


def beyond_captured_batches() -> Trace:
    traffic = Traffic(running=40, kv=0.3, per_second=4, token_s={0.08: 1.0})
    passes = {"decode_cuda_graph": 6.0, "decode_none": 6.0, "prefill_none": 2.0}
    return served_trace(sglang_page(traffic, passes=passes), settings={"graph-batch": "32"})


def more_threads_than_quota() -> Trace:
    counters = grown({(-1, "cpu_ns"): 4.0, (-1, "throttled_ns"): 8.0})
    cores = {"usable_cores": {"cores": 4.0, "affinity": 64, "quota": 4.0}}
    return attached(vllm_page(SLOW_TOKENS), manifest=cores, counters=counters)


def too_few_cores() -> Trace:
    counters = grown({(-1, "cpu_ns"): 2.0, (-1, "run_delay_ns"): 0.6, (100, "run_delay_ns"): 0.5})
    cores = {"usable_cores": {"cores": 2.0, "affinity": 2}}
    return attached(vllm_page(STEADY), manifest=cores, counters=counters)


def kernels_compiled_at_first_use() -> Trace:
    compiler = f"{MODEL};run (triton/runtime/jit.py:650);compile (triton/compiler/compiler.py:297)"
    return attached(vllm_page(STEADY), sampled(1, {MODEL: 0.8, compiler: 0.2}))


def clocks_rise_after_idle() -> Trace:
    return attached(vllm_page(AFTER_IDLE), sampled(1, {RECEIVE: 0.9, MODEL: 0.1}))


def preempted_requests() -> Trace:
    traffic = Traffic(
        running=12, waiting=9, kv=0.97, per_second=2, preemptions=1.5, queue_s=3.0, e2e_s=8.0
    )
    return served_trace(vllm_page(traffic))


def long_prompts() -> Trace:
    slow, tokens = {0.02: 0.9, 0.6: 0.1}, {16.0: 0.9, 8000.0: 0.1}
    traffic = Traffic(running=16, kv=0.4, per_second=5, token_s=slow, step_tokens=tokens)
    return served_trace(vllm_page(traffic))


def grammars_on_the_engine_loop() -> Trace:
    grammar = f"{GRAMMAR};compile_json_schema (xgrammar/compiler.py:210)"
    return attached(vllm_page(STEADY), sampled(1, {MODEL: 0.4, grammar: 0.6}))


def images_on_one_core() -> Trace:
    images = f"{API_SERVER};_preprocess (transformers/models/qwen2_vl/image_processing_qwen2_vl.py)"
    stacks = sampled(0, {images: 0.93, API_SERVER: 0.07})
    light = Traffic(running=1, kv=0.02, per_second=1, e2e_s=2.0, step_tokens={2.0: 1.0})
    return attached(vllm_page(light), [*stacks, *sampled(1, {RECEIVE: 0.7, MODEL: 0.3})])


def copy_waits_for_kernels() -> Trace:
    gpu = Gpu()
    for step in range(30):
        at = step * 10_000.0
        gpu.op(at, 300, "aten::linear").started(at + 50, at + 100, 9_900)
        gpu.op(at + 400, 9_550, "aten::_to_copy").sync(at + 450, 9_480)
        gpu.rows["launches"][-1] |= {"op": len(gpu.rows["ops"]) - 1, "name": "cudaMemcpyAsync"}
    return gpu.trace()


def waits_for_the_dynamic_batcher() -> Trace:
    return served_trace(
        triton_page(Traffic(per_second=30, queue_s=0.010), infer_s=0.003, batch=1.3)
    )


def arrivals_exceed_the_service_rate() -> Trace:
    """Return 6 to 10 offered requests/s at a server that finishes 5.4 in 1.37 s each."""
    traffic = Traffic(
        running=lambda t: 7.4 + 3.0 * math.sin(t),
        waiting=lambda t: 10.0 + 2.0 * t,
        kv=0.3,
        per_second=5.4,
        queue_s=6.0,
        e2e_s=7.37,
    )
    return served_trace(vllm_page(traffic))


def host_prepares_each_replay() -> Trace:
    """Return graphs of 10 ms, launched by a thread that prepares each for 2 ms."""
    gpu, launching = Gpu(), 101
    for step in range(30):
        at = step * 12_000.0
        begin = at + 2_000
        graph = {"graph": True, "call_kind": "graph", "tid": launching}
        gpu.span(at + 10, 1_950, "python", "replay_prepare", tid=launching)
        gpu.started(begin - 20, begin, 2_500, **graph)
        launch = len(gpu.rows["launches"]) - 1
        place = {"device": 0, "stream": 7, "kind": "compute", "launch": launch, "graph": True}
        for kernel in range(1, 4):
            gpu.add("kernels", begin + kernel * 2_500, 2_500, name="gemm", **place)
        gpu.sync(at, 11_990)
    return gpu.trace()


def full_steps() -> Trace:
    traffic = Traffic(running=6, waiting=12, kv=0.1, per_second=2, step_tokens={2040.0: 1.0})
    settings = {"max-running": "256", "max-batched-tokens": "2048"}
    return served_trace(vllm_page(traffic), settings=settings)


COMPLAINTS = (
    Complaint("sglang#33483", beyond_captured_batches, "graph-fallback", "capture-larger-batches"),
    Complaint("vllm#9113", more_threads_than_quota, "host-bound-decode", "raise-engine-quota"),
    Complaint("cluster#4879", too_few_cores, "host-bound-decode", "reserve-engine-cores"),
    Complaint(
        "vllm#43009",
        kernels_compiled_at_first_use,
        "compile-while-serving",
        "warm-up-before-traffic",
    ),
    Complaint("vllm#31602", clocks_rise_after_idle, None),
    Complaint("vllm#25538", preempted_requests, "kv-cache-pressure"),
    Complaint("vllm#8121", long_prompts, "prefill-interference", "lower-step-tokens"),
    Complaint("vllm#12122", grammars_on_the_engine_loop, "host-bound-decode", "repeat-schemas"),
    Complaint("vllm#14931", images_on_one_core, "host-bound-decode", "more-api-servers"),
    Complaint("vllm#3384", copy_waits_for_kernels, "healthy"),
    Complaint(
        "triton#7318", waits_for_the_dynamic_batcher, "batching-delay", "shorten-batching-window"
    ),
    Complaint("vllm-omni#6365", arrivals_exceed_the_service_rate, "queueing/saturated"),
    Complaint("sglang#5593", host_prepares_each_replay, "launch-bound/python"),
    Complaint("vllm#13508", full_steps, "queueing/admission-limit", "raise-step-tokens"),
)


@pytest.mark.parametrize("complaint", COMPLAINTS, ids=lambda each: each.thread)
def test_the_cause_of_a_public_complaint(complaint: Complaint) -> None:
    found = diagnose_trace(complaint.recorded())
    assert found.failed == []
    certain = [name for name in names_of_findings(found) if not name.endswith("?")]
    verdict = "/".join(each for each in (found.verdict.id, found.verdict.cause) if each)
    if complaint.finding in (None, "healthy"):
        assert certain == []
        return
    assert verdict == complaint.finding
    # The quota is also a finding on the job's steps; no other cause is named.
    assert set(certain) - {"cpu-throttled"} == {complaint.finding}
    if complaint.action is not None:
        assert actions_of(found)[0] == complaint.action


def test_a_copy_that_waits_for_kernels_is_bound_by_the_device() -> None:
    found = diagnose_trace(copy_waits_for_kernels())
    assert (found.verdict.id, found.bound_by.id) == ("healthy", "compute")
