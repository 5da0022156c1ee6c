"""The verdict stage: which finding, if any, bounds the run, and which resource limits it."""

from dataclasses import dataclass, replace

import msgspec

from perfscope.analyzer.budget.critical_rank import few_steps, steps_of
from perfscope.analyzer.budget.trace_budget import slices
from perfscope.analyzer.counters.bound_by_counters import with_devices
from perfscope.analyzer.diagnosis import BoundBy, Finding, Verdict, VerdictKind
from perfscope.analyzer.findings import FINDINGS, RULES
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.input.loader_case import unavoidable_wait
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.units import units
from perfscope.analyzer.summary.run import Run
from perfscope.analyzer.verdict.bound_by import bound_by, work_of_rank
from perfscope.analyzer.verdict.confidence import (
    IN_TRACES,
    MOST,
    RECOVERABLE,
    UNREPEATED,
    Standing,
    confidence_of,
)
from perfscope.analyzer.verdict.trace_verdicts import (
    MOSTLY,
    of_quiet_trace,
    of_start,
    told_apart,
    with_unexplained,
)
from perfscope.analyzer.verdict.verdicts import (
    between_calls,
    healthy,
    of_finding,
    unknown,
    without_steps,
)


@dataclass(frozen=True)
class Judgement:
    """What bounds the run, and the resource that limits it."""

    verdict: Verdict
    bound_by: BoundBy


def judge(run: Run, found: list[Finding], limits: Limits) -> Judgement:
    """Return the verdict on a run with these findings."""
    verdict, standing = verdict_of_run(run, found, limits)
    work = work_of_rank(run.trace, run.budget_rank)
    limiting = bound_by(run.time_budget, found, standing, dark=compute_is_unseen(run), work=work)
    finding = next((one for one in found if one.id == verdict.id), None)
    kinds: dict[str, VerdictKind] = {"healthy": "healthy", "unknown": "unknown"}
    verdict = msgspec.structs.replace(
        verdict,
        kind="finding" if finding is not None else kinds.get(verdict.id, "unknown"),
        scope="steps" if finding is None else finding.scope,
        finding_key=None if finding is None else finding.key,
    )
    return Judgement(verdict, with_devices(limiting, run.trace))


def compute_is_unseen(run: Run) -> bool:
    """Return whether the budget's compute-or-host may hold no computing at all."""
    if run.trace.has_profiled_work:
        return True
    process = run.critical_process
    return process is not None and between_calls(steps_of(run.trace, process)) > 0.0


def verdict_of_run(run: Run, found: list[Finding], limits: Limits) -> tuple[Verdict, Standing]:
    """Return the verdict, and how it compares with the runner-up."""
    trace, process = run.trace, run.critical_process
    costly = [
        finding
        for finding in found
        if finding.severity != "info" and finding.share >= limits.worth_share
    ]
    costly = losses_first(unexplained(costly, limits), limits)
    last = next(filter(ends_the_run, found), None)
    if last is not None:
        return of_finding(last, Standing(MOST)), Standing(MOST)
    if trace.has_profiled_work:
        return verdict_of_trace(run, costly, limits)
    rows = None if process is None else steps_of(trace, process)
    pipelines = (line for line in trace.fact(input_pipelines) if line.process == process)
    usual_wait_ns = next((unavoidable_wait(line, limits) for line in pipelines), 0.0)
    standing = confidence_of(costly, rows, limits, usual_wait_ns)
    if costly:
        return of_finding(costly[0], standing, without_steps(trace, limits)), standing
    few = few_steps(trace, limits)
    if few is not None:
        return unknown(trace, few), standing
    hidden = [finding for finding in found if finding.severity == "info"]
    return healthy(trace, limits, rows, standing, hidden), standing


def verdict_of_trace(run: Run, costly: list[Finding], limits: Limits) -> tuple[Verdict, Standing]:
    """Return the verdict on a profiler's trace: over its steps, or slices where too few repeat."""
    trace, process = run.trace, run.critical_process
    unit = next((unit for unit in units(trace) if unit.rank == run.budget_rank), None)
    rows = None if unit is None else slices(trace, unit)
    if process is not None:
        rows = steps_of(trace, process)
    standing = confidence_of(costly, rows, limits, recoverable=(*RECOVERABLE, *IN_TRACES))
    if process is None:
        confidence = round(UNREPEATED * standing.confidence, 3)
        standing = replace(standing, confidence=confidence, few=False)
    idle = None if unit is None else told_apart(trace, unit)
    if idle is not None and idle.start_up >= MOSTLY:
        return of_start(idle), replace(standing, confidence=0.0)
    if costly:
        verdict = of_finding(costly[0], standing)
    else:
        verdict = of_quiet_trace(run.per_process, unit, standing)
    return with_unexplained(verdict, idle), standing


def ends_the_run(finding: Finding) -> bool:
    """Return whether nothing else matters once this has happened."""
    return finding.severity == "critical" and RULES[finding.id].ends_the_run


def unexplained(findings: list[Finding], limits: Limits) -> list[Finding]:
    """Return the findings of which no more particular finding explains most of the loss.

    `explains` of a rule names others, by id or as `id/cause`.
    """
    lost_s = {finding.id: finding.lost_s for finding in findings}
    explains = {(rule.id, name) for rule in FINDINGS for name in rule.explains}

    def is_explained(finding: Finding) -> bool:
        names = (finding.id, f"{finding.id}/{finding.cause}")
        others_s = [lost_s.get(id, 0.0) for id, name in explains if name in names]
        least_s = limits.explains * finding.lost_s
        return any(other_s >= least_s for other_s in others_s if other_s > 0.0)

    return [finding for finding in findings if not is_explained(finding)]


def losses_first(findings: list[Finding], limits: Limits) -> list[Finding]:
    """Return large losses before what another way of computing could save at most."""
    return sorted(
        findings,
        key=lambda finding: RULES[finding.id].is_chance or finding.share < limits.critical_share,
    )
