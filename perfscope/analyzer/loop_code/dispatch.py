"""What calling operators costs a run without an accelerator: dispatch, and Python around it."""

from dataclasses import dataclass

from perfscope.analyzer.budget.compute_shares import compute_shares
from perfscope.analyzer.budget.critical_rank import steps_of
from perfscope.analyzer.categories import DEVICE_COMPUTE, HOST_BOUND
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.loop_code.loop_time import loop_times
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Dispatch:
    """Shares of a step, 0 to 1, that go into calling operators.

    `inside` of torch's calls (forward, backward, optimizer), and `outside`, where the program calls
    operators itself.
    """

    inside: float
    outside: float

    @property
    def total(self) -> float:
        """The share of both."""
        return self.inside + self.outside


def cpu_dispatch(trace: Trace, process: int) -> Dispatch:
    """Return the shares of the steady steps of a process.

    They are the host-bound time without garbage collections, waits for the GIL and for a core, and
    without code of the program that calls no operator.
    """
    rows = steps_of(trace, process)
    step = float(rows["dur"].mean())
    host = float((rows[HOST_BOUND] - rows["gc"] - rows["gil"]).mean())
    running = max(host + float(rows[DEVICE_COMPUTE].mean()), 1.0)
    host -= waiting_for_a_core(trace, process) * host / running
    total = host / step
    time = trace.fact(loop_times).get(process)
    window = trace.fact(compute_shares).get(process)
    if time is None or window is None:
        return Dispatch(total, 0.0)
    total = max(total - time.host_code_at_least - time.blocked_in.get("other", 0.0), 0.0)
    outside = (time.operators or 0.0) - window.other * time.outside
    outside = min(max(outside, 0.0), total)
    return Dispatch(total - outside, outside)


def waiting_for_a_core(trace: Trace, process: int) -> float:
    """Return the ns per step in which the loop's thread is ready to run and has no core.

    Computing and dispatching wait alike.
    """
    pipelines = trace.fact(input_pipelines)
    delays = (known.main_delay for known in pipelines if known.process == process)
    return next(delays, 0.0)
