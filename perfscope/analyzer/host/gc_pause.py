"""Training stops for Python's garbage collector.

What it means
    The collector walks over every tracked object, on the training thread, with the GIL held. Many
    long-lived objects (a data set held as Python objects, a large cache) make each full collection
    slow; many short-lived ones make them frequent.

How it is detected
    The probe times each collection from 50 microseconds on; those on the training thread inside
    steady steps are at least 3 % of them, together with what it waits for ranks that step with it
    while they collect.

What to do
    After set-up call `gc.collect(); gc.freeze()`, so that long-lived objects are no longer walked
    over; raise the thresholds; or turn the collector off and collect between epochs. Hold data in
    arrays and tensors, not in lists of Python objects.

When it is wrong
    A collection inside a wait for input or a checkpoint is counted there and not here.
"""

from perfscope.analyzer.budget.critical_rank import few_steps, severity_of
from perfscope.analyzer.diagnosis import Action, Finding
from perfscope.analyzer.host.pauses import pause_of
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import longest, of_category, rows_of
from perfscope.traces.trace import Trace

ID = "gc-pause"
# Pessimistically a fifth of the time stays: what has to be collected still is.
STAYS = 0.2


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs steps."""
    return few_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Collections on the training thread, when they cost enough."""
    pause = pause_of(trace, "gc", limits)
    if pause is None:
        return None
    rows, count = pause.rows, len(pause.rows)
    ranges = of_category(rows_of(trace, "ranges", pause.process), "gc")
    assert ranges is not None
    begin, end = int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    pauses = ranges[
        ranges["tid"].isin(rows["tid"].unique()) & (ranges["ts"] >= begin) & (ranges["ts"] < end)
    ]
    worst = longest(pauses)
    lasted = ms(float(worst["dur"]))
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(pause.share, limits),
        rank=pause.rank,
        lost_s=round(pause.lost_s, 4),
        share=round(pause.share, 4),
        speedup=pause.gain(STAYS, limits),
        headline=(
            f"GC pauses: Python's garbage collector stops training {percent(pause.share)} of the"
            " time"
        ),
        explanation=(
            f"It ran {plural(len(pauses), 'time')} in {count} steps; the longest collection took"
            f" {lasted}. The time goes into walking over objects that live as long as the run."
        ),
        evidence=pause.evidence(
            worst,
            f"longest collection: {lasted}, generation {int(worst['object'])}, "
            f"{max(int(worst['value']), 0)} objects freed",
            f"{plural(len(pauses) / count, 'collection')} and {ms(pause.own_ns)} a step",
            "collect",
        ),
        actions=[
            Action(
                "exclude objects that live as long as the run, once, before the first step",
                "gc.collect(); gc.freeze()",
            ),
            Action("or turn the collector off and collect every few hundred steps", "gc.disable()"),
        ],
    )


RULE = Rule(ID, not_applicable, detect, needs=("ranges",), category="gc", in_traces=False)
