"""The program's lines outside of torch's calls that cost the loop most: blocked, or running."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.diagnosis import CodeLocation, Interval
from perfscope.analyzer.loop_code.loop_samples import (
    PROGRAM,
    LoopSamples,
    SampledCode,
    loop_samples,
    rows_of_thread,
)
from perfscope.analyzer.loop_code.loop_time import (
    LOCK,
    NOT_BLOCKED,
    LoopTime,
    loop_times,
)
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column
from perfscope.traces.frames import Frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

WAITING_FILES: Final = re.compile(
    r"^(threading|queue|subprocess|selectors|socket|ssl|asyncio/|concurrent/futures/"
    r"|multiprocessing/(connection|queues|synchronize|popen_\w+|pool))"
)
"""Files of the standard library in which a thread waits."""
DATA_LIBRARIES: Final = re.compile(
    r"^(nvidia/dali|ffcv|webdataset|datasets|tensorflow_datasets|litdata|streaming|torchdata"
    r"|petastorm|ray/data|squirrel|deeplake)/"
)
"""Packages that provide data."""
WAITS_FOR_DATA: Final = re.compile(r"^(queue|multiprocessing/(queues|connection|pool)|concurrent/)")
LOADS_DATA: Final = re.compile(
    r"(^|_)(load\w*|read\w*|(pre)?fetch\w*|decod\w*|augment\w*|collat\w*|preprocess\w*"
    r"|next_?batch|get_?batch|(batch|data|image)e?s?)(_|$)|^__getitem__$|^__next__$"
)
"""Names of functions that provide data."""
SLEEP: Final = "sleep"
MOST_SPREAD: Final = 0.8
"""A function that spends at least this share of its samples in the program itself does not call the
model.
"""
HOLDS_MOST: Final = 0.6
"""A line explains waiting when its samples could hold at least this part of it."""


@dataclass(frozen=True)
class BlockedLine:
    """A line in which the loop's thread is blocked; `share` is that of the loop's time.

    `state` is what it waits for, `below` the functions of packages that the line calls.
    """

    time: LoopTime
    where: CodeLocation
    share: float
    state: str
    below: tuple[Frame, ...]
    loads_data: bool

    @property
    def is_sleep(self) -> bool:
        """Whether the program itself sleeps at the line."""
        return self.state == SLEEP and not self.below


@dataclass(frozen=True)
class HostFunction:
    """A function of the program that runs outside of torch and its operators.

    `most` is the share of the loop's time that its samples have, `least` that without all time in
    operators that the loop calls itself.
    """

    time: LoopTime
    where: CodeLocation
    function: str
    least: float
    most: float
    loads_data: bool


def location(samples: LoopSamples, line: Frame, wanted: NDArray[np.bool_]) -> CodeLocation:
    """Return a line as the place of the samples whose code is `wanted`."""
    share = samples.weight_of(wanted)
    low, high = share_interval(share, len(samples.ts))
    file = line.file.removeprefix("./")
    interval = Interval(low, share, high)
    return CodeLocation(line.function, file, line.line, None, samples.process, interval)


def blocked_lines(trace: Trace) -> dict[int, BlockedLine]:
    """Return, by process, the line in which most of the blocked time outside of calls goes by."""
    found = {}
    times = trace.fact(loop_times)
    for process, samples in trace.fact(loop_samples).items():
        line = blocked_line(trace, samples, times[process])
        if line is not None:
            found[process] = line
    return found


def blocked_line(trace: Trace, samples: LoopSamples, time: LoopTime) -> BlockedLine | None:
    """Return the line of one loop that is blocked longest, None where no line explains it."""
    states = blocked_states(trace, samples)
    lines = {
        code.line
        for code in samples.codes
        if code.kind == PROGRAM and not code.is_in_torch_call and code.line is not None
    }
    best, best_score = None, 0.0
    for line in lines:
        wanted = samples.mask_of_line(line) & samples.mask(PROGRAM)
        waits = waits_of(samples, wanted)
        blocked = time.blocked + (time.locked if waits else 0.0)
        share = samples.weight_of(wanted)
        if samples.count_of(wanted) < FEWEST_SAMPLES or share < HOLDS_MOST * blocked:
            continue
        seen = states_at(states, wanted, counts_locks=waits)
        score = min(share, blocked) * (2.0 if waits else 1.0) * sum(seen.values())
        if seen and score > best_score:
            best_score = score
            best = BlockedLine(
                time=time,
                where=location(samples, line, wanted),
                share=min(share, blocked),
                state=max(seen, key=lambda state: seen[state]),
                below=frames_below(samples, wanted),
                loads_data=loads_data(samples, wanted),
            )
    return best


def blocked_states(trace: Trace, samples: LoopSamples) -> list[tuple[str, int]]:
    """Return each state in which the thread is blocked in its loop, with the code sampled then."""
    rows = rows_of_thread(trace, "thread_states", samples)
    if rows is None or not len(samples.ts):
        return []
    ts, states = column(rows, "ts"), rows["state"].astype(str).to_numpy()
    wanted = inside(samples.spans, ts) & ~np.isin(states, NOT_BLOCKED)
    nearest = np.maximum(np.searchsorted(samples.ts, ts[wanted], side="right") - 1, 0)
    codes = samples.code[nearest]
    return [(str(state), int(code)) for state, code in zip(states[wanted], codes, strict=True)]


def states_at(
    states: list[tuple[str, int]], wanted: NDArray[np.bool_], *, counts_locks: bool
) -> Counter[str]:
    """Return how often the thread was in each blocked state in the wanted code."""
    return Counter(
        state for state, code in states if wanted[code] and (counts_locks or state != LOCK)
    )


def waits_of(samples: LoopSamples, wanted: NDArray[np.bool_]) -> bool:
    """Return whether the wanted code mostly calls functions of Python that wait."""
    waiting = np.array(
        [
            any(WAITING_FILES.search(frame.file) for frame in code.below) and bool(is_wanted)
            for code, is_wanted in zip(samples.codes, wanted, strict=True)
        ],
        bool,
    )
    return samples.weight_of(waiting) >= 0.5 * samples.weight_of(wanted) > 0.0


def frames_below(samples: LoopSamples, wanted: NDArray[np.bool_]) -> tuple[Frame, ...]:
    """Return the frames below the line that the wanted code has most often."""
    weights: dict[tuple[Frame, ...], float] = {}
    for code, weight in zip(samples.code, samples.weights, strict=True):
        if wanted[code]:
            below = samples.codes[code].below
            weights[below] = weights.get(below, 0.0) + float(weight)
    return max(weights, key=lambda below: weights[below], default=())


def loads_data(samples: LoopSamples, wanted: NDArray[np.bool_]) -> bool:
    """Return whether the wanted code is mostly in functions whose names say that they load data."""
    named = np.array(
        [
            bool(is_wanted) and any(is_data_function(frame) for frame in code.program[1:])
            for code, is_wanted in zip(samples.codes, wanted, strict=True)
        ],
        bool,
    )
    return samples.weight_of(named) >= 0.5 * samples.weight_of(wanted) > 0.0


def is_data_function(frame: Frame) -> bool:
    """Return whether a function is named like one that provides data."""
    return LOADS_DATA.search(frame.function.rpartition(".")[2]) is not None


def gaps_load_data(trace: Trace) -> dict[int, bool]:
    """Return, by process, whether the loop provides data outside of torch's calls.

    The names of its functions, or of packages, say so, or it waits for a queue there. A loop that
    sleeps there does not. Processes with too few samples are left out.
    """
    found = {}
    lines = trace.fact(blocked_lines)
    for process, samples in trace.fact(loop_samples).items():
        outside = samples.outside_torch_calls()
        if samples.count_of(outside) < FEWEST_SAMPLES:
            continue
        line = lines.get(process)
        sleeps = line is not None and line.is_sleep and line.share >= HOLDS_MOST * line.time.outside
        loads = np.array([provides_data(code) for code in samples.codes], bool) & outside
        found[process] = not sleeps and (
            samples.weight_of(loads) >= 0.5 * samples.weight_of(outside) > 0.0
        )
    return found


def provides_data(code: SampledCode) -> bool:
    """Return whether one of the functions in a stack provides data, or waits for it."""
    return any(is_data_function(frame) for frame in code.program[1:]) or any(
        DATA_LIBRARIES.search(frame.file) or WAITS_FOR_DATA.search(frame.file)
        for frame in code.below
    )


def host_functions(trace: Trace) -> dict[int, HostFunction]:
    """Return, by process, the function that runs longest outside of torch and its operators."""
    found = {}
    times = trace.fact(loop_times)
    for process, samples in trace.fact(loop_samples).items():
        function = host_function(samples, times[process])
        if function is not None:
            found[process] = function
    return found


def host_function(samples: LoopSamples, time: LoopTime) -> HostFunction | None:
    """Return the function of one loop that runs longest, the innermost that has this time."""
    mine = samples.mask(PROGRAM) & ~samples.in_torch_call()
    mine &= np.array([code.line is not None for code in samples.codes], bool)
    if samples.count_of(mine) < FEWEST_SAMPLES:
        return None
    best: tuple[float, int, Frame, NDArray[np.bool_]] | None = None
    for function, with_it, depth in functions_and_lines(samples, mine):
        wanted = with_it & mine
        share, whole = samples.weight_of(wanted), samples.weight_of(with_it)
        if samples.count_of(wanted) < FEWEST_SAMPLES or share < MOST_SPREAD * whole:
            continue
        if best is None or share > best[0] * 1.1 or (share > best[0] * 0.9 and depth > best[1]):
            best = (share, depth, function, wanted)
    if best is None:
        return None
    share, _, function, wanted = best
    line = hottest_line(samples, wanted)
    most = min(share, time.running_outside)
    return HostFunction(
        time=time,
        where=location(samples, line, wanted),
        function=function.function,
        least=max(min(share, time.running_outside) - (time.operators or 0.0), 0.0),
        most=most,
        loads_data=loads_data(samples, wanted),
    )


def functions_and_lines(
    samples: LoopSamples, mine: NDArray[np.bool_]
) -> list[tuple[Frame, NDArray[np.bool_], int]]:
    """Return each function (line 0) and each innermost line, the codes with it, and its depth."""
    with_function: dict[Frame, list[int]] = {}
    depths: dict[Frame, int] = {}
    for number, code in enumerate(samples.codes):
        for depth, frame in enumerate(code.program):
            function = Frame(frame.function, frame.file, 0)
            with_function.setdefault(function, []).append(number)
            depths[function] = max(depths.get(function, 0), depth)
        if mine[number] and code.line is not None:
            with_function.setdefault(code.line, []).append(number)
            depths[code.line] = len(code.program)
    found = []
    for function, numbers in with_function.items():
        mask = np.zeros(len(samples.codes), bool)
        mask[numbers] = True
        found.append((function, mask, depths[function]))
    return found


def hottest_line(samples: LoopSamples, wanted: NDArray[np.bool_]) -> Frame:
    """Return the innermost line of the program with the most time in the wanted code."""
    weights: dict[Frame, float] = {}
    for code, weight in zip(samples.code, samples.weights, strict=True):
        line = samples.codes[code].line
        if wanted[code] and line is not None:
            weights[line] = weights.get(line, 0.0) + float(weight)
    return max(weights, key=lambda line: weights[line])
