"""The general answer: what takes the loop's time, where no finding explains it.

The thread waits, runs Python, runs native code, calls operators, or has no core. A general answer
names the program's line with most of that time, and gives no advice.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.compute_shares import compute_shares
from perfscope.analyzer.budget.critical_rank import steps_of
from perfscope.analyzer.budget.loop.loop_samples import (
    PROGRAM,
    LoopSamples,
    SampledCode,
    hottest_line,
    location_in_loop,
    loop_samples,
)
from perfscope.analyzer.budget.loop.loop_time import LOCK, LoopTime, loop_times
from perfscope.analyzer.budget.loop.native_shares import NativeShares, native_shares
from perfscope.analyzer.categories import DEVICE_COMPUTE, HOST_BOUND
from perfscope.analyzer.compute.slow_operators import SlowOperator, slow_operators
from perfscope.analyzer.compute.untracked_operators import untracked_shares
from perfscope.analyzer.diagnosis import CodeLocation, Verdict
from perfscope.analyzer.host.dispatch import cpu_dispatch
from perfscope.analyzer.host.launch_bound_on_cpu import is_dispatched_by_program
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.run.hangs.hung_job import waits_for_unrecorded_ranks
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.frames import Frame
from perfscope.traces.trace import Trace

WAITING: Final = "waiting"
PYTHON_CODE: Final = "python-code"
NATIVE_CODE: Final = "native-code"
OPERATOR_DISPATCH: Final = "operator-dispatch"
NOT_SCHEDULED: Final = "not-scheduled"
GENERAL: Final = {
    WAITING: (
        "The loop's thread is blocked in system calls, other than those of locks, for half of the"
        " loop's time or more, outside of PyTorch's calls and of the data loader."
    ),
    OPERATOR_DISPATCH: (
        "One of three holds. Calling operators, without their own work, takes 35 % of a step or"
        " more, and at least 30 % of that is outside of the model, backward and the optimizer, in"
        " code of the program that updates, measures or prepares tensors one by one. Anomaly"
        " detection makes each call expensive. Operators compute for less than half of a step, and"
        " Python code and calls of operators share the rest."
    ),
    PYTHON_CODE: (
        "The Python interpreter runs for half of the loop's time or more, and no single function of"
        " the program takes it."
    ),
    NATIVE_CODE: (
        "Native code takes the time, and some of it may be avoidable: operators that run far slower"
        " than comparable calls (20 % of the loop), activations that backward computes again or"
        " objects that the program copies (15 %), or operators outside of PyTorch's calls that no"
        " gradient needs (30 %). Without steps: torch's libraries run for half of the time."
    ),
    NOT_SCHEDULED: (
        "The loop's thread is ready to run and has no core for 30 % of the time or more, and"
        " neither the job's own threads nor other jobs explain it."
    ),
}
"""What each general answer means, for `perfscope explain`."""

WITH_STEPS: Final = 0.9
"""Confidence: what takes the time is measured, but not why."""
WITHOUT_STEPS: Final = 0.6
"""Confidence where nothing shows that the time repeats."""
COPYING: Final = "copy.py"
IN_RECOMPUTATION: Final = "torch/utils/checkpoint.py"
UNRECORDED_RANKS: Final = (
    "It waits for ranks that were not recorded, which may compute or hang: record them all, with"
    " `--all-ranks`."
)
ANOMALY_CAVEAT: Final = (
    "Anomaly detection of autograd is on, which makes every operator slower:"
    " `torch.autograd.set_detect_anomaly(False)`."
)


@dataclass(frozen=True)
class LoopFacts:
    """What is known of the loop of one process. `has_steps`: there are enough steady steps."""

    trace: Trace
    process: int
    samples: LoopSamples
    time: LoopTime
    native: NativeShares | None
    has_steps: bool
    limits: Limits

    def hottest_place(self, wanted: NDArray[np.bool_]) -> CodeLocation | None:
        """Return the hottest line of the wanted code, None where too few samples have it."""
        with_line = wanted & np.array([code.line is not None for code in self.samples.codes], bool)
        if self.samples.count_of(with_line) < FEWEST_SAMPLES:
            return None
        line = hottest_line(self.samples, with_line)
        return location_in_loop(self.samples, line, with_line & self.samples.mask_of_line(line))

    @property
    def cpu_share(self) -> float:
        """The CPU time of the thread as a share of the loop's time, 0 where it was not sampled."""
        return 0.0 if self.native is None else min(self.native.cpu_s / self.time.loop_s, 1.0)

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which codes are outside of torch's calls, the loader and checkpoints."""
        return self.samples.outside_torch_calls()

    @property
    def everything(self) -> NDArray[np.bool_]:
        """All codes."""
        return np.ones(len(self.samples.codes), bool)


@dataclass(frozen=True)
class DominantActivity:
    """What takes the loop's time: the id of the answer, the share of the time, and the texts."""

    id: str
    share: float
    headline: str
    explanation: str
    where: CodeLocation | None
    caveat: str | None = None


@dataclass(frozen=True)
class GeneralAnswer:
    """A general answer, and the share of the loop's time (or of a step) that it is about."""

    verdict: Verdict
    share: float


def general_answer(trace: Trace, process: int | None, limits: Limits) -> GeneralAnswer | None:
    """Return the general answer for a process, None where nothing clearly takes most of the time.

    Without steps, a loop that computes has one too, because nothing shows whether it is healthy.
    """
    facts = facts_of(trace, process, limits)
    if facts is None:
        return None
    for answer in ANSWERS:
        found = answer(facts)
        if found is not None:
            return verdict_of(found, facts)
    return None if facts.has_steps else verdict_without_steps(facts)


def facts_of(trace: Trace, process: int | None, limits: Limits) -> LoopFacts | None:
    """Return what is known of the loop of a process, by default the first with samples."""
    known = trace.fact(loop_samples)
    if process is None:
        process = min(known, default=None)
    if process is None or process not in known:
        return None
    return LoopFacts(
        trace=trace,
        process=process,
        samples=known[process],
        time=trace.fact(loop_times)[process],
        native=trace.fact(native_shares).get(process),
        has_steps=len(steps_of(trace, process)) >= limits.fewest_steps,
        limits=limits,
    )


def waiting_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where the thread is blocked for half of the loop's time or more."""
    share = facts.time.blocked + facts.time.surely_locked
    if share < facts.limits.main_cause_share:
        return None
    states = {**facts.time.blocked_in, LOCK: facts.time.surely_locked}
    shown = ", ".join(
        f"{state} {percent(part)}"
        for state, part in sorted(states.items(), key=lambda item: -item[1])
        if part >= facts.limits.recoverable_share
    )
    where = facts.hottest_place(facts.outside & facts.samples.mask(PROGRAM))
    return DominantActivity(
        WAITING,
        share,
        f"The loop waits {percent(share)} of its time",
        f"The thread is blocked in system calls: {shown}.",
        where,
        UNRECORDED_RANKS if waits_for_unrecorded_ranks(facts.trace) else None,
    )


def dispatch_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where calling operators costs much, outside of the model and optimizer.

    Or where a setting makes each call expensive.
    """
    if not facts.has_steps or facts.process not in facts.trace.fact(compute_shares):
        return None
    dispatch = cpu_dispatch(facts.trace, facts.process)
    torch = manifest(facts.trace).torch
    is_anomaly = torch is not None and torch.anomaly_detection
    if dispatch.total < facts.limits.dispatch_share:
        return None
    if not is_anomaly and not is_dispatched_by_program(dispatch, facts.limits):
        return None
    wanted = facts.everything if is_anomaly else facts.outside
    return DominantActivity(
        OPERATOR_DISPATCH,
        dispatch.total,
        f"Calling operators takes {percent(dispatch.total)} of each step",
        (
            "Calls outside of the model, backward and the optimizer take"
            f" {percent(dispatch.outside)} of a step."
        ),
        facts.hottest_place(wanted),
        ANOMALY_CAVEAT if is_anomaly else None,
    )


def python_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where the interpreter takes half of the loop's time or more."""
    if facts.native is None:
        return None
    share = facts.native.interpreter * facts.cpu_share
    if share < facts.limits.main_cause_share:
        return None
    return DominantActivity(
        PYTHON_CODE,
        share,
        f"The Python interpreter takes {percent(share)} of the loop's time",
        "The thread runs Python code; operators compute in the rest.",
        facts.hottest_place(facts.everything),
    )


def slow_operator_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where slow operators take a fifth of the loop's time or more."""
    slow = facts.trace.fact(slow_operators).get(facts.process, [])
    share = min(sum(operator.share for operator in slow), 1.0) * facts.time.running
    if share < facts.limits.critical_share:
        return None
    return DominantActivity(
        NATIVE_CODE,
        share,
        f"Slow operators take {percent(share)} of the loop's time",
        slow_text(slow[0]),
        facts.hottest_place(facts.everything),
    )


def slow_text(operator: SlowOperator) -> str:
    """Return how slow an operator is, and what can make it so."""
    name = operator.name.removeprefix("aten::")
    return (
        f"`{name}` reaches {digits(operator.rate / 1e9)} G{operator.unit}; about"
        f" {digits(operator.usual_rate / 1e9)} are usual for such work on these cores. Its type,"
        " its values or the library that computes it are slow on this CPU."
    )


