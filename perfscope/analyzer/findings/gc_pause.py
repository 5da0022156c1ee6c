"""Training stops for Python's garbage collector.

What it means
    The collector walks over every tracked object, on the training thread, with the GIL held. Many long-lived objects (a
    data set held as Python objects, a large cache) make each full collection slow; many short-lived ones make them
    frequent.

How it is detected
    The probe times each collection from 50 microseconds on; those on the training thread inside steady steps are at
    least 3 % of them, together with what it waits for ranks that step with it while they collect.

What to do
    After set-up call `gc.collect(); gc.freeze()`, so that long-lived objects are no longer walked over; raise the
    thresholds; or turn the collector off and collect between epochs. Hold data in arrays and tensors, not in lists of
    Python objects.

When it is wrong
    A collection inside a wait for input or a checkpoint is counted there and not here.
"""

from perfscope.analyzer.cases.lockstep import waits_for_peers
from perfscope.analyzer.critical_rank import critical_rank, few_steps, rank_of, severity_of, steps_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.facts.peers import pauses_of_peers
from perfscope.analyzer.facts.rows import longest, of_category, rows_of, uses_device
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.prediction import After, left_alone, speedup
from perfscope.analyzer.wording import ms, percent, plural
from perfscope.traces.trace import Trace

ID = "gc-pause"
NEEDS = ("ranges",)
IN_TRACES = False


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs steps."""
    return few_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Collections on the training thread, when they cost enough."""
    process = critical_rank(trace, limits)
    if process is None:
        return None
    rows = steps_of(trace, process)
    step, own = float(rows["dur"].mean()), float(rows["gc"].mean())
    theirs = pauses_of_peers(trace, process, "gc")
    cost = own + float(theirs.mean())
    share = cost / step
    if own <= 0.0 or share < limits.worth_share:
        return None  # whoever collects itself is told of
    ranges = of_category(rows_of(trace, "ranges", process), "gc")
    assert ranges is not None
    begin, end = int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    pauses = ranges[ranges["tid"].isin(rows["tid"].unique()) & (ranges["ts"] >= begin) & (ranges["ts"] < end)]
    worst = longest(pauses)
    rank = rank_of(rows)
    quiet = left_alone(share, limits.most_interrupted, on_device=uses_device(trace))
    after = After(step - 0.8 * own, step - cost, (step - cost) * quiet)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        rank=rank,
        lost_s=round(cost * len(rows) / 1e9, 4),
        share=round(share, 4),
        speedup=speedup(step, after, rows["gc"] + theirs, rows["dur"]),
        summary=f"GC pauses: Python's garbage collector stops training {percent(share)} of the time "
        f"({plural(len(pauses), 'collection')} in {len(rows)} steps, the longest {ms(float(worst['dur']))}). "
        "It walks over objects that live as long as the run; freeing memory is not what takes the time.",
        evidence=[
            Evidence(
                text=f"longest collection: {ms(float(worst['dur']))}, generation {int(worst['object'])}, "
                f"{max(int(worst['value']), 0)} objects freed",
                value=round(float(worst["dur"]) / 1e6, 3),
                unit="ms",
                start_ns=int(worst["ts"]),
                end_ns=int(worst["ts"] + worst["dur"]),
                rank=rank,
                process=process,
                lane="main",
            ),
            Evidence(
                text=f"{plural(len(pauses) / len(rows), 'collection')} and {ms(own)} a step",
                value=round(own / 1e6, 3),
                unit="ms/step",
                rank=rank,
                process=process,
            ),
            *waits_for_peers(theirs, "collect", rank, process),
        ],
        actions=[
            Action("freeze what lives as long as the run, once, before the first step", "gc.collect(); gc.freeze()"),
            Action("collect when it suits: turn it off and collect every few hundred steps", "gc.disable()"),
        ],
    )
