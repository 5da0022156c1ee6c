"""The workers wait for a lock that they share: only one of them loads at a time.

How it is detected
    At least 30 % of the stack samples inside the workers' fetches wait for a lock that processes
    share: one of `multiprocessing` or its managers, or a file lock. A lock inside native code does
    not show in stacks: then at least 30 % of the samples end in the program's own lines, and the
    threads of the workers are in the system call of a lock for as much of the time.

When it is wrong
    The prediction assumes that the work under the lock can be done by all workers at once: it does
    not hold where a disk or a server does one thing at a time.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    fetch_evidence,
    predict_with_supply,
    supply_time,
    wait_evidence,
)
from perfscope.analyzer.input.loading_stages import LOCK
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.run.stacks.sample_shares import share_interval
from perfscope.analyzer.step_time_models import After

CAUSE = "shared-lock"
LEAST_SHARE = 0.3
"""A lock that takes less of a fetch is not the cause, as for storage."""

WORK_WITHOUT_LOCK = Advice(
    "load-without-shared-lock",
    "let each worker load without that lock: open the file or connection in each worker, and hold"
    " the lock only where workers write",
    "workers-wait-for-a-shared-lock",
    "At least 30 % of the time of the workers' fetches is a wait for a lock that they share.",
)
ADVICE = (WORK_WITHOUT_LOCK,)


def applies(case: LoaderCase) -> bool:
    """Return whether several workers wait for a lock for a good part of their fetches."""
    if case.pipeline.fetch is None or case.pipeline.workers < 2:
        return False
    return lock_share(case) >= LEAST_SHARE


def lock_share(case: LoaderCase) -> float:
    """Return the share of the fetches that is a wait for a lock."""
    return case.code.lock_share


def predicted_fix(case: LoaderCase) -> PredictedFix:
    """Return the prediction for workers that no longer wait for the lock."""
    pipeline, fetch, share = case.pipeline, case.fetch, lock_share(case)
    low, high = share_interval(share, max(case.code.samples, 1))
    after = [
        predict_with_supply(case, supply_time(case, pipeline.workers, fetch.wall * (1.0 - without)))
        for without in (low, share, high)
    ]
    seen = f"{percent(share)} of the stack samples inside fetches wait for a lock"
    return PredictedFix(
        after=After(after[0].slow, after[1].likely, after[2].fast),
        text=(
            f"The {plural(pipeline.workers, 'worker')} share a lock or a manager's process, and"
            f" wait for it {percent(share)} of each fetch ({ms(fetch.wall)}): one loads at a time."
        ),
        caveat="More workers would wait for the same lock.",
        actions=WORK_WITHOUT_LOCK.given(applies(case), seen),
        evidence=[
            wait_evidence(case),
            *fetch_evidence(case),
            Evidence(seen, round(share, 4), "share", process=pipeline.process, lane="stacks"),
        ],
        where=case.code.hottest_line(LOCK) or case.code.hottest_line(),
    )
