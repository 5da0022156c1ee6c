"""Putting samples together (collate_fn) takes at least half of making a batch."""

from perfscope.analyzer.closed_forms import After
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.input.loader_case import (
    Case,
    Remedy,
    beside,
    core_evidence,
    fetch_evidence,
    supply,
    wait_evidence,
)
from perfscope.analyzer.number_text import ms, percent

CAUSE = "collate-bound"


def applies(case: Case) -> bool:
    """Is collate half of the fetch or more?"""
    fetch = case.pipeline.fetch
    return fetch is not None and fetch.collate >= case.limits.explains * fetch.wall


def remedy(case: Case) -> Remedy:
    """The same workers without the collate time."""
    line, fetch = case.pipeline, case.fetch
    saved = line.needed(fetch.cpu * fetch.collate / max(fetch.wall, 1.0))
    workers = max(line.workers, 1)
    best = beside(case, supply(case, workers, fetch.wall - fetch.collate), saved)
    half = beside(case, supply(case, workers, fetch.wall - 0.75 * fetch.collate), 0.75 * saved)
    return Remedy(
        after=After(max(half.likely, best.slow), best.likely, best.fast),
        text=(
            f"`collate_fn` takes {percent(fetch.collate / fetch.wall)} of the time of a batch"
            f" ({ms(fetch.collate)} of {ms(fetch.wall)}); loading the samples is fast."
        ),
        actions=[
            Action(
                "allocate the batch once and fill it instead of growing or concatenating; pad to"
                " the longest sample of the batch",
                "out = torch.empty(len(samples), *shape); torch.stack(samples, out=out)",
            ),
            Action(
                "group samples of similar length (a bucketing sampler), or collate with vectorized"
                " NumPy or torch calls"
            ),
        ],
        evidence=[wait_evidence(case), *fetch_evidence(case), *core_evidence(case)],
    )
