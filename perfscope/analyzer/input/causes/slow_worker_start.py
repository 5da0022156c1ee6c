"""Each pass starts new workers, and the first batch of each worker takes much longer than others.

How it is detected
    The loader's workers were started more than once, and at least half of the input wait is for a
    new iterator and its first batch. At least 40 % of that is time in the first fetches beyond a
    usual one, or in the program's code before them (`worker_init_fn`): it loads an index, opens
    files or imports libraries there. The dataset does not iterate over its samples itself, because
    such a dataset begins again in each pass.

When it is wrong
    A recording of a few short epochs contains more or fewer starts by chance. What workers keep
    between passes becomes out of date if the training process changes the dataset.
"""

import numpy as np

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence
from perfscope.analyzer.input.causes import worker_restart
from perfscope.analyzer.input.fetch_times import spans_by_process
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    consumer_after_saving,
    fetch_evidence,
    removable_delay_share,
    undelayed_consumer,
    wait_evidence,
)
from perfscope.analyzer.number_text import ms, plural
from perfscope.analyzer.step_time_models import After

CAUSE = "slow-worker-start"
FIRST_FETCH_SHARE = 0.4
"""Of the wait for a new iterator; starting processes and refilling queues is the rest."""

KEEP_WORKERS = Advice(
    "keep-started-workers",
    "keep the workers alive between epochs, so that each prepares itself only once",
    "first-fetches-of-new-workers-are-slow",
    "Workers are started more than once, and at least 40 % of the wait for them is time in their"
    " first fetches, or in the program's code before these.",
)
LOAD_BEFORE_START = Advice(
    "load-before-workers-start",
    "do the work of the first fetches once in the training process, before the loader starts its"
    " workers: forked workers have what it has loaded",
    "first-fetches-of-new-workers-are-slow",
    "Workers are started more than once, and at least 40 % of the wait for them is time in their"
    " first fetches, or in the program's code before these.",
)
ADVICE = (KEEP_WORKERS, LOAD_BEFORE_START)


def applies(case: LoaderCase) -> bool:
    """Return whether the first fetches of new workers are most of the wait for them."""
    if not worker_restart.applies(case):
        return False
    least_ns = FIRST_FETCH_SHARE * wait_per_start(case)
    if work_before_fetch_ns(case) >= least_ns:
        return True
    return not case.iterates and first_fetches_are_slow(case)


def wait_per_start(case: LoaderCase) -> float:
    """Return the wait for a new iterator and its first batches, in nanoseconds."""
    pipeline = case.pipeline
    return pipeline.restart * pipeline.steps / max(pipeline.restarts, 1)


def work_before_fetch_ns(case: LoaderCase) -> float:
    """Return the time of the program's code in a new worker before its first fetch."""
    return case.start.share * case.fetches.start_to_first_ns


def usual_excess_ns(case: LoaderCase) -> float:
    """Return what the first fetch takes beyond a usual one, 0 where no first fetch was recorded.

    Not every worker was recorded from its start: the usual first fetch counts.
    """
    excess = case.fetches.first_excess_ns
    return float(np.median(excess)) if len(excess) else 0.0


def first_fetches_are_slow(case: LoaderCase) -> bool:
    """Return whether first fetches take a large part of the wait for a new iterator."""
    excess = usual_excess_ns(case)
    return excess > 0.0 and excess >= FIRST_FETCH_SHARE * wait_per_start(case)


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for workers that are started once."""
    seen, work_ns = start_text(case)
    restarts = plural(case.pipeline.restarts, "iterator start")
    return PredictedFix(
        after=step_with_kept_workers(case),
        text=(
            f"Each pass starts {plural(case.pipeline.workers, 'new worker')}, and {seen}: each new"
            " worker does this work again."
        ),
        caveat="More workers would all do it.",
        actions=start_actions(case, f"{restarts}; {seen}"),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            Evidence(
                f"{restarts}; {seen}",
                round(work_ns / 1e6, 3),
                "ms/worker",
                process=case.pipeline.process,
                lane="workers",
            ),
        ],
        where=line_of_first_fetches(case),
    )


def start_text(case: LoaderCase) -> tuple[str, float]:
    """Return what a new worker does before it delivers, and how long that takes in ns."""
    if work_before_fetch_ns(case) > usual_excess_ns(case):
        work_ns = work_before_fetch_ns(case)
        return f"a new worker works {ms(work_ns)} before its first batch", work_ns
    usual_ns = case.fetches.usual_ns
    first_ns = usual_ns + usual_excess_ns(case)
    return f"the first batch of a worker takes {ms(first_ns)}, a later one {ms(usual_ns)}", first_ns


def step_with_kept_workers(case: LoaderCase) -> After:
    """Return the step without starts, whose CPU work also delays the loop and what it receives."""
    pipeline = case.pipeline
    after = worker_restart.predicted_fix(case).after
    saved_cpu = 0.0
    if case.machine.cpu is not None:
        loading_cpu = pipeline.needed(case.fetches.usual_ns)
        saved_cpu = max(case.machine.cpu - pipeline.main_cpu - loading_cpu, 0.0)
    waits = max(pipeline.input_wait - pipeline.restart, 0.0)
    waits *= 1.0 - removable_delay_share(case, saved_cpu)
    likely = min(consumer_after_saving(case, saved_cpu) + waits, after.likely)
    likely = max(likely, case.machine.floor(saved_cpu))
    return After(after.slow, likely, min(undelayed_consumer(case), likely))


def start_actions(case: LoaderCase, evidence: str) -> list[Action]:
    """Return the advice to start workers once, or to do their first work before."""
    holds = applies(case)
    return [
        *KEEP_WORKERS.given(holds, evidence, snippet="DataLoader(..., persistent_workers=True)"),
        *LOAD_BEFORE_START.given(holds, evidence),
    ]


def line_of_first_fetches(case: LoaderCase) -> CodeLocation | None:
    """Return the line in which workers start or first fetches spend their time.

    Else that of all fetches.
    """
    if work_before_fetch_ns(case) > usual_excess_ns(case) and case.start.line is not None:
        return case.start.line
    spans = spans_by_process(case.fetches.rows[case.fetches.rows["first"]])
    return case.timed_code.within(spans).hottest_line() or case.code.hottest_line()
