"""Batches are ready, but receiving one takes long: large tensors are pickled, copied or pinned.

The cause is the same where the training process would load a batch in less time than receiving it
takes.

How it is detected
    At least half of the avoidable input wait is for batches that a worker had already loaded. Where
    the workers fill the cores, such a batch also waits for a core: then only the CPU time of
    receiving it counts, unless the workers could load twice as fast as training needs. The cause
    also applies where the step is predicted to be 15 % faster without workers.

When it is wrong
    The part of the wait that smaller batches remove is not known: the prediction assumes all of it,
    and that the workers become no slower. Where a thread pins the batches, its work counts as
    receiving.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    avoidable_wait,
    core_evidence,
    fetch_evidence,
    receive_cost,
    receive_time,
    step_without_workers,
    supply_time,
    unavoidable_wait,
    undelayed_consumer,
    wait_evidence,
    workers_are_needless,
)
from perfscope.analyzer.number_text import ms
from perfscope.analyzer.step_time_models import After

CAUSE = "transfer-bound"

SEND_LESS = Advice(
    "send-smaller-batches",
    "send less: keep images as uint8 and convert to float in the training process (on the device)",
    "receiving-dominates",
    "At least half of the avoidable input wait is the receiving of a batch that is ready.",
)
RETURN_TENSORS = Advice(
    "return-tensors",
    "return torch tensors from the dataset, not numpy arrays or Python lists: tensors travel"
    " through shared memory, everything else is pickled through a pipe",
    "receiving-dominates",
    "At least half of the avoidable input wait is the receiving of a batch that is ready.",
)
LOAD_IN_PROCESS = Advice(
    "load-without-workers",
    "load the batches in the training process: they are cheap",
    "faster-without-workers",
    "The predicted step without workers is at least 15 % faster than the measured one.",
)
LARGER_BATCHES = Advice(
    "fewer-larger-batches",
    "use fewer and larger batches",
    "faster-without-workers",
    "The predicted step without workers is at least 15 % faster than the measured one.",
)
ADVICE = (SEND_LESS, RETURN_TENSORS, LOAD_IN_PROCESS, LARGER_BATCHES)


def applies(case: LoaderCase) -> bool:
    """Return whether at least half of the avoidable waiting is for batches that are ready.

    Where workers fill the cores, a finished batch waits for a core before it is sent: then only the
    CPU time of receiving counts, unless the workers keep up easily.
    """
    pipeline, limits = case.pipeline, case.limits
    if faster_without_workers(case):
        return True
    cost = receive_cost(case) - unavoidable_wait(pipeline, limits)
    return pipeline.workers > 0 and cost >= limits.main_cause_share * avoidable_wait(
        pipeline, limits
    )


def faster_without_workers(case: LoaderCase) -> bool:
    """Return whether the loop is clearly faster without workers, also than with less to receive."""
    pipeline, limits = case.pipeline, case.limits
    if not workers_are_needless(pipeline, limits):
        return False
    with_less = pipeline.step - avoidable_wait(pipeline, limits)
    return step_without_workers(pipeline) < with_less + 1.0


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction without the avoidable waiting: smaller batches cost less everywhere.

    Pessimistically the workers stay as slow as they are.
    """
    pipeline, limits = case.pipeline, case.limits
    if faster_without_workers(case):
        return without_workers(case)
    cost, avoidable = receive_time(pipeline), avoidable_wait(pipeline, limits)
    likely = pipeline.step - avoidable
    supplied = 0.0
    if pipeline.fetch is not None:
        supplied = supply_time(case, pipeline.workers, pipeline.fetch.wall)
    slow = max(likely, min(supplied, pipeline.step))
    fast = max(undelayed_consumer(case) - pipeline.received, 0.5 * likely)
    beyond = receive_cost(case) - unavoidable_wait(pipeline, limits)
    dominates = beyond >= limits.main_cause_share * avoidable
    evidence = f"{ms(beyond)} of {ms(avoidable)} of avoidable input wait per step"
    return PredictedFix(
        after=After(slow, likely, fast),
        text=(
            f"Batches are ready when training asks for them, but receiving one takes {ms(cost)} of"
            f" each {ms(pipeline.step)} step."
        ),
        caveat="The workers already keep up, so adding more would not help.",
        actions=[
            *SEND_LESS.given(
                dominates,
                evidence,
                snippet="batch = batch.to(device, non_blocking=True).float().div_(255)",
            ),
            *RETURN_TENSORS.given(
                dominates, evidence, snippet="return torch.from_numpy(array), label"
            ),
        ],
        evidence=[wait_evidence(case), receive_evidence(case)],
    )


def receive_evidence(case: LoaderCase) -> Evidence:
    """Return the wait for batches that are ready, and the CPU time of receiving them."""
    pipeline, cost = case.pipeline, receive_time(case.pipeline)
    received = ms(pipeline.received)
    return Evidence(
        text=f"{ms(cost)} of it with a batch ready, {received} of CPU time in receiving it",
        value=round(cost / 1e6, 3),
        unit="ms/step",
        process=pipeline.process,
        lane="loader",
    )


def without_workers(case: LoaderCase) -> PredictedFix:
    """Return the prediction where the loop loads its batches itself, since they are cheap.

    Pessimistically the loop needs twice as long for them as the workers.
    """
    pipeline, fetch = case.pipeline, case.fetch
    loading, likely = pipeline.needed(fetch.wall), step_without_workers(pipeline)
    undelayed = undelayed_consumer(case) - pipeline.received
    fast = max(undelayed + pipeline.needed(fetch.cpu), 0.5 * likely)
    faster = faster_without_workers(case)
    evidence = f"predicted {ms(likely)} per step, measured {ms(pipeline.step)}"
    return PredictedFix(
        after=After(min(likely + loading, pipeline.step), likely, min(fast, likely)),
        text=(
            f"The workers keep up, but training waits {ms(pipeline.input_wait)} of each"
            f" {ms(pipeline.step)} step to receive batches that take {ms(loading)} to load."
        ),
        caveat="More workers would not help; without any it is faster.",
        actions=[
            *LOAD_IN_PROCESS.given(faster, evidence, snippet="DataLoader(..., num_workers=0)"),
            *LARGER_BATCHES.given(faster, evidence),
        ],
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )
