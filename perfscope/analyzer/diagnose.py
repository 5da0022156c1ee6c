"""Tries every finding on a trace and gives the answer: verdict, what bounds the run, budget, and
what was not seen.
"""

from collections.abc import Collection
from dataclasses import replace

from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    few_steps,
    rank_of_process,
    steps_of,
)
from perfscope.analyzer.budget.rank_budgets import budget_over, budgets
from perfscope.analyzer.budget.trace_budget import slices
from perfscope.analyzer.counters.bound_by_counters import with_devices
from perfscope.analyzer.diagnosis import (
    Clear,
    Diagnosis,
    Failed,
    Finding,
    NotApplicable,
    Source,
    Verdict,
)
from perfscope.analyzer.findings import FINDINGS, RULES
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.input.loader_case import unavoidable
from perfscope.analyzer.limits import LIMITS, Limits
from perfscope.analyzer.overhead.overhead import overhead
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.local_ranks import ranks_at_once
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.analyzer.run.units import units
from perfscope.analyzer.verdict.bound_by import bound_by, work_of_rank
from perfscope.analyzer.verdict.confidence import (
    IN_TRACES,
    MOST,
    RECOVERABLE,
    UNREPEATED,
    Standing,
    confidence_of,
)
from perfscope.analyzer.verdict.hosts import Outcome, host_views, together
from perfscope.analyzer.verdict.operators import operators
from perfscope.analyzer.verdict.run_summary import span_s, step_summary, steps_left_out
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
from perfscope.traces.naming import path_text
from perfscope.traces.schema import SCHEMA_VERSION
from perfscope.traces.trace import Trace

NOT_IN_TRACES = "a profiler's trace does not show it; attach to the run to see it"


def diagnose(trace: Trace, limits: Limits = LIMITS, *, ignored: Collection[str] = ()) -> Diagnosis:
    """The whole answer for a trace.

    Findings whose ids are in `ignored` have no influence on the verdict and are listed apart.

    Never raises for what a trace lacks: a finding that cannot be looked for says why, one that
    breaks is named with its error, and without enough evidence the verdict is `unknown`, with what
    to do about it.
    """
    outcomes = [tried(rule, trace, limits) for rule in FINDINGS if rule.id not in ignored]
    hidden = [tried(rule, trace, limits) for rule in FINDINGS if rule.id in ignored]
    found = [result for result in outcomes if isinstance(result, Finding)]
    told = unexplained(found, limits)
    found.sort(
        key=lambda finding: (not ends_the_run(finding), finding not in told, -finding.lost_s)
    )
    process = critical_rank(trace, limits)
    verdict, standing = judged(trace, limits, found, process)
    per_rank = budgets(trace)
    budget_rank = rank_of_process(trace, process)
    own = next((entry.time_budget for entry in per_rank if entry.rank == budget_rank), [])
    return Diagnosis(
        schema=SCHEMA_VERSION,
        verdict=verdict,
        bound_by=with_devices(
            bound_by(
                own,
                found,
                standing,
                dark=is_dark(trace, process),
                work=work_of_rank(trace, budget_rank),
            ),
            trace,
        ),
        span_s=span_s(trace),
        steps=step_summary(trace, process),
        time_budget=own,
        budget_over=budget_over(trace),
        budget_rank=budget_rank,
        per_rank=per_rank,
        findings=found,
        clear=[result.id for result in outcomes if isinstance(result, Clear)],
        not_applicable=[result for result in outcomes if isinstance(result, NotApplicable)],
        failed=[result for result in outcomes if isinstance(result, Failed)],
        sources=[
            Source(s.name, s.status, s.reason, s.overhead_share) for s in manifest(trace).sources
        ],
        dropped=[*manifest(trace).dropped, *steps_left_out(trace)],
        run=path_text(trace.path) if trace.path is not None else None,
        operators=operators(trace, budget_rank),
        overhead=overhead(trace),
        ignored=[result for result in hidden if isinstance(result, Finding)],
        in_a_row=len(per_rank) > 1 and not trace.has_profiled_work and ranks_at_once(trace) < 2,
    )


def is_dark(trace: Trace, process: int | None) -> bool:
    """Does the budget's compute-or-host not tell of computing?"""
    if trace.has_profiled_work:
        return True
    return process is not None and between_calls(steps_of(trace, process)) > 0.0


