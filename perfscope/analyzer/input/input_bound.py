"""The run waits for its data.

What it means
    Training (or inference) asks for the next batch and gets none for a while: nothing computes
    meanwhile. The cause says what keeps the batches: `in-process-loading` (no workers),
    `too-few-workers`, `decode-bound` (the cores are full of decoding), `storage-bound`,
    `collate-bound`, `transfer-bound` (batches are ready but slow to take over), `worker-restart`
    (the wait is at the start of each epoch), `unknown-loader` (the wait lies between steps, in code
    that is no PyTorch loader).

How it is detected
    The time in the loader's `next` (and in building iterators) is at least 5 % of the steady steps,
    not counting up to
    1.5 ms that taking over a ready batch costs with any worker. Each worker's fetch
    is split into time on a core, waiting for a core, waiting for storage and the rest; the cause is
    the most specific one with evidence. The gain is the slower of consumer and workers after the
    change, never less than the remaining CPU time on the usable cores. From outside (depth observe)
    the share comes from stack samples, and only a ceiling is given.

What to do
    Follow the cause: more workers only where cores are idle or fetches wait; cheaper decoding where
    the cores are full; a cache or larger reads where storage is slow; `persistent_workers=True`
    where epochs are short.

When it is wrong
    On a GPU a wait of the host may hide behind work that is still queued on the device: without
    device timing the wait is an upper bound, is marked so, and is no verdict. Where the driver's
    counters show the device idle for as long, it hides behind nothing. In a trace of the device
    only waits that leave it idle count. A loop that sleeps between steps on purpose looks like an
    unknown loader. So does a forward pass made of torch's functions before its first module, where
    no window shows what operators compute there.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    few_steps,
    rank_of,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.observed_budget import ObservedBudget, observed_budget
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.closed_forms import Machine, speedup
from perfscope.analyzer.counters.host_and_device import idle_share
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.input import input_bound_in_traces as traced_input
from perfscope.analyzer.input.causes import CAUSES
from perfscope.analyzer.input.gap_code import gap_code
from perfscope.analyzer.input.input_pipeline import Pipeline, input_pipelines
from perfscope.analyzer.input.loader_case import Case, avoidable_wait, wait_evidence
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.host_load import HostLoad, cpu_per_step_ns, host_load
from perfscope.analyzer.run.local_ranks import mates, ranks_at_once
from perfscope.analyzer.run.table_access import column, longest, manifest, table, uses_device
from perfscope.traces.trace import Trace

ID = "input-bound"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs steps, or stack samples from outside."""
    if trace.has_profiled_work:
        return traced_input.not_applicable(trace)
    few = few_steps(trace, limits)
    if few is not None and trace.fact(observed_budget) is None:
        return few
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The finding for the rank that waits most, None when it waits less than the limit."""
    if trace.has_profiled_work:
        return traced_input.detect(trace, limits)
    process = critical_rank(trace, limits)
    if process is None:
        seen = trace.fact(observed_budget)
        return None if seen is None else _from_outside(trace, seen, limits)
    rows = steps_of(trace, process)
    line = next(line for line in trace.fact(input_pipelines) if line.process == process)
    share = line.input_wait / line.step
    if avoidable_wait(line, limits) < limits.input_share * line.step:
        return None
    case = case_of(trace, line, limits)
    cause = next((cause for cause in CAUSES if cause.applies(case)), None)
    if cause is None:
        return _unexplained(rows, case, share, limits)
    remedy = cause.remedy(case)
    # Exposed is what this rank waits, itself or (in backward) for another rank that waits for its
    # input.
    exposed = max(line.input_wait, line.step - line.consumer)
    lost_ns = min(max(line.step - remedy.after.likely, 0.0), exposed)
    device = device_hides(trace, process, share)
    lost_share = lost_ns / line.step
    gain = speedup(line.step, remedy.after, rows[INPUT_WAIT], rows["dur"])
    return Finding(
        id=ID,
        cause=cause.CAUSE,
        severity="info" if device else severity_of(lost_share, limits),
        rank=line.rank,
        lost_s=round(lost_ns * line.steps / 1e9, 4),
        share=round(lost_share, 4),
        speedup=Speedup(None, None, gain.high) if device else gain,
        headline=_headline(share, device),
        explanation=remedy.text,
        caveat=(
            remedy.caveat
            if not device
            else "The device may work meanwhile, so this is an upper bound."
        ),
        evidence=[*remedy.evidence, _longest(trace, rows)],
        actions=remedy.actions,
    )


def _headline(share: float, device: bool) -> str:
    if device:
        return f"Input wait: the host waits for data up to {percent(share)} of each step"
    return f"Input-bound: training waits for data {percent(share)} of each step"


def device_hides(trace: Trace, process: int, share: float) -> bool:
    """Does work queued on a device make host waits of this share of the time an upper bound?

    Not where the driver says that its devices were idle for as long: a kernel of any size counts as
    work there.
    """
    if not uses_device(trace):
        return False
    idle = idle_share(trace, process)
    return idle is None or idle < share


def case_of(trace: Trace, line: Pipeline, limits: Limits) -> Case:
    """Everything the causes look at."""
    load, ranks, same_time = trace.fact(host_load), ranks_at_once(trace), mates(trace, line.process)
    torch, cores = manifest(trace).torch, reachable(load)
    if cores is not None and ranks > 1:
        cores *= (
            limits.headroom
        )  # ranks that wait for each other in each step never keep all cores busy
    unasked = line.workers < 0 or line.loader_wait < limits.explains * line.input_wait
    return Case(
        pipeline=line,
        machine=Machine(load.usable_cores, cores, cpu_per_step_ns(trace)),
        load=load,
        limits=limits,
        ranks=ranks,
        delay=sum(
            other.main_delay for other in trace.fact(input_pipelines) if other.process in same_time
        ),
        intra_op_threads=torch.intra_op_threads if torch is not None else None,
        gap_is_input=unasked,
        between=trace.fact(gap_code).get(line.process) if unasked else None,
        on_device=uses_device(trace),
    )


def reachable(load: HostLoad) -> float | None:
    """Cores the job has or could have: what it uses, what is idle, and half of what others use (the
    scheduler is fair).
    """
    if load.tree_cores is None or load.idle_cores is None or load.usable_cores is None:
        return load.usable_cores
    others = max(load.usable_cores - load.tree_cores - load.idle_cores, 0.0)
    return max(load.tree_cores + load.idle_cores + 0.5 * others, 0.1)


def _longest(trace: Trace, rows: pd.DataFrame) -> Evidence:
    """The wait of the step that waited longest, as a place on the timeline."""
    row = rows.iloc[int(np.argmax(column(rows, INPUT_WAIT)))]
    begin, process = int(row["ts"]), int(row["process"])
    loader = table(trace, "loader")
    end = begin + int(row["dur"])
    if loader is not None:
        inside = loader[
            (loader["process"] == process) & (loader["ts"] >= begin) & (loader["ts"] < end)
        ]
        if len(inside):
            wait = longest(inside)
            begin, end = int(wait["ts"]), int(wait["ts"] + wait["dur"])
    return Evidence(
        text=f"longest wait: {ms(end - begin)} in step {int(row['index'])}",
        value=round((end - begin) / 1e6, 3),
        unit="ms",
        start_ns=begin,
        end_ns=end,
        rank=rank_of(rows),
        process=process,
        lane="loader",
    )


def _unexplained(rows: pd.DataFrame, case: Case, share: float, limits: Limits) -> Finding:
    """Waits without any sight of the workers: only what removing them all would give."""
    line = case.pipeline
    ceiling = max(line.step / max(line.consumer, case.machine.floor(), 1.0), 1.0)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        rank=line.rank,
        lost_s=round(line.input_wait * line.steps / 1e9, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(ceiling, 3)),
        headline=_headline(share, device=False),
        explanation="What its loader workers do meanwhile was not recorded.",
        evidence=[wait_evidence(case)],
        actions=[Action("attach to the workers too: `perfscope doctor` lists what is missing")],
    )


def _from_outside(trace: Trace, seen: ObservedBudget, limits: Limits) -> Finding | None:
    """From stack samples alone: the share of the main thread's time in the loader."""
    share = seen.shares[INPUT_WAIT]
    if share < limits.input_share:
        return None
    processes = table(trace, "processes")
    workers = 0 if processes is None else int((processes["role"] == "loader-worker").sum())
    outside = manifest(trace).depth == "observe"
    blind = "is not visible from outside" if outside else "cannot be measured in so few steps"
    more = (
        "attach at depth probe to see each worker: `perfscope attach PID`"
        if outside
        else "record more steps: `--duration`"
    )
    cause = "in-process-loading" if seen.in_process_fetch >= 0.5 * share and not workers else None
    return Finding(
        id=ID,
        cause=cause,
        severity=severity_of(share, limits),
        rank=seen.rank,
        lost_s=round(share * seen.span_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.01), 3)),
        headline=(
            f"Input-bound: {percent(share)} of the main thread's stack samples are in the data"
            " loader"
        ),
        explanation=(
            f"It has {plural(workers, 'worker process')}. The time that a batch takes {blind}."
        ),
        evidence=[
            Evidence(
                text=(
                    f"{seen.stack_samples} stack samples of the main thread, {percent(share)} of"
                    " them in the loader"
                ),
                value=round(share, 4),
                unit="share",
                rank=seen.rank,
                process=seen.process,
                lane="stacks",
            )
        ],
        actions=[Action(more)],
    )


RULE = Rule(ID, not_applicable, detect, category=INPUT_WAIT, explains=("straggler/input",))
