"""The kernel stops the job because its cgroup has used up its CPU quota.

What it means
    A container or pod with a CPU limit gets its quota anew every period (usually 100 ms). Once it
    is spent, every process of the group stands still until the next period, however idle the
    machine is.

How it is detected
    The cgroup's `cpu.stat` counts the throttled time: it grows by at least 5 % of the recording.

What to do
    Raise the limit (Kubernetes: `resources.limits.cpu`, Docker: `--cpus`), or fit the job into it:
    as many workers and threads as the quota has cores, so that they do not spend it at once.

When it is wrong
    The gain is a ceiling: how many cores the job would use without the limit is not known.
    Throttled time is summed over cores, so it may exceed the wall time.
"""

from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    few_steps,
    rank_of,
    severity_of,
    steps_of,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.host_load import HostLoad, host_load
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "cpu-throttled"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the cgroup's throttling counters."""
    if trace.fact(host_load).throttled_share is None:
        return "the cgroup's cpu.stat was not readable, or no CPU quota is set"
    return None


def _left(trace: Trace, load: HostLoad, lost: float) -> float:
    """The least share of the time that may stay: what is not throttled, or less where threads also
    queue for the quota.

    That is the CPU time of the busiest process on its intra-op threads, a tenth less since a thread
    that is stopped ten times a second finds its caches cold.
    """
    torch = manifest(trace).torch
    threads = max(torch.intra_op_threads if torch is not None else 1, 1)
    busiest = max(load.process_cores.values(), default=1.0)
    return max(min(1.0 - lost, 0.9 * busiest / threads), 0.05)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Throttled time, with what the job could use without the quota as the ceiling."""
    load = trace.fact(host_load)
    if load.throttled_share is None or load.throttled_share < limits.throttled_share:
        return None
    cores = manifest(trace).usable_cores
    affinity = float(cores.affinity) if cores is not None else None
    used = load.tree_cores or load.cpu_quota or 0.0
    lost = min(load.throttled_share, 0.95)
    if affinity and used:
        lost = min(lost, max(1.0 - used / affinity, 0.0))
    if lost < limits.worth_share:
        return None
    span_s, rank = load.span_s, None
    if few_steps(trace, limits) is None and (process := critical_rank(trace, limits)) is not None:
        rows = steps_of(trace, process)
        span_s, rank = float(rows["dur"].sum()) / 1e9, rank_of(rows)
    quota = load.cpu_quota
    limit = (
        f"the CPU quota of {plural(quota, 'core')}"
        if quota is not None
        else "the CPU quota of its cgroup"
    )
    have = f" of {plural(affinity, 'core')}" if affinity else ""
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(lost, limits),
        rank=rank,
        lost_s=round(lost * span_s, 4),
        share=round(lost, 4),
        speedup=Speedup(None, None, round(1.0 / _left(trace, load, lost), 3)),
        headline=(
            f"CPU throttled {percent(min(load.throttled_share, 1.0))} of the time by the CPU quota"
        ),
        explanation=f"The kernel stops the job when {limit}{have} is used up.",
        caveat="More workers or threads would only use up the quota sooner.",
        evidence=[
            Evidence(
                text=f"{digits(load.throttled_share)} s throttled per second (summed over cores)",
                value=round(load.throttled_share, 4),
                unit="s/s",
            ),
            Evidence(
                text=f"the job uses {plural(used, 'core')}"
                + (f" of a quota of {digits(quota)}" if quota else ""),
                value=round(used, 3),
                unit="cores",
            ),
        ],
        actions=[
            Action(
                "raise the limit of the container",
                "docker run --cpus N ...   or   resources.limits.cpu: N",
            ),
            Action(
                "or use no more intra-op threads and workers together than the quota has cores"
                + (f" ({max(int(quota), 1)})" if quota else ""),
                f"torch.set_num_threads({max(int(quota or 1), 1)})",
            ),
        ],
    )


RULE = Rule(ID, not_applicable, detect, needs=("counters",), in_traces=False, starves_compute=True)
