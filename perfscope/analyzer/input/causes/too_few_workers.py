"""All workers are busy and there are too few of them; the machine has room for more."""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.input.loader_case import (
    WORKERS_CAN_RUN,
    WORKERS_CAN_RUN_WHEN,
    LoaderCase,
    Remedy,
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


def remedy(case: LoaderCase) -> Remedy:
    """Return the prediction for as many workers as the consumer needs and the cores allow."""
    pipeline, fetch = case.pipeline, case.fetch
    wanted = recommended_workers(case)
    workers = plural(max(pipeline.workers, 1), "worker")
    verb = "needs" if pipeline.workers <= 1 else "need"
    period = ms(pipeline.consumer / max(pipeline.batches, 1e-9))
    return Remedy(
        after=predict_with_workers(case, wanted),
        text=(
            f"{workers} {verb} {ms(fetch.wall)} per batch; training could use one every {period}."
            f" {wanted} are needed to keep up.{room_text(case)}"
        ),
        actions=ADD_WORKERS.given(
            *workers_help(case),
            text=f"use {plural(wanted, 'loader worker')} instead of {pipeline.workers}",
            snippet=f"DataLoader(..., num_workers={wanted}, persistent_workers=True)",
        ),
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )


def room_text(case: LoaderCase) -> str:
    """Return why more workers can run: idle cores, or fetches that wait; "" where neither shows."""
    fetch, load = case.fetch, case.load
    if is_cpu_work(case) and load.idle_cores is not None and load.usable_cores is not None:
        usable = plural(load.usable_cores, "usable core")
        return f" {digits(load.idle_cores)} of the {usable} are idle."
    if fetch.waiting >= 0.5 * fetch.wall:
        return (
            " Fetching mostly waits (network, locks, sleep) and uses little CPU, so more workers"
            " than cores will help."
        )
    return ""
