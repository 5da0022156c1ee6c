"""Situations of servers by their metrics alone: the right cause, and none for healthy servers."""

import math

import pytest

from tests.serving.engine_pages import (
    Traffic,
    llama_page,
    sglang_page,
    triton_page,
    vllm_page,
)
from tests.serving.served_trace import actions_of, diagnose_pages, names_of_findings

CONFIG = (
    'block_size="16",cache_dtype="auto",enable_prefix_caching="True",engine="0",'
    'gpu_memory_utilization="0.9",num_gpu_blocks="573",num_gpu_blocks_override="None"'
)
IDLE = Traffic()
LIGHT = Traffic(running=1, kv=0.02, per_second=0.5, e2e_s=2.0)
BURSTS = Traffic(running=lambda t: 3 + t % 5, waiting=lambda t: 2 * (t % 10 == 0), per_second=8)
FULL_BUT_NOT_WAITING = Traffic(running=256, kv=0.85, per_second=50, token_s={0.04: 1.0})
ADMISSION = Traffic(running=1, waiting=7, kv=0.01, per_second=2, queue_s=3.5, e2e_s=4.0)
THRASH = Traffic(
    running=12, waiting=9, kv=0.97, per_second=2, preemptions=1.5, queue_s=3.0, e2e_s=8.0
)
SLOW_TOKENS = Traffic(
    running=8, kv=0.2, per_second=0.3, e2e_s=31.0, token_s={0.31: 1.0}, step_tokens={8.0: 1.0}
)
PREFILLS = Traffic(
    running=16,
    kv=0.4,
    per_second=5,
    token_s={0.02: 0.9, 0.6: 0.1},
    step_tokens={16.0: 0.9, 8000.0: 0.1},
)


@pytest.mark.parametrize("traffic", [IDLE, LIGHT, BURSTS, FULL_BUT_NOT_WAITING])
def test_a_server_that_delays_nobody_gets_no_finding(traffic: Traffic) -> None:
    found = diagnose_pages(vllm_page(traffic, config=CONFIG))
    assert (found.verdict.id, found.verdict.kind) == ("healthy", "healthy")
    assert (found.findings, found.failed, found.workload) == ([], [], "server")


def test_an_idle_server_has_requests_with_a_count_of_zero() -> None:
    found = diagnose_pages(vllm_page(IDLE))
    assert found.requests is not None
    assert (found.requests.count, found.requests.rate_per_s) == (0, 0.0)
    assert found.requests.ttft_ms is None


def test_a_server_whose_gauges_cannot_be_read_is_not_called_idle() -> None:
    def without_gauges(seconds: float) -> str:
        lines = [line for line in vllm_page(ADMISSION)(seconds).splitlines() if line]
        kept = [line for line in lines if "_tokens_total" in line or "kv_cache" in line]
        return "\n".join([*kept, 'vllm:num_requests_running{engine="0"} NaN', ""])

    found = diagnose_pages(without_gauges)
    assert (found.verdict.id, found.verdict.confidence) == ("unknown", 0.0)
    assert found.requests is not None and found.requests.server is not None
    assert found.requests.server.running_mean is None


def test_a_batch_of_one_with_a_queue_is_at_its_admission_limit() -> None:
    found = diagnose_pages(vllm_page(ADMISSION, config=CONFIG))
    assert names_of_findings(found) == ["queueing/admission-limit"]
    assert found.verdict.finding_key == found.findings[0].key
    assert (found.verdict.scope, found.bound_by.id) == ("requests", "admission")
    assert found.findings[0].share == pytest.approx(7 / 8, abs=1e-3)
    assert actions_of(found) == ["raise-running-limit"]
    assert found.findings[0].actions[0].snippet == "--max-num-seqs 8"


def test_the_limit_of_the_command_line_counts_more_than_a_plateau() -> None:
    below = Traffic(running=40, waiting=20, kv=0.3, per_second=2)
    limit = diagnose_pages(vllm_page(below), settings={"max-running": "40"})
    assert names_of_findings(limit) == ["queueing/admission-limit"]
    higher = diagnose_pages(vllm_page(below), settings={"max-running": "256"})
    assert names_of_findings(higher) == ["queueing/saturated"]


def test_steps_that_have_all_the_tokens_they_may_have_limit_admission() -> None:
    traffic = Traffic(running=6, waiting=12, kv=0.1, per_second=2, step_tokens={2040.0: 1.0})
    settings = {"max-running": "256", "max-batched-tokens": "2048"}
    found = diagnose_pages(vllm_page(traffic), settings=settings)
    assert names_of_findings(found) == ["queueing/admission-limit"]
    assert actions_of(found) == ["raise-step-tokens"]


def test_a_full_kv_cache_with_preemptions_is_kv_cache_pressure() -> None:
    found = diagnose_pages(vllm_page(THRASH, config=CONFIG))
    assert names_of_findings(found) == ["kv-cache-pressure"]
    assert found.verdict.id == "kv-cache-pressure"
    assert found.bound_by.id == "memory-capacity"
    assert actions_of(found) == [
        "raise-memory-share",
        "store-kv-cache-in-8-bits",
        "admit-fewer-requests",
    ]
    assert found.requests is not None and found.requests.server is not None
    assert found.requests.server.preemptions == 43  # 1.5/s for 29 s


def test_an_override_of_the_number_of_blocks_is_removed_first() -> None:
    config = CONFIG.replace('override="None"', 'override="12"')
    found = diagnose_pages(vllm_page(THRASH, config=config))
    assert actions_of(found)[0] == "remove-block-override"


