"""A few fetches take far longer than the rest, and the batches of all other workers wait for them.

How it is detected
    At most one fetch in ten takes at least five times as long as a usual one, three or more of them
    were recorded, and what they take beyond that is at least half of the time that the loop waits.
    The loader has several workers; first fetches after a start are left out.

When it is wrong
    Rare slow fetches are few, so their share differs from recording to recording. With
    `in_order=False` the prediction assumes that the workers deliver at their mean rate.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence
from perfscope.analyzer.input.batch_order import FREE_ORDER, free_the_order
from perfscope.analyzer.input.fetch_times import spans_by_process
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    avoidable_wait,
    core_evidence,
    fetch_evidence,
    mean_supply_time,
    predict_with_supply,
    wait_evidence,
)
from perfscope.analyzer.number_text import digits, ms, plural
from perfscope.analyzer.run.table_access import column

CAUSE = "rare-slow-sample"
FEWEST_SLOW = 3
"""One or two slow fetches may never come again: a full garbage collection, a file read once."""

BOUND_SLOW_SAMPLE = Advice(
    "bound-the-slow-sample",
    "limit the time of a single sample at that line: a shorter timeout, fewer retries, or another"
    " sample in its place",
    "rare-fetches-are-slow",
    "At most one fetch in ten takes at least five times as long as a usual one, and these are half"
    " of the wait.",
)
ADVICE = (FREE_ORDER, BOUND_SLOW_SAMPLE)


def applies(case: LoaderCase) -> bool:
    """Return whether rare slow fetches are at least half of the avoidable wait."""
    pipeline, fetches = case.pipeline, case.fetches
    if pipeline.fetch is None or pipeline.workers < 2 or not len(fetches.later):
        return False
    slow = fetches.slow(case.limits.slow_fetch)
    if not FEWEST_SLOW <= len(slow) <= case.limits.rare_fetches * len(fetches.later):
        return False
    wait = avoidable_wait(pipeline, case.limits) * pipeline.steps
    return slow_excess_ns(case) >= case.limits.main_cause_share * wait


def slow_excess_ns(case: LoaderCase) -> float:
    """Return what the slow fetches take beyond usual ones, in all."""
    slow = column(case.fetches.slow(case.limits.slow_fetch), "dur")
    return float((slow - case.fetches.usual_ns).sum())


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for workers that deliver at their mean rate, in any order."""
    pipeline, fetches = case.pipeline, case.fetches
    slow = fetches.slow(case.limits.slow_fetch)
    slow_ns = float(column(slow, "dur").mean())
    seen = (
        f"{digits(len(slow))} of {plural(len(fetches.later), 'fetch')} took {ms(slow_ns)} on"
        f" average, a usual one {ms(fetches.usual_ns)}"
    )
    return PredictedFix(
        after=predict_with_supply(case, mean_supply_time(case)),
        text=(
            f"{seen}. Batches are taken in order, so those of the other"
            f" {plural(pipeline.workers - 1, 'worker')} wait for the slow ones."
        ),
        caveat="More workers would wait for them too, once their queues are full.",
        actions=slow_sample_actions(case, seen),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            Evidence(
                seen,
                round(slow_ns / 1e6, 3),
                "ms/batch",
                process=int(slow["process"].iloc[0]),
                lane="workers",
            ),
            *core_evidence(case),
        ],
        where=line_of_slow_fetches(case),
    )


def slow_sample_actions(case: LoaderCase, evidence: str) -> list[Action]:
    """Return the advice to let other batches pass, and to make the slow samples shorter."""
    holds = applies(case)
    return [
        *free_the_order(case, holds=holds, evidence=evidence),
        *BOUND_SLOW_SAMPLE.given(holds, evidence),
    ]


def line_of_slow_fetches(case: LoaderCase) -> CodeLocation | None:
    """Return the line in which slow fetches spend their time, else that of all fetches."""
    spans = spans_by_process(case.fetches.slow(case.limits.slow_fetch))
    return case.timed_code.within(spans).hottest_line() or case.code.hottest_line()
