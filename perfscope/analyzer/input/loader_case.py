"""One rank's input problem as the causes of `input-bound` see it, and the arithmetic that they
share.
"""

import math
from dataclasses import dataclass, replace

import pandas as pd

from perfscope.analyzer.closed_forms import After, Machine, left_alone, pipelined, warmed
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.gap_code import GapCode
from perfscope.analyzer.input.input_pipeline import Fetch, Pipeline
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.run.host_load import HostLoad


@dataclass(frozen=True)
class Case:
    """What is known about one rank's input."""

    pipeline: Pipeline
    machine: Machine
    load: HostLoad
    limits: Limits
    ranks: int  # at the same time
    intra_op_threads: int | None
    # run-queue delay of the loops of all ranks, ns per step: they wait for each other, so it adds
    # up
    delay: float
    gap_is_input: bool  # the waits lie between steps and not in a PyTorch loader
    between: GapCode | None  # the code most seen there
    on_device: bool  # the program uses a device of torch's

    @property
    def fetch(self) -> Fetch:
        """The fetch of a batch; only for causes that have checked that there is one."""
        assert self.pipeline.fetch is not None
        return self.pipeline.fetch


@dataclass(frozen=True)
class Remedy:
    """What a cause reports: the times after it is removed, what was measured, the advice, the
    evidence.
    """

    after: After
    text: str
    actions: list[Action]
    evidence: list[Evidence]
    caveat: str | None = None
    removed: pd.Series | None = (
        None  # per-step nanoseconds that go, for the width of the prediction
    )


def handed_over(line: Pipeline) -> float:
    """Nanoseconds per step that go into taking ready batches over: the wait for them, at least its
    CPU time.
    """
    return min(max(line.ready_wait, line.received), line.loader_wait) if line.workers > 0 else 0.0


def ordinary(line: Pipeline, limits: Limits) -> float:
    """The part of that which every loader with workers costs."""
    return min(handed_over(line), limits.ordinary_handover_ns * line.batches)


def unavoidable(line: Pipeline, limits: Limits) -> float:
    """The same and, of the rest, the waits for a core that making batches does not cause; less
    where no workers are better.
    """
    taken = min(handed_over(line), ordinary(line, limits) + line.core_wait)
    return (
        min(taken, line.input_wait - line.step + in_process(line))
        if needless(line, limits)
        else taken
    )


def in_process(line: Pipeline, cost: float = 1.0) -> float:
    """Nanoseconds per step where the loop makes its batches itself, one after the other, each at
    `cost` of what it costs now. Its waits for a core stay.
    """
    made = 0.0 if line.fetch is None else line.needed(line.fetch.wall * cost)
    return line.consumer - line.received + line.core_wait + made


def keeps_up(line: Pipeline, limits: Limits) -> bool:
    """Could the workers make batches twice as fast as the loop could take them? Then it is not
    their making that it waits for.
    """
    if line.workers < 1 or line.fetch is None:
        return False
    return line.needed(line.fetch.wall) / line.workers <= limits.explains * line.consumer


def needless(line: Pipeline, limits: Limits) -> bool:
    """Would the loop be clearly faster without its workers, which keep up easily?"""
    return keeps_up(line, limits) and line.step >= limits.workers_gain * in_process(line)


def avoidable_wait(line: Pipeline, limits: Limits) -> float:
    """Waiting for input, ns per step, without what taking a batch over costs anyway."""
    return line.input_wait - unavoidable(line, limits)


def supply(case: Case, workers: int, wall: float) -> float:
    """Nanoseconds per step in which `workers` make the batches of a step, one taking `wall`."""
    handover = case.fetch.handover if workers > 0 and case.pipeline.workers > 0 else 0.0
    return case.pipeline.needed(wall + handover) / max(workers, 1)


def is_cpu_work(case: Case) -> bool:
    """Does making a batch need the CPU more than anything else?

    Waiting for a core that another job holds is no work of this one: a fetch that sleeps waits for
    a core each time it wakes.
    """
    fetch, load = case.fetch, case.load
    elsewhere = load.used_elsewhere()
    foreign = fetch.run_delay * elsewhere / max(elsewhere + (load.tree_cores or 0.0), 1e-9)
    return fetch.cpu + fetch.run_delay - foreign >= case.limits.cpu_dominated * (
        fetch.wall - foreign
    )


def io_bound(case: Case) -> bool:
    """Is there evidence that fetches wait for storage? Off-CPU time alone is none."""
    return case.fetch.io >= case.limits.io_share * case.fetch.wall


def recommended_workers(case: Case) -> int:
    """The least number with which fetching fits into the consumer's time (with headroom), bounded
    by cores for CPU work.

    Where the cores are the limit, more workers than reach that limit help nobody: the target is
    then the cores' time.
    """
    target = case.limits.headroom * max(case.pipeline.consumer, case.machine.share_floor())
    handover = case.fetch.handover if case.pipeline.workers > 0 else 0.0
    wanted = math.ceil(case.pipeline.needed(case.fetch.wall + handover) / max(target, 1.0))
    most = case.limits.most_workers
    if is_cpu_work(case) and case.load.usable_cores is not None:
        most = max(int(case.load.usable_cores / max(case.ranks, 1)), 1)
    return max(min(wanted, most), case.pipeline.workers + 1, 1)


def beside(
    case: Case,
    supplied: float,
    saved_cpu: float = 0.0,
    *,
    freed: float = 0.0,
    price: float | None = None,
) -> After:
    """The consumer beside workers that take `supplied` ns per step, its own time `freed` ns
    shorter. `price`: of `taken_over`.
    """
    saved_cpu *= max(case.ranks, 1)  # every rank changes
    consumer = relieved(case, saved_cpu)
    consumer = max(consumer - freed, min(alone(case), consumer))
    price = taken_over(case, saved_cpu) if price is None else price
    cold = pipelined(consumer + price, supplied, case.machine, saved_cpu)
    consumer *= warm(case, case.limits.warmer)
    best = min(undelayed(case), consumer)
    return replace(
        pipelined(consumer + price, supplied, case.machine, saved_cpu, undelayed=best),
        slow=cold.slow,
    )


def taken_over(case: Case, saved_cpu: float = 0.0) -> float:
    """Nanoseconds per step that taking batches over from workers takes beyond its CPU time: all
    waiting where they are far ahead, else that for batches that lay ready. More workers do not
    change it, and cheaper batches only as far as they leave the cores free. Where there are no
    workers yet: its ordinary price.
    """
    line, limits = case.pipeline, case.limits
    if line.workers > 0:
        waits = (
            line.step - line.consumer
            if keeps_up(line, limits)
            else handed_over(line) - line.received
        )
        return max(waits, 0.0) * (1.0 - relief(case, saved_cpu))
    return line.batches * (
        limits.ordinary_handover_ns if cores_full(case) else limits.least_handover_ns
    )


def relief(case: Case, saved_cpu: float) -> float:
    """The part of its waits for a core that the loop is rid of once the whole job needs `saved_cpu`
    ns of CPU less a step.
    """
    line, load = case.pipeline, case.load
    wanted = load.wanted_by_others(line.process)
    used = (
        sum(cores for code, cores in load.process_cores.items() if code != line.process) * line.step
    )
    if saved_cpu <= 0.0 or wanted <= 0.0 or used <= 0.0:
        return 0.0
    return min(saved_cpu / used, 1.0) * wanted / (wanted + load.used_elsewhere())


def relieved(case: Case, saved_cpu: float) -> float:
    """The consumer's time once the whole job needs `saved_cpu` ns of CPU less a step: it waits less
    for its core.

    Its run-queue delay is shared out over those who want the cores (the job's other processes,
    other jobs on the machine); the part of those that no longer want them goes. Never below its own
    CPU time on its intra-op threads.
    """
    line, part = case.pipeline, relief(case, saved_cpu)
    return (
        min(max(line.consumer - part * case.delay, alone(case)), line.consumer)
        if part > 0.0
        else line.consumer
    )


def kernels_part(case: Case) -> float:
    """Nanoseconds per step that the loop waits for a core because the kernel's own threads (of
    disks, of networks) have it.
    """
    load, kernel = case.load, case.load.used_by_kernel()
    return (
        case.delay
        * kernel
        / max(load.wanted_by_others(case.pipeline.process) + load.used_elsewhere(), kernel, 1e-9)
    )


def undelayed(case: Case) -> float:
    """The consumer if nobody took its core away and its core never slept, optimistically."""
    line = case.pipeline
    return max(line.consumer - case.delay, 0.5 * line.consumer) * warm(
        case, case.limits.most_warmer
    )


def warm(case: Case, by: float) -> float:
    """The factor on the consumer's time when it no longer waits in between."""
    return warmed(
        case.pipeline.input_wait / max(case.pipeline.step, 1.0), by, on_device=case.on_device
    )


def left_to_itself(case: Case, by: float) -> float:
    """The factor on the consumer's time when nothing takes its core away in between."""
    away = case.delay / max(case.delay + alone(case) * case.ranks, 1.0)
    return left_alone(away, by, on_device=case.on_device)


def alone(case: Case) -> float:
    """The CPU time of the rank's own process a step, spread over its intra-op threads."""
    threads = min(case.intra_op_threads or 1, int(case.load.usable_cores or 1))
    return case.pipeline.main_cpu / max(threads, 1)


def with_workers(case: Case, workers: int) -> After:
    """Step time with that many workers and everything else as it is."""
    return beside(case, supply(case, workers, case.fetch.wall))


def gain_of_workers(case: Case) -> float:
    """The best factor that any number of workers gives."""
    best = with_workers(case, recommended_workers(case)).likely
    return case.pipeline.step / best if best > 0 else 1.0


def cores_full(case: Case) -> bool:
    """Is there nothing left of the cores that the job may use?"""
    return case.load.full(case.limits.idle_share)


def cores_text(case: Case) -> str:
    """`both usable cores are 97 % busy`, as far as known."""
    load = case.load
    if load.usable_cores is None or load.idle_cores is None:
        return "how busy the cores are is not known"
    busy = 1.0 - load.idle_cores / load.usable_cores
    many = (
        "the one usable core is"
        if load.usable_cores == 1
        else f"the {plural(load.usable_cores, 'usable core')} are"
    )
    return f"{many} {percent(busy)} busy"


def by_others(case: Case) -> str:
    """`, 2.1 of them by other jobs`, where others take a good part of the cores."""
    load = case.load
    if load.usable_cores is None or load.idle_cores is None or load.tree_cores is None:
        return ""
    others = load.usable_cores - load.idle_cores - load.tree_cores
    them = "it" if load.usable_cores == 1 else "them"
    return (
        f", {digits(others)} of {them} by other jobs"
        if others >= case.limits.idle_share * load.usable_cores
        else ""
    )


def wait_evidence(case: Case) -> Evidence:
    """The first line under every cause."""
    line = case.pipeline
    return Evidence(
        text=f"waits for input {ms(line.input_wait)} of each {ms(line.step)} step",
        value=round(line.input_wait / 1e6, 3),
        unit="ms/step",
        rank=line.rank,
        process=line.process,
        lane="loader",
    )


def fetch_evidence(case: Case) -> list[Evidence]:
    """What one batch costs and where that goes."""
    fetch, rank = case.fetch, case.pipeline.rank
    parts = [
        (fetch.cpu, "on a core"),
        (fetch.run_delay, "waiting for a core"),
        (fetch.io, "waiting for storage"),
        (fetch.waiting, "waiting otherwise (network, locks, sleep)"),
    ]
    told = ", ".join(f"{ms(value)} {name}" for value, name in parts if value >= 0.02 * fetch.wall)
    return [
        Evidence(
            text=f"a batch takes {ms(fetch.wall)} to make: {told}",
            value=round(fetch.wall / 1e6, 3),
            unit="ms/batch",
            rank=rank,
            lane="workers",
        ),
        Evidence(
            text=f"dataset {ms(fetch.dataset)}, collate {ms(fetch.collate)} of it",
            value=round(fetch.collate / 1e6, 3),
            unit="ms/batch",
            rank=rank,
            lane="workers",
        ),
    ]


def core_evidence(case: Case) -> list[Evidence]:
    """How full the cores are, when known."""
    load = case.load
    if load.tree_cores is None or load.usable_cores is None:
        return []
    text = (
        f"the job keeps {plural(load.tree_cores, 'core')} of"
        f" {plural(load.usable_cores, 'usable core')} busy"
    )
    return [Evidence(text=text, value=round(load.tree_cores, 2), unit="cores")]
