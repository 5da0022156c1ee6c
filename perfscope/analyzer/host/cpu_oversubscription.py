"""More threads are ready to run than there are cores.

What it means
    PyTorch splits each operator over its intra-op threads and waits for the last of them. With more
    such threads (times ranks) than usable cores, or with another job on the same cores, one of them
    is always waiting for a core, and so is the operator.

How it is detected
    The kernel counts how long each thread was runnable without a core. A thread of the training
    process was in that state for at least 10 % of the time, and one of three groups of threads
    causes it. The intra-op threads x ranks exceed the usable cores. Or all cores are busy, and
    other jobs use a part of them; they get the part of the delay that corresponds to their share of
    the demand. Or the job's own loader workers keep the cores busy, although batches are ready in
    time.

What to do
    Set the intra-op threads to usable cores / ranks (`OMP_NUM_THREADS` or `torch.set_num_threads`),
    or move the other job off these cores.

When it is wrong
    The speedup is a ceiling: with fewer threads, each thread also does more work. Loader workers
    that fill the cores and are late are reported under `input-bound`, not here.
"""

from dataclasses import dataclass

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import critical_rank, severity_of, steps_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.input.loader_case import avoidable_wait
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.ranks.local_ranks import loader_workers, main_processes, ranks_at_once
from perfscope.analyzer.run.resources.host_load import HostLoad, host_load
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "cpu-oversubscription"

