"""Loading batches is CPU work and the usable cores are full: more workers would wait for cores.

How it is detected
    At least 60 % of a fetch is CPU time or a wait for a core, without the waits that other jobs
    cause. The usable cores are full, or no number of workers makes a step 15 % faster.

When it is wrong
    The CPU work is not always decoding: augmentation and tokenization look the same. The prediction
    assumes that this work disappears; at least half of it does in the pessimistic case. Where other
    jobs fill the cores, moving those helps too: the caveat says how many cores they use.
"""

import math

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    Remedy,
    consumer_after_saving,
    core_evidence,
    cores_full,
    cores_text,
    fetch_evidence,
    gain_of_workers,
    is_cpu_work,
    other_jobs_text,
    own_cpu_time,
    uninterrupted_factor,
    wait_evidence,
    warm_factor,
    workers_keep_up,
)
from perfscope.analyzer.number_text import ms, plural

CAUSE = "decode-bound"
LEAST_SAVED = 0.5
"""The part of the CPU work that goes in the pessimistic case: decoded at a reduced size, not kept
decoded.
"""

INDEX_BATCHES = Advice(
    "index-whole-batches",
    "index the whole batch at once instead of one sample at a time",
    "batches-are-light",
    "A batch needs less than 1 ms of CPU time: it holds no decoding.",
)
GETITEMS = Advice(
    "define-getitems",
    "or give the dataset `__getitems__(indices)`, which the loader calls once per batch"
    " (torch >= 2.0)",
    "batches-are-light",
    "A batch needs less than 1 ms of CPU time: it holds no decoding.",
)
KEEP_ON_DEVICE = Advice(
    "keep-dataset-on-device",
    "or keep the data on the device, if it fits, and index it there",
    "batches-are-light",
    "A batch needs less than 1 ms of CPU time: it holds no decoding.",
)
DECODE_LESS = Advice(
    "decode-at-training-size",
    "decode less: store the data at training size, or decode at reduced size (JPEG draft mode)",
    "loading-is-cpu-work",
    "Most of a fetch is CPU time or a wait for a core.",
)
CACHE_DECODED = Advice(
    "cache-decoded-samples",
    "decode once: keep decoded samples in a cache (memory map, uint8 tensors), augment from there",
    "loading-is-cpu-work",
    "Most of a fetch is CPU time or a wait for a core.",
)
MOVE_DECODING = Advice(
    "move-decoding",
    "move decoding to idle hardware: decode on the GPU (nvJPEG, DALI), or run on more cores",
    "loading-is-cpu-work",
    "Most of a fetch is CPU time or a wait for a core.",
)
ADVICE = (INDEX_BATCHES, GETITEMS, KEEP_ON_DEVICE, DECODE_LESS, CACHE_DECODED, MOVE_DECODING)


def applies(case: LoaderCase) -> bool:
    """Return whether loading is CPU work on full cores, or no number of workers gains anything."""
    if case.pipeline.fetch is None or not is_cpu_work(case):
        return False
    return cores_full(case) or gain_of_workers(case) < case.limits.workers_gain


def cores_needed(case: LoaderCase) -> int | None:
    """Return the cores on which loading keeps up with the consumer, None where that is unknown."""
    if case.machine.cpu is None:
        return None
    return math.ceil(case.machine.cpu / max(case.pipeline.consumer, 1.0))


def remedy(case: LoaderCase) -> Remedy:
    """Return the prediction for loading that costs nothing: the consumer no longer shares cores."""
    pipeline, fetch = case.pipeline, case.fetch
    needed, cores = cores_needed(case), case.load.usable_cores
    short_of_cores = needed is not None and bool(cores) and needed > (cores or 0.0)
    where = "the training process" if pipeline.workers == 0 else plural(pipeline.workers, "worker")
    light = is_light(case)
    work = "put batches together" if light else "decode"
    if workers_keep_up(pipeline, case.limits):
        ability = f"could {work} fast enough, but training still waits"
    else:
        ability = f"cannot {work} fast enough"
    cpu = ms(fetch.cpu)
    text = f"{where[0].upper()}{where[1:]} {ability}: a batch needs {cpu} of CPU time."
    if needed is not None and short_of_cores:
        text += f" {plural(needed, 'core')} would be needed to keep up."
    if light:
        actions = index_batches(case)
    else:
        actions = decode_less(case, needed if short_of_cores else None)
    return Remedy(
        after=step_after(case),
        text=text,
        caveat=why_no_workers(case, light),
        actions=actions,
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )


def is_light(case: LoaderCase) -> bool:
    """Return whether a batch needs so little CPU time that nothing is decoded in it."""
    return case.fetch.cpu < case.limits.light_batch_ns


def step_after(case: LoaderCase) -> After:
    """Return the step time when loading needs no CPU, pessimistically half of what it needs."""
    pipeline, limits = case.pipeline, case.limits
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


def why_no_workers(case: LoaderCase, light: bool) -> str:
    """Return why more workers do not help."""
    if light and not cores_full(case):
        return "Workers would not help: receiving a batch from one would take about as long."
    others = other_jobs_text(case)
    gains = bool(others) and gain_of_workers(case) >= case.limits.workers_gain
    effect = "would only take cores from them" if gains else "would not help"
    return f"More workers {effect}: {cores_text(case)}{others}."


def index_batches(case: LoaderCase) -> list[Action]:
    """Return the actions for batches that are cheap except for one Python call per sample."""
    light, evidence = is_light(case), f"{ms(case.fetch.cpu)} of CPU time per batch"
    snippet = (
        "DataLoader(data, sampler=BatchSampler(RandomSampler(data), batch_size, True),"
        " batch_size=None)"
    )
    return [
        *INDEX_BATCHES.given(light, evidence, snippet=snippet),
        *GETITEMS.given(light, evidence),
        *KEEP_ON_DEVICE.given(light, evidence),
    ]


def decode_less(case: LoaderCase, cores: int | None) -> list[Action]:
    """Return the actions for batches with real work in them.

    `cores` is the number on which loading keeps up, where that is more than there are.
    """
    fetch, decodes = case.fetch, is_cpu_work(case) and not is_light(case)
    evidence = (
        f"{ms(fetch.cpu)} of CPU time and {ms(fetch.run_delay)} of waiting for a core in a fetch"
        f" of {ms(fetch.wall)}"
    )
    more = plural(cores, "core") if cores is not None else "more cores"
    return [
        *DECODE_LESS.given(
            decodes,
            evidence,
            snippet="image.draft('RGB', (256, 256))  # PIL, before the first pixel is read",
        ),
        *CACHE_DECODED.given(decodes, evidence),
        *MOVE_DECODING.given(
            decodes,
            evidence,
            text="move decoding to idle hardware: decode on the GPU (nvJPEG, DALI), or run on "
            + more,
        ),
    ]
