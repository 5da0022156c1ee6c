"""The training process loads its batches itself (num_workers=0): loading and training alternate.

How it is detected
    The loader has no workers, so its `next` loads the batch. The time of a fetch is divided into
    CPU time and waits, and some number of workers that fits on the usable cores makes a step at
    least 15 % faster. Where none does, the cause is `decode-bound`.

When it is wrong
    A dataset that cannot be used in another process (an open connection, tensors on a device) has
    to be changed first. Where no fetch was recorded, the prediction assumes that two workers can
    load at the same time.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.input.loader_case import (
    WORKERS_CAN_RUN,
    WORKERS_CAN_RUN_WHEN,
    LoaderCase,
    PredictedFix,
    cores_text,
    fetch_evidence,
    gain_of_workers,
    is_cpu_work,
    other_jobs_text,
    predict_with_workers,
    recommended_workers,
    wait_evidence,
    workers_help,
)
from perfscope.analyzer.number_text import ms, plural
from perfscope.analyzer.step_time_models import After

CAUSE = "in-process-loading"
WORKERS_FOR_UNSEEN_FETCHES = 2

USE_WORKERS = Advice(
    "use-loader-workers",
    "use loader workers instead of none",
    WORKERS_CAN_RUN,
    WORKERS_CAN_RUN_WHEN,
)
ADVICE = (USE_WORKERS,)


def applies(case: LoaderCase) -> bool:
    """Return whether there are no workers and workers would help.

    On a single full core they would not: then decoding is the cause.
    """
    pipeline = case.pipeline
    if pipeline.workers != 0:
        return False
    if pipeline.fetch is None or not is_cpu_work(case):
        return True
    return gain_of_workers(case) >= case.limits.workers_gain


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for the same loader with workers."""
    pipeline = case.pipeline
    if pipeline.fetch is None:
        wanted = WORKERS_FOR_UNSEEN_FETCHES
        likely = max(pipeline.consumer, pipeline.input_wait / wanted)
        fast = max(pipeline.consumer, case.machine.floor())
        after = After(pipeline.step, likely, fast)
        evidence = [wait_evidence(case)]
    else:
        wanted = recommended_workers(case)
        after = predict_with_workers(case, wanted)
        evidence = [wait_evidence(case), *fetch_evidence(case)]
    cores = f"{cores_text(case).capitalize()}{other_jobs_text(case)}"
    return PredictedFix(
        after=after,
        text=(
            "Batches are loaded in the training process, which stalls training for"
            f" {ms(pipeline.input_wait)} of each {ms(pipeline.step)} step."
            f" {cores}; {plural(wanted, 'worker')} would load batches while training computes."
        ),
        actions=USE_WORKERS.given(
            *workers_help(case),
            text=f"use {plural(wanted, 'loader worker')} instead of none",
            snippet=f"DataLoader(..., num_workers={wanted}, persistent_workers=True)",
        ),
        evidence=evidence,
        where=case.code.hottest_line(),
    )
