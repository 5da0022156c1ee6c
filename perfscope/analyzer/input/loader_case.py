"""The input of one rank as the causes of `input-bound` see it, and the predictions that they share.

Times are nanoseconds per step.
"""

import math
from dataclasses import dataclass, replace

import pandas as pd

from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence
from perfscope.analyzer.input.code_between_steps import GapCode
from perfscope.analyzer.input.fetch_times import FetchTimes
from perfscope.analyzer.input.input_pipeline import Fetch, Pipeline
from perfscope.analyzer.input.loading_code import LoadingCode, SamplerCode, StartCode
from perfscope.analyzer.input.loading_stages import STAGE_TEXT
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.run.resources.host_load import HostLoad
from perfscope.analyzer.step_time_models import (
    After,
    Machine,
    pipelined_step_time,
    undisturbed_factor,
    warm_cache_factor,
)

SHOWN_PART = 0.02
"""A part of a fetch below this share is not listed in the evidence."""
WORKERS_CAN_RUN = "workers-can-run"
"""The precondition of advice to use more loader workers, which `workers_help` evaluates."""
WORKERS_CAN_RUN_WHEN = (
    "Fetches need little CPU, or the cores have room for workers that make a step 15 % faster."
    " If no fetch was recorded: the job may use more than one core."
)


@dataclass(frozen=True)
class LoaderCase:
    """What is known about the input of one rank."""

    pipeline: Pipeline
    machine: Machine
    load: HostLoad
    limits: Limits
    ranks: int
    """Ranks that run at the same time."""
    intra_op_threads: int | None
    delay: float
    """Run-queue delay of the loops of all ranks: they wait for each other, so it adds up."""
    gap_is_input: bool
    """Whether the waits are between steps and not in a PyTorch loader."""
    gap_code: GapCode | None
    """The code most often sampled between steps."""
    on_device: bool
    """Whether the program uses an accelerator."""
    code: LoadingCode
    """Stack samples inside the fetches, unbiased where these compute."""
    timed_code: LoadingCode
    """Those of the probe, which have exact times."""
    fetches: FetchTimes
    """The fetches of the workers one by one."""
    start: StartCode
    """The program's code in new workers before their first fetch."""
    sampler: SamplerCode | None
    """What the sampler takes of the time in the loader."""
    torch_version: str

    @property
    def iterates(self) -> bool:
        """Whether the dataset is iterable: it yields samples in an order of its own."""
        return self.pipeline.iterable or self.code.iterates

    @property
    def fetch(self) -> Fetch:
        """The fetch of a batch; only for causes that have checked that there is one."""
        assert self.pipeline.fetch is not None
        return self.pipeline.fetch


@dataclass(frozen=True)
class PredictedFix:
    """What a cause reports: the step time without it, the explanation, the actions, the evidence.

    `removed` are the nanoseconds that each step loses to the cause, for the width of the
    prediction. Where only its optimistic time has a reason, `is_ceiling` is set. `where` is the
    line that the time goes into, None where the loop's own line is meant.
    """

    after: After
    text: str
    actions: list[Action]
    evidence: list[Evidence]
    caveat: str | None = None
    removed: pd.Series | None = None
    is_ceiling: bool = False
    where: CodeLocation | None = None


def receive_time(pipeline: Pipeline) -> float:
    """Return the time to receive ready batches: the wait for them, at least its CPU time."""
    if pipeline.workers <= 0:
        return 0.0
    return min(max(pipeline.ready_wait, pipeline.received), pipeline.loader_wait)


def receive_cost(case: LoaderCase) -> float:
    """Return the time of receiving batches that full cores do not explain, per step."""
    pipeline = case.pipeline
    cpu_work = pipeline.fetch is not None and is_cpu_work(case)
    if cpu_work and cores_full(case) and not workers_keep_up(pipeline, case.limits):
        return pipeline.received
    return receive_time(pipeline)


def receives_slowly(case: LoaderCase) -> bool:
    """Return whether receiving ready batches is half of the avoidable wait and costs much CPU time.

    It is more than what every loader with workers needs per batch.
    """
    pipeline, limits = case.pipeline, case.limits
    beyond = receive_cost(case) - unavoidable_wait(pipeline, limits)
    is_main_part = beyond >= limits.main_cause_share * avoidable_wait(pipeline, limits)
    costs_cpu = pipeline.received > limits.receive_batch_ns * pipeline.batches
    return pipeline.workers > 0 and is_main_part and costs_cpu


def ordinary_receive_time(pipeline: Pipeline, limits: Limits) -> float:
    """Return the part of the receive time that every loader with workers needs."""
    return min(receive_time(pipeline), limits.receive_batch_ns * pipeline.batches)


def unavoidable_wait(pipeline: Pipeline, limits: Limits) -> float:
    """Return the part of the input wait that no change of the loader removes.

    It is the ordinary receive time and the waits for a core that loading does not cause; less
    where the loop is faster without workers.
    """
    ordinary = ordinary_receive_time(pipeline, limits) + pipeline.core_wait
    unavoidable = min(receive_time(pipeline), ordinary)
    if workers_are_needless(pipeline, limits):
        without = step_without_workers(pipeline)
        return min(unavoidable, pipeline.input_wait - pipeline.step + without)
    return unavoidable


def avoidable_wait(pipeline: Pipeline, limits: Limits) -> float:
    """Return the input wait without its unavoidable part."""
    return pipeline.input_wait - unavoidable_wait(pipeline, limits)


def step_without_workers(pipeline: Pipeline, cost: float = 1.0) -> float:
    """Return the step time where the loop loads its batches itself, one after the other.

    Each batch takes `cost` of the time that it takes now. The loop's waits for a core stay.
    """
    loading = 0.0 if pipeline.fetch is None else pipeline.needed(pipeline.fetch.wall * cost)
    return pipeline.consumer - pipeline.received + pipeline.core_wait + loading


def workers_keep_up(pipeline: Pipeline, limits: Limits) -> bool:
    """Return whether the workers can load batches twice as fast as the loop can take them.

    Then the loop does not wait for loading.
    """
    if pipeline.workers < 1 or pipeline.fetch is None:
        return False
    supplied = pipeline.needed(pipeline.fetch.wall) / pipeline.workers
    return supplied <= limits.main_cause_share * pipeline.consumer


def workers_are_needless(pipeline: Pipeline, limits: Limits) -> bool:
    """Return whether the loop is clearly faster without its workers, which keep up easily."""
    without = step_without_workers(pipeline)
    keep_up = workers_keep_up(pipeline, limits)
    return keep_up and pipeline.step >= limits.workers_gain * without


def supply_time(case: LoaderCase, workers: int, wall: float) -> float:
    """Return the time in which `workers` load the batches of a step, each in `wall`."""
    handover = case.fetch.handover if workers > 0 and case.pipeline.workers > 0 else 0.0
    return case.pipeline.needed(wall + handover) / max(workers, 1)


def mean_supply_time(case: LoaderCase) -> float:
    """Return the time in which the workers load the batches of a step if all are always busy.

    Where some workers are idle now, the pauses between fetches do not show how long sending takes.
    """
    return case.pipeline.needed(case.fetch.wall) / max(case.pipeline.workers, 1)


def is_cpu_work(case: LoaderCase) -> bool:
    """Return whether loading a batch needs the CPU more than anything else.

    Waits for a core that another job holds are left out: a fetch that sleeps waits for a core each
    time it wakes.
    """
    fetch, load = case.fetch, case.load
    elsewhere = load.used_elsewhere()
    everyone = max(elsewhere + (load.tree_cores or 0.0), 1e-9)
    caused_by_others = fetch.run_delay * elsewhere / everyone
    own_cpu = fetch.cpu + fetch.run_delay - caused_by_others
    return own_cpu >= case.limits.cpu_dominated * (fetch.wall - caused_by_others)


def waits_for_storage(case: LoaderCase) -> bool:
    """Return whether there is evidence that fetches wait for storage, not only time off the CPU."""
    return case.fetch.io >= case.limits.io_share * case.fetch.wall


