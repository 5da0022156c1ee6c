"""Training stands still while checkpoints are written.

What it means
    `torch.save` (or a distributed or safetensors save, or an fsync) runs on the training thread,
    and no step is made until it returns.

How it is detected
    The probe times the save calls of the training thread. They, and the waits for ranks that step
    with it while those write, are at least 3 % of the steady steps. Without them each step would be
    shorter by their mean: that is the gain; its width comes from a bootstrap over steps, since
    writes are rare.

What to do
    Copy the state to host memory and write it in a background thread or process, write less often,
    or write less (no optimizer state in every checkpoint, one rank only).

When it is wrong
    A recording that happens to hold the only checkpoint of an hour overstates its share; the count
    of writes is in the evidence.
"""

import pandas as pd

from perfscope.analyzer.budget.critical_rank import few_steps, severity_of
from perfscope.analyzer.budget.thread_work import saves
from perfscope.analyzer.categories import CHECKPOINT
from perfscope.analyzer.diagnosis import Action, Finding
from perfscope.analyzer.host.pauses import pause_of
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import megabytes, ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import column, longest, of_category, rows_of, table
from perfscope.traces.trace import Trace

ID = "checkpoint-stall"
# A write in the background still has to copy the state first; memory is an order of magnitude
# faster than storage.
COPY_SHARE = 0.1


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs steps; of a profiler's trace also Python stacks, which name the functions that
    write.
    """
    if trace.has_profiled_work and not len(
        column(of_category(table(trace, "ranges"), "python", "checkpoint"), "ts")
    ):
        return "the trace holds no Python stacks (`with_stack=True`)"
    return few_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Saves on the training thread, when they cost enough."""
    pause = pause_of(trace, "checkpoint", limits)
    if pause is None:
        return None
    writes = _writes(trace, pause.process, pause.rows)
    worst, size = longest(writes), int(writes["value"].max())
    hit = int((pause.own > 0).sum())
    sized = f" of {megabytes(size)}" if size > 0 else ""
    lasted = ms(float(worst["dur"]))
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(pause.share, limits),
        rank=pause.rank,
        lost_s=round(pause.lost_s, 4),
        share=round(pause.share, 4),
        speedup=pause.gain(COPY_SHARE, limits),
        headline=(
            f"Checkpoint stall: training waits {percent(pause.share)} of the time for checkpoints"
        ),
        explanation=(
            f"Checkpoints are written in {hit} of {len(pause.rows)} steps, on the training thread."
            f" The longest write{sized} took {lasted}."
        ),
        caveat="A faster model would not help.",
        evidence=pause.evidence(
            worst,
            f"longest write: {lasted}{sized}",
            f"{ms(pause.own_ns)} of each {ms(pause.step_ns)} step on average,"
            f" {plural(len(writes), 'write')} in all",
            "write",
        ),
        actions=[
            Action(
                "copy the state to host memory and write it in a background thread",
                "state = copy.deepcopy(model.state_dict()); "
                "threading.Thread(target=torch.save, args=(state, path)).start()",
            ),
            Action("or write less often: every few minutes instead of every few steps"),
        ],
    )


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


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("ranges",),
    category=CHECKPOINT,
    explains=("straggler/checkpoint",),
)
