"""The verdict stage: which finding, if any, bounds the run, and which resource limits it."""

from dataclasses import dataclass, replace

import msgspec
import pandas as pd

from perfscope.analyzer.budget.critical_rank import few_steps, steps_of
from perfscope.analyzer.budget.device_evidence import timed_devices
from perfscope.analyzer.budget.trace_budget import slices
from perfscope.analyzer.counters.bound_by_from_counters import with_device_counters
from perfscope.analyzer.diagnosis import BoundBy, BudgetEntry, Finding, Verdict, VerdictKind
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.host.cpu_oversubscription import is_caused_by_others
from perfscope.analyzer.host.validation_time import ID as VALIDATION_TIME
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.input.loader_case import unavoidable_wait
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.request_figures import Requests
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.budget_units import Unit, units
from perfscope.analyzer.run.phases.validation_passes import validation_passes
from perfscope.analyzer.run.table_access import uses_device
from perfscope.analyzer.summary.data_quality import trust_in_data
from perfscope.analyzer.summary.run import Run
from perfscope.analyzer.verdict.bound_by import bound_by, work_of_rank
from perfscope.analyzer.verdict.certainty import not_recorded_share
from perfscope.analyzer.verdict.confidence import (
    HIGHEST,
    RECOVERABLE,
    RECOVERABLE_IN_TRACES,
    WITHOUT_REPETITION,
    VerdictConfidence,
    confidence_in_finding,
    confidence_in_health,
    trust_in_steps,
)
from perfscope.analyzer.verdict.explained_findings import outranks_others, unexplained_findings
from perfscope.analyzer.verdict.general_answers import (
    GENERAL,
    NOT_SCHEDULED,
    GeneralAnswer,
    general_answer,
)
from perfscope.analyzer.verdict.run_verdicts import verdict_on_recording
from perfscope.analyzer.verdict.server_verdicts import bound_by_requests, server_verdict
from perfscope.analyzer.verdict.step_verdicts import (
    caveat_without_steps,
    finding_verdict,
    share_between_calls,
    unknown_verdict,
    verdict_with_ignored,
    verdict_without_losses,
    with_shared_machine,
)
from perfscope.analyzer.verdict.trace_verdicts import (
    lost_kernels_verdict,
    mostly_unseen_verdict,
    start_up_verdict,
    unexplained_idle,
    verdict_without_findings,
    with_unexplained_idle,
)


@dataclass(frozen=True)
class Judgement:
    """What bounds the run, and the resource that limits it."""

    verdict: Verdict
    bound_by: BoundBy


def judge(run: Run, found: list[Finding], limits: Limits, *, ignored: list[Finding]) -> Judgement:
    """Return the verdict on a run with these findings; the `ignored` ones are only mentioned."""
    verdict = verdict_with_ignored(verdict_of_run(run, found, limits), ignored, limits)
    finding = next((finding for finding in found if finding.id == verdict.id), None)
    if is_judged_by_phases(run, verdict, finding):
        scope = "steps" if finding is None else finding.scope
        verdict = msgspec.structs.replace(verdict, scope=scope)
        verdict = verdict_on_recording(verdict, finding, run.run_budget, limits)
        finding = finding if finding is not None and finding.id == verdict.id else None
    verdict = msgspec.structs.replace(
        verdict,
        confidence=round(verdict.confidence * trust_in_data(run.trace), 3),
        kind=kind_of(verdict, finding),
        scope=verdict.scope if finding is None else finding.scope,
        finding_key=None if finding is None else finding.key,
        where=verdict.where if finding is None else finding.where,
    )
    limiting = bound_by_budget(run, found, limits)
    return Judgement(verdict, bound_by_requests(limiting, verdict))


def bound_by_budget(run: Run, found: list[Finding], limits: Limits) -> BoundBy:
    """Return the resource that limits a run, by its time budget and the counters of its device."""
    limiting = bound_by(
        run.time_budget,
        found,
        limits,
        budget_confidence=confidence_in_budget(run, limits),
        compute_is_unseen=compute_is_unseen(run),
        work=work_of_rank(run.trace, run.budget_rank),
    )
    return with_device_counters(limiting, run.trace)


