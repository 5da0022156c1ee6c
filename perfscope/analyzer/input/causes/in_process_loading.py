"""The training process makes its batches itself (num_workers=0), so that loading and training take
turns.
"""

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.input.loader_case import (
    Case,
    Remedy,
    by_others,
    cores_text,
    fetch_evidence,
    gain_of_workers,
    is_cpu_work,
    recommended_workers,
    wait_evidence,
    with_workers,
)
from perfscope.analyzer.number_text import ms, plural

CAUSE = "in-process-loading"


def applies(case: Case) -> bool:
    """No workers, and workers would help (on a single full core they would not: then decoding is
    the cause).
    """
    line = case.pipeline
    if line.workers != 0:
        return False
    return (
        line.fetch is None
        or not is_cpu_work(case)
        or gain_of_workers(case) >= case.limits.workers_gain
    )


def remedy(case: Case) -> Remedy:
    """The same loader with workers: the slower of consumer and workers."""
    line = case.pipeline
    if line.fetch is None:  # the loader was seen only from the consumer's side
        wanted = 2
        after = After(
            line.step,
            max(line.consumer, line.input_wait / wanted),
            max(line.consumer, case.machine.floor()),
        )
        evidence = [wait_evidence(case)]
    else:
        wanted = recommended_workers(case)
        after = with_workers(case, wanted)
        evidence = [wait_evidence(case), *fetch_evidence(case)]
    return Remedy(
        after=after,
        text=(
            "Batches are loaded in the training process, which stalls training for"
            f" {ms(line.input_wait)} of each {ms(line.step)} step."
            f" {cores_text(case).capitalize()}{by_others(case)}; {plural(wanted, 'worker')} would"
            " load batches while training computes."
        ),
        actions=[
            Action(
                f"use {plural(wanted, 'loader worker')} instead of none",
                f"DataLoader(..., num_workers={wanted}, persistent_workers=True)",
            )
        ],
        evidence=evidence,
    )
