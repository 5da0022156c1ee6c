"""Batches lie ready, but taking one over takes long: large tensors are pickled, copied or pinned on the way."""

from perfscope.analyzer.diagnosis import Action, Evidence
from perfscope.analyzer.input_case import Case, Remedy, wait_evidence
from perfscope.analyzer.prediction import After
from perfscope.analyzer.wording import ms

CAUSE = "transfer-bound"


def handed_over(case: Case) -> float:
    """Nanoseconds per step that go into taking ready batches over: the wait for them, at least its CPU time."""
    line = case.pipeline
    return min(max(line.ready_wait, line.received), line.loader_wait)


def applies(case: Case) -> bool:
    """At least half of the waiting began with a batch ready (or is CPU work of receiving it)."""
    line = case.pipeline
    return line.workers > 0 and handed_over(case) >= case.limits.explains * line.input_wait


def remedy(case: Case) -> Remedy:
    """Without the hand-over the rest of the step stays."""
    line = case.pipeline
    cost = handed_over(case)
    after = max(line.step - cost, case.machine.floor(cost))
    return Remedy(
        after=After(line.step - 0.5 * cost, after, after),
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