def is_judged_by_phases(run: Run, verdict: Verdict, finding: Finding | None) -> bool:
    """Return whether the phases of the recording say how much of it a verdict describes."""
    if run.trace.has_profiled_work or verdict.scope == "requests":
        return False
    if finding is not None and finding.scope == "requests":
        return False
    return not (finding is not None and outranks_others(finding))


def kind_of(verdict: Verdict, finding: Finding | None) -> VerdictKind:
    """Return the kind of a verdict, which names `finding` if that is not None."""
    if finding is not None:
        return "finding"
    if verdict.id in GENERAL:
        return "general"
    return "healthy" if verdict.id == "healthy" else "unknown"


def compute_is_unseen(run: Run) -> bool:
    """Return whether the budget's compute-or-host may hold no computing at all."""
    if run.trace.has_profiled_work:
        return True
    process = run.critical_process
    if process is None:
        return False
    device = run.trace.fact(timed_devices).get(process)
    if device is not None and not device.times_work:
        return True
    return share_between_calls(steps_of(run.trace, process)) > 0.0


def confidence_in_budget(run: Run, limits: Limits) -> float:
    """Return the confidence in the shares of the time budget, by how much of it repeats."""
    trust = trust_in_steps(judged_rows(run), limits)
    repeats = run.critical_process is not None or not run.trace.has_profiled_work
    trust *= trust_in_data(run.trace)
    return trust if repeats else WITHOUT_REPETITION * trust


def judged_rows(run: Run) -> pd.DataFrame | None:
    """Return the steps that are resampled: steady steps, or slices of a trace without them."""
    if run.critical_process is not None:
        return steps_of(run.trace, run.critical_process)
    unit = budget_unit(run)
    return None if unit is None else slices(run.trace, unit)


def budget_unit(run: Run) -> Unit | None:
    """Return the device whose time budget is shown, None outside of profiler traces."""
    return next((unit for unit in units(run.trace) if unit.rank == run.budget_rank), None)


def verdict_of_run(run: Run, found: list[Finding], limits: Limits) -> Verdict:
    """Return the verdict: a finding that ended the run, the most expensive one, or none."""
    last = next(filter(outranks_others, found), None)
    if last is not None:
        return finding_verdict(last, VerdictConfidence(HIGHEST))
    costly = costly_findings(found, limits)
    if run.trace.has_profiled_work:
        return verdict_of_trace(run, costly, limits)
    shared = next((finding for finding in costly if is_caused_by_others(finding)), None)
    if shared is None:
        return verdict_of_recording(run, costly, found, limits)
    others = [finding for finding in costly if finding is not shared]
    verdict = verdict_of_recording(run, others, found, limits)
    if verdict.id in ("healthy", "unknown", NOT_SCHEDULED):
        return verdict_of_recording(run, costly, found, limits)
    return with_shared_machine(verdict, shared)


def verdict_of_recording(
    run: Run, costly: list[Finding], found: list[Finding], limits: Limits
) -> Verdict:
    """Return the verdict on a recording of perfscope's own; `costly` are those of `found`."""
    trace, rows = run.trace, judged_rows(run)
    requests = run.requests if run.workload == "server" else None
    if requests is not None and is_judged_by_requests(requests, costly, rows is not None):
        return server_verdict(run, costly, found, limits)
    general = None if uses_device(trace) else general_answer(trace, run.critical_process, limits)
    if general is not None and not (costly and explains_enough(costly[0], general, limits)):
        return general.verdict
    if costly:
        confidence = confidence_in_finding(costly, rows, limits)
        if costly[0].id == VALIDATION_TIME:
            value = round(trust_in_passes(run) * confidence.value, 3)
            confidence = replace(confidence, value=value)
        return finding_verdict(costly[0], confidence, caveat_without_steps(trace, limits))
    too_few = few_steps(trace, limits)
    if too_few is not None or rows is None:
        return unknown_verdict(trace, too_few or "")
    wait_ns = usual_wait_ns(run, limits)
    confidence = confidence_in_health(rows, limits, usual_wait_ns=wait_ns)
    hidden = [finding for finding in found if finding.severity == "info"]
    return verdict_without_losses(trace, limits, rows, confidence, hidden)


def is_judged_by_requests(requests: Requests, costly: list[Finding], has_steps: bool) -> bool:
    """Return whether the verdict on a server is that on its requests.

    It is without steps, where a finding is on requests, and where nothing else costs much and each
    request was recorded: the steps of a server are calls, between which it waits for requests.
    """
    if not has_steps or any(map(is_on_requests, costly)):
        return True
    return not costly and not requests.is_by_metrics and bool(requests.count)


def is_on_requests(finding: Finding) -> bool:
    """Return whether a finding is on the requests to a server."""
    return finding.scope == "requests"


def explains_enough(finding: Finding, general: GeneralAnswer, limits: Limits) -> bool:
    """Return whether a finding says more than a general answer: it costs much, or half as much."""
    least = limits.main_cause_share * general.share
    return finding.share >= min(limits.critical_share, least)


def trust_in_passes(run: Run) -> float:
    """Return the confidence that repeated validation passes allow: a half without a repetition."""
    passes = None
    if run.critical_process is not None:
        passes = validation_passes(run.trace, run.critical_process)
    return 1.0 - 0.5 ** (1 + (0 if passes is None else passes.cycles))


def costly_findings(found: list[Finding], limits: Limits) -> list[Finding]:
    """Return the findings that may be the verdict, the most likely first."""
    costly = [
        finding
        for finding in found
        if finding.severity != "info" and finding.share >= limits.worth_share
    ]
    return losses_first(unexplained_findings(costly, limits), limits)


def usual_wait_ns(run: Run, limits: Limits) -> float:
    """Return the input wait per step that cannot be saved, ns."""
    pipelines = run.trace.fact(input_pipelines)
    waits = (
        unavoidable_wait(pipeline, limits)
        for pipeline in pipelines
        if pipeline.process == run.critical_process
    )
    return next(waits, 0.0)


def verdict_of_trace(run: Run, costly: list[Finding], limits: Limits) -> Verdict:
    """Return the verdict on a profiler's trace: over its steps, or slices where too few repeat."""
    unit, rows = budget_unit(run), judged_rows(run)
    idle = None if unit is None else unexplained_idle(run.trace, unit, limits)
    if idle is not None and idle.start_up >= limits.most_of_trace:
        return start_up_verdict(idle)
    if unit is not None and observed_time(run.trace, unit).lost_share >= limits.most_of_trace:
        return lost_kernels_verdict(run.trace, unit, budget_of_rank(run))
    if costly:
        confidence = confidence_in_finding(costly, rows, limits)
        caveat = caveat_without_steps(run.trace, limits) if run.critical_process is None else ""
        verdict = finding_verdict(costly[0], without_repetition(run, confidence), caveat)
    else:
        recoverable = (*RECOVERABLE, *RECOVERABLE_IN_TRACES)
        confidence = confidence_in_health(rows, limits, recoverable=recoverable)
        confidence = without_repetition(run, confidence)
        verdict = verdict_without_findings(budget_of_rank(run), unit, confidence, limits)
        if verdict.id == "healthy" and not_recorded_share(run.run_budget) > limits.most_of_trace:
            verdict = mostly_unseen_verdict(run.trace, budget_of_rank(run))
    return with_unexplained_idle(verdict, idle, limits)


def without_repetition(run: Run, confidence: VerdictConfidence) -> VerdictConfidence:
    """Return the confidence, lowered where the trace has no steps that repeat."""
    if run.critical_process is not None:
        return confidence
    value = round(WITHOUT_REPETITION * confidence.value, 3)
    return replace(confidence, value=value, has_few_steps=False)


def budget_of_rank(run: Run) -> list[BudgetEntry]:
    """Return the time budget of the rank whose budget is shown, empty where there is none."""
    unit = budget_unit(run)
    entries = [entry for entry in run.per_process if unit is not None and entry.rank == unit.rank]
    return entries[-1].time_budget if entries else []


def losses_first(findings: list[Finding], limits: Limits) -> list[Finding]:
    """Return large losses before what another way of computing could save at most."""
    return sorted(
        findings,
        key=lambda finding: (
            RULES[finding.id].loss_is_upper_bound or finding.share < limits.critical_share
        ),
    )