def recommended_workers(case: LoaderCase) -> int:
    """Return the least number of workers that load as fast as the consumer takes batches.

    The consumer's time is taken with headroom. CPU work is bounded by the cores: where they are the
    limit, more workers than reach that limit do not help, so the target is then the cores' time.
    """
    pipeline, limits = case.pipeline, case.limits
    target = limits.headroom * max(pipeline.consumer, case.machine.share_floor())
    handover = case.fetch.handover if pipeline.workers > 0 else 0.0
    wanted = math.ceil(pipeline.needed(case.fetch.wall + handover) / max(target, 1.0))
    most = limits.most_workers
    if is_cpu_work(case) and case.load.usable_cores is not None:
        most = max(int(case.load.usable_cores / max(case.ranks, 1)), 1)
    return max(min(wanted, most), pipeline.workers + 1, 1)


def predict_with_supply(
    case: LoaderCase,
    supplied: float,
    saved_cpu: float = 0.0,
    *,
    freed: float = 0.0,
    handover: float | None = None,
) -> After:
    """Return the step time with workers that load the batches of a step in `supplied`.

    The job needs `saved_cpu` less CPU time on each rank, the consumer `freed` less time. `handover`
    is the wait in handing batches over, `handover_wait` by default.
    """
    saved_cpu *= max(case.ranks, 1)  # every rank changes
    consumer = consumer_after_saving(case, saved_cpu)
    consumer = max(consumer - freed, min(own_cpu_time(case), consumer))
    if handover is None:
        handover = handover_wait(case, saved_cpu)
    cold = pipelined_step_time(consumer + handover, supplied, case.machine, saved_cpu)
    consumer *= warm_factor(case, case.limits.warm_core_saving)
    best = min(undelayed_consumer(case), consumer)
    warm = pipelined_step_time(
        consumer + handover, supplied, case.machine, saved_cpu, undelayed=best
    )
    return replace(warm, slow=cold.slow)


def handover_wait(case: LoaderCase, saved_cpu: float = 0.0) -> float:
    """Return the time that receiving batches from workers takes beyond its CPU time.

    It is all waiting where the workers keep up easily, else the waiting for batches that were
    ready. More workers do not change it, and cheaper batches only where they free the cores. Where
    there are no workers yet, it is what an ordinary loader needs.
    """
    pipeline, limits = case.pipeline, case.limits
    if pipeline.workers > 0:
        if workers_keep_up(pipeline, limits):
            waits = pipeline.step - pipeline.consumer
        else:
            waits = receive_time(pipeline) - pipeline.received
        return max(waits, 0.0) * (1.0 - removable_delay_share(case, saved_cpu))
    full = cores_full(case)
    return pipeline.batches * (limits.receive_batch_ns if full else limits.least_receive_batch_ns)


def removable_delay_share(case: LoaderCase, saved_cpu: float) -> float:
    """Return the share of the loop's waits for a core that ends once the job saves `saved_cpu`."""
    pipeline, load = case.pipeline, case.load
    others = (cores for code, cores in load.process_cores.items() if code != pipeline.process)
    used = sum(others) * pipeline.step
    wanted = load.wanted_by_others(pipeline.process)
    if saved_cpu <= 0.0 or wanted <= 0.0 or used <= 0.0:
        return 0.0
    return min(saved_cpu / used, 1.0) * wanted / (wanted + load.used_elsewhere())


def consumer_after_saving(case: LoaderCase, saved_cpu: float) -> float:
    """Return the consumer's time once the whole job needs `saved_cpu` less CPU time per step.

    The loop's run-queue delay is divided among those who want the cores (the job's other processes,
    other jobs on the machine); the part of those that no longer want them ends. The result is never
    below the loop's own CPU time on its intra-op threads.
    """
    pipeline, share = case.pipeline, removable_delay_share(case, saved_cpu)
    if share <= 0.0:
        return pipeline.consumer
    return min(max(pipeline.consumer - share * case.delay, own_cpu_time(case)), pipeline.consumer)


def delay_by_kernel(case: LoaderCase) -> float:
    """Return the time the loop waits for a core that the kernel's own threads use.

    These work for disks and networks.
    """
    load, kernel = case.load, case.load.used_by_kernel()
    wanted = load.wanted_by_others(case.pipeline.process) + load.used_elsewhere()
    return case.delay * kernel / max(wanted, kernel, 1e-9)


