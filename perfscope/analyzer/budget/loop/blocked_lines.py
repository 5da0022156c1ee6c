"""The line of the program in which the thread of a loop is blocked longest."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.loop.data_functions import loads_data
from perfscope.analyzer.budget.loop.loop_samples import (
    PROGRAM,
    LoopSamples,
    location_in_loop,
    loop_samples,
)
from perfscope.analyzer.budget.loop.loop_time import LOCK, LoopTime, loop_times
from perfscope.analyzer.budget.loop.sampled_states import sampled_states
from perfscope.analyzer.diagnosis import CodeLocation, Evidence
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import table, uses_device
from perfscope.traces.frames import Frame
from perfscope.traces.trace import Trace

WAITING_FILES: Final = re.compile(
    r"^(threading|queue|subprocess|selectors|socket|ssl|asyncio/|concurrent/futures/"
    r"|multiprocessing/(connection|queues|synchronize|popen_\w+|pool))"
)
"""Files of the standard library in which a thread waits."""
SLEEP: Final = "sleep"
DEVICE_WAITS: Final = ("other", "poll", "lock")
"""States in which a thread can wait for an accelerator: its driver, or an event."""
LEAST_EXPLAINED: Final = 0.6
"""A line explains the waiting if the share of its samples is at least this part of it."""


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


def missing_loop_samples(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why blocked lines cannot be found: too few samples of the loop, or no loop.

    The front end of an inference engine waits for requests, and that costs nothing.
    """
    if table(trace, "engine_metrics") is not None:
        return Unmet("other", "an inference engine waits for requests; see its metrics")
    if not trace.fact(loop_samples):
        return Unmet("too-short", "needs 20 stack samples of the loop")
    return None


def worst_blocked_line(trace: Trace, limits: Limits) -> BlockedLine | None:
    """Return the blocked line of the process that loses most time, None where none loses enough.

    With an accelerator, waits that may be for the device do not count.
    """
    on_device = uses_device(trace)
    lines = [
        line
        for line in trace.fact(blocked_lines).values()
        if line.share >= limits.recoverable_share and not (on_device and line.state in DEVICE_WAITS)
    ]
    return max(lines, key=lambda line: line.share * line.time.loop_s, default=None)


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
    if time.blocked + time.locked <= 0.0:
        return None
    states = sampled_states(trace, samples)
    lines = {
        code.line
        for code in samples.codes
        if code.kind == PROGRAM and not code.is_in_torch_call and code.line is not None
    }
    best, best_score = None, 0.0
    for line in lines:
        wanted = samples.mask_of_line(line) & samples.mask(PROGRAM)
        waits = calls_waiting_functions(samples, wanted)
        locked = time.locked if waits else time.surely_locked
        blocked = time.blocked + locked
        share = samples.weight_of(wanted)
        if samples.count_of(wanted) < FEWEST_SAMPLES or share < LEAST_EXPLAINED * blocked:
            continue
        seen = states.blocked_in(wanted)
        if locked <= 0.0:
            seen.pop(LOCK, None)
        score = min(share, blocked) * (2.0 if waits else 1.0) * sum(seen.values())
        if seen and score > best_score:
            best_score = score
            best = BlockedLine(
                time=time,
                where=location_in_loop(samples, line, wanted),
                share=min(share, blocked),
                state=max(seen, key=lambda state: seen[state]),
                below=frames_below(samples, wanted),
                loads_data=loads_data(samples, wanted),
            )
    return best


def calls_waiting_functions(samples: LoopSamples, wanted: NDArray[np.bool_]) -> bool:
    """Return whether the wanted code mostly calls functions of Python that wait."""
    calls = [
        any(WAITING_FILES.search(frame.file) for frame in code.below) for code in samples.codes
    ]
    waiting = np.array(calls, bool) & wanted
    return samples.weight_of(waiting) >= 0.5 * samples.weight_of(wanted) > 0.0


def frames_below(samples: LoopSamples, wanted: NDArray[np.bool_]) -> tuple[Frame, ...]:
    """Return the frames below the line that the wanted code has most often."""
    shares: dict[tuple[Frame, ...], float] = {}
    for number in np.flatnonzero(wanted):
        below = samples.codes[number].below
        shares[below] = shares.get(below, 0.0) + float(samples.shares[number])
    return max(shares, key=lambda below: shares[below], default=())


def evidence_of_blocking(line: BlockedLine) -> Evidence:
    """Return how much of the loop's time the thread is blocked, and in what."""
    states = sorted(line.time.blocked_in.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{state} {percent(share)}" for state, share in states if share >= 0.01)
    return Evidence(
        f"outside of PyTorch's calls the loop's thread is blocked: {shown or 'in locks'}",
        round(line.share, 4),
        "share",
        process=line.where.process,
        lane="main",
    )
