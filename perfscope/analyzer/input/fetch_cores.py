"""Loading that needs more CPU time than the cores have, and the step without it.

Times are nanoseconds per step.
"""

import math

from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    consumer_after_saving,
    cores_full,
    cores_text,
    fastest_step,
    gain_of_workers,
    is_cpu_work,
    other_jobs_text,
    own_cpu_time,
    uninterrupted_factor,
    warm_factor,
    workers_keep_up,
)
from perfscope.analyzer.number_text import ms, plural
from perfscope.analyzer.step_time_models import After

LEAST_SAVED = 0.5
"""The part of the CPU work that goes in the pessimistic case: decoded at a reduced size, not kept
decoded.
"""


def is_cpu_limited(case: LoaderCase) -> bool:
    """Return whether loading is CPU work on full cores, or no number of workers gains anything."""
    if case.pipeline.fetch is None or not is_cpu_work(case):
        return False
    return cores_full(case) or gain_of_workers(case) < case.limits.workers_gain


def cores_needed(case: LoaderCase) -> int | None:
    """Return the number of cores on which loading keeps up, None if there are as many."""
    if case.machine.cpu is None or not case.load.usable_cores:
        return None
    needed = math.ceil(case.machine.cpu / max(case.pipeline.consumer, 1.0))
    return needed if needed > case.load.usable_cores else None


def text_of_cpu_work(case: LoaderCase, work: str) -> str:
    """Return what the workers cannot do fast enough, and the cores that it would need."""
    pipeline, needed = case.pipeline, cores_needed(case)
    where = "the training process" if pipeline.workers == 0 else plural(pipeline.workers, "worker")
    if workers_keep_up(pipeline, case.limits):
        ability = f"could {work} fast enough, but training still waits"
    else:
        ability = f"cannot {work} fast enough"
    text = (
        f"{where[0].upper()}{where[1:]} {ability}: a batch needs {ms(case.fetch.cpu)} of CPU time."
    )
    if needed is not None:
        text += f" {plural(needed, 'core')} would be needed to keep up."
    return text


def step_without_loading_work(case: LoaderCase) -> After:
    """Return the step time when loading needs no CPU, pessimistically half of what it needs."""
    pipeline, limits = case.pipeline, case.limits
    if pipeline.workers == 0:
        return After(slow_step(case), pipeline.consumer, fastest_step(case))
    saved_cpu = pipeline.needed(case.fetch.cpu) * max(case.ranks, 1)
    own_cpu = min(max(own_cpu_time(case), case.machine.floor(saved_cpu)), pipeline.consumer)
    shortened = own_cpu * (1.0 - uninterrupted_factor(case, limits.kept_core_saving))
    relieved = max(consumer_after_saving(case, saved_cpu), own_cpu)
    likely = (relieved - shortened) * warm_factor(case, limits.warm_core_saving)
    fastest = own_cpu * uninterrupted_factor(case, limits.most_kept_core_saving)
    fast = fastest * warm_factor(case, limits.most_warm_core_saving)
    return After(slow_step(case), likely, fast)


def slow_step(case: LoaderCase) -> float:
    """Return the step time when a part of the work goes and the cores are as full as before."""
    saved_cpu = LEAST_SAVED * case.pipeline.needed(case.fetch.cpu) * max(case.ranks, 1)
    consumer = consumer_after_saving(case, saved_cpu)
    return min(max(consumer, case.machine.share_floor(saved_cpu)), case.pipeline.step)


def why_no_workers(case: LoaderCase) -> str:
    """Return why more workers do not help."""
    if case.fetch.cpu < case.limits.light_batch_ns and not cores_full(case):
        return "Workers would not help: receiving a batch from one would take about as long."
    others = other_jobs_text(case)
    gains = bool(others) and gain_of_workers(case) >= case.limits.workers_gain
    effect = "would only take cores from them" if gains else "would not help"
    return f"More workers {effect}: {cores_text(case)}{others}."