def extra_work_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where much of the work is not needed to train a step.

    Backward computes activations again, or operators outside of torch's calls, which no gradient
    needs, copy, measure or prepare.
    """
    repeated = np.array(
        [any(map(is_recomputation, code.below)) for code in facts.samples.codes], bool
    )
    share = facts.samples.weight_of(repeated)
    if share >= facts.limits.recomputed_share:
        return DominantActivity(
            NATIVE_CODE,
            share,
            f"Activation checkpointing takes {percent(share)} of the loop's time",
            "Backward computes activations again (`torch.utils.checkpoint`), which saves memory.",
            facts.hottest_place(facts.everything),
        )
    copies = facts.outside & np.array([copies_objects(code) for code in facts.samples.codes], bool)
    share = facts.samples.weight_of(copies)
    if share >= facts.limits.recomputed_share:
        return DominantActivity(
            NATIVE_CODE,
            share,
            f"Copying objects takes {percent(share)} of the loop's time",
            "The program calls `copy.deepcopy`, which copies all tensors of an object.",
            facts.hottest_place(copies),
        )
    share = facts.trace.fact(untracked_shares).get(facts.process, 0.0)
    if share < facts.limits.untracked_share:
        return None
    return DominantActivity(
        NATIVE_CODE,
        share,
        f"Operators that no gradient needs take {percent(share)} of the loop's time",
        "They run outside of the model, backward and the optimizer.",
        facts.hottest_place(facts.outside),
    )


def is_recomputation(frame: Frame) -> bool:
    """Return whether a frame computes activations again, in backward."""
    names = ("unpack_hook", "recompute_fn", "backward")
    return frame.file == IN_RECOMPUTATION and frame.function.rpartition(".")[2] in names


def copies_objects(code: SampledCode) -> bool:
    """Return whether the program copies an object with all that it refers to."""
    return any(frame.file == COPYING and frame.function == "deepcopy" for frame in code.below)


def not_scheduled_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where the loop's thread is often ready to run and has no core."""
    load = facts.trace.fact(host_load)
    share = load.thread_delay.get((facts.process, facts.samples.tid), 0.0)
    if share < facts.limits.not_scheduled_share:
        return None
    return DominantActivity(
        NOT_SCHEDULED,
        share,
        f"The loop's thread has no core {percent(share)} of the time",
        f"It is ready to run. Other jobs use {digits(load.used_elsewhere())} cores.",
        facts.hottest_place(facts.everything),
    )


def host_bound_answer(facts: LoopFacts) -> DominantActivity | None:
    """Return the answer where operators compute for less than half of a step, without one cause."""
    if not facts.has_steps or facts.process not in facts.trace.fact(compute_shares):
        return None
    rows = steps_of(facts.trace, facts.process)
    whole_ns = float(rows["dur"].sum())
    share = float((rows[HOST_BOUND] - rows["gc"] - rows["gil"]).sum()) / whole_ns
    if share < facts.limits.main_cause_share:
        return None
    calls_most = facts.native is None or facts.native.torch >= facts.native.interpreter
    return DominantActivity(
        OPERATOR_DISPATCH if calls_most else PYTHON_CODE,
        share,
        f"Python and the calling of operators take {percent(share)} of each step",
        (
            f"Operators compute {percent(float(rows[DEVICE_COMPUTE].sum()) / whole_ns)} of it. No"
            " single function takes most of the rest: there is little work per operator."
        ),
        facts.hottest_place(facts.everything),
    )


def verdict_without_steps(facts: LoopFacts) -> GeneralAnswer | None:
    """Return the answer for a loop that computes and whose steps are unknown."""
    share = 0.0 if facts.native is None else facts.native.torch * facts.cpu_share
    if facts.native is None or share < facts.limits.main_cause_share:
        return None
    found = DominantActivity(
        NATIVE_CODE,
        share,
        f"Native code takes {percent(share)} of the loop's time",
        f"Most of it is in `{facts.native.largest_library}`.",
        facts.hottest_place(facts.everything),
        "Too few steps were recorded to say whether that is healthy: record longer.",
    )
    return verdict_of(found, facts)


def verdict_of(found: DominantActivity, facts: LoopFacts) -> GeneralAnswer | None:
    """Return a general answer as a verdict, None without the line that it must name."""
    if found.where is None:
        return None
    confidence = WITH_STEPS if facts.has_steps else WITHOUT_STEPS
    verdict = Verdict(
        id=found.id,
        cause=None,
        headline=found.headline,
        explanation=found.explanation,
        caveat=found.caveat,
        confidence=confidence,
        kind="general",
        scope="steps" if facts.has_steps else "run",
        where=found.where,
    )
    return GeneralAnswer(verdict, found.share)


ANSWERS: Final = (
    waiting_answer,
    dispatch_answer,
    python_answer,
    slow_operator_answer,
    extra_work_answer,
    not_scheduled_answer,
    host_bound_answer,
)
"""The first that applies is the answer. A new one is a function here and an entry of GENERAL."""
