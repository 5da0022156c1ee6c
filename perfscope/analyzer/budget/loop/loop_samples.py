"""Stack samples of the loop's thread, each with the program's line that it is in.

A sample belongs to the loader, to a checkpoint, to other ranks, to torch (a frame of torch below
the program's innermost frame), or to the program: its own code, the standard library and other
packages.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.observed_budget import SAVERS, main_thread_id
from perfscope.analyzer.diagnosis import CodeLocation, Interval
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.phases.phase_intervals import (
    IDLE,
    LOGGING,
    OTHER,
    STEPS,
    WARM_UP,
    PhaseSpans,
    loop_thread,
    phase_spans,
)
from perfscope.analyzer.run.ranks.local_ranks import main_processes
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.intervals import Ints, Spans, inside, merged
from perfscope.traces.trace import Trace

LOADER: Final = "loader"
CHECKPOINT: Final = "checkpoint"
RANKS: Final = "ranks"
TORCH: Final = "torch"
PROGRAM: Final = "program"
DEVICE: Final = "device"

FORMATS: Final = "torch/_tensor_str.py"
LOOP_PHASES: Final = (STEPS, WARM_UP, LOGGING, IDLE, OTHER)
"""Phases of the training loop itself: the others have findings of their own."""
MOST_STEPS: Final = 0.5
"""The share of the steps that the thread of a loop makes at least."""
WAITS: Final = ""
"""The stack of a sample in which the thread waits for a device."""
STACK_TABLES: Final = ("outside_stacks", "stacks")
IN_LOADER: Final = re.compile(
    r"(^|;)(__next__|_next_data|_next_index|_get_data|_try_get_data|_try_put_index|__iter__|"
    r"_get_iterator|_reset|__init__) \(torch/utils/data/dataloader\.py:"
)
IN_RANKS: Final = re.compile(r" \(torch/distributed/")
IN_TORCH_CALL: Final = re.compile(
    r"(^|;)backward \(torch/_tensor\.py:"
    r"| \(torch/(nn/modules/module|optim/|autograd/|amp/|_dynamo/|nn/parallel/)"
)
"""Frames of module calls, backward and the optimizer, whose begin and end the probe records."""


@dataclass(frozen=True)
class SampledCode:
    """What one stack shows: whose code runs, the program's frames, and the frames below them."""

    kind: str
    program: tuple[Frame, ...]
    below: tuple[Frame, ...]
    is_in_torch_call: bool
    """Whether a call of torch that the probe times is above the program's innermost frame."""
    has_torch_call: bool
    """Whether such a call is anywhere in the stack."""

    @property
    def line(self) -> Frame | None:
        """The program's innermost line, None where no frame is the program's own."""
        return self.program[-1] if self.program else None


@dataclass(frozen=True)
class LoopSamples:
    """The samples of one thread inside its loop.

    `code` is the number in `codes` of each sample.
    """

    process: int
    tid: int
    spans: Spans
    """The time of the loop, ns."""
    codes: tuple[SampledCode, ...]
    ts: Ints
    code: Ints
    weights: NDArray[np.float64]

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """The share of the samples' weight that each of `codes` has."""
        whole = max(float(self.weights.sum()), 1.0)
        return np.bincount(self.code, self.weights, len(self.codes)) / whole

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """The number of samples of each of `codes`."""
        return np.bincount(self.code, minlength=len(self.codes)).astype(np.int64)

    def weight_of(self, wanted: NDArray[np.bool_]) -> float:
        """Return the share of the samples whose code is `wanted`, by number of the code."""
        return float(self.shares[wanted].sum())

    def count_of(self, wanted: NDArray[np.bool_]) -> int:
        """Return the number of samples whose code is `wanted`."""
        return int(self.counts[wanted].sum())

    def mask(self, *kinds: str) -> NDArray[np.bool_]:
        """Return which codes are of these kinds."""
        return np.array([code.kind in kinds for code in self.codes], bool)

    def in_torch_call(self) -> NDArray[np.bool_]:
        """Return which codes are called by a call of torch that the probe times."""
        return np.array([code.is_in_torch_call for code in self.codes], bool)

    def outside_torch_calls(self) -> NDArray[np.bool_]:
        """Return which codes are outside of torch's calls, the loader, ranks and checkpoints."""
        timed = np.array([code.has_torch_call for code in self.codes], bool)
        outside: NDArray[np.bool_] = self.mask(PROGRAM, TORCH) & ~timed
        return outside

    def mask_of_line(self, line: Frame) -> NDArray[np.bool_]:
        """Return which codes are in a line, the innermost of the program."""
        return np.array([code.line == line for code in self.codes], bool)


def loop_samples(trace: Trace) -> dict[int, LoopSamples]:
    """Return the samples of the loop of each process that trains or serves, if there are enough."""
    found: dict[int, LoopSamples] = {}
    if trace.has_profiled_work:
        return found
    for process, _ in main_processes(trace):
        samples = samples_of_process(trace, process)
        if samples is not None:
            found[process] = samples
    return found


def samples_of_process(trace: Trace, process: int) -> LoopSamples | None:
    """Return the samples of the loop of one process, None with too few.

    Those from outside are preferred: they do not depend on the GIL. A server with a thread per
    request has no loop: most of its steps are on other threads than any one.
    """
    every_step = trace.fact(steps)
    of_process = every_step[every_step["process"] == process]
    tid = loop_thread(trace, process, of_process)
    known = of_process[of_process["tid"] >= 0]
    if len(known) and (known["tid"] == tid).mean() < MOST_STEPS:
        return None
    tid = main_thread_id(trace, process) if tid < 0 else tid
    spans = loop_spans(phase_spans(trace, process))
    for name in STACK_TABLES:
        rows = rows_of(trace, name, process)
        if rows is None:
            continue
        rows = rows[column(rows, "tid") == tid]
        rows = rows[inside(spans, column(rows, "ts"))]
        if len(rows) >= FEWEST_SAMPLES:
            waits = device_wait_spans(trace, process, tid)
            return coded_samples(process, tid, spans, without_code_in(rows, waits))
    return None


def device_wait_spans(trace: Trace, process: int, tid: int) -> Spans:
    """Return when a thread is in a copy or a synchronizing call, and waits for the device."""
    copies, ranges = rows_of(trace, "copies", process), rows_of(trace, "ranges", process)
    if copies is not None:
        copies = copies[(column(copies, "tid") == tid) & (column(copies, "device") < 0)]
    if ranges is not None:
        ranges = ranges[(column(ranges, "tid") == tid) & (ranges["category"] == "sync").to_numpy()]
    return merged(spans_of(copies), spans_of(ranges))


def without_code_in(rows: pd.DataFrame, waits: Spans) -> pd.DataFrame:
    """Return the samples, without a stack for those within `waits`: no code of the loop runs."""
    waiting = inside(waits, column(rows, "ts"))
    if not waiting.any():
        return rows
    stacks = rows["stack"].astype(str).to_numpy(object)
    return rows.assign(stack=np.where(waiting, WAITS, stacks))


def rows_of_loop(trace: Trace, name: str, samples: LoopSamples) -> pd.DataFrame | None:
    """Return the rows of a table of the loop's thread."""
    rows = rows_of(trace, name, samples.process)
    return None if rows is None else rows[column(rows, "tid") == samples.tid]


def loop_spans(phases: PhaseSpans) -> Spans:
    """Return the time of the training loop itself."""
    return merged(*(phases.of(phase) for phase in LOOP_PHASES))


def coded_samples(process: int, tid: int, spans: Spans, rows: pd.DataFrame) -> LoopSamples:
    """Return the samples in `rows`, each distinct stack classified once."""
    texts, code = np.unique(rows["stack"].astype(str).to_numpy(), return_inverse=True)
    return LoopSamples(
        process=process,
        tid=tid,
        spans=spans,
        codes=tuple(sampled_code(str(text)) for text in texts),
        ts=column(rows, "ts"),
        code=code.astype(np.int64),
        weights=rows["weight_ns"].to_numpy(np.float64),
    )


def sampled_code(stack: str) -> SampledCode:
    """Return what a stack shows."""
    if stack == WAITS:
        return SampledCode(DEVICE, (), (), is_in_torch_call=False, has_torch_call=False)
    program = program_frames(stack)
    frames = [parse_frame(label) for label in stack.split(";")]
    last = max((number for number, frame in enumerate(frames) if frame in program), default=-1)
    below = tuple(frames[last + 1 :])
    above = ";".join(stack.split(";")[: last + 1])
    return SampledCode(
        kind=kind_of_stack(stack, below),
        program=program,
        below=below,
        is_in_torch_call=IN_TORCH_CALL.search(above) is not None,
        has_torch_call=IN_TORCH_CALL.search(stack) is not None,
    )


def kind_of_stack(stack: str, below: tuple[Frame, ...]) -> str:
    """Return whose code a stack is in."""
    if SAVERS.search(stack):
        return CHECKPOINT
    if IN_LOADER.search(stack):
        return LOADER
    if IN_RANKS.search(";".join(f" ({frame.file}" for frame in below)):
        return RANKS
    if formats_text(below):
        return PROGRAM
    return TORCH if any(frame.is_of_torch for frame in below) else PROGRAM


def formats_text(below: tuple[Frame, ...]) -> bool:
    """Return whether torch formats a tensor as text, which is work of the line that prints it."""
    return any(frame.file == FORMATS for frame in below)


def hottest_line(samples: LoopSamples, wanted: NDArray[np.bool_]) -> Frame:
    """Return the innermost line of the program with the most time in the wanted code."""
    shares: dict[Frame, float] = {}
    for number in np.flatnonzero(wanted):
        line = samples.codes[number].line
        if line is not None:
            shares[line] = shares.get(line, 0.0) + float(samples.shares[number])
    return max(shares, key=lambda line: shares[line])


def location_in_loop(samples: LoopSamples, line: Frame, wanted: NDArray[np.bool_]) -> CodeLocation:
    """Return a line as the place of the samples whose code is `wanted`."""
    share = samples.weight_of(wanted)
    low, high = share_interval(share, len(samples.ts))
    file = line.file.removeprefix("./")
    interval = Interval(low, share, high)
    return CodeLocation(line.function, file, line.line, None, samples.process, interval)
