"""The fields and values of the diagnosis JSON that programs rely on: they may grow, not shrink."""

import re
from typing import get_args

import msgspec
import pytest

from perfscope.analyzer import diagnosis
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import (
    SCHEMA,
    Diagnosis,
    NotCheckedGroup,
    Scope,
    VerdictKind,
    Workload,
)
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from tests.analyzer.pipelines import pipeline

FIELDS = {
    "Diagnosis": "schema perfscope run workload processes devices verdict bound_by span_s"
    " run_budget steps throughput time_budget budget_process per_process by_code findings combined"
    " requests memory replay clear ignored not_checked failed sources dropped data_quality overhead"
    " operators",
    "Process": "process pid host role rank command",
    "Device": "device host uuid name processes",
    "Verdict": "id cause kind scope finding_key headline explanation caveat confidence where",
    "BoundBy": "id share confidence",
    "RunPhase": "phase seconds share where",
    "StepSummary": "count mean_ms p50_ms p95_ms distorted source unit slowest",
    "SlowStep": "index start_ns ms category where",
    "Throughput": "steps_per_s samples_per_s tokens_per_s mfu",
    "Rate": "value scope source reason",
    "BudgetEntry": "category seconds share",
    "ProcessBudget": "process rank time_budget",
    "CodeCost": "function file line text process thread phase self_s total_s share children",
    "CodeLocation": "function file line text process share",
    "Interval": "low likely high",
    "Finding": "key id cause severity scope processes devices lost_s share share_of_run headline"
    " explanation caveat where evidence speedup actions",
    "Evidence": "text value unit start_ns end_ns process lane device",
    "Speedup": "low likely high",
    "Action": "id text snippet precondition predictions",
    "Precondition": "id evidence",
    "Prediction": "metric before low likely high",
    "Combination": "actions predictions",
    "ActionReference": "finding action",
    "Requests": "count failed rate_per_s ttft_ms itl_ms e2e_ms stages output_tokens_per_s"
    " prompt_tokens_per_s slo per_server",
    "Percentiles": "p50 p90 p99",
    "Latency": "value low high source",
    "RequestStage": "stage ms",
    "ServiceLevel": "metric limit_ms met_share",
    "MemoryUse": "device process peak_bytes limit_bytes headroom_bytes growth_bytes_per_step",
    "Replay": "steps measured_ms replayed_ms error",
    "NotChecked": "id reason group",
    "Failed": "id error",
    "Source": "name status reason overhead_share",
    "DataQuality": "invariant events effect text",
    "Overhead": "share low high before while after parts",
    "OverheadPart": "name seconds",
    "Operator": "process phase name shapes count host_ms host_self_ms device_ms share",
}
CATEGORIES = (
    "device-compute compute-or-host exposed-communication peer-wait exposed-copy input-wait"
    " sync-wait host-bound checkpoint profiler-overhead other-idle"
)
GROUPS = (
    "no-device no-driver no-kernels one-process too-short not-calibrated not-permitted"
    " not-in-this-format other"
)


@pytest.mark.parametrize("name", FIELDS)
def test_a_diagnosis_has_every_published_field(name: str) -> None:
    fields = msgspec.structs.fields(getattr(diagnosis, name))
    assert set(FIELDS[name].split()) <= {field.encode_name for field in fields}


def test_the_types_have_every_published_value() -> None:
    assert SCHEMA.startswith("2.")
    assert set(CATEGORIES.split()) <= set(CATEGORY_IDS)
    assert set(GROUPS.split()) <= set(get_args(NotCheckedGroup))
    assert {"training", "inference", "server", "unknown"} <= set(get_args(Workload))
    assert {"finding", "general", "healthy", "unknown"} <= set(get_args(VerdictKind))
    assert {"steps", "run", "requests"} <= set(get_args(Scope))


def test_ids_are_kebab_case() -> None:
    ids = [*CATEGORY_IDS, *get_args(NotCheckedGroup)]
    ids += [rule.id for rule in FINDINGS] + [cause.CAUSE for cause in CAUSES]
    assert [id for id in ids if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id)] == []


def test_a_diagnosis_survives_json_and_its_parts_agree() -> None:
    trace = pipeline(wait=20, fetch={"wall": 25, "cpu": 24}, workers=1)
    answer = diagnose_trace(trace)
    again = msgspec.json.decode(msgspec.json.encode(answer), type=Diagnosis)
    assert again == answer
    keys = [finding.key for finding in answer.findings]
    assert len(set(keys)) == len(keys) and answer.verdict.finding_key in keys
    assert [f.lost_s for f in answer.findings] == sorted(
        (finding.lost_s for finding in answer.findings), reverse=True
    )
    assert sum(phase.seconds for phase in answer.run_budget) == pytest.approx(
        answer.span_s, rel=1e-3
    )
    assert sum(entry.share for entry in answer.time_budget) == pytest.approx(1.0)
    known = {process.process for process in answer.processes}
    assert {answer.budget_process} <= known
    assert {process for finding in answer.findings for process in finding.processes} <= known


def test_an_ignored_finding_is_listed_and_is_not_the_verdict() -> None:
    trace = pipeline(wait=20, fetch={"wall": 25, "cpu": 24}, workers=1)
    whole, answer = diagnose_trace(trace), diagnose_trace(trace, ignored=("input-bound",))
    assert whole.verdict.id == "input-bound"
    assert [finding.id for finding in answer.ignored] == ["input-bound"]
    assert "input-bound" not in {finding.id for finding in answer.findings}
    assert answer.verdict.id == "healthy" and "input-bound (" in answer.verdict.headline
