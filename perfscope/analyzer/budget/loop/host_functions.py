"""The function of the program that runs longest outside of torch and its operators."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.loop.data_functions import loads_data
from perfscope.analyzer.budget.loop.loop_samples import (
    PROGRAM,
    LoopSamples,
    formats_text,
    hottest_line,
    location_in_loop,
    loop_samples,
)
from perfscope.analyzer.budget.loop.loop_time import LOCK, LoopTime, loop_times
from perfscope.analyzer.budget.loop.sampled_states import (
    NOT_BLOCKED,
    SampledStates,
    sampled_states,
)
from perfscope.analyzer.diagnosis import CodeLocation
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.traces.frames import Frame
from perfscope.traces.trace import Trace

MOST_SPREAD: Final = 0.8
"""A function that spends at least this share of its samples in the program itself does not call the
model.
"""
MOSTLY: Final = 0.5


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


def host_functions(trace: Trace) -> dict[int, HostFunction]:
    """Return, by process, the function that runs longest outside of torch and its operators."""
    found = {}
    times = trace.fact(loop_times)
    for process, samples in trace.fact(loop_samples).items():
        runs = running_code(samples, sampled_states(trace, samples), times[process])
        function = host_function(samples, times[process], runs)
        if function is not None:
            found[process] = function
    return found


def running_code(samples: LoopSamples, states: SampledStates, time: LoopTime) -> NDArray[np.bool_]:
    """Return in which codes the thread mostly runs.

    A lock counts as running where it may be the end of a parallel operator.
    """
    blocked = np.zeros(len(samples.codes))
    for state, counts in states.counts.items():
        if state not in NOT_BLOCKED and (state != LOCK or time.surely_locked > 0.0):
            blocked += counts
    return blocked <= MOSTLY * samples.counts


def host_function(
    samples: LoopSamples, time: LoopTime, runs: NDArray[np.bool_]
) -> HostFunction | None:
    """Return the function of one loop that runs longest, the innermost that has this time."""
    in_program = samples.mask(PROGRAM) & ~samples.in_torch_call() & runs
    in_program &= np.array([code.line is not None for code in samples.codes], bool)
    if samples.count_of(in_program) < FEWEST_SAMPLES:
        return None
    best: tuple[float, int, Frame, NDArray[np.bool_]] | None = None
    for function, with_it, depth in functions_and_lines(samples, in_program):
        wanted = with_it & in_program
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
        where=location_in_loop(samples, line, wanted),
        function=function.function,
        least=max(
            min(share, time.running_outside) - operators_elsewhere(samples, wanted, time), 0.0
        ),
        most=most,
        loads_data=loads_data(samples, wanted),
    )


def operators_elsewhere(samples: LoopSamples, wanted: NDArray[np.bool_], time: LoopTime) -> float:
    """Return the share of the loop in operators that the loop calls itself.

    Those that torch calls to format a tensor as text belong to the function that prints it.
    """
    formats = np.array([formats_text(code.below) for code in samples.codes], bool) & wanted
    return max((time.operators or 0.0) - samples.weight_of(formats), 0.0)


def functions_and_lines(
    samples: LoopSamples, in_program: NDArray[np.bool_]
) -> list[tuple[Frame, NDArray[np.bool_], int]]:
    """Return each function (line 0) and each innermost line, the codes with it, and its depth."""
    with_function: dict[Frame, list[int]] = {}
    depths: dict[Frame, int] = {}
    for number, code in enumerate(samples.codes):
        for depth, frame in enumerate(code.program):
            function = Frame(frame.function, frame.file, 0)
            with_function.setdefault(function, []).append(number)
            depths[function] = max(depths.get(function, 0), depth)
        if in_program[number] and code.line is not None:
            with_function.setdefault(code.line, []).append(number)
            depths[code.line] = len(code.program)
    found = []
    for function, numbers in with_function.items():
        mask = np.zeros(len(samples.codes), bool)
        mask[numbers] = True
        found.append((function, mask, depths[function]))
    return found
