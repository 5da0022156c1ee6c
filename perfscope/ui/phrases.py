"""What terminal view and pages say alike: who was looked at, what a part of the time is, what a
finding costs and wins.
"""

from typing import TYPE_CHECKING

from perfscope.analyzer.categories import CATEGORY
from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, Finding, Speedup
from perfscope.analyzer.number_text import digits, ms, percent, plural

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

NS_PER_MS = 1e6


def about(diagnosis: Diagnosis, trace: "Trace | None") -> list[str]:
    """Who was looked at, on how much machine, for how long; the first part is the name."""
    return [*subject(trace), *recording(diagnosis)]


def subject(trace: "Trace | None") -> list[str]:
    """`train.py (pid 41872)`, `2 loader workers`, `2 usable cores`; of a recorded trace the devices
    in place of the last two.
    """
    processes = trace.table("processes") if trace is not None else None
    if trace is None or processes is None:
        return []
    main = processes[processes["role"] == "main"]
    name = str(main["name"].iloc[0]) if len(main) else f"pid {trace.manifest.target_pid}"
    who = f"{name} (pid {int(main['pid'].iloc[0])})" if len(main) == 1 else name
    hosts = [one.host for one in trace.manifests]
    on = f" on {len(hosts)} hosts" if len(set(hosts)) > 1 else ""
    words = [who if len(main) < 2 else f"{name} ({several(trace, len(main))}{on})"]
    if trace.is_profiler_trace:
        return [*words, *devices(trace)]
    workers = int((processes["role"] == "loader-worker").sum())
    words.append(plural(workers, "loader worker") if workers else "no loader workers")
    cores = [one.usable_cores.cores for one in trace.manifests if one.usable_cores is not None]
    return [*words, plural(sum(cores), "usable core")] if cores else words


def several(trace: "Trace", count: int) -> str:
    """`2 ranks`; `3 processes, one after the other`: ranks of one job run at the same time."""
    from perfscope.analyzer.run.local_ranks import (
        mains_at_once,
    )  # with pandas: an answer that was kept is told without

    at_once = count if trace.is_profiler_trace else trace.fact(mains_at_once)
    if at_once >= count:
        return f"{count} ranks"
    return (
        f"{count} processes,"
        f" {'one after the other' if at_once < 2 else f'at most {at_once} at a time'}"
    )


def devices(trace: "Trace") -> list[str]:
    """`8 x NVIDIA H100`, or how many there are where the trace does not name them."""
    table = trace.table("devices")
    if table is None:
        return ["no accelerator in the trace"]
    named = (
        table["name"]
        .astype(object)
        .where(table["name"].notna(), "accelerator")
        .value_counts(sort=False)
    )
    return [str(name) if count == 1 else f"{count} x {name}" for name, count in named.items()]


def recording(diagnosis: Diagnosis) -> list[str]:
    """`20 s`, `188 steps of 106 ms (p95 121 ms)`."""
    steps = diagnosis.steps
    words = [f"{digits(diagnosis.span_s)} s"]
    if steps.mean_ms is not None:
        p95 = f" (p95 {ms(steps.p95_ms * NS_PER_MS)})" if steps.p95_ms is not None else ""
        words.append(f"{plural(steps.count, 'step')} of {ms(steps.mean_ms * NS_PER_MS)}{p95}")
    return words


def bound_by(diagnosis: Diagnosis) -> str:
    """`bound by input, 78 % of the time`."""
    bound = diagnosis.bound_by
    if bound.id == "unknown":
        return "what bounds it is not known"
    share = f", {percent(bound.share)} of the time" if bound.share is not None else ""
    return f"bound by {bound.id.replace('-', ' ')}{share}"


def step_ms(diagnosis: Diagnosis) -> float | None:
    """The mean step where the budget is of the steps; None where it is of the whole span."""
    return diagnosis.steps.mean_ms if diagnosis.budget_over == "steps" else None


def label(category: str) -> str:
    return CATEGORY[category].label


def time_of(part: BudgetEntry, mean_ms: float | None) -> str:
    """A part of the budget in the reader's unit: ms of a step, or seconds where there are no
    steps.
    """
    return ms(part.share * mean_ms * NS_PER_MS) if mean_ms is not None else ms(part.seconds * 1e9)


def amount(part: BudgetEntry, mean_ms: float | None) -> str:
    """`39 ms (78 %)`."""
    return f"{time_of(part, mean_ms)} ({percent(part.share)})"


def name_of(finding: Finding) -> str:
    return finding.id if finding.cause is None else f"{finding.id}/{finding.cause}"


def title(finding: Finding) -> str:
    """What to change: the first action, else what was found."""
    return finding.actions[0].text if finding.actions else finding.headline


def cost(finding: Finding, diagnosis: Diagnosis) -> tuple[str, str]:
    """(`39 ms/step`, `78 % of it`): what it costs now, and as a share of the time."""
    if finding.lost_s <= 0:
        return ("no time yet", "")
    mean_ms = step_ms(diagnosis)
    if mean_ms is None:
        return (ms(finding.lost_s * 1e9), f"{percent(finding.share)} of the time")
    return (f"{ms(finding.share * mean_ms * NS_PER_MS)}/step", f"{percent(finding.share)} of it")


def factor(value: float, beside: float = 1.0) -> str:
    """A speed-up with as many digits as it has meaning: 1.06, 3.1, 14; no more than a larger one
    that it stands beside.
    """
    size = max(value, min(beside, 9.0))
    return f"{value:.2f}" if size < 1.995 else f"{value:.1f}" if size < 9.95 else f"{value:.0f}"


def gain(speedup: Speedup | None, times: str = "x") -> tuple[str, str]:
    """(`3.1x`, `2.6x to 3.4x`): the predicted gain and its range; (`at most 2.6x`, ``) where only
    the ceiling is known.
    """
    if speedup is None:
        return ("", "")
    if speedup.likely is None or speedup.low is None:
        return (f"at most {factor(speedup.high)}{times}", "")
    return (
        f"{factor(speedup.likely)}{times}",
        f"{factor(speedup.low, speedup.high)}{times} to {factor(speedup.high)}{times}",
    )


def reasons(finding: Finding, diagnosis: Diagnosis) -> list[str]:
    """Why: what the finding claims, unless the verdict gives it, then the evidence."""
    return [*claims(finding, diagnosis), *(one.text for one in finding.evidence)]


def claims(finding: Finding, diagnosis: Diagnosis) -> list[str]:
    """Headline, explanation and caveat of a finding; none where the verdict already gives them."""
    if diagnosis.verdict.id == finding.id:
        return []
    headline = [] if finding.headline == title(finding) else [finding.headline]
    return [*headline, *filter(None, [finding.explanation, finding.caveat])]


def missing(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """(what, why) of everything that was not measured, broke or was dropped; what lacks for one
    reason stands together.
    """
    by_reason: dict[str, list[str]] = {}
    for lacking in diagnosis.not_checked:
        by_reason.setdefault(lacking.reason, []).append(lacking.id)
    rows = [(", ".join(ids), reason) for reason, ids in by_reason.items()]
    rows += [(one.id, f"its rule broke: {one.error}") for one in diagnosis.failed]
    rows += [
        (one.name, f"{one.status}: {one.reason}") for one in diagnosis.sources if one.status != "ok"
    ]
    told = [one.reason or "" for one in diagnosis.sources if one.status != "ok"]
    dropped = [text for text in diagnosis.dropped if not any(text in reason for reason in told)]
    return [*rows, *(("dropped", text) for text in dropped)]


def overhead(diagnosis: Diagnosis) -> str | None:
    """Return `0.4 % (0.1 to 0.9 %)`: the share of its time that recording cost the run; None where
    that is not known.

    What noise puts below zero is shown as zero.
    """
    cost = diagnosis.overhead
    if cost is None:
        return None
    share, low, high = (percent(max(value, 0.0)) for value in (cost.share, cost.low, cost.high))
    return f"{share} ({low.removesuffix(' %')} to {high})"


def clock_agreement(diagnosis: Diagnosis) -> str | None:
    """How far the clocks of several ranks were brought together; None of a single one, or where it
    is a limit already.
    """
    clocks = next(
        (one for one in diagnosis.sources if one.name == "clocks" and one.status == "ok"), None
    )
    return None if clocks is None else clocks.reason
