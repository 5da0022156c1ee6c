"""The loop waits in a call of the program's own.

What it means
    Between the calls of PyTorch the loop's thread is blocked in a system call: it writes to a pipe
    or a terminal that is full, waits for a server, a child process, a file or a lock. Nothing
    computes meanwhile.

How it is detected
    The kernel shows what the thread is blocked in, outside of the loader and of PyTorch's calls;
    the stack samples show where. It is blocked for at least 5 % of the loop's time, most of it at
    one line of the program. A lock counts where it cannot be the end of a parallel operator. A
    library in C that sleeps before it tries again (SQLite) counts, too. `time.sleep` is the finding
    `sleep-in-loop`, and waits for data are `input-bound`. Short system calls (`fsync` on a fast
    disk, many small files) count where they take half of the time outside of PyTorch's calls, and
    their function at least 10 % of the loop's time. Their time is what remains after subtracting
    the program's machine code, waits for a core and page faults.

What to do
    Call it less often, or hand the values to a thread that makes the call and go on.

When it is wrong
    Where the call is what the loop is for (a request to answer, a simulator in another process),
    the wait is the speed of the other side: look there. The speedup is a ceiling: a slow reader
    stays slow.
"""

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.loop.blocked_lines import (
    evidence_of_blocking,
    missing_loop_samples,
    worst_blocked_line,
)
from perfscope.analyzer.budget.loop.host_functions import HostFunction
from perfscope.analyzer.budget.loop.system_calls import calling_functions
from perfscope.analyzer.diagnosis import CodeLocation, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "blocking-call"
WAITS_FOR = {
    "pipe": "a pipe",
    "terminal": "a terminal",
    "network": "the network",
    "file": "a file",
    "disk": "the disk",
    "poll": "an event on an open file",
    "lock": "a lock or a queue",
    "sleep": "a time to pass",
    "library-sleep": "a library that sleeps before it tries again",
    "child": "a child process",
    "other": "another system call",
}
CALL_LESS_OFTEN = Advice(
    "call-less-often",
    "make the call less often: every hundred steps instead of every step",
    "loop-is-blocked-at-one-line",
    "One line of the program is blocked for at least 5 % of the loop's time.",
)
CALL_IN_THREAD = Advice(
    "call-in-thread",
    "put the values into a queue, and make the call in another thread",
    "call-needs-no-interpreter",
    "The line is blocked in a system call that is not a lock.",
)
THREAD_HELPS = (
    "pipe",
    "terminal",
    "network",
    "file",
    "disk",
    "poll",
    "child",
    "library-sleep",
    "other",
)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where a line of the program is blocked for long enough."""
    line, short = worst_blocked_line(trace, limits), worst_calling_function(trace, limits)
    if short is not None and (line is None or short.most > line.share):
        return finding_of_short_calls(short, limits)
    if line is None or line.is_sleep or line.loads_data:
        return None
    share, place = line.share, line.where.place
    waits_for = WAITS_FOR.get(line.state, WAITS_FOR["other"])
    called = f", in `{line.below[-1]}`" if line.below else ""
    evidence_text = f"{percent(share)} of the loop's time at {place}"
    return msgspec.structs.replace(
        finding_at(line.where, share, line.time.loop_s, limits),
        explanation=f"It waits for {waits_for}{called}. Nothing computes meanwhile.",
        evidence=[evidence_of_blocking(line)],
        actions=[
            *CALL_LESS_OFTEN.given(share >= limits.recoverable_share, evidence_text),
            *CALL_IN_THREAD.given(line.state in THREAD_HELPS, f"it waits for {waits_for}"),
        ],
    )


def finding_at(where: CodeLocation, share: float, loop_s: float, limits: Limits) -> Finding:
    """Return the finding for a line that the loop waits at for this share of its time."""
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        lost_s=round(share * loop_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.05), 3)),
        headline=f"Blocking call: the loop waits {percent(share)} of its time at {where.place}",
        evidence=[],
        actions=[],
        processes=[where.process],
        where=where,
    )


def worst_calling_function(trace: Trace, limits: Limits) -> HostFunction | None:
    """Return the function whose short system calls cost most, None below the limit."""
    functions = [
        function
        for function in trace.fact(calling_functions).values()
        if function.most >= limits.host_code_share and not function.loads_data
    ]
    return max(functions, key=lambda known: known.most * known.time.loop_s, default=None)


def finding_of_short_calls(function: HostFunction, limits: Limits) -> Finding:
    """Return the finding for a function that makes many short system calls."""
    share, where = function.most, function.where
    in_function = f"{percent(share)} of the loop's time is in `{function.function}`"
    return msgspec.structs.replace(
        finding_at(where, share, function.time.loop_s, limits),
        explanation="Most of this time is in short system calls, which work on files or devices.",
        evidence=[
            Evidence(
                f"{in_function}, mostly in system calls",
                round(share, 4),
                "share",
                process=where.process,
                lane="stacks",
            )
        ],
        actions=[
            *CALL_LESS_OFTEN.given(share >= limits.recoverable_share, in_function),
            *CALL_IN_THREAD.given(True, "it waits for system calls"),
        ],
    )


RULE = Rule(
    ID,
    missing_loop_samples,
    detect,
    on_host=True,
    in_traces=False,
    replaces_advice=True,
    consequences=("input-bound/unknown-loader", "launch-bound"),
    advice=(CALL_LESS_OFTEN, CALL_IN_THREAD),
    color="other-idle",
)
