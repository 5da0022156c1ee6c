"""Whether a loop provides data outside of torch's calls, judged by the names of functions there."""

from perfscope.analyzer.budget.loop.blocked_lines import LEAST_EXPLAINED, blocked_lines
from perfscope.analyzer.budget.loop.data_functions import loads_data
from perfscope.analyzer.budget.loop.loop_samples import loop_samples
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.traces.trace import Trace


def gaps_load_data(trace: Trace) -> dict[int, bool]:
    """Return, by process, whether the loop provides data outside of torch's calls.

    It does if names of functions or packages there indicate loading, or if it waits for a queue
    there, but not if it sleeps there. Processes with too few samples are left out.
    """
    found = {}
    lines = trace.fact(blocked_lines)
    for process, samples in trace.fact(loop_samples).items():
        outside = samples.outside_torch_calls()
        if samples.count_of(outside) < FEWEST_SAMPLES:
            continue
        line = lines.get(process)
        sleeps = (
            line is not None and line.is_sleep and line.share >= LEAST_EXPLAINED * line.time.outside
        )
        found[process] = not sleeps and loads_data(samples, outside)
    return found