FEWER_THREADS = Advice(
    "set-intra-op-threads",
    "give each training process fewer intra-op threads",
    "more-threads-than-cores",
    "The intra-op threads of all ranks on the host exceed its usable cores.",
)
FEWER_OMP_THREADS = Advice(
    "set-omp-threads",
    "set the number of threads in the environment, before the start",
    "more-threads-than-cores",
    "The intra-op threads of all ranks on the host exceed its usable cores.",
)
MOVE_OTHER_JOB = Advice(
    "move-other-job",
    "move the other job to different cores, or reserve cores for this one",
    "other-jobs-fill-machine",
    "The machine is full, and other jobs use at least a tenth of the usable cores.",
)
LESS_CPU_PER_BATCH = Advice(
    "use-less-cpu-per-batch",
    "use less CPU time per batch: smaller images, a faster decoder, or samples that are prepared"
    " once and stored",
    "workers-fill-machine",
    "The machine is full, and loader workers use at least a tenth of the usable cores.",
)
MORE_CORES = Advice(
    "give-more-cores",
    "give the job more cores",
    "workers-fill-machine",
    "The machine is full, and loader workers use at least a tenth of the usable cores.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why it cannot be checked: unknown usable cores or run-queue delays."""
    load = trace.fact(host_load)
    if load.usable_cores is None:
        return Unmet("other", "the usable cores are not known")
    if not load.delay and not load.thread_delay:
        return Unmet("other", "run-queue delay was not read (needs /proc/PID/schedstat)")
    return None


@dataclass(frozen=True)
class Crowd:
    """The threads that fill the cores, and what is reported of them.

    `delay` is the share of time that training threads wait for a core because of them, `left` the
    share of a step that remains without that, at best.
    """

    delay: float
    explanation: str
    caveat: str | None
    actions: list[Action]
    left: float


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where training threads wait for a core often enough."""
    load = trace.fact(host_load)
    processes = [process for process, _ in main_processes(trace)]
    if not processes or load.usable_cores is None:
        return None
    process = max(processes, key=load.longest_delay)
    # Waiting for the CPU quota looks like waiting for a core; cpu-throttled reports it.
    delay = load.longest_delay(process) - (load.throttled_share or 0.0)
    delay = min(max(delay, 0.0), 0.95)
    if delay < max(limits.run_delay_share, limits.worth_share):
        return None
    torch, ranks = manifest(trace).torch, ranks_at_once(trace)
    crowd: Crowd | None
    if torch is not None and torch.intra_op_threads * ranks > max(load.usable_cores, 1.0):
        crowd = crowd_of_threads(load, process, delay, torch.intra_op_threads, ranks)
    else:
        crowd = crowd_of_other_jobs(load, process, delay, limits)
        crowd = crowd or crowd_of_workers(trace, process, delay, limits)
    return None if crowd is None else crowd_finding(trace, limits, process, crowd)


def crowd_of_threads(load: HostLoad, process: int, delay: float, threads: int, ranks: int) -> Crowd:
    """Return the training's own threads as the crowd.

    At best none waits for a core, or their CPU time is spread over the cores.
    """
    cores = load.usable_cores or 1.0
    best = max(int(cores // ranks), 1)
    product = f"{threads} intra-op threads" + (f" x {ranks} ranks" if ranks > 1 else "")
    shared = f"{product} share {plural(cores, 'usable core')}"
    too_many = threads * ranks > cores
    spread = load.process_cores.get(process, 0.0) / (cores / ranks)
    return Crowd(
        delay,
        f"{shared}. Use {best} per process.",
        "More threads would make it slower.",
        [
            *FEWER_THREADS.given(
                too_many,
                shared,
                text=f"give each training process {plural(best, 'intra-op thread')}",
                snippet=f"torch.set_num_threads({best})",
            ),
            *FEWER_OMP_THREADS.given(too_many, shared, snippet=f"OMP_NUM_THREADS={best}"),
        ],
        min(1.0 - delay, max(spread, 0.05)),
    )


def crowd_of_other_jobs(load: HostLoad, process: int, delay: float, limits: Limits) -> Crowd | None:
    """Return other jobs as the crowd where they fill the machine, with their part of the delay."""
    others = cores_of_other_jobs(load, limits)
    if others is None:
        return None
    fill = others >= limits.run_delay_share * (load.usable_cores or 1.0)
    delay *= others / (others + load.wanted_by_others(process))
    if not fill or delay < limits.others_delay_share:
        return None
    used = f"{digits(others)} of {machine_cores_text(load)}"
    return Crowd(
        delay,
        f"Other jobs on this machine use {used}.",
        "No change to the training code prevents these waits.",
        MOVE_OTHER_JOB.given(fill, f"other jobs use {used}", snippet="taskset -c CORES ..."),
        1.0 - delay,
    )


def machine_cores_text(load: HostLoad) -> str:
    """Return `the 4 cores`, or `its 4 cores, of which the job may use 1`."""
    usable = load.usable_cores or 1.0
    if load.host_cores is None or load.host_cores <= usable:
        return f"the {plural(usable, 'core')}"
    return f"its {plural(load.host_cores, 'core')}, of which the job may use {digits(usable)}"


def crowd_of_workers(trace: Trace, process: int, delay: float, limits: Limits) -> Crowd | None:
    """Return the job's own loader workers as the crowd where they fill the machine.

    Only where batches are ready in time: else `input-bound` reports them.
    """
    load = trace.fact(host_load)
    if not machine_full(load, limits):
        return None
    for pipeline in trace.fact(input_pipelines):
        if avoidable_wait(pipeline, limits) >= limits.recoverable_share * pipeline.step:
            return None
    workers = set(loader_workers(trace))
    used = sum(load.process_cores.get(worker, 0.0) for worker in workers)
    wanted = used + sum(load.delay.get(worker, 0.0) for worker in workers)
    everyone = load.wanted_by_others(process) + load.used_elsewhere()
    delay *= wanted / max(everyone, wanted, 1e-9)
    usable = load.usable_cores or 1.0
    fill = used >= limits.run_delay_share * usable
    if not fill or delay < limits.run_delay_share:
        return None
    used_text = f"{digits(used)} of {plural(usable, 'core')}"
    return Crowd(
        delay,
        f"The job's loader workers use {used_text}. The batches are ready in time, but preparing"
        " them takes cores from training.",
        "Neither more nor fewer workers would help.",
        [
            *LESS_CPU_PER_BATCH.given(fill, f"loader workers use {used_text}"),
            *MORE_CORES.given(fill, f"loader workers use {used_text}"),
        ],
        1.0 - delay,
    )


def crowd_finding(trace: Trace, limits: Limits, process: int, crowd: Crowd) -> Finding:
    """Return the finding of a crowd, over the critical rank's steps where there are enough."""
    load, delay = trace.fact(host_load), crowd.delay
    span_s, shown = load.span_s, process
    critical = critical_rank(trace, limits)
    if critical is not None:
        span_s, shown = float(steps_of(trace, critical)["dur"].sum()) / 1e9, critical
    share, busy = percent(delay), load.tree_cores or 0.0
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(delay, limits),
        processes=[shown],
        lost_s=round(delay * span_s, 4),
        share=round(delay, 4),
        speedup=Speedup(None, None, round(1.0 / crowd.left, 3)),
        headline=f"CPU oversubscription: training threads wait for a core {share} of the time",
        explanation=crowd.explanation,
        caveat=crowd.caveat,
        evidence=[
            Evidence(
                text=(
                    "the training process's threads were runnable without a core up to"
                    f" {share} of the time"
                ),
                value=round(delay, 4),
                unit="share",
                process=process,
            ),
            Evidence(
                text=(
                    f"the job keeps {digits(busy)} of"
                    f" {plural(load.usable_cores or 1.0, 'usable core')} busy"
                ),
                value=round(busy, 2),
                unit="cores",
            ),
        ],
        actions=crowd.actions,
    )


def is_caused_by_others(finding: Finding) -> bool:
    """Return whether a finding of this rule is about other jobs on the machine."""
    advised = {action.id for action in finding.actions}
    return finding.id == ID and MOVE_OTHER_JOB.id in advised


def machine_full(load: HostLoad, limits: Limits) -> bool:
    """Return whether the machine is known to be full."""
    return load.host_busy is not None and load.host_busy >= limits.full_machine


def cores_of_other_jobs(load: HostLoad, limits: Limits) -> float | None:
    """Return the number of cores that other jobs use, None unless the machine is full."""
    return load.used_elsewhere() if machine_full(load, limits) else None


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("counters",),
    in_traces=False,
    loses_compute_time=True,
    advice=(FEWER_THREADS, FEWER_OMP_THREADS, MOVE_OTHER_JOB, LESS_CPU_PER_BATCH, MORE_CORES),
    color="host-bound",
)
