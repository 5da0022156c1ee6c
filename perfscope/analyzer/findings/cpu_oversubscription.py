"""More threads want to run than there are cores.

What it means
    PyTorch splits each operator over its intra-op threads and waits for the last of them. With more such threads (times
    ranks) than usable cores, or with another job on the same cores, one of them is always waiting for a core, and so is
    the operator.

How it is detected
    The kernel counts how long each thread was runnable without a core. For the training process's threads that is at
    least 10 % of the time, and either intra-op threads x ranks exceed the usable cores, or the machine is full and other
    jobs fill it: the delay is theirs in proportion to what they and the job's own workers want.

What to do
    Set the intra-op threads to usable cores / ranks (`OMP_NUM_THREADS` or `torch.set_num_threads`), or take the other
    job off these cores.

When it is wrong
    The gain is a ceiling: with fewer threads each also does more work. Loader workers that fill the cores are told
    under `input-bound`, not here.
"""

from perfscope.analyzer.critical_rank import critical_rank, few_steps, rank_of, severity_of, steps_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.facts.host_load import HostLoad, host_load
from perfscope.analyzer.facts.ranks_here import main_processes
from perfscope.analyzer.facts.rows import manifest
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.wording import digits, percent, plural
from perfscope.traces.trace import Trace

ID = "cpu-oversubscription"
NEEDS = ("counters",)
IN_TRACES = False
# Busy share of the machine from which its cores are taken: scheduling never reaches all of it.
FULL = 0.9


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the usable cores and run-queue delays."""
    load = trace.fact(host_load)
    if load.usable_cores is None:
        return "the usable cores are not known"
    if not load.delay and not load.thread_delay:
        return "run-queue delay was not read (needs /proc/PID/schedstat)"
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Threads that wait for a core because there are too many of them, or because others hold the cores."""
    load = trace.fact(host_load)
    mains = main_processes(trace)
    if not mains or load.usable_cores is None:
        return None
    process, rank = max(mains, key=lambda main: _delay(load, main[0]))
    # Waiting for the quota looks like waiting for a core to the scheduler; it is told under cpu-throttled.
    delay = min(max(_delay(load, process) - (load.throttled_share or 0.0), 0.0), 0.95)
    if delay < max(limits.run_delay_share, limits.worth_share):
        return None
    torch = manifest(trace).torch
    threads = torch.intra_op_threads if torch is not None else None
    wanted = threads * len(mains) if threads is not None else None
    too_many = wanted is not None and wanted > max(load.usable_cores, 1.0)
    others = others_cores(load)
    if not too_many:
        if others is None or others < limits.run_delay_share * load.usable_cores:
            return None
        delay *= others / (others + load.wanted_by_others(process))
        if delay < limits.others_delay_share:
            return None
    return _finding(trace, limits, load, process, rank, delay, threads if too_many else None, len(mains), others)


def _finding(
    trace: Trace,
    limits: Limits,
    load: HostLoad,
    process: int,
    rank: int,
    delay: float,
    threads: int | None,
    ranks: int,
    others: float | None,
) -> Finding:
    cores = load.usable_cores or 1.0
    best = max(int(cores // ranks), 1)
    # The ceiling: nobody waits for a core, or (threads wait for each other too) the CPU time spread over the rank's cores.
    left = 1.0 - delay
    if threads is not None:
        left = min(left, max(load.process_cores.get(process, 0.0) / (cores / ranks), 0.05))
    span_s = load.span_s
    critical = critical_rank(trace, limits) if few_steps(trace, limits) is None else None
    if critical is not None:
        rows = steps_of(trace, critical)
        span_s, rank = float(rows["dur"].sum()) / 1e9, rank_of(rows)
    if threads is not None:
        product = f"{threads} intra-op threads" + (f" x {ranks} ranks" if ranks > 1 else "")
        text = (
            f"{product} share {plural(cores, 'usable core')}, and the training threads wait {percent(delay)} of the "
            f"time for one. Fewer threads are faster here: {best} for each process."
        )
        actions = [
            Action(f"give each training process {plural(best, 'intra-op thread')}", f"torch.set_num_threads({best})"),
            Action("or in the environment, before the start", f"OMP_NUM_THREADS={best}"),
        ]
    else:
        text = (
            f"the training threads wait {percent(delay)} of the time for a core, while other jobs on this machine use "
            f"{plural(others or 0.0, 'core')} of the {digits(cores)}. Changing the training code will not help."
        )
        actions = [
            Action("take the other job off these cores, or give this one cores of its own", "taskset -c CORES ...")
        ]
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(delay, limits),
        rank=rank,
        lost_s=round(delay * span_s, 4),
        share=round(delay, 4),
        speedup=Speedup(None, None, round(1.0 / left, 3)),
        summary=f"CPU oversubscription: {text}",
        evidence=[
            Evidence(
                text=f"the training process's threads were runnable without a core up to {percent(delay)} of the time",
                value=round(delay, 4),
                unit="share",
                rank=rank,
                process=process,
            ),
            Evidence(
                text=f"the job keeps {digits(load.tree_cores or 0.0)} of {plural(cores, 'usable core')} busy",
                value=round(load.tree_cores or 0.0, 2),
                unit="cores",
            ),
        ],
        actions=actions,
    )


def _delay(load: HostLoad, process: int) -> float:
    """The largest share of time a thread of the process was runnable without a core."""
    threads = [delay for (owner, _), delay in load.thread_delay.items() if owner == process]
    return max(threads) if threads else load.delay.get(process, 0.0)


def others_cores(load: HostLoad) -> float | None:
    """Cores that other jobs on this machine use, when the machine is full; None when it is not or cannot be told."""
    return load.used_elsewhere() if load.host_busy is not None and load.host_busy >= FULL else None
