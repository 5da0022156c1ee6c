"""Putting samples together (collate_fn) takes at least half of the time to load a batch.

How it is detected
    `collate_fn` takes at least half of the time of a fetch, as measured in the workers.

When it is wrong
    A `collate_fn` that also decodes, tokenizes or augments does work that belongs to loading; the
    actions of `decode-bound` then fit better.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    core_evidence,
    fetch_evidence,
    predict_with_supply,
    supply_time,
    wait_evidence,
)
from perfscope.analyzer.input.loading_stages import COLLATE
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.step_time_models import After

CAUSE = "collate-bound"
PART_SAVED = 0.75
"""The part of the collate time that goes in the pessimistic case."""

PREALLOCATE = Advice(
    "preallocate-batch",
    "allocate the batch once and fill it instead of growing or concatenating; pad to the longest"
    " sample of the batch",
    "collate-dominates",
    "`collate_fn` takes at least half of a fetch.",
)
GROUP_SAMPLES = Advice(
    "group-or-vectorize-samples",
    "group samples of similar length (a bucketing sampler), or collate with vectorized NumPy or"
    " torch calls",
    "own-collate-dominates",
    "`collate_fn` takes at least half of a fetch, and is not torch's own.",
)
ADVICE = (PREALLOCATE, GROUP_SAMPLES)


def applies(case: LoaderCase) -> bool:
    """Return whether collating takes half of the fetch or more."""
    fetch = case.pipeline.fetch
    return fetch is not None and fetch.collate >= case.limits.main_cause_share * fetch.wall


def is_default_collate(case: LoaderCase) -> bool:
    """Return whether half of the collating is seen in torch's own collate functions."""
    share = case.fetch.collate / max(case.fetch.wall, 1.0)
    return case.code.stage_share(COLLATE) >= case.limits.main_cause_share * share


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for the same workers without the collate time."""
    pipeline, fetch = case.pipeline, case.fetch
    workers = max(pipeline.workers, 1)
    saved_cpu = pipeline.needed(fetch.cpu * fetch.collate / max(fetch.wall, 1.0))
    without = supply_time(case, workers, fetch.wall - fetch.collate)
    partly = supply_time(case, workers, fetch.wall - PART_SAVED * fetch.collate)
    best = predict_with_supply(case, without, saved_cpu)
    part = predict_with_supply(case, partly, PART_SAVED * saved_cpu)
    share = percent(fetch.collate / fetch.wall)
    dominates = fetch.collate >= case.limits.main_cause_share * fetch.wall
    evidence = f"collate {ms(fetch.collate)} of {ms(fetch.wall)} per batch"
    return PredictedFix(
        after=After(max(part.likely, best.slow), best.likely, best.fast),
        text=(
            f"`collate_fn` takes {share} of the time of a batch"
            f" ({ms(fetch.collate)} of {ms(fetch.wall)}); loading the samples is fast."
        ),
        actions=[
            *PREALLOCATE.given(
                dominates,
                evidence,
                snippet="out = torch.empty(len(samples), *shape); torch.stack(samples, out=out)",
            ),
            *GROUP_SAMPLES.given(dominates and not is_default_collate(case), evidence),
        ],
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
        where=case.timed_code.within(case.fetches.collating).hottest_line(),
    )