def undelayed_consumer(case: LoaderCase) -> float:
    """Return the consumer's time, optimistically, if its core was always free and never slept."""
    consumer = case.pipeline.consumer
    fastest = max(consumer - case.delay, 0.5 * consumer)
    return fastest * warm_factor(case, case.limits.most_warm_core_saving)


def fastest_step(case: LoaderCase) -> float:
    """Return the least time that a step can take without any loading, for ceilings.

    A loop that loads its batches itself shares its core with no worker, and its core never sleeps:
    of the rest of a step only what loading evicts from the caches is saved.
    """
    pipeline = case.pipeline
    if pipeline.workers == 0:
        return pipeline.consumer * (1.0 - case.limits.most_free_cache_saving)
    saved = (pipeline.consumer - pipeline.fastest) * own_part_of_contention(case)
    return (pipeline.consumer - saved) * warm_factor(case, case.limits.most_warm_core_saving)


def own_part_of_contention(case: LoaderCase) -> float:
    """Return the part of the demand for the rank's cores that is of its own job, 0 to 1.

    Only that part of a loop's waits for a core ends when its workers need no core any more.
    """
    of_job = case.load.wanted_by_others(case.pipeline.process)
    elsewhere = case.load.used_elsewhere()
    return of_job / (of_job + elsewhere) if of_job + elsewhere > 0.0 else 1.0


def warm_factor(case: LoaderCase, by: float) -> float:
    """Return the factor on the consumer's time when it no longer waits for input."""
    waiting = case.pipeline.input_wait / max(case.pipeline.step, 1.0)
    return warm_cache_factor(waiting, by, on_device=case.on_device)


def uninterrupted_factor(case: LoaderCase, by: float) -> float:
    """Return the factor on the consumer's time when its core is never taken away within a step."""
    away = case.delay / max(case.delay + own_cpu_time(case) * case.ranks, 1.0)
    return undisturbed_factor(away, by, on_device=case.on_device)


def own_cpu_time(case: LoaderCase) -> float:
    """Return the CPU time of the rank's own process, divided among its intra-op threads."""
    threads = min(case.intra_op_threads or 1, int(case.load.usable_cores or 1))
    return case.pipeline.main_cpu / max(threads, 1)


def predict_with_workers(case: LoaderCase, workers: int) -> After:
    """Return the step time with that many workers and everything else unchanged."""
    return predict_with_supply(case, supply_time(case, workers, case.fetch.wall))


def gain_of_workers(case: LoaderCase) -> float:
    """Return the best speedup that any number of workers gives."""
    best = predict_with_workers(case, recommended_workers(case)).likely
    return case.pipeline.step / best if best > 0 else 1.0


def workers_help(case: LoaderCase) -> tuple[bool, str]:
    """Return whether more workers help, and the evidence.

    They do if fetches mostly wait and need little CPU, or if the prediction on the usable cores
    gains enough. If no fetch was recorded, they do unless there is only one core.
    """
    fetch, cores = case.pipeline.fetch, case.load.usable_cores
    if fetch is None:
        known = "unknown" if cores is None else digits(cores)
        return cores is None or cores >= 2.0, f"num_workers=0, usable cores: {known}"
    if not is_cpu_work(case):
        return True, f"a fetch uses the CPU for {ms(fetch.cpu)} of its {ms(fetch.wall)}"
    gain = gain_of_workers(case)
    wanted = plural(recommended_workers(case), "worker")
    return gain >= case.limits.workers_gain, f"a step is {digits(gain)}x as fast with {wanted}"


def cores_full(case: LoaderCase) -> bool:
    """Return whether the cores that the job may use are known to be full."""
    return case.load.full(case.limits.idle_share)


def cores_text(case: LoaderCase) -> str:
    """Return how busy the usable cores are: `the 2 usable cores are 97 % busy`."""
    load = case.load
    if load.usable_cores is None or load.idle_cores is None:
        return "how busy the cores are is not known"
    busy = percent(1.0 - load.idle_cores / load.usable_cores)
    if load.usable_cores == 1:
        return f"the one usable core is {busy} busy"
    return f"the {plural(load.usable_cores, 'usable core')} are {busy} busy"


