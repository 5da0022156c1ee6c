"""One worker takes several times as long per batch as the others, and delays all of them.

How it is detected
    The median fetch of one worker takes at least twice as long as those of the others, and batches
    are taken from the workers in turn: the loop waits for the slow worker while the others have
    theirs ready and are idle for at least 30 % of the time. A round of batches takes about as long
    as the slow worker's fetch.

When it is wrong
    The prediction assumes that the slow data cost the same in every worker, and that they can be
    divided.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence
from perfscope.analyzer.input.batch_order import FREE_ORDER, free_the_order
from perfscope.analyzer.input.fetch_times import WorkerTime, spans_by_process
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    core_evidence,
    fetch_evidence,
    mean_supply_time,
    predict_with_supply,
    wait_evidence,
)
from perfscope.analyzer.number_text import ms, plural

CAUSE = "uneven-workers"
PART_OF_ROUND = 0.6
"""The least part of a round of batches that the slow worker's fetch takes."""
IDLE_SHARE = 0.3
"""The least share of the time in which the other workers are idle."""

SPREAD_SLOW_DATA = Advice(
    "divide-slow-data-among-workers",
    "divide the slow source among all workers, so that each reads a part of it",
    "one-worker-is-slow",
    "The median fetch of one worker takes at least twice as long as those of the others.",
)
ADVICE = (SPREAD_SLOW_DATA, FREE_ORDER)


def applies(case: LoaderCase) -> bool:
    """Return whether the turn of one slow worker makes the loop wait while the others are idle."""
    workers, pipeline = case.fetches.by_worker(), case.pipeline
    if pipeline.fetch is None or len(workers) < 2 or len(workers) < pipeline.workers:
        return False
    slow, others = slow_and_others(case)
    usual = max(other.median_ns for other in others)
    if slow.median_ns < case.limits.uneven_workers * max(usual, 1.0):
        return False
    round_ns = pipeline.step / max(pipeline.batches, 1e-9) * pipeline.workers
    busy = max(other.mean_ns for other in others) / max(round_ns, 1.0)
    return slow.mean_ns >= PART_OF_ROUND * round_ns and busy <= 1.0 - IDLE_SHARE


def slow_and_others(case: LoaderCase) -> tuple[WorkerTime, list[WorkerTime]]:
    """Return the slowest worker by its median fetch, and the others."""
    workers = case.fetches.by_worker()
    slowest = max(workers, key=lambda worker: workers[worker].median_ns)
    return workers[slowest], [workers[worker] for worker in workers if worker != slowest]


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for workers that share the slow data equally."""
    pipeline = case.pipeline
    slow, others = slow_and_others(case)
    usual_ns = sum(other.median_ns for other in others) / len(others)
    times = f"{ms(slow.median_ns)} per batch, the others {ms(usual_ns)}"
    return PredictedFix(
        after=predict_with_supply(case, mean_supply_time(case)),
        text=(
            f"One of {plural(pipeline.workers, 'worker')} takes {times}. Batches are taken from the"
            " workers in turn, so the loop waits for the slow worker."
        ),
        caveat="More workers would wait for it too.",
        actions=spread_actions(case, f"one worker takes {times}"),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            Evidence(
                f"one worker takes {times}",
                round(slow.median_ns / 1e6, 3),
                "ms/batch",
                process=slow.processes[0],
                lane="workers",
            ),
            *core_evidence(case),
        ],
        where=line_of_worker(case, slow),
    )


def spread_actions(case: LoaderCase, evidence: str) -> list[Action]:
    """Return the advice to share the slow data, or to take batches in any order."""
    holds = applies(case)
    return [
        *SPREAD_SLOW_DATA.given(holds, evidence),
        *free_the_order(case, holds=holds, evidence=evidence),
    ]


def line_of_worker(case: LoaderCase, worker: WorkerTime) -> CodeLocation | None:
    """Return the line in which a worker spends its fetches, else that of all workers."""
    rows = case.fetches.rows
    spans = spans_by_process(rows[rows["process"].isin(worker.processes)])
    return case.timed_code.within(spans).hottest_line() or case.code.hottest_line()
