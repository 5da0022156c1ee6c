"""The workers are started again every epoch, and the first batches come late.

How it is detected
    The loader's workers were started more than once, and at least half of the input wait is for a
    new iterator and its first batch. First fetches take less than 40 % of it; with 40 % or more the
    cause is `slow-worker-start`.

When it is wrong
    A recording of a few short epochs contains more or fewer starts by chance. A trial run with
    short epochs overstates the loss of a run with long ones. Workers that stay alive keep their
    copy of the dataset: what the training process changes in it between epochs does not reach them.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.loader_case import LoaderCase, PredictedFix, wait_evidence
from perfscope.analyzer.number_text import digits, ms, plural
from perfscope.analyzer.step_time_models import After

CAUSE = "worker-restart"
STAYS = 0.1
"""The part of a restart that stays in the pessimistic case: each epoch refills its prefetch queue.
"""

PERSIST_WORKERS = Advice(
    "persist-workers",
    "keep the workers alive between epochs",
    "workers-restart",
    "Iterators with workers were started more than once, and half of the input wait follows them.",
)
LENGTHEN_EPOCHS = Advice(
    "lengthen-epochs",
    "make short epochs longer: an infinite sampler starts the workers once",
    "workers-restart",
    "Iterators with workers were started more than once, and half of the input wait follows them.",
)
ADVICE = (PERSIST_WORKERS, LENGTHEN_EPOCHS)


def applies(case: LoaderCase) -> bool:
    """Return whether at least half of all waiting is for new iterators and their first batch."""
    pipeline = case.pipeline
    if pipeline.workers <= 0 or pipeline.restarts <= 1 or pipeline.persistent:
        return False
    return pipeline.restart >= case.limits.main_cause_share * pipeline.input_wait


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction without restarts.

    What workers compute goes mostly into starting, since they keep up otherwise: the least time
    counts the training process only.
    """
    pipeline = case.pipeline
    each = pipeline.restart * pipeline.steps / pipeline.restarts
    saved_cpu = 0.0
    if case.machine.cpu is not None:
        saved_cpu = max(case.machine.cpu - pipeline.main_cpu, 0.0)
    likely = max(pipeline.step - pipeline.restart, case.machine.floor(saved_cpu))
    slow = min(likely + STAYS * pipeline.restart, pipeline.step)
    steps = digits(pipeline.steps / pipeline.restarts)
    restarts = applies(case)
    evidence = f"{plural(pipeline.restarts, 'iterator start')}, {ms(each)} each"
    return PredictedFix(
        after=After(slow, likely, likely),
        text=(
            f"The workers are restarted every {steps} steps, and training waits {ms(each)} for the"
            " first batch each time."
        ),
        caveat=between_restarts(case),
        actions=[
            *PERSIST_WORKERS.given(
                restarts, evidence, snippet="DataLoader(..., persistent_workers=True)"
            ),
            *LENGTHEN_EPOCHS.given(
                restarts,
                evidence,
                snippet=(
                    "RandomSampler(dataset, replacement=True,"
                    " num_samples=many_epochs * len(dataset))"
                ),
            ),
        ],
        evidence=[
            wait_evidence(case),
            Evidence(
                text=(
                    f"{pipeline.restarts} iterator starts in {pipeline.steps} steps,"
                    f" {ms(each)} each"
                ),
                value=round(each / 1e6, 3),
                unit="ms/start",
                process=pipeline.process,
                lane="loader",
            ),
        ],
    )


def between_restarts(case: LoaderCase) -> str:
    """Return what the loop waits for between restarts, and what follows from it."""
    pipeline = case.pipeline
    wait = max(pipeline.input_wait - pipeline.restart, 0.0)
    if wait >= case.limits.recoverable_share * pipeline.step:
        return (
            f"Between restarts it also waits {ms(wait)} per step: fix this first, then profile"
            " again."
        )
    return "More workers would make each start longer; between restarts batches are ready in time."
