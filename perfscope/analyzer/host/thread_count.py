"""Operators compute on fewer threads than there are free cores.

What it means
    PyTorch splits large operators over its intra-op threads. Launchers set `OMP_NUM_THREADS=1` so
    that many ranks on a machine do not compete (`torchrun` does so unless it is set); a script for
    one process then computes on one core while the others are idle.

How it is detected
    On a CPU: torch has one intra-op thread, or fewer than half of the physical cores that stay idle
    during the steps, other jobs included. A profiling window shows that calls of at least 0.1 ms of
    operators that torch splits take enough of the steps for the change to save at least 10 % of
    them. The speedup is a ceiling: that time, divided by the number of threads (Amdahl's law).

What to do
    Start the program with `OMP_NUM_THREADS` set to usable cores / ranks, or call
    `torch.set_num_threads` with that number at its beginning.

When it is wrong
    Hyperthreads are not counted as cores where the kernel shows which they are. Operators that
    wait for memory gain less than the ceiling. Threads that a program runs itself may need the
    cores later.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.budget.cpu_work import computing_spans
from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    missing_steps,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.lines.finding_lines import line_in_loop
from perfscope.analyzer.categories import DEVICE_COMPUTE
from perfscope.analyzer.compute.work_units import runs_on_cpu
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.ranks.local_ranks import ranks_at_once
from perfscope.analyzer.run.resources.host_load import HostLoad, host_load
from perfscope.analyzer.run.table_access import column, manifest, table
from perfscope.traces.trace import Trace

ID = "thread-count"
SPLIT_NS = 100_000
"""Calls of this length are split: beginning a parallel region costs some microseconds, and torch
splits elementwise work from 32,768 elements on (`at::internal::GRAIN_SIZE`).
"""
ALMOST_IDLE = 0.7
"""A core that is idle for this share of the time can run another thread: perfscope itself and the
kernel use the rest.
"""
LEAST_SAVING = 0.1
"""The recording of a window changes the proportions of operators by less than this."""
EFFICIENCY = 0.8
"""The share of an ideal speedup that operators reach on a few more threads; the rest is waiting for
the last thread, and for memory.
"""
SPLIT_OPERATORS = re.compile(
    r"aten::_?(?:"
    r"(?:add|ba)?b?(?:mm|mv)|addmm|addmv|baddbmm|mkldnn_\w+|thnn_conv\w*|slow_conv\w*"
    r"|\w*convolution\w*|scaled_dot_product_\w+|add|sub|rsub|mul|div|relu|threshold\w*"
    r"|clamp\w*|gelu|silu|elu|hardswish"
    r"|leaky_relu|softplus|sigmoid|tanh|exp|log|pow|sqrt|rsqrt|square|abs|neg|sin|cos|where|lerp"
    r"|addcmul|addcdiv|fused_\w+|sum|mean|var\w*|std\w*|max|min|amax|amin|argmax|argmin|norm"
    r"|linalg_vector_norm|log_softmax|softmax|\w*layer_norm\w*|\w*group_norm\w*|\w*batch_norm\w*"
    r"|\w+_pool\dd?\w*|upsample_\w+|grid_sampler\w*|copy|cat|index_select|fft_\w+"
    r")_?(?:_backward(?:_data|_input)?)?(?:_out)?"
)
"""Operators that torch, oneDNN or MKL run on all intra-op threads. Random numbers, sorting and
scattering are not among them.
"""
PRODUCTS = re.compile(r"aten::(?:b?mm|addb?mm|baddbmm|addmv|mv|dot)_?(?:_out)?")
INTEGERS = re.compile(r"\b(?:long|int|short|char|bool)\b")
"""Element types of products that no library computes: torch multiplies integers on one thread."""

MORE_THREADS = Advice(
    "use-more-intra-op-threads",
    "use more intra-op threads",
    "fewer-threads-than-free-cores",
    "Cores are idle during the steps, there is one intra-op thread or fewer than half as many as"
    " idle cores, and operators that torch splits take most of the steps.",
)
RAISE_OMP_THREADS = Advice(
    "raise-omp-threads",
    "start the program with more OpenMP threads",
    "environment-limits-threads",
    "There are too few threads for the free cores, and the environment sets their number.",
)


@dataclass(frozen=True)
class ThreadCase:
    """What is known of the threads of one process and of the cores that it leaves idle."""

    process: int
    threads: int
    wanted: int
    load: HostLoad
    variables: dict[str, int]
    """Environment variables that set the number of threads to the present one."""
    split_share: float
    """The share of the steps in calls that torch splits."""

    @property
    def saved(self) -> float:
        """The largest share of the steps that more threads can save."""
        return self.split_share * (1.0 - self.threads / self.wanted)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no steps, no operators, a device, unknown cores."""
    if manifest(trace).torch is None:
        return Unmet("other", "needs the probe in the process: the number of threads is not known")
    if not runs_on_cpu(trace):
        return Unmet("other", "the operators run on a device")
    if trace.fact(host_load).idle_cores is None:
        return Unmet("other", "the idle cores are not known")
    return missing_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where more threads can save enough of the steps."""
    case = thread_case(trace, limits)
    if case is None or case.saved < LEAST_SAVING:
        return None
    rows = steps_of(trace, case.process)
    lost = EFFICIENCY * case.saved
    idle, share = case.load.idle_cores or 0.0, percent(case.split_share)
    cores = f"{digits(round(idle, 1))} of {plural(case.load.usable_cores or 1.0, 'usable core')}"
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(lost, limits),
        processes=[case.process],
        lost_s=round(lost * float(column(rows, "dur").sum()) / 1e9, 4),
        share=round(lost, 4),
        speedup=Speedup(None, None, round(1.0 / (1.0 - case.saved), 3)),
        headline=(
            f"Thread count: operators use {plural(case.threads, 'thread')}; {cores} are idle"
        ),
        explanation=(
            f"Calls that torch splits over its threads take {share} of each step. With"
            f" {case.wanted} threads they use the idle cores too."
        ),
        caveat="The speedup is a ceiling: waiting for memory does not get shorter.",
        evidence=[
            Evidence(
                f"{plural(case.threads, 'intra-op thread')}{variables_text(case)}",
                float(case.threads),
                "threads",
                process=case.process,
            ),
            Evidence(f"idle during the steps: {cores}", round(idle, 2), "cores"),
            Evidence(
                f"calls that torch splits take {share} of the steps",
                round(case.split_share, 4),
                "share",
                process=case.process,
                lane="host",
            ),
        ],
        actions=more_threads(case),
    )


def thread_case(trace: Trace, limits: Limits) -> ThreadCase | None:
    """Return the case of the critical process, None where enough threads run already."""
    process, torch = critical_rank(trace, limits), manifest(trace).torch
    load = trace.fact(host_load)
    if process is None or torch is None or load.idle_cores is None:
        return None
    threads, ranks = max(torch.intra_op_threads, 1), max(ranks_at_once(trace), 1)
    most = physical_cores_per_rank(trace, load, ranks)
    free = min(math.floor(load.idle_cores / ranks + 1.0 - ALMOST_IDLE), most - threads)
    if free < 1 or (threads > 1 and 2 * threads >= free):
        return None
    variables = {name: count for name, count in torch.thread_variables.items() if count == threads}
    share = split_share(trace, process)
    return ThreadCase(process, threads, threads + free, load, variables, share)


def physical_cores_per_rank(trace: Trace, load: HostLoad, ranks: int) -> int:
    """Return the number of physical cores per rank; of logical ones where that is unknown."""
    cores = manifest(trace).usable_cores
    usable = load.usable_cores or 1.0
    if cores is not None and cores.physical is not None:
        usable = min(usable, float(cores.physical))
    return int(usable // ranks)


def split_share(trace: Trace, process: int) -> float:
    """Return the share of the steps in calls that torch splits, 0 without a profiling window.

    The window shows which part of the computing it is, the time budget how much of a step computes.
    """
    ops = table(trace, "ops")
    if ops is None:
        return 0.0
    ops = ops[(ops["process"] == process).to_numpy(bool)]
    if not len(ops):
        return 0.0
    begin, end, row = computing_spans(ops)
    lasted: Floats = np.bincount(row, end - begin, len(ops)).astype(np.float64)
    whole = float(lasted.sum())
    is_split = splits_work(ops) & (usual_length(ops, lasted) >= SPLIT_NS)
    rows = steps_of(trace, process)
    computes = float(rows[DEVICE_COMPUTE].sum()) / max(float(rows["dur"].sum()), 1.0)
    return computes * float(np.sum(lasted[is_split])) / whole if whole > 0.0 else 0.0


def usual_length(calls: pd.DataFrame, lasted: Floats) -> Floats:
    """Return the median length of the calls with the same name and shapes: some lost their core."""
    keys = [calls["name"].cat.codes.to_numpy(), calls["shapes"].cat.codes.to_numpy()]
    lengths: Floats = pd.Series(lasted).groupby(keys).transform("median").to_numpy(np.float64)
    return lengths


def splits_work(ops: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which operators torch splits over its threads."""
    names, types = ops["name"].cat.categories, ops["dtypes"].cat.categories
    split = [name for name in names if SPLIT_OPERATORS.fullmatch(name) is not None]
    products = [name for name in names if PRODUCTS.fullmatch(name) is not None]
    integers = [kinds for kinds in types if INTEGERS.search(kinds) is not None]
    of_integers = ops["name"].isin(products) & ops["dtypes"].isin(integers)
    return (ops["name"].isin(split) & ~of_integers).to_numpy(bool)


