"""The findings stage: runs every rule on a recording and sorts what they return."""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from perfscope.analyzer.budget.idle_time import within_idle_time
from perfscope.analyzer.diagnosis import (
    Clear,
    CodeLocation,
    Failed,
    Finding,
    NotChecked,
    NotCheckedGroup,
)
from perfscope.analyzer.findings import FINDINGS, RULES
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.accelerators.device_window import window_trace
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.analyzer.summary.run import Run
from perfscope.analyzer.verdict.explained_findings import with_advice_on_causes
from perfscope.analyzer.verdict.per_host_findings import Outcome, host_views, together
from perfscope.traces.trace import Trace

PREVENTED = "the job made no progress for most of the recording"
NOT_IN_TRACES = "a profiler's trace does not show it; attach to the run to see it"
DEVICE_TABLES = ("device_counters", "device_processes", "device_gaps")
REQUEST_TABLES = ("engine_metrics", "requests", "token_gaps")
KERNEL_TABLES = ("kernels", "launches", "ops", "copies", "collectives", "memory")


@dataclass(frozen=True)
class Checked:
    """What the rules returned; `findings` by what they cost, most first.

    `ignored` are the findings that the user does not want to influence the verdict.
    """

    findings: list[Finding]
    ignored: list[Finding]
    clear: list[str]
    not_checked: list[NotChecked]
    failed: list[Failed]


def check_findings(run: Run, limits: Limits, ignored: Collection[str]) -> Checked:
    """Run every rule, also those whose ids are in `ignored`.

    A rule that cannot be applied or that fails does not prevent the others.
    """
    outcomes = [check_rule(rule, run.trace, limits) for rule in FINDINGS]
    outcomes = without_prevented(outcomes, limits, ignored)
    found = [outcome for outcome in outcomes if isinstance(outcome, Finding)]
    found.sort(key=lambda finding: -finding.lost_s)
    found = [complete_finding(finding, number, run) for number, finding in enumerate(found)]
    found = with_advice_on_causes(found, limits)
    return Checked(
        findings=[finding for finding in found if finding.id not in ignored],
        ignored=[finding for finding in found if finding.id in ignored],
        clear=[outcome.id for outcome in outcomes if isinstance(outcome, Clear)],
        not_checked=[outcome for outcome in outcomes if isinstance(outcome, NotChecked)],
        failed=[outcome for outcome in outcomes if isinstance(outcome, Failed)],
    )


def without_prevented(
    outcomes: list[Outcome], limits: Limits, ignored: Collection[str]
) -> list[Outcome]:
    """Return the outcomes without the findings that another finding, such as a hang, prevents.

    Where it covers most of the recording, the others become not checked: what they measured
    describes a program that no longer runs.
    """
    first = next(
        (
            outcome
            for outcome in outcomes
            if isinstance(outcome, Finding)
            and RULES[outcome.id].prevents_others
            and outcome.share >= limits.most_of_trace
            and outcome.id not in ignored
        ),
        None,
    )
    if first is None:
        return outcomes
    return [
        outcome
        if outcome is first or not isinstance(outcome, Finding)
        else NotChecked(outcome.id, PREVENTED, "other")
        for outcome in outcomes
    ]


def complete_finding(finding: Finding, number: int, run: Run) -> Finding:
    """Return the finding with its key, processes, devices, share of the run, and line of code."""
    name = finding.id if finding.cause is None else f"{finding.id}/{finding.cause}"
    span_s = max(run.span_s, 1e-9)
    devices = {fact.device for fact in finding.evidence if fact.device is not None}
    known = {
        fact.process for fact in finding.evidence if fact.process is not None and fact.process >= 0
    }
    if not known and run.budget_process is not None:
        known = {run.budget_process}
    finding = msgspec.structs.replace(
        finding,
        key=f"{name}#{number}",
        processes=finding.processes or sorted(known),
        devices=finding.devices or sorted(device for device in devices if device >= 0),
        share_of_run=round(min(finding.lost_s / span_s, 1.0), 4),
    )
    return msgspec.structs.replace(
        finding, where=finding.where or line_of_finding(finding, run.trace)
    )


def line_of_finding(finding: Finding, trace: Trace) -> CodeLocation | None:
    """Return the program's line in which the time of a finding goes by, None where unknown."""
    where = RULES[finding.id].where
    if where is None or trace.has_profiled_work or not finding.processes:
        return None
    return where(trace, finding)


def check_rule(rule: Rule, trace: Trace, limits: Limits) -> Outcome:
    """Return the outcome for a job; a rule about machines is run on each host separately."""
    views = [trace] if rule.across_hosts else trace.fact(host_views)
    if len(views) == 1:
        return outcome(rule, trace, limits)
    return together([(view.manifest.host, outcome(rule, view, limits)) for view in views])


def outcome(rule: Rule, trace: Trace, limits: Limits) -> Outcome:
    """Return the finding, that it is clear, why it was not checked, or how its rule failed."""
    try:
        if rule.in_windows:
            trace = trace.fact(window_trace) or trace
        if not rule.in_traces and trace.has_profiled_work:
            return NotChecked(rule.id, NOT_IN_TRACES, "not-in-this-format")
        for name in rule.needs:
            if table(trace, name) is None:
                reason = f"{name}: {trace.why_absent(name)}"
                return NotChecked(rule.id, reason, group_of_table(trace, name))
        unmet = rule.not_applicable(trace, limits)
        if isinstance(unmet, str):
            return NotChecked(rule.id, unmet, "other")
        if unmet is not None:
            return NotChecked(rule.id, unmet.reason, unmet.group)
        finding = rule.detect(trace, limits)
        if finding is not None and rule.on_host:
            finding = within_idle_time(trace, rule, finding, limits)
        return finding or Clear(rule.id)
    except Exception as error:  # noqa: BLE001  a rule that fails must not prevent the others
        return Failed(rule.id, f"{type(error).__name__}: {error}")


def group_of_table(trace: Trace, name: str) -> NotCheckedGroup:
    """Return the kind of reason for which a table is absent."""
    if trace.is_profiler_trace:
        return "not-in-this-format"
    sources = {source.name: source for source in manifest(trace).sources}
    if name in DEVICE_TABLES:
        return "no-device" if manifest(trace).devices else "no-driver"
    if name in KERNEL_TABLES:
        return "no-kernels"
    if name in REQUEST_TABLES:
        return "no-engine-metrics" if trace.has("requests") else "no-requests"
    probe = sources.get("probe")
    return "not-permitted" if probe is not None and probe.status == "unavailable" else "other"
