"""The workers are busy all the time and too few: there is room on the machine for more."""

from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.input.loader_case import (
    Case,
    Remedy,
    core_evidence,
    fetch_evidence,
    is_cpu_work,
    recommended_workers,
    wait_evidence,
    with_workers,
)
from perfscope.analyzer.number_text import ms, plural

CAUSE = "too-few-workers"


def applies(case: Case) -> bool:
    """What is left when no more specific cause has evidence: there are workers, and a fetch was
    seen.
    """
    return case.pipeline.fetch is not None


def remedy(case: Case) -> Remedy:
    """The same loader with as many workers as the consumer needs and the cores bear."""
    line, fetch = case.pipeline, case.fetch
    wanted = recommended_workers(case)
    room = ""
    if (
        is_cpu_work(case)
        and case.load.idle_cores is not None
        and case.load.usable_cores is not None
    ):
        room = (
            f" {plural(case.load.idle_cores, 'core')} of"
            f" {plural(case.load.usable_cores, 'usable core')} are idle."
        )
        room = room.replace(" of ", " of the ", 1)
    elif fetch.waiting >= 0.5 * fetch.wall:
        room = (
            " Fetching mostly waits (network, locks, sleep) and uses little CPU, so more workers"
            " than cores will help."
        )
    return Remedy(
        after=with_workers(case, wanted),
        text=(
            f"{plural(max(line.workers, 1), 'worker')} {'needs' if line.workers <= 1 else 'need'}"
            f" {ms(fetch.wall)} per batch; training could use one every"
            f" {ms(line.consumer / max(line.batches, 1e-9))}. {wanted} are needed to keep up.{room}"
        ),
        actions=[
            Action(
                f"use {plural(wanted, 'loader worker')} instead of {line.workers}",
                f"DataLoader(..., num_workers={wanted}, persistent_workers=True)",
            )
        ],
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )
