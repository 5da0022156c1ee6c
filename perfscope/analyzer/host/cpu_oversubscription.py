"""More threads want to run than there are cores.

What it means
    PyTorch splits each operator over its intra-op threads and waits for the last of them. With more
    such threads (times ranks) than usable cores, or with another job on the same cores, one of them
    is always waiting for a core, and so is the operator.

How it is detected
    The kernel counts how long each thread was runnable without a core. For the training process's
    threads that is at least 10 % of the time, and intra-op threads x ranks exceed the usable cores;
    or the machine is full and other jobs fill it (the delay is theirs in proportion to what they
    and the job's own workers want), or the job's own loader workers do, while batches are ready in
    time.

What to do
    Set the intra-op threads to usable cores / ranks (`OMP_NUM_THREADS` or `torch.set_num_threads`),
    or take the other job off these cores.

When it is wrong
    The gain is a ceiling: with fewer threads each also does more work. Loader workers that fill the
    cores and are late all the same are told under `input-bound`, not here.
"""

from dataclasses import dataclass

from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    few_steps,
    rank_of,
    severity_of,
    steps_of,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.input.loader_case import avoidable_wait
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.host_load import HostLoad, host_load
from perfscope.analyzer.run.local_ranks import loader_workers, main_processes, ranks_at_once
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "cpu-oversubscription"
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