def tried(rule: Rule, trace: Trace, limits: Limits) -> Outcome:
    """The outcome of a job; what is said of a machine is looked for on each of several hosts by
    itself.
    """
    views = [trace] if rule.across_hosts else trace.fact(host_views)
    if len(views) == 1:
        return outcome(rule, trace, limits)
    return together([(view.manifest.host, outcome(rule, view, limits)) for view in views])


def outcome(rule: Rule, trace: Trace, limits: Limits) -> Outcome:
    """One of four: the Finding; Clear; why it does not apply; how it failed."""
    try:
        if not rule.in_traces and trace.has_profiled_work:
            return NotApplicable(rule.id, NOT_IN_TRACES)
        for name in rule.needs:
            if table(trace, name) is None:
                return NotApplicable(rule.id, f"{name}: {trace.why_absent(name)}")
        reason = rule.not_applicable(trace, limits)
        if reason is not None:
            return NotApplicable(rule.id, reason)
        return rule.detect(trace, limits) or Clear(rule.id)
    except Exception as error:  # noqa: BLE001  the one broad except: a rule that breaks must not take the others along
        return Failed(rule.id, f"{type(error).__name__}: {error}")


def judged(
    trace: Trace, limits: Limits, found: list[Finding], process: int | None
) -> tuple[Verdict, Standing]:
    """The verdict, and how it stands against the runner-up."""
    carrying = [
        finding
        for finding in found
        if finding.severity != "info" and finding.share >= limits.worth_share
    ]
    carrying = losses_first(unexplained(carrying, limits), limits)
    over = next(filter(ends_the_run, found), None)
    if over is not None:
        return of_finding(over, Standing(MOST)), Standing(MOST)
    if trace.has_profiled_work:
        return judged_trace(trace, limits, carrying, process)
    rows = None if process is None else steps_of(trace, process)
    usual = next(
        (
            unavoidable(line, limits)
            for line in trace.fact(input_pipelines)
            if line.process == process
        ),
        0.0,
    )
    standing = confidence_of(carrying, rows, limits, usual)
    if carrying:
        return of_finding(carrying[0], standing, without_steps(trace, limits)), standing
    few = few_steps(trace, limits)
    if few is not None:
        return unknown(trace, few), standing
    hidden = [finding for finding in found if finding.severity == "info"]
    return healthy(trace, limits, rows, standing, hidden), standing


def ends_the_run(finding: Finding) -> bool:
    """Is it one after which the rest matters little?"""
    return finding.severity == "critical" and RULES[finding.id].ends_the_run


def unexplained(carrying: list[Finding], limits: Limits) -> list[Finding]:
    """Without those that a more particular finding explains the most of: one loss under two names
    is no rivalry.

    `explains` of a rule names others, by id or as `id/cause`.
    """
    lost = {finding.id: finding.lost_s for finding in carrying}
    explains = {(rule.id, name) for rule in FINDINGS for name in rule.explains}

    def explained(one: Finding) -> bool:
        by = [
            lost.get(id, 0.0) for id, name in explains if name in (one.id, f"{one.id}/{one.cause}")
        ]
        return any(other_s >= limits.explains * one.lost_s for other_s in by if other_s > 0.0)

    return [finding for finding in carrying if not explained(finding)]


def losses_first(carrying: list[Finding], limits: Limits) -> list[Finding]:
    """What is lost goes before what another way of computing could save at most, where much is
    lost.
    """
    return sorted(
        carrying, key=lambda one: RULES[one.id].is_chance or one.share < limits.critical_share
    )


def judged_trace(
    trace: Trace, limits: Limits, carrying: list[Finding], process: int | None
) -> tuple[Verdict, Standing]:
    """The verdict of a recorded trace: over its steps, or, where too few repeat, over slices of
    it.
    """
    rank = rank_of_process(trace, process)
    unit = next((one for one in units(trace) if one.rank == rank), None)
    rows = (
        steps_of(trace, process)
        if process is not None
        else None
        if unit is None
        else slices(trace, unit)
    )
    standing = confidence_of(carrying, rows, limits, recoverable=(*RECOVERABLE, *IN_TRACES))
    if process is None:
        standing = replace(
            standing, confidence=round(UNREPEATED * standing.confidence, 3), few=False
        )
    seen = None if unit is None else told_apart(trace, unit)
    if seen is not None and seen.start_up >= MOSTLY:
        return of_start(seen), replace(standing, confidence=0.0)
    verdict = (
        of_finding(carrying[0], standing)
        if carrying
        else of_quiet_trace(budgets(trace), unit, standing)
    )
    return with_unexplained(verdict, seen), standing
