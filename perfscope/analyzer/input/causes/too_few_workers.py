"""All workers are busy and there are too few of them; the machine has room for more.

How it is detected
    The workers need more time for the batches of a step than training does, and no more specific
    cause applies. As many workers are recommended as keep up with training; if fetches are CPU
    work, at most as many as there are cores.

When it is wrong
    The prediction assumes that workers do not slow each other down. Where their fetches wait for
    something that serves them one at a time (a lock, a server with a rate limit), more workers help
    less or not at all.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.input.loader_case import (
    WORKERS_CAN_RUN,
    WORKERS_CAN_RUN_WHEN,
    LoaderCase,
    PredictedFix,
    core_evidence,
    fetch_evidence,
    is_cpu_work,
    predict_with_workers,
    recommended_workers,
    wait_evidence,
    workers_help,
)
from perfscope.analyzer.number_text import digits, ms, plural

CAUSE = "too-few-workers"

ADD_WORKERS = Advice(
    "add-loader-workers",
    "use more loader workers",
    WORKERS_CAN_RUN,
    WORKERS_CAN_RUN_WHEN,
)
ADVICE = (ADD_WORKERS,)


def applies(case: LoaderCase) -> bool:
    """Return whether a fetch was recorded: this cause remains when no more specific one applies."""
    return case.pipeline.fetch is not None


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for as many workers as the consumer needs and the cores allow."""
    pipeline, fetch = case.pipeline, case.fetch
    wanted = recommended_workers(case)
    each = "The worker" if pipeline.workers <= 1 else f"Each of the {pipeline.workers} workers"
    period = ms(pipeline.consumer / max(pipeline.batches, 1e-9))
    return PredictedFix(
        after=predict_with_workers(case, wanted),
        text=(
            f"{each} needs {ms(fetch.wall)} per batch. Without waiting, a step takes {period},"
            " including the time to receive the batch. To keep up, the loader needs"
            f" {plural(wanted, 'worker')}.{room_text(case, wanted)}"
        ),
        actions=ADD_WORKERS.given(
            *workers_help(case),
            text=f"use {plural(wanted, 'loader worker')} instead of {pipeline.workers}",
            snippet=f"DataLoader(..., num_workers={wanted}, persistent_workers=True)",
        ),
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
        where=case.code.hottest_line(),
    )


def room_text(case: LoaderCase, wanted: int) -> str:
    """Return why `wanted` workers can run: idle cores, or fetches that wait; "" where neither
    shows.
    """
    fetch, load = case.fetch, case.load
    if is_cpu_work(case) and load.idle_cores is not None and load.usable_cores is not None:
        usable = plural(load.usable_cores, "usable core")
        return f" {digits(load.idle_cores)} of the {usable} are idle."
    if fetch.waiting >= 0.5 * fetch.wall:
        waits = " Fetching mostly waits (network, locks, sleep) and uses little CPU"
        if load.usable_cores is None or wanted <= load.usable_cores:
            return f"{waits}."
        return f"{waits}, so {wanted} workers can run on {plural(load.usable_cores, 'core')}."
    return ""
