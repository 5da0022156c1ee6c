"""Only some of the workers deliver batches: the dataset has fewer shards than workers.

How it is detected
    Every batch that the loop received was fetched by fewer workers than the loader has, although
    each pass has at least two batches per worker. Workers of an iterable dataset that get no shard
    end, or wait without work. Fetches mostly wait, or with all workers a step is predicted to be at
    least 15 % faster.

When it is wrong
    Workers may end for another reason, such as shards of very different sizes near the end of a
    pass. The prediction assumes that a batch takes as long from any shard.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    core_evidence,
    fetch_evidence,
    is_cpu_work,
    predict_with_workers,
    wait_evidence,
)
from perfscope.analyzer.number_text import digits, ms, plural

CAUSE = "fewer-shards-than-workers"
RECORDED_PART = (0.8, 1.25)
"""Fetches that were recorded per batch received, if every worker that delivers was recorded."""
BATCHES_PER_WORKER = 2
"""With fewer batches per pass, some workers have no turn although they could deliver."""

MORE_SHARDS = Advice(
    "use-a-shard-per-worker",
    "split the data into at least as many shards (files) as the loader has workers",
    "workers-without-shards",
    "Every batch came from fewer workers than the loader has, each pass has two batches per worker,"
    " and fetches mostly wait, or the cores have room for all workers.",
)
ADVICE = (MORE_SHARDS,)


def applies(case: LoaderCase) -> bool:
    """Return whether some workers deliver nothing, and the cores have room for all of them."""
    pipeline, delivering = case.pipeline, case.fetches.workers
    if pipeline.fetch is None or not 0 < delivering < pipeline.workers:
        return False
    received = pipeline.batches * pipeline.steps
    if not RECORDED_PART[0] <= pipeline.fetch.count / max(received, 1.0) <= RECORDED_PART[1]:
        return False
    per_pass = received / max(pipeline.restarts, 1)
    if per_pass < BATCHES_PER_WORKER * pipeline.workers:
        return False
    if not is_cpu_work(case):
        return True
    after = predict_with_workers(case, pipeline.workers).likely
    return pipeline.step >= case.limits.workers_gain * after


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for the same workers, all with a shard."""
    pipeline, fetch, delivering = case.pipeline, case.fetch, case.fetches.workers
    period = ms(pipeline.consumer / max(pipeline.batches, 1e-9))
    seen = f"{digits(delivering)} of {plural(pipeline.workers, 'worker')} deliver batches"
    return PredictedFix(
        after=predict_with_workers(case, pipeline.workers),
        text=(
            f"Only {seen}; the others get no data and have ended or wait. Each of these needs"
            f" {ms(fetch.wall)} per batch; without waiting, training would use one every {period}."
        ),
        caveat=(
            "More workers would get no data either: a shard (a file of the dataset) is read by one"
            " worker."
        ),
        actions=MORE_SHARDS.given(
            applies(case),
            seen,
            text=(
                f"split the data into at least {plural(pipeline.workers, 'shard')} (files), one for"
                " each worker of the loader"
            ),
        ),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            Evidence(seen, float(delivering), "workers", process=pipeline.process, lane="workers"),
            *core_evidence(case),
        ],
        where=case.code.hottest_line(),
    )
