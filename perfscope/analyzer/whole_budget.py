"""The budgets of a run as the Diagnosis shows them, and what they are dominated by."""

from perfscope.analyzer.diagnosis import BoundBy, BudgetEntry, Finding, RankBudget, StepSummary
from perfscope.analyzer.facts.host_load import window
from perfscope.analyzer.facts.observed_budget import observed_budget
from perfscope.analyzer.facts.rank_waiting import host_by_process
from perfscope.analyzer.facts.rows import column, table
from perfscope.analyzer.facts.steps import trainers
from perfscope.analyzer.facts.time_budget import CATEGORIES, steady, steady_budget, time_budget
from perfscope.analyzer.facts.traced.roofline import MEMORY
from perfscope.analyzer.facts.traced.span_budget import span_budget
from perfscope.analyzer.facts.traced.traced_steps import Marks, step_marks
from perfscope.analyzer.facts.traced.units import Unit, is_recorded_trace
from perfscope.analyzer.facts.traced.work_limits import WorkLimits, work_limits
from perfscope.analyzer.facts.traced.work_units import work_units
from perfscope.analyzer.verdict.confidence import FROM_OUTSIDE, Standing
from perfscope.traces.trace import Trace

RESOURCE = {
    "compute_or_host": "compute",
    "device_compute": "compute",
    "input_wait": "input",
    "exposed_copy": "input",
    "host_bound": "host",
    "sync_wait": "host",
    "checkpoint": "checkpoint",
    "profiler_overhead": "unknown",
    "exposed_communication": "communication",
    "peer_wait": "communication",
    "other_idle": "unknown",
}
# From this share of the work on, and more than arithmetic limits, memory is said to bound it; the rest may be in small calls.
MOSTLY_MEMORY = 0.25
# Findings whose loss hides in compute_or_host: the thread is runnable and has no core.
HOST_SIDE = ("cpu-oversubscription", "cpu-throttled")


def budgets(trace: Trace) -> list[RankBudget]:
    """The time budget of each rank over its steady steps (from outside: of the main thread's samples); shares sum to
    1.
    """
    if is_recorded_trace(trace):
        return of_whole_trace(trace)
    rows = trace.fact(steady_budget)
    ranks = []
    hosts = host_by_process(trace)
    several = len({hosts.get(process) for process, _ in trainers(trace)}) > 1
    for process, rank in trainers(trace):
        own = rows[rows["process"] == process]
        if len(own):
            sums = {name: int(column(own, name).sum()) for name in CATEGORIES}
            own_host = hosts.get(process) if several else None
            ranks.append(RankBudget(rank, entries({name: ns / 1e9 for name, ns in sums.items()}), own_host))
    if ranks:
        return ranks
    seen = trace.fact(observed_budget)
    if seen is None:
        return []
    return [RankBudget(seen.rank, entries({name: share * seen.span_s for name, share in seen.shares.items()}))]


def of_whole_trace(trace: Trace) -> list[RankBudget]:
    """The budget of each rank of a recorded trace, from its first event to its last."""
    return [
        RankBudget(int(row["rank"]), entries({name: int(row[name]) / 1e9 for name in CATEGORIES}))
        for row in trace.fact(span_budget).to_dict("records")
    ]


def budget_over(trace: Trace) -> str:
    """What the time budget is of: the steady `steps`, or the whole `span`."""
    if is_recorded_trace(trace) or not len(trace.fact(steady_budget)):
        return "span"
    return "steps"


def entries(seconds: dict[str, float]) -> list[BudgetEntry]:
    """Largest first; a category that took no time is left out."""
    whole = sum(seconds.values())
    if whole <= 0.0:
        return []
    taken = sorted(((name, s) for name, s in seconds.items() if s > 0.0), key=lambda item: -item[1])
    return [BudgetEntry(name, s, s / whole) for name, s in taken]


def rank_of_process(trace: Trace, process: int | None) -> int | None:
    """The rank whose budget is told."""
    if process is None and is_recorded_trace(trace):
        sums = trace.fact(span_budget)
        return int(sums.sort_values(["peer_wait", "rank"])["rank"].iloc[0]) if len(sums) else None
    if process is None:
        seen = trace.fact(observed_budget)
        return seen.rank if seen is not None and not len(trace.fact(steady_budget)) else _only_rank(trace)
    return dict(trainers(trace)).get(process)


def _only_rank(trace: Trace) -> int | None:
    """The first rank with any steady steps, too few as they are."""
    rows = trace.fact(steady_budget)
    return int(rows["rank"].iloc[0]) if len(rows) else None


def bound_by(
    budget: list[BudgetEntry],
    found: list[Finding],
    standing: Standing,
    *,
    dark: bool = False,
    work: WorkLimits | None = None,
) -> BoundBy:
    """The largest resource of the budget; time lost for want of a core counts as the host's.

    `dark`: compute_or_host says nothing of computing: kernels were launched and not recorded, or it lies between the calls of
    a server. `work`: what limits the
    device's work where that is known; where it is memory for most of it, memory is what limits and not arithmetic.
    """
    shares: dict[str, float] = {}
    for entry in budget:
        resource = "unknown" if dark and entry.category == "compute_or_host" else RESOURCE[entry.category]
        shares[resource] = shares.get(resource, 0.0) + entry.share
    if not shares:
        return BoundBy("unknown", None, 0.0)
    starved = max((finding.share for finding in found if finding.id in HOST_SIDE), default=0.0)
    moved = min(starved, shares.get("compute", 0.0))
    if moved > 0.0:
        shares["compute"] -= moved
        shares["host"] = shares.get("host", 0.0) + moved
    best = max(shares, key=lambda name: shares[name])
    ordered = sorted(shares.values(), reverse=True)
    margin = ordered[0] - (ordered[1] if len(ordered) > 1 else 0.0)
    # A lead of a fifth of the time is clear; a smaller one is less sure in proportion.
    sure = min(1.0, 0.5 + 2.5 * margin)
    if best == "compute" and work is not None and work.whole:
        memory, rest = work.memory / work.whole, (work.whole - work.memory - work.compute) / work.whole
        known = 1.0 - rest
        if work.memory > work.compute and memory >= MOSTLY_MEMORY:
            best, shares[MEMORY] = MEMORY, shares["compute"] * memory
        sure *= min(1.0, 0.5 + known)
    return BoundBy(best, round(shares[best], 4), round(sure * max(standing.confidence, FROM_OUTSIDE), 3))


def step_summary(trace: Trace, process: int | None) -> StepSummary:
    """Steady steps of the critical rank, ms; of the first rank when there are too few to choose one."""
    frame = trace.fact(time_budget)
    rows = steady(frame)
    code = process if process is not None else (int(rows["process"].iloc[0]) if len(rows) else None)
    own = rows[rows["process"] == code]["dur"] / 1e6
    source = next((marks.source for unit, marks in marks_of(trace) if unit.process == code and marks), None)
    distorted = int(frame["distorted"].sum()) if len(frame) else 0
    if not len(own):
        return StepSummary(0, None, None, None, distorted)
    return StepSummary(
        len(own),
        round(float(own.mean()), 4),
        round(float(own.quantile(0.5)), 4),
        round(float(own.quantile(0.95)), 4),
        distorted,
        source,
    )


def marks_of(trace: Trace) -> list[tuple[Unit, Marks | None]]:
    """What the steps of a recorded trace were told from, by process; nothing for recordings of our own."""
    return trace.fact(step_marks) if is_recorded_trace(trace) else []


def steps_left_out(trace: Trace) -> list[str]:
    """A line on marks of steps that count as none, because they overlap others by more than a little."""
    count = sum(marks.left_out for _, marks in marks_of(trace) if marks is not None)
    return [f"{count} marks of steps left out: they overlap others"] if count else []


def span_s(trace: Trace) -> float:
    """Seconds from the first to the last thing recorded."""
    if is_recorded_trace(trace):
        return (trace.span_ns[1] - trace.span_ns[0]) / 1e9
    bounds: list[tuple[int, int]] = []
    for name in ("loader", "ranges", "thread_states", "counters", "stacks"):
        frame = table(trace, name)
        if frame is not None and len(frame):
            ts = column(frame, "ts")
            last = ts + (column(frame, "dur") if "dur" in frame else 0)
            bounds.append((int(ts.min()), int(last.max())))
    if not bounds:
        begin, end = window(trace)
        return (end - begin) / 1e9
    return round((max(end for _, end in bounds) - min(begin for begin, _ in bounds)) / 1e9, 3)


def work_of_rank(trace: Trace, rank: int | None) -> WorkLimits | None:
    """What limits the work of a rank's device, None where its operators were not seen."""
    unit = next((one for one in work_units(trace) if one.rank == rank), None)
    return None if unit is None else trace.fact(work_limits).get((unit.process, unit.device))
