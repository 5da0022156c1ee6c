"""Python's garbage collector stops training.

What it means
    The collector visits every tracked object, on the training thread, with the GIL held. Many
    long-lived objects (a dataset held as Python objects, a large cache) make each full collection
    slow; many short-lived ones make collections frequent.

How it is detected
    The probe times each collection that takes 50 microseconds or longer. The collections of the
    training thread, and its waits for other ranks that collect, take at least 3 % of the steady
    steps. Where the program asks for most collections itself, `explicit-call` reports them.

What to do
    After set-up call `gc.collect(); gc.freeze()`, so that long-lived objects are no longer visited;
    raise the thresholds; or turn the collector off and collect between epochs. Hold data in arrays
    and tensors, not in lists of Python objects.

When it is wrong
    A collection inside a wait for input or a checkpoint counts as part of that wait.
"""

import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import missing_steps
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.host.explicit_collections import is_explicit
from perfscope.analyzer.host.loop_pauses import Pauses, pauses_of
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import column, longest_row, rows_of, rows_of_category
from perfscope.traces.trace import Trace

ID = "gc-pause"
STAYS = 0.2
"""The part of the time that stays in the pessimistic case: garbage still has to be collected."""

FREEZE_OBJECTS = Advice(
    "freeze-long-lived-objects",
    "exclude objects that live as long as the run, once, before the first step",
    "old-generations-are-collected",
    "Most of the time goes into collections of older generations, which scan long-lived objects.",
)
COLLECT_BY_HAND = Advice(
    "collect-by-hand",
    "turn the collector off, and collect every few hundred steps",
    "collections-are-frequent",
    "The collector runs more often than every 300 steps.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why collections cannot be checked: too few steps."""
    return missing_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where collections on the training thread cost enough."""
    pauses = pauses_of(trace, "gc", limits)
    if pauses is None:
        return None
    collections = collections_in_steps(trace, pauses)
    asked_for_ns = int(column(collections[is_explicit(collections)], "dur").sum())
    if asked_for_ns > limits.main_cause_share * int(column(collections, "dur").sum()):
        return None
    steps, count = len(pauses.rows), len(collections)
    worst = longest_row(collections)
    lasted, freed = ms(float(worst["dur"])), max(int(worst["value"]), 0)
    share = percent(pauses.share)
    return pauses.finding(
        ID,
        limits,
        stays=STAYS,
        message=Message(
            f"GC pauses: Python's garbage collector stops training {share} of the time",
            f"It ran {plural(count, 'time')} in {steps} steps; the longest collection took"
            f" {lasted}. The time goes into visiting objects that live as long as the run.",
        ),
        evidence=[
            pauses.longest_evidence(
                collections,
                f"longest collection: {lasted}, generation {int(worst['object'])},"
                f" {freed} objects freed",
            ),
            pauses.mean_evidence(
                f"{plural(count / steps, 'collection')} and {ms(pauses.mean_pause_ns)} per step"
            ),
            *pauses.peer_evidence("collect"),
        ],
        actions=collection_actions(collections, steps, limits),
    )


def collections_in_steps(trace: Trace, pauses: Pauses) -> pd.DataFrame:
    """Return the collections of the loop's threads inside its steady steps."""
    ranges = rows_of_category(rows_of(trace, "ranges", pauses.process), "gc")
    assert ranges is not None
    begin, end = pauses.span
    of_loop = ranges["tid"].isin(pauses.rows["tid"].unique())
    return ranges[of_loop & (ranges["ts"] >= begin) & (ranges["ts"] < end)]


def collection_actions(collections: pd.DataFrame, steps: int, limits: Limits) -> list[Action]:
    """Return the actions for these collections in so many steps."""
    in_all = float(collections["dur"].sum())
    older = float(collections["dur"][collections["object"] >= 1].sum())
    steps_between = steps / max(len(collections), 1)
    return [
        *FREEZE_OBJECTS.given(
            older >= limits.main_cause_share * in_all,
            f"{ms(older)} of {ms(in_all)} of collections are of generation 1 and 2",
            snippet="gc.collect(); gc.freeze()",
        ),
        *COLLECT_BY_HAND.given(
            steps_between < limits.frequent_collection_steps,
            f"{plural(len(collections), 'collection')} in {plural(steps, 'step')}",
            snippet="gc.disable()",
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("ranges",),
    category="gc",
    in_traces=False,
    advice=(FREEZE_OBJECTS, COLLECT_BY_HAND),
    color="host-bound",
)
