"""The first batch of each pass takes much longer than others, also if the workers are kept alive.

How it is detected
    At least half of the input wait is for a new iterator and its first batch, and at least 40 % of
    that is time in first fetches beyond a usual one. The workers are kept from pass to pass, or the
    dataset iterates over its samples itself and begins again in each pass: for example, it fills a
    shuffle buffer before it yields the first sample.

When it is wrong
    A recording of a few short epochs contains more or fewer starts by chance. The prediction
    assumes that the work of the first batch can be divided among the batches of the pass.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.causes.slow_worker_start import (
    first_fetches_are_slow,
    line_of_first_fetches,
)
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    fetch_evidence,
    mean_supply_time,
    predict_with_supply,
    wait_evidence,
)
from perfscope.analyzer.number_text import ms, plural

CAUSE = "slow-first-batch"

DIVIDE_FIRST_WORK = Advice(
    "divide-the-work-of-the-first-batch",
    "do the work of the first batch little by little: yield the first samples before everything is"
    " read, and fill a shuffle buffer while samples are taken from it",
    "first-batch-of-each-pass-is-slow",
    "At least half of the wait is for the first batch of a pass, and 40 % of that is in its fetch.",
)
ADVICE = (DIVIDE_FIRST_WORK,)


def applies(case: LoaderCase) -> bool:
    """Return whether the first fetch of each pass is most of the wait, and starts are not."""
    pipeline = case.pipeline
    if pipeline.workers <= 0 or pipeline.fetch is None or pipeline.restarts <= 1:
        return False
    if pipeline.restart < case.limits.main_cause_share * pipeline.input_wait:
        return False
    return (pipeline.persistent or case.iterates) and first_fetches_are_slow(case)


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for the same work, divided among all batches of a pass."""
    pipeline, fetches = case.pipeline, case.fetches
    first = fetches.rows[fetches.rows["first"]]
    first_ns = float(first["dur"].mean())
    seen = f"the first batch of a pass takes {ms(first_ns)}, a later one {ms(fetches.usual_ns)}"
    passes = plural(pipeline.restarts, "pass")
    when = "The workers are kept, but" if pipeline.persistent else "In each pass"
    return PredictedFix(
        after=predict_with_supply(case, mean_supply_time(case)),
        text=f"{when} {seen}: the dataset does work before it yields its first sample.",
        caveat="The work is done in each pass again, also by workers that are kept.",
        actions=DIVIDE_FIRST_WORK.given(applies(case), f"{passes}; {seen}"),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            Evidence(
                f"{passes}; {seen}",
                round(first_ns / 1e6, 3),
                "ms/batch",
                process=int(first["process"].iloc[0]),
                lane="workers",
            ),
        ],
        where=line_of_first_fetches(case),
    )