@dataclass(frozen=True)
class Crowd:
    """Who crowds the cores: the share of time the training threads wait for one because of it, and
    what is reported.
    """

    delay: float
    explanation: str
    caveat: str | None
    actions: list[Action]
    left: float  # of a step without it, at best


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Threads that wait for a core because there are too many of them, or because others hold the
    cores.
    """
    load = trace.fact(host_load)
    mains = main_processes(trace)
    if not mains or load.usable_cores is None:
        return None
    process, rank = max(mains, key=lambda main: _delay(load, main[0]))
    # Waiting for the quota looks like waiting for a core to the scheduler; it is told under
    # cpu-throttled.
    delay = min(max(_delay(load, process) - (load.throttled_share or 0.0), 0.0), 0.95)
    if delay < max(limits.run_delay_share, limits.worth_share):
        return None
    torch, ranks = manifest(trace).torch, ranks_at_once(trace)
    if torch is not None and torch.intra_op_threads * ranks > max(load.usable_cores, 1.0):
        crowd: Crowd | None = of_threads(load, process, delay, torch.intra_op_threads, ranks)
    else:
        crowd = of_others(load, process, delay, limits) or of_workers(
            trace, load, process, delay, limits
        )
    return None if crowd is None else _finding(trace, limits, load, process, rank, crowd)


def of_threads(load: HostLoad, process: int, delay: float, threads: int, ranks: int) -> Crowd:
    """The training's own threads: the ceiling is that none waits for a core, or that their CPU time
    is spread over the cores.
    """
    cores = load.usable_cores or 1.0
    best = max(int(cores // ranks), 1)
    product = f"{threads} intra-op threads" + (f" x {ranks} ranks" if ranks > 1 else "")
    text = f"{product} share {plural(cores, 'usable core')}. Use {best} per process."
    actions = [
        Action(
            f"give each training process {plural(best, 'intra-op thread')}",
            f"torch.set_num_threads({best})",
        ),
        Action("or in the environment, before the start", f"OMP_NUM_THREADS={best}"),
    ]
    spread = load.process_cores.get(process, 0.0) / (cores / ranks)
    return Crowd(
        delay,
        text,
        "More threads would make it slower.",
        actions,
        min(1.0 - delay, max(spread, 0.05)),
    )


def of_others(load: HostLoad, process: int, delay: float, limits: Limits) -> Crowd | None:
    """Other jobs, where they fill the machine: their part of the delay."""
    others = others_cores(load)
    if others is None or others < limits.run_delay_share * (load.usable_cores or 1.0):
        return None
    delay *= others / (others + load.wanted_by_others(process))
    if delay < limits.others_delay_share:
        return None
    text = f"Other jobs on this machine use {plural(others, 'core')} of {_of_machine(load)}."
    actions = [
        Action(
            "move the other job to other cores, or reserve cores for this one",
            "taskset -c CORES ...",
        )
    ]
    return Crowd(delay, text, "Changing the training code would not help.", actions, 1.0 - delay)


def _of_machine(load: HostLoad) -> str:
    """`the 4`, or where the job may not use all of them `its 4, of which the job may use 1`."""
    usable = load.usable_cores or 1.0
    if load.host_cores is None or load.host_cores <= usable:
        return f"the {digits(usable)}"
    return f"its {digits(load.host_cores)}, of which the job may use {digits(usable)}"


def of_workers(
    trace: Trace, load: HostLoad, process: int, delay: float, limits: Limits
) -> Crowd | None:
    """The job's own loader workers, where they fill the cores and yet have the batches ready: waits
    for input do not show it.
    """
    lines = trace.fact(input_pipelines)
    if load.host_busy is None or load.host_busy < FULL:
        return None
    if any(avoidable_wait(line, limits) >= limits.input_share * line.step for line in lines):
        return None
    workers = set(loader_workers(trace))
    wanted = sum(load.process_cores.get(one, 0.0) + load.delay.get(one, 0.0) for one in workers)
    used = sum(load.process_cores.get(one, 0.0) for one in workers)
    delay *= wanted / max(load.wanted_by_others(process) + load.used_elsewhere(), wanted, 1e-9)
    if delay < limits.run_delay_share or used < limits.run_delay_share * (load.usable_cores or 1.0):
        return None
    text = (
        f"The job's loader workers use {plural(used, 'core')} of"
        f" {digits(load.usable_cores or 1.0)}. The batches are ready in time, but preparing them"
        " takes cores from training."
    )
    actions = [
        Action(
            "use less CPU time per batch: smaller images, a faster decoder, or samples that are"
            " prepared once and stored"
        ),
        Action("or give the job more cores"),
    ]
    return Crowd(delay, text, "Neither more nor fewer workers would help.", actions, 1.0 - delay)


def _finding(
    trace: Trace, limits: Limits, load: HostLoad, process: int, rank: int, crowd: Crowd
) -> Finding:
    cores, delay, span_s = load.usable_cores or 1.0, crowd.delay, load.span_s
    critical = critical_rank(trace, limits) if few_steps(trace, limits) is None else None
    if critical is not None:
        rows = steps_of(trace, critical)
        span_s, rank = float(rows["dur"].sum()) / 1e9, rank_of(rows)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(delay, limits),
        rank=rank,
        lost_s=round(delay * span_s, 4),
        share=round(delay, 4),
        speedup=Speedup(None, None, round(1.0 / crowd.left, 3)),
        headline=(
            f"CPU oversubscription: training threads wait for a core {percent(delay)} of the time"
        ),
        explanation=crowd.explanation,
        caveat=crowd.caveat,
        evidence=[
            Evidence(
                text=(
                    "the training process's threads were runnable without a core up to"
                    f" {percent(delay)} of the time"
                ),
                value=round(delay, 4),
                unit="share",
                rank=rank,
                process=process,
            ),
            Evidence(
                text=(
                    f"the job keeps {digits(load.tree_cores or 0.0)} of"
                    f" {plural(cores, 'usable core')} busy"
                ),
                value=round(load.tree_cores or 0.0, 2),
                unit="cores",
            ),
        ],
        actions=crowd.actions,
    )


def _delay(load: HostLoad, process: int) -> float:
    """The largest share of time a thread of the process was runnable without a core."""
    threads = [delay for (owner, _), delay in load.thread_delay.items() if owner == process]
    return max(threads) if threads else load.delay.get(process, 0.0)


def others_cores(load: HostLoad) -> float | None:
    """Cores that other jobs on this machine use, when the machine is full; None when it is not or
    cannot be told.
    """
    return load.used_elsewhere() if load.host_busy is not None and load.host_busy >= FULL else None


RULE = Rule(ID, not_applicable, detect, needs=("counters",), in_traces=False, starves_compute=True)