def test_slow_tokens_without_load_are_only_possibly_host_bound() -> None:
    found = diagnose_pages(vllm_page(SLOW_TOKENS, config=CONFIG))
    assert names_of_findings(found) == ["host-bound-decode?"]
    assert (found.verdict.id, found.verdict.confidence) == ("unknown", 0.0)


def test_prefills_that_delay_one_token_in_ten() -> None:
    found = diagnose_pages(vllm_page(PREFILLS, config=CONFIG))
    assert names_of_findings(found) == ["prefill-interference"]
    assert actions_of(found) == ["lower-step-tokens"]


def test_slow_tokens_without_prefills_are_not_prefill_interference() -> None:
    traffic = Traffic(running=16, per_second=5, token_s={0.02: 0.9, 0.6: 0.1}, step_tokens={16: 1})
    assert names_of_findings(diagnose_pages(vllm_page(traffic))) == []


def test_a_replica_with_a_queue_next_to_one_with_room() -> None:
    busy = Traffic(running=16, waiting=10, kv=0.3, per_second=4)
    found = diagnose_pages(vllm_page(busy), vllm_page(LIGHT))
    assert names_of_findings(found) == ["queueing/uneven-replicas"]
    assert found.requests is not None
    assert [row.server.url for row in found.requests.per_server if row.server is not None] == [
        "http://host-0:8000/metrics",
        "http://host-1:8000/metrics",
    ]
    even = diagnose_pages(vllm_page(LIGHT), vllm_page(LIGHT))
    assert even.verdict.id == "healthy"


def test_a_growing_queue_at_a_steady_speed_is_saturation() -> None:
    traffic = Traffic(
        running=lambda t: 20 + 9 * math.sin(t), waiting=lambda t: 5 + t, kv=0.3, per_second=5
    )
    found = diagnose_pages(vllm_page(traffic))
    assert names_of_findings(found) == ["queueing/saturated"]
    assert actions_of(found) == ["add-replica"]


def test_two_readings_are_too_few_for_a_verdict() -> None:
    found = diagnose_pages(vllm_page(ADMISSION), seconds=2)
    assert (found.verdict.id, found.findings) == ("unknown", [])


def test_sglang_falls_back_to_passes_without_a_graph() -> None:
    traffic = Traffic(running=40, kv=0.3, per_second=4, token_s={0.08: 1.0})
    passes = {"decode_cuda_graph": 2.0, "decode_none": 10.0, "prefill_none": 4.0}
    page = sglang_page(traffic, passes=passes)
    found = diagnose_pages(page, settings={"graph-batch": "32"})
    assert names_of_findings(found) == ["graph-fallback"]
    assert found.findings[0].share == pytest.approx(10 / 12, abs=0.01)
    assert actions_of(found) == ["capture-larger-batches"]
    disabled = diagnose_pages(page, settings={"no-graphs": "on"})
    assert actions_of(disabled) == ["enable-cuda-graphs"]
    captured = sglang_page(traffic, passes={"decode_cuda_graph": 12.0, "prefill_none": 4.0})
    assert names_of_findings(diagnose_pages(captured)) == []


def test_sglang_reports_an_idle_device() -> None:
    traffic = Traffic(running=4, kv=0.1, per_second=1)
    found = diagnose_pages(sglang_page(traffic, busy=0.45))
    assert names_of_findings(found) == ["host-bound-decode"]
    assert found.findings[0].share == pytest.approx(0.55)
    assert found.bound_by.id == "host"
    assert names_of_findings(diagnose_pages(sglang_page(traffic, busy=0.93))) == []


@pytest.mark.parametrize("retractions", ["num_retracted_requests_total", "num_retractions_total"])
def test_sglang_retracts_requests_under_two_names(retractions: str) -> None:
    page = sglang_page(THRASH, retractions=retractions)
    assert names_of_findings(diagnose_pages(page)) == ["kv-cache-pressure"]


def test_two_ranks_of_one_sglang_server_count_once() -> None:
    found = diagnose_pages(sglang_page(ADMISSION))
    assert found.requests is not None and found.requests.server is not None
    assert found.requests.server.running_mean == 1.0


def test_llama_server_without_a_free_slot() -> None:
    found = diagnose_pages(llama_page(Traffic(running=1, waiting=3, per_second=0.4)))
    assert names_of_findings(found) == ["queueing/admission-limit"]
    assert found.findings[0].actions[0].snippet == "--parallel 4"
    assert found.requests is not None
    assert (found.requests.count, found.requests.rate_per_s) == (None, None)
    assert found.requests.output_tokens_per_s == pytest.approx(40.0)


def test_triton_waits_for_an_instance() -> None:
    page = triton_page(Traffic(waiting=6, per_second=20, queue_s=0.3), infer_s=0.05)
    found = diagnose_pages(page)
    assert names_of_findings(found) == ["queueing/saturated"]
    assert actions_of(found) == ["add-model-instances", "add-replica"]
    assert found.requests is not None
    assert found.requests.stages[0].ms == pytest.approx(300.0)


def test_no_engine_is_advised_to_change_an_optimizer() -> None:
    for traffic in (ADMISSION, THRASH, SLOW_TOKENS, PREFILLS):
        found = diagnose_pages(vllm_page(traffic, config=CONFIG))
        texts = [action.text for finding in found.findings for action in finding.actions]
        assert texts and not any("optimizer" in text for text in texts)
