"""Batches lie ready, but taking one over takes long: large tensors are pickled, copied or pinned,
or making one takes less.
"""

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input.loader_case import (
    Case,
    Remedy,
    avoidable_wait,
    core_evidence,
    cores_full,
    fetch_evidence,
    handed_over,
    in_process,
    is_cpu_work,
    keeps_up,
    needless,
    supply,
    unavoidable,
    undelayed,
    wait_evidence,
)
from perfscope.analyzer.number_text import ms

CAUSE = "transfer-bound"


def applies(case: Case) -> bool:
    """At least half of the avoidable waiting began with a batch ready (or is CPU work of receiving
    it).

    Where workers fill the cores a finished batch waits for a core before it is sent: then, unless
    they are far ahead, only CPU time counts.
    """
    line = case.pipeline
    if sooner_made(case):
        return True
    crowded = (
        line.fetch is not None
        and is_cpu_work(case)
        and cores_full(case)
        and not keeps_up(line, case.limits)
    )
    cost = (line.received if crowded else handed_over(line)) - unavoidable(line, case.limits)
    return line.workers > 0 and cost >= case.limits.explains * avoidable_wait(line, case.limits)


def sooner_made(case: Case) -> bool:
    """Would the loop be clearly faster without its workers, and no slower than with less to take
    over from them?
    """
    line = case.pipeline
    return (
        needless(line, case.limits)
        and in_process(line) < line.step - avoidable_wait(line, case.limits) + 1.0
    )


def remedy(case: Case) -> Remedy:
    """All waiting goes but the ordinary price of a hand-over: what is dear to send is dear to make
    and to wait for too.

    Pessimistically the workers stay as slow as they are.
    """
    line = case.pipeline
    if sooner_made(case):
        return without_workers(case)
    cost = handed_over(line)
    after = line.step - avoidable_wait(line, case.limits)
    made = supply(case, line.workers, case.fetch.wall) if line.fetch is not None else 0.0
    return Remedy(
        after=After(
            max(after, min(made, line.step)),
            after,
            max(undelayed(case) - line.received, 0.5 * after),
        ),
        text=(
            f"Batches are ready when training asks for them, but receiving one takes {ms(cost)} of"
            f" each {ms(line.step)} step."
        ),
        caveat="The workers already keep up, so adding more would not help.",
        actions=[
            Action(
                "send less: keep images as uint8 and convert to float in the training process (on"
                " the device)",
                "batch = batch.to(device, non_blocking=True).float().div_(255)",
            ),
            Action(
                "return torch tensors from the dataset, not numpy arrays or Python lists: tensors"
                " travel through shared memory, everything else is pickled through a pipe",
                "return torch.from_numpy(array), label",
            ),
        ],
        evidence=[
            wait_evidence(case),
            Evidence(
                text=(
                    f"{ms(cost)} of it with a batch ready, {ms(line.received)} of CPU time in"
                    " receiving it"
                ),
                value=round(cost / 1e6, 3),
                unit="ms/step",
                rank=line.rank,
                process=line.process,
                lane="loader",
            ),
        ],
    )


def without_workers(case: Case) -> Remedy:
    """Cheap batches: the loop makes them itself; pessimistically it takes twice as long for them as
    the workers.
    """
    line = case.pipeline
    making, after = line.needed(case.fetch.wall), in_process(line)
    best = max(undelayed(case) - line.received + line.needed(case.fetch.cpu), 0.5 * after)
    return Remedy(
        after=After(min(after + making, line.step), after, min(best, after)),
        text=(
            f"The workers keep up, but training waits {ms(line.input_wait)} of each {ms(line.step)}"
            f" step to receive batches that take {ms(making)} to load."
        ),
        caveat="More workers would not help; without any it is faster.",
        actions=[
            Action(
                "load the batches in the training process: they are cheap",
                "DataLoader(..., num_workers=0)",
            ),
            Action("or use fewer and larger batches"),
        ],
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )
