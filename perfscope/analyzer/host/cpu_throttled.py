"""The kernel stops the job because its cgroup has used up its CPU quota.

What it means
    A container or pod with a CPU limit receives its quota every period (usually 100 ms). Once it is
    spent, every process of the group is stopped until the next period, also on an idle machine.

How it is detected
    The cgroup's `cpu.stat` counts the throttled time: it grows by at least 5 % of the recording.

What to do
    Raise the limit (Kubernetes: `resources.limits.cpu`, Docker: `--cpus`), or fit the job into it:
    as many workers and threads as the quota has cores, so that they do not spend it at once.

When it is wrong
    The speedup is a ceiling: how many cores the job would use without the limit is not known.
    Throttled time is summed over cores, so it may exceed the wall time.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import critical_rank, severity_of, steps_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.ranks.local_ranks import loader_workers, ranks_at_once
from perfscope.analyzer.run.resources.host_load import HostLoad, host_load
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "cpu-throttled"

RAISE_QUOTA = Advice(
    "raise-cpu-quota",
    "raise the limit of the container",
    "cgroup-is-throttled",
    "The kernel throttled the cgroup for at least 5 % of the recording.",
)
FIT_INTO_QUOTA = Advice(
    "fit-into-cpu-quota",
    "use no more intra-op threads and workers together than the quota has cores",
    "more-threads-than-quota",
    "The intra-op threads and loader workers exceed the cores of the CPU quota.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why throttling cannot be checked: the cgroup's counters are missing."""
    if trace.fact(host_load).throttled_share is None:
        return Unmet("other", "the cgroup's cpu.stat was not readable, or no CPU quota is set")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the job is throttled for enough of the time.

    The ceiling is what the job could use without the quota.
    """
    load = trace.fact(host_load)
    throttled = load.throttled_share
    if throttled is None or throttled < limits.throttled_share:
        return None
    cores = manifest(trace).usable_cores
    affinity = float(cores.affinity) if cores is not None else None
    used = load.tree_cores or load.cpu_quota or 0.0
    lost = min(throttled, 0.95)
    if affinity and used:
        lost = min(lost, max(1.0 - used / affinity, 0.0))
    if lost < limits.worth_share:
        return None
    span_s, process = load.span_s, critical_rank(trace, limits)
    if process is not None:
        span_s = float(steps_of(trace, process)["dur"].sum()) / 1e9
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(lost, limits),
        processes=[] if process is None else [process],
        lost_s=round(lost * span_s, 4),
        share=round(lost, 4),
        speedup=Speedup(None, None, round(1.0 / least_time_left(trace, load, lost), 3)),
        headline=f"CPU throttled {percent(min(throttled, 1.0))} of the time by the CPU quota",
        explanation=quota_explanation(load.cpu_quota, affinity),
        caveat="More workers or threads would only use up the quota sooner.",
        evidence=throttling_evidence(throttled, used, load.cpu_quota),
        actions=quota_actions(trace, load, limits),
    )


def least_time_left(trace: Trace, load: HostLoad, lost: float) -> float:
    """Return the least share of the time that may remain without throttling.

    It is what is not throttled, or less where threads also queue for the quota: the CPU time of the
    busiest process on its intra-op threads, a tenth less since a thread that is stopped ten times a
    second finds its caches cold.
    """
    torch = manifest(trace).torch
    threads = max(torch.intra_op_threads if torch is not None else 1, 1)
    busiest = max(load.process_cores.values(), default=1.0)
    return max(min(1.0 - lost, 0.9 * busiest / threads), 0.05)


def quota_explanation(quota: float | None, affinity: float | None) -> str:
    """Return which quota stops the job, of how many cores."""
    if quota is not None:
        limit = f"the CPU quota of {plural(quota, 'core')}"
    else:
        limit = "the CPU quota of its cgroup"
    of_cores = f" of {plural(affinity, 'core')}" if affinity else ""
    return f"The kernel stops the job when {limit}{of_cores} is used up."


def throttling_evidence(throttled: float, used: float, quota: float | None) -> list[Evidence]:
    """Return the throttled time and the cores that the job uses."""
    of_quota = f" of a quota of {digits(quota)}" if quota else ""
    return [
        Evidence(
            text=f"{digits(throttled)} s throttled per second (summed over cores)",
            value=round(throttled, 4),
            unit="s/s",
        ),
        Evidence(
            text=f"the job uses {plural(used, 'core')}{of_quota}",
            value=round(used, 3),
            unit="cores",
        ),
    ]


def quota_actions(trace: Trace, load: HostLoad, limits: Limits) -> list[Action]:
    """Return the actions for a job that spends its quota."""
    throttled, quota, torch = load.throttled_share or 0.0, load.cpu_quota, manifest(trace).torch
    threads = (torch.intra_op_threads if torch is not None else 1) * ranks_at_once(trace)
    workers = len(loader_workers(trace))
    whole_cores = max(int(quota or 1), 1)
    return [
        *RAISE_QUOTA.given(
            throttled >= limits.throttled_share,
            f"{digits(throttled)} s throttled per second",
            snippet="docker run --cpus N ...   or   resources.limits.cpu: N",
        ),
        *FIT_INTO_QUOTA.given(
            quota is not None and threads + workers > quota,
            f"{plural(threads, 'intra-op thread')} and {plural(workers, 'worker')} on a quota of"
            f" {plural(quota or 0.0, 'core')}",
            text=f"{FIT_INTO_QUOTA.text} ({whole_cores})",
            snippet=f"torch.set_num_threads({whole_cores})",
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("counters",),
    in_traces=False,
    loses_compute_time=True,
    advice=(RAISE_QUOTA, FIT_INTO_QUOTA),
    color="host-bound",
)
