"""Batches lie ready, but taking one over takes long: large tensors are pickled, copied or pinned on the way."""

from perfscope.analyzer.cases.input import (
    Case,
    Remedy,
    avoidable_wait,
    cores_full,
    handed_over,
    is_cpu_work,
    ordinary,
    supply,
    undelayed,
    wait_evidence,
)
from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.prediction import After
from perfscope.analyzer.wording import ms

CAUSE = "transfer-bound"


def applies(case: Case) -> bool:
    """At least half of the avoidable waiting began with a batch ready (or is CPU work of receiving it).

    Where workers fill the cores a finished batch waits for a core before it is sent: then only the CPU work counts.
    """
    line = case.pipeline
    crowded = line.fetch is not None and is_cpu_work(case) and cores_full(case)
    cost = (line.received if crowded else handed_over(line)) - ordinary(line, case.limits)
    return line.workers > 0 and cost >= case.limits.explains * avoidable_wait(line, case.limits)


def remedy(case: Case) -> Remedy:
    """All waiting goes but the ordinary price of a hand-over: what is dear to send is dear to make and to wait for too.

    Pessimistically the workers stay as slow as they are.
    """
    line = case.pipeline
    cost = handed_over(line)
    after = line.step - avoidable_wait(line, case.limits)
    made = supply(case, line.workers, case.fetch.wall) if line.fetch is not None else 0.0
    return Remedy(
        after=After(max(after, min(made, line.step)), after, max(undelayed(case) - line.received, 0.5 * after)),
        text=f"Batches are ready when training asks, but taking one over costs {ms(cost)} of each {ms(line.step)} "
        "step. The workers are ahead already: more of them would not help.",
        actions=[
            Action(
                "send less: keep images as uint8 and convert to float in the training process (on the device)",
                "batch = batch.to(device, non_blocking=True).float().div_(255)",
            ),
            Action(
                "return torch tensors from the dataset, not numpy arrays or Python lists: tensors travel through "
                "shared memory, everything else is pickled through a pipe",
                "return torch.from_numpy(array), label",
            ),
        ],
        evidence=[
            wait_evidence(case),
            Evidence(
                text=f"{ms(cost)} of it with a batch ready, {ms(line.received)} of CPU time in taking it over",
                value=round(cost / 1e6, 3),
                unit="ms/step",
                rank=line.rank,
                process=line.process,
                lane="loader",
            ),
        ],
    )
