"""Making batches is the CPU's work and the usable cores are full: more workers would only wait for
each other.
"""

import math

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.input.loader_case import (
    Case,
    Remedy,
    alone,
    by_others,
    core_evidence,
    cores_full,
    cores_text,
    fetch_evidence,
    gain_of_workers,
    is_cpu_work,
    keeps_up,
    left_to_itself,
    relieved,
    wait_evidence,
    warm,
)
from perfscope.analyzer.number_text import ms, plural

CAUSE = "decode-bound"
# Pessimistically only this part of the work goes (decoded at a reduced size, not kept decoded).
LEAST_SAVED = 0.5


def applies(case: Case) -> bool:
    """CPU work, and the cores are full (or no number of workers would gain anything)."""
    if case.pipeline.fetch is None or not is_cpu_work(case):
        return False
    return cores_full(case) or gain_of_workers(case) < case.limits.workers_gain


def cores_needed(case: Case) -> int | None:
    """Cores with which loading would keep up with the consumer: CPU-seconds per step over the
    consumer's time.
    """
    if case.machine.cpu is None:
        return None
    return math.ceil(case.machine.cpu / max(case.pipeline.consumer, 1.0))


def remedy(case: Case) -> Remedy:
    """Loading that costs nothing: the consumer alone, which then no longer shares its cores."""
    line, fetch = case.pipeline, case.fetch
    saved = line.needed(fetch.cpu) * max(case.ranks, 1)
    own = min(max(alone(case), case.machine.floor(saved)), line.consumer)
    spared = own * (1.0 - left_to_itself(case, case.limits.interrupted))
    likely = (max(relieved(case, saved), own) - spared) * warm(case, case.limits.warmer)
    fast = (
        own
        * left_to_itself(case, case.limits.most_interrupted)
        * warm(case, case.limits.most_warmer)
    )
    need = cores_needed(case)
    have = case.load.usable_cores
    more = (
        f"{plural(need, 'core')} would be needed to keep up"
        if need is not None and have and need > have
        else None
    )
    where = "the training process" if line.workers == 0 else plural(line.workers, "worker")
    light = fetch.cpu < case.limits.light_batch_ns
    doing = "put batches together" if light else "decode"
    able = (
        f"could {doing} fast enough, but training still waits"
        if keeps_up(line, case.limits)
        else f"cannot {doing} fast enough"
    )
    text = f"{where[0].upper()}{where[1:]} {able}: a batch needs {ms(fetch.cpu)} of CPU time."
    return Remedy(
        after=After(at_worst(case), likely, fast),
        text=text if more is None else f"{text} {more}.",
        caveat=why_no_workers(case, light),
        actions=by_the_batch() if light else decode_less(need if more is not None else None),
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )


def why_no_workers(case: Case, light: bool) -> str:
    """Why more workers are no way out."""
    if light and not cores_full(case):
        return "Workers would not help: receiving a batch from one would take about as long."
    others = by_others(case)
    gains = bool(others) and gain_of_workers(case) >= case.limits.workers_gain
    effect = "would only take cores from them" if gains else "would not help"
    return f"More workers {effect}: {cores_text(case)}{others}."


def at_worst(case: Case) -> float:
    """The step when only a part of the work goes: the consumer relieved of as much, and cores that
    are still as full.
    """
    saved = LEAST_SAVED * case.pipeline.needed(case.fetch.cpu) * max(case.ranks, 1)
    return min(max(relieved(case, saved), case.machine.share_floor(saved)), case.pipeline.step)


def by_the_batch() -> list[Action]:
    """For batches that are cheap to make but for one Python call a sample."""
    return [
        Action(
            "index the whole batch at once instead of one sample at a time",
            "DataLoader(data, sampler=BatchSampler(RandomSampler(data), batch_size, True),"
            " batch_size=None)",
        ),
        Action(
            "or give the dataset `__getitems__(indices)`, which the loader calls once per batch"
            " (torch >= 2.0)"
        ),
        Action("or keep the data on the device, if it fits, and index it there"),
    ]


def decode_less(need: int | None) -> list[Action]:
    """For batches with real work in them; `need`: cores with which loading would keep up, where
    that is more than there are.
    """
    return [
        Action(
            "decode less: store the data at training size, or decode at reduced size (JPEG draft"
            " mode)",
            "image.draft('RGB', (256, 256))  # PIL, before the first pixel is read",
        ),
        Action(
            "decode once: keep decoded samples in a cache (memory map, uint8 tensors), augment from"
            " there"
        ),
        Action(
            "move decoding to idle hardware: decode on the GPU (nvJPEG, DALI), or run on "
            + (plural(need, "core") if need is not None else "more cores")
        ),
    ]