def other_jobs_text(case: LoaderCase) -> str:
    """Return `, 2.1 of them by other jobs` where those use a good part of the cores, else ""."""
    load = case.load
    if load.usable_cores is None or load.idle_cores is None or load.tree_cores is None:
        return ""
    others = load.usable_cores - load.idle_cores - load.tree_cores
    if others < case.limits.idle_share * load.usable_cores:
        return ""
    them = "it" if load.usable_cores == 1 else "them"
    return f", {digits(others)} of {them} by other jobs"


def wait_evidence(case: LoaderCase) -> Evidence:
    """Return the input wait per step, the first evidence of every cause."""
    pipeline = case.pipeline
    return Evidence(
        text=f"waits for input {ms(pipeline.input_wait)} of each {ms(pipeline.step)} step",
        value=round(pipeline.input_wait / 1e6, 3),
        unit="ms/step",
        process=pipeline.process,
        lane="loader",
    )


def fetch_evidence(case: LoaderCase) -> list[Evidence]:
    """Return the time that a batch takes to load, and its parts."""
    fetch, process = case.fetch, case.pipeline.process
    parts = [
        (fetch.cpu, "of CPU time"),
        (fetch.run_delay, "waiting for a core"),
        (fetch.io, "waiting for storage"),
        (fetch.waiting, "waiting (network, locks, sleep)"),
    ]
    shown = [f"{ms(value)} {name}" for value, name in parts if value >= SHOWN_PART * fetch.wall]
    return [
        Evidence(
            text=f"a batch takes {ms(fetch.wall)} to load: {', '.join(shown)}",
            value=round(fetch.wall / 1e6, 3),
            unit="ms/batch",
            process=process,
            lane="workers",
        ),
        Evidence(
            text=f"of that: reading samples {ms(fetch.dataset)}, collating {ms(fetch.collate)}",
            value=round(fetch.collate / 1e6, 3),
            unit="ms/batch",
            process=process,
            lane="workers",
        ),
    ]


def core_evidence(case: LoaderCase) -> list[Evidence]:
    """Return how many of the usable cores the job keeps busy, where that is known."""
    load = case.load
    if load.tree_cores is None or load.usable_cores is None:
        return []
    usable = plural(load.usable_cores, "usable core")
    text = f"the job uses {digits(load.tree_cores)} of {usable}"
    return [Evidence(text=text, value=round(load.tree_cores, 2), unit="cores")]


def stage_evidence(case: LoaderCase) -> list[Evidence]:
    """Return what the loader's own parts take, and what fetches spend their time in by code."""
    return [*loader_part_evidence(case), *code_evidence(case)]


def loader_part_evidence(case: LoaderCase) -> list[Evidence]:
    """Return the time per batch of sampler, sending and receiving, and of idle workers."""
    pipeline, batches = case.pipeline, max(case.pipeline.batches, 1e-9)
    parts = []
    if case.sampler is not None:
        parts.append((case.sampler.share * pipeline.loader_wait / batches, "sampler"))
    if pipeline.workers > 0 and pipeline.fetch is not None:
        idle = max(case.fetches.pause_ns - pipeline.fetch.handover, 0.0)
        parts.append((idle, "a worker waits for indices"))
        parts.append((pipeline.fetch.handover, "sending"))
        parts.append((receive_time(pipeline) / batches, "receiving"))
    shown = [f"{name} {ms(value)}" for value, name in parts if value > 0.0]
    if not shown:
        return []
    return [Evidence(f"per batch: {', '.join(shown)}", process=pipeline.process, lane="loader")]


def code_evidence(case: LoaderCase) -> list[Evidence]:
    """Return the stages of fetches as shares of their stack samples, none with too few samples."""
    if not case.code.is_known:
        return []
    shares = case.code.stage_shares
    shown = [
        f"{STAGE_TEXT[stage]} {percent(share)}"
        for stage, share in shares.items()
        if share >= SHOWN_PART
    ]
    largest = next(iter(shares.values()))
    text = f"{case.code.samples} stack samples inside fetches: {', '.join(shown)}"
    return [Evidence(text, round(largest, 4), "share", process=case.pipeline.process)]
