"""Training stops while checkpoints are written.

What it means
    `torch.save` (or a distributed or safetensors save, or an fsync) runs on the training thread,
    and no step runs until it returns.

How it is detected
    The probe times the save calls of the training thread. These calls, and the waits for other
    ranks that write a checkpoint, take at least 3 % of the steady steps. Calls of fsync in more
    than half of the steps belong to a log, and do not count. The prediction makes each step shorter
    by the mean of this time. Its interval comes from a bootstrap over steps, because writes are
    rare.

What to do
    Copy the state to host memory and write it in a background thread or process, write less often,
    or write less (no optimizer state in every checkpoint, one rank only).

When it is wrong
    A recording that happens to contain the only checkpoint of an hour overstates its share; the
    number of writes is in the evidence.
"""

import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import missing_steps
from perfscope.analyzer.budget.lines.finding_lines import line_in_checkpoint
from perfscope.analyzer.budget.thread_work import saves
from perfscope.analyzer.categories import CHECKPOINT
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.host.loop_pauses import Pauses, pauses_of
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import duration, megabytes, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import (
    column,
    longest_row,
    rows_of,
    rows_of_category,
    table,
)
from perfscope.traces.trace import Trace

ID = "checkpoint-stall"
COPY_SHARE = 0.1
"""The part of a write that stays when it moves to the background: the state is copied first.
Memory is an order of magnitude faster than storage.
"""

WRITE_IN_BACKGROUND = Advice(
    "write-checkpoints-in-background",
    "copy the state to host memory, and write the checkpoint in a background thread",
    "writes-on-training-thread",
    "Checkpoints are written on the training thread.",
)
WRITE_LESS_OFTEN = Advice(
    "write-checkpoints-less-often",
    "write checkpoints less often: every few minutes instead of every few steps",
    "writes-are-frequent",
    "The recording has at least two writes, on average less than five minutes apart.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why checkpoints cannot be checked: no steps, or a trace without Python stacks.

    Python stacks name the functions that write.
    """
    if trace.has_profiled_work:
        writes = rows_of_category(table(trace, "ranges"), "python", "checkpoint")
        if not len(column(writes, "ts")):
            reason = "the trace holds no Python stacks (`with_stack=True`)"
            return Unmet("not-in-this-format", reason)
    return missing_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where saves on the training thread cost enough."""
    pauses = pauses_of(trace, "checkpoint", limits)
    if pauses is None:
        return None
    writes = writes_in_steps(trace, pauses)
    written_in = int((pauses.pause_ns > 0).sum())
    size = int(writes["value"].max())
    sized = f" of {megabytes(size)}" if size > 0 else ""
    lasted = ms(float(longest_row(writes)["dur"]))
    per_step = f"{ms(pauses.mean_pause_ns)} of each {ms(pauses.step_ns)} step on average"
    return pauses.finding(
        ID,
        limits,
        stays=COPY_SHARE,
        message=Message(
            f"Checkpoint stall: training waits {percent(pauses.share)} of the time for checkpoints",
            f"Checkpoints are written in {written_in} of {len(pauses.rows)} steps, on the training"
            f" thread. The longest write{sized} took {lasted}.",
            "A faster model would not help.",
        ),
        evidence=[
            pauses.longest_evidence(writes, f"longest write: {lasted}{sized}"),
            pauses.mean_evidence(f"{per_step}, {plural(len(writes), 'write')} in all"),
            *pauses.peer_evidence("write"),
        ],
        actions=checkpoint_actions(pauses, len(writes), limits),
    )


def checkpoint_actions(pauses: Pauses, writes: int, limits: Limits) -> list[Action]:
    """Return the actions for so many writes in the steady steps."""
    begin, end = pauses.span
    interval_s = (end - begin) / 1e9 / max(writes, 1)
    return [
        *WRITE_IN_BACKGROUND.given(
            pauses.mean_pause_ns > 0.0,
            f"{plural(writes, 'write')} on the training thread",
            snippet=(
                "state = copy.deepcopy(model.state_dict()); "
                "threading.Thread(target=torch.save, args=(state, path)).start()"
            ),
        ),
        *WRITE_LESS_OFTEN.given(
            writes >= 2 and interval_s < limits.frequent_checkpoint_s,
            f"a write every {duration(interval_s)}",
        ),
    ]


def writes_in_steps(trace: Trace, pauses: Pauses) -> pd.DataFrame:
    """Return the outermost saves of the loop's thread inside its steady steps."""
    written = saves(trace, rows_of(trace, "ranges", pauses.process))
    assert written is not None
    tid = int(pauses.rows["tid"].mode().iloc[0])
    begin, end = pauses.span
    of_thread = (written["tid"] == tid) | (tid < 0)
    written = written[of_thread & (written["ts"] >= begin) & (written["ts"] < end)]
    ends = written["ts"] + written["dur"]
    nested = ends <= ends.cummax().shift(fill_value=-1)
    return written[~nested]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("ranges",),
    category=CHECKPOINT,
    where=line_in_checkpoint,
    consequences=("straggler/checkpoint",),
    advice=(WRITE_IN_BACKGROUND, WRITE_LESS_OFTEN),
)