def variables_text(case: ThreadCase) -> str:
    """Return the environment variables that set the number of threads."""
    if not case.variables:
        return ""
    return ", set by " + ", ".join(f"{name}={count}" for name, count in case.variables.items())


def more_threads(case: ThreadCase) -> list[Action]:
    """Return the advice for the place where the number of threads is set."""
    idle = digits(round(case.load.idle_cores or 0.0, 1))
    seen = f"{plural(case.threads, 'intra-op thread')}, {idle} cores idle"
    is_few = case.wanted > case.threads
    text = f"use {plural(case.wanted, 'intra-op thread')} instead of {case.threads}"
    return [
        *RAISE_OMP_THREADS.given(
            is_few and bool(case.variables),
            f"{seen}{variables_text(case)}",
            text=f"{text}: the environment of the process limits them",
            snippet=" ".join(f"{name}={case.wanted}" for name in case.variables),
        ),
        *MORE_THREADS.given(
            is_few,
            seen,
            text=f"{text}, in the program" if case.variables else text,
            snippet=f"torch.set_num_threads({case.wanted})",
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("ops", "counters"),
    in_traces=False,
    category=DEVICE_COMPUTE,
    where=line_in_loop,
    loss_is_upper_bound=True,
    advice=(MORE_THREADS, RAISE_OMP_THREADS),
)
