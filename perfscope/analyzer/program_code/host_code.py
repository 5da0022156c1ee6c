"""Code of the program itself, outside PyTorch, takes a large part of the loop.

What it means
    The loop computes something on the CPU that is not PyTorch's: an environment, a tokenizer, a
    metric, a conversion, a log message. The model, and a device, wait meanwhile.

How it is detected
    Stack samples of the loop's thread outside of PyTorch's calls and of the loader, in one function
    (or line) of the program, without a function of PyTorch below it. The time in operators that the
    loop calls itself is subtracted: it is known from a profiling window and from the libraries
    whose code the thread runs. The rest is at least 10 % of the loop's time, and at least half of
    the function's.

What to do
    Vectorize the line that is named, run it in other processes while the step computes, or run it
    less often.

When it is wrong
    A line that calls operators of PyTorch directly looks like host code where no window was
    recorded. The speedup is a ceiling.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.loop.blocked_lines import missing_loop_samples
from perfscope.analyzer.budget.loop.host_functions import HostFunction, host_functions
from perfscope.analyzer.budget.loop.native_shares import NativeShares, native_shares
from perfscope.analyzer.budget.loop.system_calls import calling_functions
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.traces.trace import Trace

ID = "host-code"
VECTORIZE = Advice(
    "vectorize-host-code",
    "vectorize this code: process whole arrays with NumPy or tensors instead of one item at a time",
    "interpreter-runs-the-code",
    "At least half of the CPU time of the loop's thread is in the Python interpreter.",
)
PARALLEL_PROCESSES = Advice(
    "run-in-processes",
    "run this code in other processes, several at a time, while the step computes",
    "a-core-is-idle",
    "At least one usable core is idle.",
)
LESS_OFTEN = Advice(
    "run-host-code-less-often",
    "run this code less often: not in every step",
    "host-code-dominates",
    "Code of the program takes at least 10 % of the loop's time.",
)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where a function of the program takes enough of the loop."""
    function = costliest_function(trace, limits)
    if function is None:
        return None
    where, share = function.where, likely_share(function)
    native = trace.fact(native_shares).get(where.process)
    place = where.place
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        lost_s=round(share * function.time.loop_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - function.most, 0.05), 3)),
        headline=f"Host code: {place} takes {percent(share)} of the loop's time",
        explanation=(
            f"It runs on the CPU, outside of PyTorch{waiting_text(function)}.{native_text(native)}"
        ),
        evidence=[
            Evidence(
                f"outside of PyTorch's calls the loop runs {percent(function.time.running_outside)}"
                f" of its time; {percent(function.most)} is in `{function.function}`",
                round(function.most, 4),
                "share",
                process=where.process,
                lane="stacks",
            )
        ],
        actions=host_code_actions(trace, function, native, limits),
        processes=[where.process],
        where=where,
    )


def costliest_function(trace: Trace, limits: Limits) -> HostFunction | None:
    """Return the function that costs most of the processes that train, None below the limit.

    A function that makes system calls is `blocking-call`.
    """
    in_calls = trace.fact(calling_functions)
    functions = [
        function
        for process, function in trace.fact(host_functions).items()
        if process not in in_calls
        and function.least * function.time.on_core >= limits.host_code_share
        and function.least >= limits.main_cause_share * function.most
        and not function.loads_data
    ]
    return max(functions, key=lambda function: function.least, default=None)


def likely_share(function: HostFunction) -> float:
    """Return the share of the loop's time that the function takes without operators, likely.

    The operators that the loop calls itself are divided in proportion to the samples.
    """
    running = function.time.running_outside
    operators = min(function.time.operators or 0.0, running)
    in_function = operators * function.most / max(running, 1e-9)
    return max(function.most - in_function, function.least)


def waiting_text(function: HostFunction) -> str:
    """Return that the model waits for the function, "" where no call of a model was recorded."""
    return ", and the model waits for it" if function.time.torch > 0.0 else ""


def native_text(native: NativeShares | None) -> str:
    """Return whose code the thread runs, as a sentence; "" where that was not sampled."""
    if native is None:
        return ""
    return f" {percent(native.interpreter)} of the thread's CPU time is in the Python interpreter."


def host_code_actions(
    trace: Trace, function: HostFunction, native: NativeShares | None, limits: Limits
) -> list[Action]:
    """Return the actions whose preconditions hold."""
    idle = trace.fact(host_load).idle_cores
    interpreted = 0.0 if native is None else native.interpreter
    return [
        *VECTORIZE.given(
            interpreted >= limits.main_cause_share,
            f"{percent(interpreted)} of the thread's CPU time is in the interpreter",
        ),
        *PARALLEL_PROCESSES.given(
            idle is not None and idle >= 1.0, f"{digits(idle or 0.0)} usable cores are idle"
        ),
        *LESS_OFTEN.given(
            function.least >= limits.host_code_share,
            f"{percent(function.most)} of the loop's time is in `{function.function}`",
        ),
    ]


RULE = Rule(
    ID,
    missing_loop_samples,
    detect,
    on_host=True,
    in_traces=False,
    consequences=("input-bound/unknown-loader", "launch-bound"),
    advice=(VECTORIZE, PARALLEL_PROCESSES, LESS_OFTEN),
    color="host-bound",
)
