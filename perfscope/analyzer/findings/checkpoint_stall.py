"""Training stands still while checkpoints are written.

What it means
    `torch.save` (or a distributed or safetensors save, or an fsync) runs on the training thread, and no step is made
    until it returns.

How it is detected
    The probe times the save calls of the training thread. They, and the waits for ranks that step with it while those write,
    are at least 3 % of the steady steps. Without them each
    step would be shorter by their mean: that is the gain; its width comes from a bootstrap over steps, since writes are
    rare.

What to do
    Copy the state to host memory and write it in a background thread or process, write less often, or write less (no
    optimizer state in every checkpoint, one rank only).

When it is wrong
    A recording that happens to hold the only checkpoint of an hour overstates its share; the count of writes is in the
    evidence.
"""

import pandas as pd

from perfscope.analyzer.cases.lockstep import waits_for_peers
from perfscope.analyzer.critical_rank import critical_rank, few_steps, rank_of, severity_of, steps_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.facts.peers import pauses_of_peers
from perfscope.analyzer.facts.rows import column, longest, of_category, rows_of, table, uses_device
from perfscope.analyzer.facts.traced.thread_work import saves
from perfscope.analyzer.facts.traced.units import of_a_profiler
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.prediction import After, left_alone, speedup
from perfscope.analyzer.wording import megabytes, ms, percent, plural
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

ID = "checkpoint-stall"
NEEDS = ("ranges",)
EXPLAINS = ("straggler/checkpoint",)
# A write in the background still has to copy the state first; memory is an order of magnitude faster than storage.
COPY_SHARE = 0.1


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs steps; of a profiler's trace also Python stacks, which name the functions that write."""
    if of_a_profiler(trace) and not len(column(of_category(table(trace, "ranges"), "python", "checkpoint"), "ts")):
        return "the trace holds no Python stacks (`with_stack=True`)"
    return few_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Saves on the training thread, when they cost enough."""
    process = critical_rank(trace, limits)
    if process is None:
        return None
    rows = steps_of(trace, process)
    step, own = float(rows["dur"].mean()), float(rows["checkpoint"].mean())
    theirs = pauses_of_peers(trace, process, "checkpoint")
    cost = own + float(theirs.mean())
    share = cost / step
    if own <= 0.0 or share < limits.worth_share:
        return None  # whoever writes itself is told of
    writes = _writes(trace, process, rows)
    worst = longest(writes)
    size = int(writes["value"].max())
    hit = int((rows["checkpoint"] > 0).sum())
    quiet = left_alone(share, limits.most_interrupted, on_device=uses_device(trace))
    after = After(step - (1.0 - COPY_SHARE) * own, step - cost, (step - cost) * quiet)
    sized = f" of {megabytes(size)}" if size > 0 else ""
    rank = rank_of(rows)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        rank=rank,
        lost_s=round(cost * len(rows) / 1e9, 4),
        share=round(share, 4),
        speedup=speedup(step, after, rows["checkpoint"] + theirs, rows["dur"]),
        summary=f"Checkpoint stall: training stands still {percent(share)} of the time while checkpoints are written: "
        f"in {hit} of {len(rows)} steps, the longest write{sized} took {ms(float(worst['dur']))}. "
        "A faster model would not help: the write is on the training thread.",
        evidence=_evidence(writes, own, step, theirs, rank),
        actions=[
            Action(
                "copy the state to host memory and write it in a background thread",
                "state = copy.deepcopy(model.state_dict()); "
                "threading.Thread(target=torch.save, args=(state, path)).start()",
            ),
            Action("or write less often: every minutes, not every few steps"),
        ],
    )


def _evidence(writes: pd.DataFrame, own: float, step: float, theirs: Ints, rank: int) -> list[Evidence]:
    """The longest write, what writes cost a step (`own` of `step` ns), and the waits for peers that write."""
    worst, process = longest(writes), int(writes["process"].iloc[0])
    size = int(writes["value"].max())
    sized = f" of {megabytes(size)}" if size > 0 else ""
    return [
        Evidence(
            text=f"longest write: {ms(float(worst['dur']))}{sized}",
            value=round(float(worst["dur"]) / 1e6, 3),
            unit="ms",
            start_ns=int(worst["ts"]),
            end_ns=int(worst["ts"] + worst["dur"]),
            rank=rank,
            process=process,
            lane="main",
        ),
        Evidence(
            text=f"{ms(own)} of each {ms(step)} step on average, {plural(len(writes), 'write')} in all",
            value=round(own / 1e6, 3),
            unit="ms/step",
            rank=rank,
            process=process,
        ),
        *waits_for_peers(theirs, "write", rank, process),
    ]


def _writes(trace: Trace, process: int, rows: pd.DataFrame) -> pd.DataFrame:
    """The outermost saves inside the steady steps."""
    written = saves(rows_of(trace, "ranges", process))
    assert written is not None
    tid = int(rows["tid"].mode().iloc[0])
    begin, end = int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    here = ((written["tid"] == tid) | (tid < 0)) & (written["ts"] >= begin) & (written["ts"] < end)
    written = written[here]
    ends = written["ts"] + written["dur"]
    nested = ends <= ends.cummax().shift(fill_value=-1)
    return written[~nested]
